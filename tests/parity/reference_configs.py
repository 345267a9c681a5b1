#!/usr/bin/env python3
"""Compares cfg/exps and cfg/peft with the lists of the reference's files, value for value.

MPEFT_REFERENCE_ROOT names the folder that holds experiments.tsv and peft_configs.tsv; exit code 77 (skipped) without.
"""
import csv
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What every LORA file of the reference says beside the fields in its list (METHODS: rank 8, alpha 8, dropout 0.1, no bias).
LORA_COMMON = {"bias": "none"}


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def value(text):
    """A scalar of the list or of an experiment file, so that 4e-05 equals 0.00004."""
    try:
        return float(text)
    except ValueError:
        return text


def read_experiment(path):
    keys = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            key, _, text = line.partition(": ")
            assert key not in keys, f"{path}: {key} twice"
            keys[key] = value(text)
    return keys


def expected_experiment(row):
    keys = {key: value(text) for key, text in row.items() if key != "cfg" and text != "-"}
    if "eval_gen" in keys:
        keys["eval_gen"] = "{" + keys["eval_gen"].replace("=", ": ").replace(",", ", ") + "}"
    return keys


def compare(kind, expected, found):
    problems = []
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            problems.append(f"{path}\n  reference {expected.get(path)}\n  here      {found.get(path)}")
    print(f"{kind}: {len(expected)} in the reference, {len(found)} here, {len(problems)} differ")
    for problem in problems:
        print(problem)
    return not problems and bool(expected)


def main():
    reference = os.environ.get("MPEFT_REFERENCE_ROOT")
    if not reference:
        print("MPEFT_REFERENCE_ROOT is not set: skipped")
        return 77
    reference = pathlib.Path(reference)
    experiments = compare(
        "experiments", {row["cfg"]: expected_experiment(row) for row in rows(reference / "experiments.tsv")},
        {str(path.relative_to(ROOT)): read_experiment(path) for path in (ROOT / "cfg/exps").rglob("*.yaml")})
    adapters = {}
    for row in rows(reference / "peft_configs.tsv"):
        path, fields = row.values()
        fields = json.loads(fields)
        adapters[path] = fields | (LORA_COMMON if fields["peft_type"] == "LORA" else {})
    same = compare("adapters", adapters, {str(path.relative_to(ROOT)): json.loads(path.read_text(encoding="utf-8"))
                                          for path in (ROOT / "cfg/peft").rglob("*.json")})
    return 0 if experiments and same else 1


if __name__ == "__main__":
    sys.exit(main())
