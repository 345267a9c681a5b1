#!/usr/bin/env python3
"""Every `--cfg` of a run_all or train command in README.md and cfg/README.md names experiments that are there, and the
commands of the studies' table name all of cfg/exps between them. With --bin-dir, the run_all commands are also run as they
stand, with --dry-run."""
import argparse
import glob
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def configurations(text):
    """The arguments of --cfg in each command line."""
    for command in re.findall(r"\b(?:run_all train|train) [^`\n#]*", text):
        words = command.split()
        for at, word in enumerate(words):
            if word == "--cfg":
                for argument in words[at + 1:]:
                    if argument.startswith("--"):
                        break
                    yield command.strip(), argument.strip("'\"")


def dry_run(command, bin_dir):
    """What goes wrong with a run_all command in a shell, or ""."""
    own, separator, passed_on = command.partition(" -- ")
    result = subprocess.run(["bash", "-c", f"{own} --dry-run{separator}{passed_on}"], cwd=ROOT, text=True, check=False,
                            env=dict(os.environ, PATH=f"{bin_dir}:{os.environ['PATH']}"), capture_output=True)
    return "" if result.returncode == 0 else result.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=pathlib.Path)
    bin_dir = parser.parse_args().bin_dir
    problems, n, covered, run = [], 0, set(), set()
    for name in ("README.md", "cfg/README.md"):
        for command, argument in configurations((ROOT / name).read_text(encoding="utf-8")):
            if argument in ("X", "…", "my.yaml", "GLOB…"):  # the reader's own
                continue
            n += 1
            found = glob.glob(argument, root_dir=ROOT)
            folders = [path for path in found if (ROOT / path).is_dir()]
            found += [path for folder in folders for path in glob.glob(folder + "/**/*.yaml", root_dir=ROOT, recursive=True)]
            if not any(path.endswith(".yaml") for path in found):
                problems.append(f"{name}: '{command}': {argument} names no experiment")
            covered.update(found)
            if bin_dir and command.startswith("run_all") and command not in run:
                run.add(command)
                problem = dry_run(command, bin_dir.resolve())
                if problem:
                    problems.append(f"{name}: '{command}': {problem}")
    missing = {str(path.relative_to(ROOT)) for path in (ROOT / "cfg/exps").rglob("*.yaml")} - covered
    problems += [f"no command of the README runs {path}" for path in sorted(missing)]
    print(f"{n} command lines, {len(run)} of them run, {len(problems)} problems")
    for problem in problems:
        print(problem)
    return 1 if problems or n < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
