#!/usr/bin/env python3
"""Fetches a data set with Hugging Face `datasets` and writes it in its official layout, where `--data-root` finds it.

  python3 scripts/prepare_data.py dart samsum glue_rte cifar --output data
  python3 scripts/prepare_data.py dart --source ~/downloads/dart --output data     (a local copy of the hub's folder)

Needs a network and `pip install "datasets<4"` (the hub's DART is a loading script, which newer versions refuse); on a
machine without, run it elsewhere and copy the folder.
"""

import argparse
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request


class Failure(Exception):
    """Something to tell the user, without a stack trace."""


def check_network():
    """The hub's own client tries for minutes before it gives up."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=15).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except OSError as error:
        raise Failure(f"{endpoint} cannot be reached ({getattr(error, 'reason', error)}).\n"
                      "  Run this on a machine with a network and copy the output folder here, or name a local copy with --source.") from None


def load(source, config=None):
    """All splits of a data set of the hub, or of a local folder; one clear sentence when that fails."""
    try:
        import datasets
    except ImportError:
        raise Failure('the package `datasets` is not installed: pip install "datasets<4"') from None
    if not os.path.isdir(source):
        check_network()
    try:
        return datasets.load_dataset(source, config)
    except Exception as error:  # the library raises a different kind for each way a network can be absent
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Failure(f"{source}: cannot be loaded ({type(error).__name__}: {reason}).\n"
                      "  Without a network: run this on a machine that has one, then copy the output folder here.\n"
                      '  With one: the hub\'s loading scripts need `pip install "datasets<4"`.') from None


def write_bytes(path, content, n_records):
    """Written beside and renamed, so that an interrupted run leaves no half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    print(f"{path}: {n_records:,} records")


def write_json(path, value):
    write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode(), len(value))


def split_of(name, splits, split):
    if split not in splits:
        raise Failure(f"{name}: no split {split} (there are {', '.join(splits)})")
    return splits[split]


def dart_record(row):
    """A row of the hub's DART (annotations as parallel lists, or as a list of objects) as the official file has it."""
    annotations = row["annotations"]
    if isinstance(annotations, dict):
        annotations = [{"source": s, "text": t} for s, t in zip(annotations["source"], annotations["text"], strict=True)]
    record = {"tripleset": [list(triple) for triple in row["tripleset"]]}
    if row.get("subtree_was_extended") is not None:
        record["subtree_was_extended"] = bool(row["subtree_was_extended"])
    record["annotations"] = [{"source": a["source"], "text": a["text"]} for a in annotations]
    return record


def prepare_dart(splits, output):
    names = {"train": "train", "validation": "dev", "test": "test"}
    for split, name in names.items():
        records = [dart_record(row) for row in split_of("dart", splits, split)]
        write_json(output / "dart" / f"dart-v1.1.1-full-{name}.json", records)


def prepare_samsum(splits, output):
    for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
        rows = split_of("samsum", splits, split)
        records = [{"id": row["id"], "summary": row["summary"], "dialogue": row["dialogue"]} for row in rows]
        write_json(output / "samsum" / f"{name}.json", records)


# task -> (folder, columns of the official file, the hub's name of a column, the hub's splits by file)
GLUE_DEV = {"train": "train", "dev": "validation"}
GLUE_PAIR = ["index", "sentence1", "sentence2", "label"]
GLUE_TASKS = {
    "cola": ("CoLA", ["source", "label", "mark", "sentence"], {}, GLUE_DEV),
    "mnli": ("MNLI", ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse",
                      "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"],
             {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
             {"train": "train", "dev_matched": "validation_matched", "dev_mismatched": "validation_mismatched"}),
    "mrpc": ("MRPC", ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
             {"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"}, GLUE_DEV),
    "qnli": ("QNLI", ["index", "question", "sentence", "label"], {}, GLUE_DEV),
    "qqp": ("QQP", ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"], {"id": "idx", "is_duplicate": "label"}, GLUE_DEV),
    "rte": ("RTE", GLUE_PAIR, {}, GLUE_DEV),
    "sst2": ("SST-2", ["sentence", "label"], {}, GLUE_DEV),
    "wnli": ("WNLI", GLUE_PAIR, {}, GLUE_DEV),
}
# Labels that the official file spells out; the others are numbers there too.
GLUE_LABELS = {"rte": ["entailment", "not_entailment"], "qnli": ["entailment", "not_entailment"],
               "mnli": ["entailment", "neutral", "contradiction"]}


def glue_row(task, columns, renamed, row):
    """A row of the hub as a line of the official file. What the hub does not keep (parses, question ids) stays empty."""
    fields = []
    for column in columns:
        value = row.get(renamed.get(column, "idx" if column == "index" else column), "")
        if renamed.get(column, column) == "label" and task in GLUE_LABELS:
            value = GLUE_LABELS[task][value] if value >= 0 else "-"
        fields.append(" ".join(str(value).replace("\t", "\n").split("\n")))  # a tab or line end would make another field
    return "\t".join(fields)


def prepare_glue(task):
    def prepare(splits, output):
        folder, columns, renamed, files = GLUE_TASKS[task]
        for name, split in files.items():
            lines = [glue_row(task, columns, renamed, row) for row in split_of(f"glue_{task}", splits, split)]
            if task != "cola":
                lines.insert(0, "\t".join(columns))
            write_bytes(output / "glue" / folder / f"{name}.tsv", "".join(line + "\n" for line in lines).encode(), len(lines))
    return prepare


def cifar_record(row):
    """Label, then the planes of red, green and blue, as the binary version has them."""
    import numpy
    pixels = numpy.asarray(row.get("img", row.get("image")), dtype=numpy.uint8)  # (32, 32, 3)
    if pixels.shape != (32, 32, 3):
        raise Failure(f"cifar: an image of shape {pixels.shape}, expected (32, 32, 3)")
    return bytes([row["label"]]) + pixels.transpose(2, 0, 1).tobytes()


def prepare_cifar(splits, output):
    folder = output / "cifar-10-batches-bin"
    train = [cifar_record(row) for row in split_of("cifar", splits, "train")]
    per_file = -(-len(train) // 5)  # 10,000 of the published 50,000
    for i in range(5):
        part = train[i * per_file:(i + 1) * per_file]
        write_bytes(folder / f"data_batch_{i + 1}.bin", b"".join(part), len(part))
    test = [cifar_record(row) for row in split_of("cifar", splits, "test")]
    write_bytes(folder / "test_batch.bin", b"".join(test), len(test))


def spider_record(row):
    """A row of the hub's Spider as the official file has it, without the parsed query, which the hub does not have."""
    keys = ("db_id", "query", "query_toks", "query_toks_no_value", "question", "question_toks")
    return {key: row[key] for key in keys if key in row}


def prepare_spider(splits, output):
    folder = output / "xlangai_spider" / "spider"
    for split, name in {"train": "train_spider", "validation": "dev"}.items():
        write_json(folder / f"{name}.json", [spider_record(row) for row in split_of("spider", splits, split)])
    missing = [name for name in ("tables.json", "database") if not (folder / name).exists()]
    if missing:
        print(f"{folder}: {' and '.join(missing)} cannot be fetched here: the hub has the questions alone.\n"
              "  Take them from Spider's own archive (https://yale-lily.github.io/spider, \"Download Spider Dataset\") and put\n"
              f"  them into {folder}; tables.json is needed to read the set, database/ to compute execution accuracy.")


# name -> (where the hub has it, its configuration, what writes the layout)
DATASETS = {
    "cifar": ("uoft-cs/cifar10", None, prepare_cifar),
    "dart": ("Yale-LILY/dart", None, prepare_dart),
    "samsum": ("Samsung/samsum", None, prepare_samsum),
    "spider": ("xlangai/spider", None, prepare_spider),
} | {f"glue_{task}": ("nyu-mll/glue", task, prepare_glue(task)) for task in GLUE_TASKS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="+", choices=sorted(DATASETS), help="data set")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("data"), help="the data root (default: data)")
    parser.add_argument("--source", help="id or local folder to load from instead of the usual one")
    arguments = parser.parse_args()
    for name in arguments.name:
        source, config, prepare = DATASETS[name]
        prepare(load(arguments.source or source, config), arguments.output)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"prepare_data.py: {failure}")
