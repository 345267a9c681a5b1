#!/usr/bin/env python3
"""Writes tests/golden/data/splits.json: orders as NumPy's default generator and Python's random module draw them.

Needs numpy (1.17 or newer: the generator's stream has not changed since). Orders are kept as the SHA-256 of the indices
joined by commas, with the first indices for reading.
"""

import hashlib
import json
import math
import pathlib
import random
import sys

import numpy

SIZES = [1, 2, 3, 10, 2490, 3668, 7000, 8551, 67349, 104743, 363846, 392702]  # the last eight: GLUE and Spider train
SEEDS = [0, 42, 123, 2**32 - 1, 2**40 + 17]


def digest(indices):
    return hashlib.sha256(",".join(map(str, indices)).encode()).hexdigest()


def numpy_case(n, seed):
    order = [int(i) for i in numpy.random.default_rng(seed).permutation(n)]
    n_test = math.ceil(0.2 * n)
    return {"n": n, "seed": seed, "n_test": n_test, "head": order[:8], "order_sha256": digest(order),
            "train_sha256": digest(order[n_test:]), "test_sha256": digest(order[:n_test])}


def python_case(n, seed):
    order = list(range(n))
    random.Random(seed).shuffle(order)
    n_train = int(0.8 * n)
    return {"n": n, "seed": seed, "n_train": n_train, "head": order[:8], "order_sha256": digest(order),
            "train_sha256": digest(order[:n_train]), "test_sha256": digest(order[n_train:])}


def main():
    cases = [(n, 123) for n in SIZES] + [(1000, seed) for seed in SEEDS]
    golden = {
        "made_by": "scripts/golden/data_splits.py",
        "versions": {"numpy": numpy.__version__, "python": sys.version.split()[0]},
        "numpy": [numpy_case(n, seed) for n, seed in cases],
        "python": [python_case(n, seed) for n, seed in cases + [(50000, 123), (7000, 0)]],
    }
    path = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "data" / "splits.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
