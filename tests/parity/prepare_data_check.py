#!/usr/bin/env python3
"""What scripts/prepare_data.py writes from rows as the hub has them is what `mpeft` reads: each set with a few rows of its own.

    python3 tests/parity/prepare_data_check.py --bin-dir build/release/bin
"""

import contextlib
import io
import json
import sys

from parity_tools import ROOT, Table, executable, parse_arguments, require, run, temporary_folder

require("numpy")
import numpy  # noqa: E402

sys.path.insert(0, str(ROOT / "scripts"))
import prepare_data  # noqa: E402

PAIR = {"sentence1": 'He said "no."', "sentence2": "No, he said.\tTwice."}
PAIR_TEXT = 'He said "no."###No, he said. Twice.###'
# set -> (a row, what its input must read, its label there and in the file read)
ROWS = {
    "glue_cola": ({"sentence": "They drank the pub.", "label": 0, "idx": 0}, "They drank the pub.###", "0"),
    "glue_mnli": ({"premise": "One.", "hypothesis": "Two.", "label": 2, "idx": 0}, "One.###Two.###", "2"),
    "glue_mrpc": (PAIR | {"label": 1, "idx": 0}, PAIR_TEXT, "1"),
    "glue_qnli": ({"question": "When?", "sentence": "In 1973.", "label": 1, "idx": 0}, "When?###In 1973.###", "1"),
    "glue_qqp": ({"question1": "How?", "question2": "Why?", "label": 0, "idx": 7}, "How?###Why?###", "0"),
    "glue_rte": (PAIR | {"label": 0, "idx": 0}, PAIR_TEXT, "0"),
    "glue_sst2": ({"sentence": "fine ", "label": 1, "idx": 0}, "fine ###", "1"),
    "glue_wnli": (PAIR | {"label": 1, "idx": 0}, PAIR_TEXT, "1"),
    "samsum": ({"id": "13", "dialogue": "Ida: Hi\r\nOle: Hey 😀", "summary": "They greet."}, "Ida: Hi\r\nOle: Hey 😀###", "They greet."),
    "dart": ({"tripleset": [["a", "b", "c"]], "annotations": {"source": ["s"], "text": ["It is."]}, "subtree_was_extended": False},
             "a : b : c###", "It is."),
}


def written(name, rows, folder):
    splits = {split: rows for split in ("train", "validation", "test", "validation_matched", "validation_mismatched")}
    with contextlib.redirect_stdout(io.StringIO()):
        prepare_data.DATASETS[name][2](splits, folder)


def main():
    arguments = parse_arguments(__doc__)
    mpeft = executable(arguments, "mpeft")
    table = Table("prepare_data: what is written is what is read")

    def show(name, split, folder):
        return json.loads(run([mpeft, "data", "show", name, "--split", split, "--n", 20, "--json", "--data-root", folder, "--tokenizer",
                               ROOT / "data/sample/tokenizer.json"]))

    for name, (row, text, target) in ROWS.items():
        with table.case(name), temporary_folder() as folder:
            written(name, [row] * 3, folder)
            for split, n in (("train", 3), ("val", 6 if name == "glue_mnli" else 3)):
                shown = show(name, split, folder)
                ok = len(shown) == n and all(e["prompt"].endswith("###" + text) and e["references"] == [target] for e in shown)
                table.holds(f"{name}: {split}", ok, "" if ok else json.dumps(shown[:1]))
    with table.case("cifar"), temporary_folder() as folder:
        pixels = numpy.random.default_rng(3).integers(0, 256, (10, 32, 32, 3), dtype=numpy.uint8)
        written("cifar", [{"img": image, "label": i} for i, image in enumerate(pixels)], folder)
        for split in ("train", "val"):
            shown = show("cifar", split, folder)
            ok = [e["references"] for e in shown] == [[str(i)] for i in range(10)]
            for example, image in zip(shown, pixels):
                text = " ".join(map(str, image[4:28, 4:28].reshape(-1)))
                ok = ok and example["prompt"].endswith(f"###{text}###")
            table.holds(f"cifar: {split}", ok)
    with temporary_folder() as folder:
        try:
            prepare_data.DATASETS["samsum"][2]({}, folder)
            table.holds("a split that is absent is named", False)
        except prepare_data.Failure as failure:
            table.holds("a split that is absent is named", "no split train" in str(failure))
    table.finish()


if __name__ == "__main__":
    main()
