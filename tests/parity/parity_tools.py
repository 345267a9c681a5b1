"""What the parity scripts share: finding the executables, running them, and a table of checks. Exit status: 0 all passed, 1 not, 77 skipped."""

import argparse
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "golden"))
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def single_thread():
    """For models so small that threads only wait for each other. Call before torch is imported."""
    os.environ["OMP_NUM_THREADS"] = "1"


def require(*packages):
    """Skips the script when a package is absent (scripts/requirements-checks.txt lists them)."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            skip(f"{error} (pip install -r scripts/requirements-checks.txt)")


def parse_arguments(doc, add=lambda parser: None):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, default=os.environ.get("MPEFT_BIN_DIR"),
                        help="folder of mpeft and train (default: $MPEFT_BIN_DIR, else the PATH)")
    parser.add_argument("--device", default="cpu", help="for mpeft; the references run on the CPU")
    add(parser)
    return parser.parse_args()


def executable(arguments, name):
    path = Path(arguments.bin_dir) / name if arguments.bin_dir else shutil.which(name)
    if not path or not Path(path).exists():
        skip(f"{name} not found: give --bin-dir, e.g. build/release/bin")
    return str(path)


class CommandFailed(Exception):
    pass


def run(command, stdin=""):
    """Standard output of a command; CommandFailed, with its last words, when it does not succeed."""
    result = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, command))}\nexit status {result.returncode}\n{result.stderr[-4000:]}")
    return result.stdout


def json_lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def mpeft_logits(arguments, model, lists, folder, *options):
    """fp32 logits (seqlen, vocab_size) of each list of ids, by `mpeft logits`."""
    from safetensors.torch import load_file
    output = Path(folder) / "logits.safetensors"
    run([executable(arguments, "mpeft"), "logits", "--model", model, "--device", arguments.device, "--output", output, *options],
        json_lines(lists))
    tensors = load_file(output)
    return [tensors[str(i)] for i in range(len(lists))]


def random_lists(vocab_size, lengths, seed):
    import torch
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocab_size, (n,), generator=generator).tolist() for n in lengths]


class Table:
    """Prints each check as it is made; finish() ends the script with the status."""

    def __init__(self, title):
        self.failures = 0
        print(title)

    def at_most(self, name, value, limit):
        self._row(name, value <= limit, f"{value:9.2e}  limit {limit:.2e}")  # NaN fails

    def holds(self, name, ok, note=""):
        self._row(name, bool(ok), note)

    @contextlib.contextmanager
    def case(self, name):
        """Checks of one case: a command that fails in it fails the case, not the script."""
        try:
            yield
        except CommandFailed as error:
            self.holds(name, False)
            print(f"        {str(error).strip()}".replace("\n", "\n        "))

    def _row(self, name, ok, note):
        self.failures += not ok
        print(f"  {'ok  ' if ok else 'FAIL'}  {name:64}  {note}", flush=True)

    def finish(self):
        print("all equal" if self.failures == 0 else f"{self.failures} failed")
        sys.exit(1 if self.failures else 0)


@contextlib.contextmanager
def temporary_folder():
    with tempfile.TemporaryDirectory(prefix="mpeft-parity-") as name:
        yield Path(name)
