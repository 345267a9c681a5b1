#!/usr/bin/env python3
"""Makes the golden files below tests/golden again, with the pinned packages of scripts/requirements-checks.txt.

    python3 -m venv venv && venv/bin/pip install -r scripts/requirements-checks.txt torch==2.11.0
    venv/bin/python scripts/make_golden.py [--only model eval] [--list]

Each kind is a script of its own in scripts/golden, which says what it writes, from which seed, and can be run alone. The versions of
the packages go to tests/golden/VERSIONS.json. `git diff --stat tests/golden` then shows what another version changes.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ROOT / "tests" / "golden" / "VERSIONS.json"
# kind -> (command in scripts/golden, packages whose versions matter)
KINDS = {
    "checkpoint": (["checkpoint.py"], ["torch", "safetensors"]),
    "data": (["data_splits.py"], ["numpy"]),
    "eval": (["eval.py"], ["torch", "transformers", "safetensors"]),
    "metrics": (["metrics_cases.py", str(ROOT / "tests" / "golden" / "metrics")], ["nltk", "rouge_score"]),
    "model": (["model.py"], ["torch", "transformers", "safetensors"]),
    "text-bpe": (["sample_tokenizer.py"], ["tokenizers"]),
    "text-sentencepiece": (["text_sentencepiece.py"], ["sentencepiece"]),
}


def make(kind):
    command, packages = KINDS[kind]
    versions = {name: importlib.metadata.version(name) for name in packages}  # before minutes of work: absent ones are told at once
    subprocess.run([sys.executable, str(ROOT / "scripts" / "golden" / command[0]), *command[1:]], check=True)
    return {"script": f"scripts/golden/{command[0]}", "versions": versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--list", action="store_true", help="what there is; makes nothing")
    arguments = parser.parse_args()
    if arguments.list:
        for kind, (command, packages) in KINDS.items():
            print(f"{kind:20} scripts/golden/{command[0]:24} {', '.join(packages)}")
        return 0
    made = json.loads(VERSIONS.read_text()) if VERSIONS.exists() else {}
    for kind in arguments.only:
        print(kind, flush=True)
        made[kind] = make(kind)
        VERSIONS.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
