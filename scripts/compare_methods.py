#!/usr/bin/env python3
"""Trains every method on one task cut from real data and writes the table: score, parameters, step time, memory.

  scripts/compare_methods.py --data-root data --device 0 --jobs 8          # on one GPU; --device 0 1 shares the runs out
  scripts/compare_methods.py --data-root data --device cpu --jobs 2 --micro --only LORA SD_LORA

A small Mamba is trained from random weights on DART's records that are not about restaurants and on tinyshakespeare;
then each method adapts it to DART's restaurants (validation: restaurants of names that the training has not), once for
each seed. Several runs share the device (--jobs); afterwards `mpeft bench step` measures step time and memory of each
method with the device for itself. Runs that are there are not repeated. The methods, their budgets and learning rates are in
scripts/compare/methods.py.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from compare.methods import METHODS, uncompared
from compare.records import write_records
from compare.table import write_table

ROOT = pathlib.Path(__file__).resolve().parent.parent

FULL = {"d_model": 256, "n_layer": 8, "base_epochs": 12, "batch": 16, "epochs": 2, "warmup": 100, "validation": 160,
        "base_batch": 32, "max_steps": 0}
MICRO = {"d_model": 64, "n_layer": 2, "base_epochs": 1, "batch": 8, "epochs": 1, "warmup": 4, "validation": 8,
         "base_batch": 8, "max_steps": 12}


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def experiment(**keys):
    # YAML is a superset of JSON: one key a line, the values as JSON.
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())


class Comparison:
    def __init__(self, args):
        self.args = args
        self.size = MICRO if args.micro else FULL
        self.work = args.work.resolve()
        self.model = self.work / "base" / "model"
        threads = max(1, (os.cpu_count() or 1) // args.jobs)
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}

    def common(self, records, device):
        return {"data": f"jsonl:{self.work}/data/{records}.jsonl",
                "data_options": {"input": "{input}", "target": "text", "val_file": f"{self.work}/data/{records}-val.jsonl",
                                 "metrics": ["bleu", "rouge"]},
                "tokenizer": str(self.args.data_root / "tokenizer" / "20B_tokenizer.json"),
                "prec": "fp32" if device == "cpu" else "bf16", "max_length": 256, "num_data_workers": 2,
                "max_steps": self.size["max_steps"], "device": device, "resume": True}

    def train(self, name, text, log):
        """Runs `train` on an experiment; returns seconds, or the reason why it failed."""
        cfg = self.work / "cfg" / f"{name}.yaml"
        write_text(cfg, text)
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with open(log, "w", encoding="utf-8") as output:
            code = subprocess.run([self.args.bin_dir / "train", "--cfg", cfg], stdout=output, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, cwd=ROOT, env=self.environment, check=False).returncode
        return time.monotonic() - begin if code == 0 else f"exit code {code}, see {log}"

    def make_base(self):
        size = self.size
        write_text(self.work / "cfg" / "model.yaml", experiment(d_model=size["d_model"], n_layer=size["n_layer"],
                                                                vocab_size=50280))
        return self.train("base", experiment(
            model=str(self.work / "cfg" / "model.yaml"), **self.common("base", self.args.device[0]), num_epochs=size["base_epochs"],
            batch_size=size["base_batch"], learning_rate=2e-3, warmup_steps=0 if self.args.micro else 100,
            lr_scheduler="cosine", skip_eval=True, save_total_limit=1, output_dir=str(self.work / "base")),
            self.work / "log" / "base.txt")

    def adapter(self, method):
        """The configuration file of a method; None for full fine-tuning."""
        fields = method.fields
        if fields is None:
            return None
        if isinstance(fields, str):
            fields = json.loads((ROOT / fields).read_text(encoding="utf-8"))
        fields = dict(fields)
        if fields["peft_type"] == "SD_LORA":  # 500 steps would be longer than the training here
            fields["num_warmup_it"] = self.size["warmup"] - 1
        path = self.work / "cfg" / f"{method.name}.json"
        write_text(path, json.dumps(fields, indent=2) + "\n")
        return str(path)

    def keys(self, method, seed, device):
        return {"model": str(self.model), "peft": self.adapter(method), **self.common("task", device),
                "num_epochs": self.size["epochs"], "batch_size": self.size["batch"],
                "learning_rate": method.learning_rate, "seed": seed, "save_total_limit": 1}

    def run(self, method, seed, device):
        name = f"{method.name}-{seed}"
        text = experiment(**self.keys(method, seed, device), eval_epochs=1000, eval_batch_size=self.size["validation"],
                          eval_gen={"max_new_tokens": 80, "num_beams": 1}, log_steps=20,
                          output_dir=str(self.work / "runs" / name))
        return self.train(name, text, self.work / "log" / f"{name}.txt")

    def time_alone(self, methods):
        """Step time and memory of each, with the device for itself: {name: (ms, bytes)}, or the reason why not."""
        (self.work / "timed.json").unlink(missing_ok=True)
        files = [path for method in methods if (path := self.adapter(method))]
        runs = [["--peft", *files]] if files else []
        runs += [[]] if len(files) < len(methods) else []  # full fine-tuning
        timed = {}
        for adapters in runs:
            command = [self.args.bin_dir / "mpeft", "bench", "step", "--json", "--model", self.work / "cfg" / "model.yaml",
                       "--device", self.args.device[0], "--batch", str(self.size["batch"]), "--seqlen", "128",
                       "--labels", "32", *adapters]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            if done.returncode != 0:
                return done.stderr.strip()
            for row in json.loads(done.stdout):
                timed[pathlib.Path(row["peft"]).stem or "full"] = (row["ms"], row["peak_bytes"])
        write_text(self.work / "timed.json", json.dumps(timed, indent=1))
        return timed


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=pathlib.Path, help="folder of `train` (default: the newest build/*/bin)")
    parser.add_argument("--data-root", type=pathlib.Path, default=pathlib.Path(os.environ.get("MPEFT_DATA_ROOT", "data")))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "weights" / "methods", help="runs, logs and table")
    parser.add_argument("--device", nargs="+", default=["0"], help="numbers of GPUs, or cpu; runs take them in turn")
    parser.add_argument("--jobs", type=int, default=8, help="runs side by side")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods by name or by peft_type")
    parser.add_argument("--micro", action="store_true", help="a model of two layers and a dozen steps: does it run?")
    parser.add_argument("--no-timing", action="store_true", help="without step times")
    parser.add_argument("--output", type=pathlib.Path, help="the table (default: WORK/table.md)")
    parser.add_argument("--list", action="store_true", help="print the methods and stop")
    args = parser.parse_args()
    if args.bin_dir is None:
        builds = sorted(ROOT.glob("build/*/bin/train"), key=lambda path: path.stat().st_mtime)
        if not builds and not args.list:
            parser.error("no build/*/bin/train: build first (scripts/build.sh release), or name --bin-dir")
        args.bin_dir = builds[-1].parent if builds else None
    args.data_root = args.data_root.resolve()
    return args


def chosen(only):
    names = {method.name for method in METHODS} | {method.peft_type for method in METHODS}
    unknown = sorted(set(only or []) - names)
    if unknown:
        sys.exit(f"--only: no method {', '.join(unknown)}; --list prints them")
    return [method for method in METHODS if not only or method.name in only or method.peft_type in only]


def main():
    args = parse()
    methods = chosen(args.only)
    if args.list:
        for method in methods:
            print(f"{method.name:24} {method.peft_type:20} lr {method.learning_rate:g}")
        return 0
    if uncompared():
        print("registered, but not in scripts/compare/methods.py: " + ", ".join(uncompared()), file=sys.stderr)
    begin = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)

    comparison = Comparison(args)
    counts = write_records(args.data_root, comparison.work / "data", comparison.size["validation"])
    say("records: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    base = comparison.make_base()
    if isinstance(base, str):
        say(f"base: {base}")
        return 1
    say(f"base trained in {base:.1f} s")

    failures = []
    # Full fine-tuning first: the longest run should not be the last to start.
    runs = sorted(((m, seed) for seed in args.seeds for m in methods), key=lambda run: run[0].peft_type != "-")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {pool.submit(comparison.run, method, seed, args.device[i % len(args.device)]): (method.name, seed)
                   for i, (method, seed) in enumerate(runs)}
        for done in concurrent.futures.as_completed(pending):
            name, seed = pending[done]
            result = done.result()
            failed = isinstance(result, str)
            failures += [f"{name} (seed {seed}): {result}"] if failed else []
            say(f"{name} seed {seed}: {result if failed else f'{result:.1f} s'}")
    if not args.no_timing:
        timed = comparison.time_alone(methods)
        failures += [f"step times: {timed}"] if isinstance(timed, str) else []
        say("step times measured")
    table = args.output or comparison.work / "table.md"
    write_table(table, comparison, methods, args.seeds, " ".join(sys.argv), failures)
    say(f"wrote {table}")
    print(table.read_text(encoding="utf-8"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
