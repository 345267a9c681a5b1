"""Collects what the runs of the comparison left behind."""
import json
import statistics


def read_lines(folder):
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def final_metrics(folder):
    evaluations = [line["metrics"] for line in read_lines(folder) if line["kind"] == "eval"]
    manifest = folder / "manifest.json"
    if not evaluations or not manifest.exists() or not json.loads(manifest.read_text(encoding="utf-8"))["finished"]:
        return None
    return evaluations[-1]


def parameters(folder):
    """(trained, total) of the last stage."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    last = manifest.get("stages", [manifest])[-1]
    return last["trainable_parameters"], last["total_parameters"]


def alone(comparison):
    """{name: (ms a step, bytes)}, as mpeft bench step measured them."""
    path = comparison.work / "timed.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def spread(values):
    if not values:
        return "-"
    mean = statistics.fmean(values)
    return f"{mean:.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean:.4f}"


def row(comparison, method, seeds, timed, baseline):
    found = [metrics for seed in seeds
             if (metrics := final_metrics(comparison.work / "runs" / f"{method.name}-{seed}")) is not None]
    first = comparison.work / "runs" / f"{method.name}-{seeds[0]}"
    trained, total = parameters(first) if found else (0, 1)
    scores = [spread([metrics[name] for metrics in found if name in metrics]) for name in ("bleu", "rougeL")]
    time_text = memory_text = relative = "-"
    if timed:
        time_text, memory_text = f"{timed[0]:.2f}", f"{timed[1] / 2**20:,.0f}"
        relative = f"{timed[0] / baseline[0]:.2f}" if baseline else "-"
    cells = [method.title, f"{method.learning_rate:g}", f"{trained:,}", f"{100 * trained / total:.3f}", *scores, str(len(found)),
             time_text, relative, memory_text]
    return "| " + " | ".join(cells) + " |"


def write_table(path, comparison, methods, seeds, command, failures):
    size = comparison.size
    timed = alone(comparison)
    baseline = timed.get("lora_r8_out")
    lines = [f"`{command}`", "",
             f"Base: Mamba of d_model {size['d_model']}, {size['n_layer']} layers, trained here. Task: DART's restaurants, "
             f"{size['epochs']} epochs of batch {size['batch']}; scores on {size['validation']} records of unseen names, "
             f"greedy, mean ± standard deviation over seeds {', '.join(map(str, seeds))}. Step time and memory: "
             f"`mpeft bench step`, batch {size['batch']} x 128 tokens, 32 labels a row; relative to LoRA r 8 on out_proj.", "",
             "| method | lr | trained | % | BLEU | ROUGE-L | runs | ms a step | relative | MiB |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [row(comparison, method, seeds, timed.get(method.name), baseline) for method in methods]
    if failures:
        lines += ["", "Failed:", *(f"- {text}" for text in failures)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
