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


def alone(folder):
    """(ms a step, bytes) of a run that had the device for itself: the median over all windows but the first two."""
    lines = [line for line in read_lines(folder) if line["kind"] == "train"]
    lines = [line for line in lines if line.get("stage") == lines[-1].get("stage")]
    settled = lines[2:] or lines[-1:]
    if not settled:
        return None
    return statistics.median(line["step_ms"] for line in settled), max(line["memory_bytes"] for line in settled)


def spread(values):
    if not values:
        return "-"
    mean = statistics.fmean(values)
    return f"{mean:.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean:.4f}"


def row(comparison, method, seeds, baseline):
    found = [metrics for seed in seeds
             if (metrics := final_metrics(comparison.work / "runs" / f"{method.name}-{seed}")) is not None]
    first = comparison.work / "runs" / f"{method.name}-{seeds[0]}"
    trained, total = parameters(first) if found else (0, 1)
    timed = alone(comparison.work / "timed" / method.name)
    scores = [spread([metrics[name] for metrics in found if name in metrics]) for name in ("bleu", "rougeL")]
    time_text = memory_text = relative = "-"
    if timed:
        time_text, memory_text = f"{timed[0]:.2f}", f"{timed[1] / 2**20:,.0f}"
        relative = f"{timed[0] / baseline:.2f}" if baseline else "-"
    cells = [method.title, f"{method.learning_rate:g}", f"{trained:,}", f"{100 * trained / total:.3f}", *scores, str(len(found)),
             time_text, relative, memory_text]
    return "| " + " | ".join(cells) + " |"


def write_table(path, comparison, methods, seeds, command, failures):
    size = comparison.size
    by_name = {method.name: method for method in methods}
    timed = alone(comparison.work / "timed" / "lora_r8_out") if "lora_r8_out" in by_name else None
    lines = [f"`{command}`", "",
             f"Base: Mamba of d_model {size['d_model']}, {size['n_layer']} layers, trained here. Task: DART's restaurants, "
             f"{size['epochs']} epochs of batch {size['batch']}; scores on {size['validation']} records of unseen names, "
             f"greedy, mean ± standard deviation over seeds {', '.join(map(str, seeds))}. Step time and memory: alone on "
             "the device; relative to LoRA r 8 on out_proj.", "",
             "| method | lr | trained | % | BLEU | ROUGE-L | runs | ms a step | relative | MiB |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [row(comparison, method, seeds, timed[0] if timed else None) for method in methods]
    if failures:
        lines += ["", "Failed:", *(f"- {text}" for text in failures)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
