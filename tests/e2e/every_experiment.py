#!/usr/bin/env python3
"""`train --dry-run` on every file of cfg/exps, through `run_all`, as on a machine with the data and the models.

  tests/e2e/every_experiment.py --bin-dir build/dev/bin [--cfg FOLDER…] [--workers 2]

Real data sets are taken from MPEFT_DATA_ROOT (exit code 77, skipped, without); where an official file is not there,
a small one is made in the same layout. The models' ids are found in a hub cache that holds small models with random
weights and the published models' tokenizer. Says which adapters and which data sets fail.
"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ("mamba-130m", "mamba-1.4b", "mamba-2.8b")
RECORDS = 900  # the longest warm-up (500 steps) must fit in the shortest training: 3 epochs of batches of 4 from 80 %
IMAGES = 60
WORDS = "the model reads a small record and writes what it should say about some red house near old river".split()


def sentence(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 14))) + "."


def tsv(columns, rows):
    lines = ["\t".join(columns)] if columns else []
    return "\n".join(lines + ["\t".join(map(str, row)) for row in rows]) + "\n"


def glue_files(rng):
    """Official layout of the tasks, folder -> file -> text: headers, byte order mark and columns as published."""
    def two(n):
        return [sentence(rng) for _ in range(n)]

    def rows(make):
        return [make(i) for i in range(RECORDS)]

    mnli = ["index", "promptID", "pairID", "genre", *(f"parse{i}" for i in range(4)), "sentence1", "sentence2", "label1",
            "gold_label"]
    nli = ("entailment", "neutral", "contradiction")

    def mnli_row(i):
        return [i, i, i, "fiction", *"abcd", *two(2), nli[i % 3], nli[i % 3]]

    def simple(columns, label):
        return tsv(["index", *columns, "label"], rows(lambda i: [i, *two(len(columns)), label[i % 2]]))

    tasks = {
        "CoLA": tsv([], rows(lambda i: ["src", i % 2, "" if i % 2 else "*", sentence(rng)])),
        "SST-2": tsv(["sentence", "label"], rows(lambda i: [sentence(rng), i % 2])),
        "MRPC": "\ufeff" + tsv(["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
                               rows(lambda i: [i % 2, i, i, *two(2)])),
        "QNLI": simple(["question", "sentence"], ("entailment", "not_entailment")),
        "QQP": tsv(["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
                   rows(lambda i: [i, i, i, *two(2), i % 2])),
        "RTE": simple(["sentence1", "sentence2"], ("entailment", "not_entailment")),
        "WNLI": simple(["sentence1", "sentence2"], ("0", "1")),
    }
    files = {task: {"train.tsv": text, "dev.tsv": text} for task, text in tasks.items()}
    text = tsv(mnli, rows(mnli_row))
    files["MNLI"] = {name: text for name in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv")}
    return files


def samsum_files(rng):
    def record(i):
        lines = "\r\n".join(f"{name}: {sentence(rng)}" for name in ("Ann", "Bob", "Ann"))
        return {"id": str(i), "summary": sentence(rng), "dialogue": lines}

    text = json.dumps([record(i) for i in range(RECORDS)])
    return {f"{split}.json": text for split in ("train", "val", "test")}


def dart_text(rng):
    return json.dumps([{"tripleset": [[sentence(rng), "IS", sentence(rng)]], "subtree_was_extended": False,
                        "annotations": [{"source": "WikiSQL_lily", "text": sentence(rng)}]} for _ in range(RECORDS)])


def cifar_bytes(rng):
    return b"".join(bytes([rng.randrange(10)]) + rng.randbytes(3072) for _ in range(IMAGES))


def spider_files(rng):
    schema = {"db_id": "shop", "table_names": ["item"], "table_names_original": ["item"],
              "column_names": [[-1, "*"], [0, "id"], [0, "name"]],
              "column_names_original": [[-1, "*"], [0, "id"], [0, "name"]], "column_types": ["text", "number", "text"],
              "primary_keys": [1], "foreign_keys": []}
    records = json.dumps([{"db_id": "shop", "question": sentence(rng), "query": "SELECT name FROM item"}
                          for _ in range(RECORDS)])
    return {"tables.json": json.dumps([schema]), "train_spider.json": records, "dev.json": records}


def make_data(root, real):
    """Links the real files and makes what is absent. The images are cut to some hundred: tokenising them takes minutes."""
    rng = random.Random(0)
    made = []

    def put(path, content):
        source, target = real / path, root / path
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            target.symlink_to(source)
        elif isinstance(content, bytes):
            target.write_bytes(content)
            made.append(path)
        else:
            target.write_text(content, encoding="utf-8", newline="")
            made.append(path)

    put("tokenizer/20B_tokenizer.json", "")
    for split in ("train", "dev", "test"):
        put(f"dart/dart-v1.1.1-full-{split}.json", dart_text(rng))
    for task, files in glue_files(rng).items():
        for name, text in files.items():
            put(f"glue/{task}/{name}", text)
    for name, text in samsum_files(rng).items():
        put(f"samsum/{name}", text)
    for name, text in spider_files(rng).items():
        put(f"spider/{name}", text)
    if (real / "spider/database").exists():
        put("spider/database", "")
    else:
        shop = root / "spider/database/shop/shop.sqlite"
        shop.parent.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(shop)) as database:
            database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        source, target = real / "cifar-10-batches-bin" / name, root / "cifar-10-batches-bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            with open(source, "rb") as file:
                target.write_bytes(file.read(200 * 3073))
        else:
            put(f"cifar-10-batches-bin/{name}", cifar_bytes(rng))
    return made


def make_models(hub, data, bin_dir):
    """One small model of random weights under the ids that the experiments name."""
    (hub / "small.yaml").write_text("d_model: 32\nn_layer: 2\nvocab_size: 50280\n", encoding="utf-8")
    cfg = hub / "make.yaml"
    cfg.write_text(f"""model: {hub / 'small.yaml'}
tokenizer: {data / 'tokenizer/20B_tokenizer.json'}
data: dart
data_root: {ROOT / 'data/sample'}
data_options: {{train_file: people-train.json, val_file: people-dev.json, train_slice: {{first: 4}}}}
max_steps: 1
prec: fp32
skip_eval: true
output_dir: {hub / 'run'}
""", encoding="utf-8")
    subprocess.run([bin_dir / "train", "--cfg", cfg, "--device", "cpu", "-q"], check=True, cwd=ROOT)
    for name in MODELS:
        snapshot = hub / "hub" / f"models--state-spaces--{name}" / "snapshots" / "0123abcd"
        snapshot.parent.mkdir(parents=True)
        snapshot.symlink_to(hub / "run" / "model")


def adapter_of(cfg):
    for line in (ROOT / cfg).read_text(encoding="utf-8").splitlines():
        if line.startswith("peft: "):
            return "full fine-tuning" if line == "peft: null" else line.split("cfg/peft/")[1].split("/")[0]
    return "full fine-tuning"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=pathlib.Path, required=True)
    parser.add_argument("--cfg", nargs="+", default=["cfg/exps"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    real = os.environ.get("MPEFT_DATA_ROOT")
    if not real or not (pathlib.Path(real) / "tokenizer/20B_tokenizer.json").exists():
        print("MPEFT_DATA_ROOT names no folder with tokenizer/20B_tokenizer.json: skipped")
        return 77

    with tempfile.TemporaryDirectory(prefix="every-experiment-") as folder:
        folder = pathlib.Path(folder)
        data, hub = folder / "data", folder / "hf"
        hub.mkdir()
        made = make_data(data, pathlib.Path(real))
        print(f"made {len(made)} small files that are not in the data folder")
        environment = dict(os.environ, HF_HOME=str(hub), XDG_CACHE_HOME=str(folder / "cache"), OMP_NUM_THREADS="1")
        environment.pop("MPEFT_DATA_ROOT")  # --data-root alone says where the data is
        make_models(hub, data, options.bin_dir.resolve())
        begin = time.monotonic()
        result = subprocess.run(
            [options.bin_dir.resolve() / "run_all", "train", "-q", "--interval", "0.05", "--device",
             *["cpu"] * options.workers, "--cfg", *options.cfg, "--", "--dry-run", "--data-root", data],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - begin

    failures, n = [], 0
    for line in result.stdout.splitlines():
        words = line.split()
        if len(words) < 7 or "/" not in words[1]:
            continue
        n += 1
        if not line.rstrip().endswith(" done"):
            failures.append((f"cfg/exps/{words[1]}.yaml", line.split("failed: ")[-1].strip()))
    print(f"{n} experiments, {len(failures)} fail, {seconds:.0f} s with {options.workers} workers")
    by_reason = collections.Counter((adapter_of(cfg), cfg.split("/")[3], re.sub(r"^cfg/\S+: ", "", reason))
                                    for cfg, reason in failures)
    for (adapter, task, reason), count in sorted(by_reason.items()):
        print(f"  {count:3}  {adapter:16} {task:10} {reason}")
    if result.returncode != 0 and not failures:
        print(result.stdout)
    return 1 if failures or result.returncode != 0 or n == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
