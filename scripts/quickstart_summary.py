#!/usr/bin/env python3
"""Prints what the quickstart made: metrics before and after LoRA, one record with its output, where the files are.

usage: quickstart_summary.py FOLDER            FOLDER holds base/ and lora/ as `train` writes them
       quickstart_summary.py --run FOLDER LOG  one line about one run, from its folder and what it printed
"""
import json
import os
import sys


def records(path):
    """The JSON records of a file, one a line."""
    try:
        with open(path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.strip()]
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}. `train` did not finish; run scripts/quickstart.sh again.")
    except ValueError as error:
        sys.exit(f"{path}: not JSON lines ({error}). Remove its folder and run scripts/quickstart.sh again.")


def evaluations(folder):
    """The evaluation records of a run, in order of training."""
    found = [r for r in records(os.path.join(folder, "metrics.jsonl")) if r.get("kind") == "eval"]
    if not found:
        sys.exit(f"{folder}/metrics.jsonl: no evaluation in it. Remove the folder and run scripts/quickstart.sh again.")
    return sorted(found, key=lambda r: (r["epoch"], r["step"]))


def predictions(folder):
    """The predictions of the last evaluation."""
    files = [f for f in os.listdir(folder) if f.startswith("predictions-") and f.endswith(".jsonl")]
    if not files:
        return []
    last = max(files, key=lambda f: int("0" + "".join(c for c in f if c.isdigit())))
    return records(os.path.join(folder, last))


def describe_run(folder, log):
    """What trained, how much of it, and how the loss fell."""
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    trained, total = manifest["trainable_parameters"], manifest["total_parameters"]
    losses = [r["loss"] for r in records(os.path.join(folder, "metrics.jsonl")) if r.get("kind") == "train"]
    with open(log, encoding="utf-8", errors="replace") as file:
        skipped = "already finished" in file.read()
    text = f"        {trained:,} weights" if trained == total else f"        {trained:,} of {total:,} weights ({100 * trained / total:.2f} %)"
    if losses and None not in (losses[0], losses[-1]):
        text += f"   loss {losses[0]:.2f} -> {losses[-1]:.2f}"
    return text + ("   (from an earlier run)" if skipped else "")


def example(rows):
    """A record that the model got right, of the longer inputs; else the first."""
    right = [r for r in rows if r["prediction"].strip() in [x.strip() for x in r["references"]]]
    return max(right or rows[:1], key=lambda r: len(r["input"]), default=None)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--run":
        print(describe_run(sys.argv[2], sys.argv[3]))
        return
    folder = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    lora = os.path.join(folder, "lora")
    runs = evaluations(lora)
    before, after = runs[0], runs[-1]
    if before["epoch"] != 0:
        sys.exit(f"{lora}/metrics.jsonl: no evaluation before training (epoch 0). Is eval_before_training set in its configuration?")
    print()
    print(f"{'':17}before LoRA   after")
    for name in ("bleu", "meteor"):
        if name in before["metrics"] and name in after["metrics"]:
            print(f"  {name.upper():<15}{before['metrics'][name]:>11.3f}{after['metrics'][name]:>8.3f}")
    shown = example(predictions(lora))
    if shown:
        print(f"  input      {shown['input'].strip()}")
        for i, reference in enumerate(shown["references"]):
            print(f"  {'reference' if i == 0 else '':<10} {reference.strip()}")
        print(f"  output     {shown['prediction'].strip()}")
    print(f'files: {folder}/   next: README.md, "Fine-tune your own data"')


if __name__ == "__main__":
    main()
