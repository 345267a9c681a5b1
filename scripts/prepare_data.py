#!/usr/bin/env python3
"""Fetches a data set with Hugging Face `datasets` and writes it in its official layout, where `--data-root` finds it.

  python3 scripts/prepare_data.py dart --output data
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


def write_json(path, value, newline="\n"):
    """Written beside and renamed, so that an interrupted run leaves no half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with open(temporary, "w", encoding="utf-8", newline=newline) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
    os.replace(temporary, path)
    print(f"{path}: {len(value):,} records")


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
    missing = [name for name in names if name not in splits]
    if missing:
        raise Failure(f"dart: no split {', '.join(missing)} (there are {', '.join(splits)})")
    for split, name in names.items():
        records = [dart_record(row) for row in splits[split]]
        write_json(output / "dart" / f"dart-v1.1.1-full-{name}.json", records)


def spider_record(row):
    """A row of the hub's Spider as the official file has it, without the parsed query, which the hub does not have."""
    keys = ("db_id", "query", "query_toks", "query_toks_no_value", "question", "question_toks")
    return {key: row[key] for key in keys if key in row}


def prepare_spider(splits, output):
    folder = output / "xlangai_spider" / "spider"
    for split, name in {"train": "train_spider", "validation": "dev"}.items():
        if split not in splits:
            raise Failure(f"spider: no split {split} (there are {', '.join(splits)})")
        write_json(folder / f"{name}.json", [spider_record(row) for row in splits[split]])
    missing = [name for name in ("tables.json", "database") if not (folder / name).exists()]
    if missing:
        print(f"{folder}: {' and '.join(missing)} cannot be fetched here: the hub has the questions alone.\n"
              "  Take them from Spider's own archive (https://yale-lily.github.io/spider, \"Download Spider Dataset\") and put\n"
              f"  them into {folder}; tables.json is needed to read the set, database/ to compute execution accuracy.")


# name -> (where the hub has it, its configuration, what writes the layout)
DATASETS = {
    "dart": ("Yale-LILY/dart", None, prepare_dart),
    "spider": ("xlangai/spider", None, prepare_spider),
}


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
