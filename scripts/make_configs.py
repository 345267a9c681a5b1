#!/usr/bin/env python3
"""Writes cfg/exps (286 experiments) and cfg/peft (129 adapter configurations) from the tables in scripts/configs.

  scripts/make_configs.py            writes what differs
  scripts/make_configs.py --check    only says what differs; exit code 1 when anything does
"""
import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
from configs.adapters import adapter_files
from configs.experiments import experiment_files

ROOT = pathlib.Path(__file__).resolve().parent.parent


def expected_files():
    """Path below the root -> content."""
    files = {path: json.dumps(fields, indent=2) + "\n" for path, fields in adapter_files().items()}
    for path, keys in experiment_files().items():
        lines = [f"# train --cfg {path}   (written by scripts/make_configs.py)"]
        files[path] = "\n".join(lines + [f"{key}: {value}" for key, value in keys.items()]) + "\n"
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check

    files = expected_files()
    found = {str(path.relative_to(ROOT)) for top in ("cfg/exps", "cfg/peft") for path in (ROOT / top).rglob("*")
             if path.is_file()}
    differing = sorted(path for path, text in files.items()
                       if path not in found or (ROOT / path).read_text(encoding="utf-8") != text)
    unknown = sorted(found - files.keys())
    for path in unknown:
        print(f"{path}: in no table of scripts/configs: add it there or move it to another folder", file=sys.stderr)
    if check:
        for path in differing:
            print(f"{path}: {'differs from' if path in found else 'missing, but in'} the tables of scripts/configs",
                  file=sys.stderr)
        if differing:
            print("scripts/make_configs.py writes them", file=sys.stderr)
    else:
        for path in differing:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path], encoding="utf-8")
    print(f"configs: {len(files)} files, {len(differing)} {'differ' if check else 'written'}, {len(unknown)} unknown")
    return 1 if unknown or (check and differing) else 0


if __name__ == "__main__":
    sys.exit(main())
