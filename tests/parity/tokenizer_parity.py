#!/usr/bin/env python3
"""Compares `mpeft tokenize` with the packages it must agree with: `tokenizers` for tokenizer.json, `sentencepiece` for .model.

    pip install tokenizers sentencepiece
    python3 tests/parity/tokenizer_parity.py --mpeft build/dev/bin/mpeft --data-root DATA [--random 100000] [--bench]

Texts: every text file below the data root (whole, line by line, and each string of its JSON), then random Unicode.
Ids must be equal, and so must the text decoded from them and from random ids. Exit status 1 at the first difference.
--bench also reports MB/s of both on one thread.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

TEXT_SUFFIXES = {".txt", ".json", ".jsonl", ".tsv", ".csv", ".sql", ".tab", ".md"}
SKIPPED = 77  # what ctest takes for skipped
SEED = 20240521
# Blocks of scripts and troubles, drawn from with equal chance.
BLOCKS = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x5FF),
          (0x600, 0x8FF), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x11FF), (0x1160, 0x11FF), (0x1200, 0x17FF),
          (0x1AB0, 0x1AFF), (0x1DC0, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF),
          (0x4E00, 0x9FFF), (0xA640, 0xABFF), (0xAC00, 0xD7A3), (0xF900, 0xFFFF), (0x10000, 0x10FFF),
          (0x11000, 0x11FFF), (0x16A00, 0x16FFF), (0x1D100, 0x1D7FF), (0x1E000, 0x1E9FF), (0x1F300, 0x1FAFF),
          (0x20000, 0x2FFFF), (0x0, 0x1F), (0x0, 0x10FFFF)]
SPACES = [" ", "  ", "   ", " " * 23, " " * 24, " " * 25, " " * 49, "\t", "\n", "\r\n", "\n\n\n", "\u00a0", "\u2028",
          "\u3000", "\u180e", "\u200b", "\u0085", "\u200d", "\ufeff", "\x1c"]
PHRASES = ["<|endoftext|>", "<|padding|>", "<|endoftext", "|>", "'s", "'ll", "'re", "'VE", "it's", "don't", "the", " of",
           "Norway", "1234567", "3.14", "e\u0301", "n\u0303", "\u1100\u1161\u11a8", "\u09c7\u09be", "\U00011935\U00011930",
           "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1f3\U0001f1f4", "\ufffd", "\u0344", "\u2126", "\uac00\u11a8",
           "\u0f71\u0f72\u0f74", "a\u0315\u0300\u05ae\u0300b", "a" * 70, "ab" * 90, "!" * 80, "\u0301" * 70, "</s>", "<pad>",
           "\u2581", "<extra_id_0>"]


def random_char(rng):
    while True:
        code = rng.randint(*rng.choice(BLOCKS))
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def random_text(rng, phrases):
    if rng.random() < 0.1:  # bytes that are mostly no UTF-8, repaired as both sides repair them
        return bytes(rng.randrange(256) for _ in range(rng.randint(0, 60))).decode("utf-8", "replace")
    parts = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.15:
            parts.append(rng.choice(SPACES))
        elif kind < 0.35:
            parts.append(rng.choice(phrases))
        elif kind < 0.6:
            block = rng.choice(BLOCKS)
            parts.append("".join(chr(c) for c in (rng.randint(*block) for _ in range(rng.randint(1, 8)))
                                 if not 0xD800 <= c <= 0xDFFF))
        else:
            parts.append("".join(random_char(rng) for _ in range(rng.randint(1, 6))))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_of(item)


def texts_of(root):
    """(name, texts) of each text file: the whole, its lines, the strings of its JSON; duplicates once."""
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix in TEXT_SUFFIXES):
        content = path.read_bytes().decode("utf-8", "replace")
        texts = {content: None}
        texts.update(dict.fromkeys(content.splitlines()))
        if path.suffix == ".json":
            try:
                texts.update(dict.fromkeys(s for s in strings_of(json.loads(content)) if not has_surrogate(s)))
            except ValueError:
                pass
        yield str(path.relative_to(root)), list(texts)


def has_surrogate(text):
    return any(0xD800 <= ord(c) <= 0xDFFF for c in text)


class HuggingFace:
    def is_tie(self, _a, _b):
        return False

    def __init__(self, path):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(str(path))
        self.size = max(self.tokenizer.get_vocab().values()) + 1
        self.added = sorted(t.content for t in self.tokenizer.get_added_tokens_decoder().values())
        # The same ids; newer releases have a call that leaves the offsets out.
        self.encode_batch = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)

    def encode(self, texts):
        return [e.ids for e in self.encode_batch(texts, add_special_tokens=False)]

    def decode(self, lists):
        return [self.tokenizer.decode(ids, skip_special_tokens=False) for ids in lists]


class SentencePiece:
    def __init__(self, path):
        import sentencepiece
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self.model.get_piece_size()
        self.added = []

    def encode(self, texts):
        return [self.model.encode(t) for t in texts]

    def decode(self, lists):
        return [self.model.decode(ids) for ids in lists]

    def is_tie(self, a, b):
        """Equally good segmentations: releases of libsentencepiece (0.1.97 and 0.2.3 tried) add the scores of the pieces
        in different orders, and rounding picks one of "00 : 00:00" and "00:00 : 00"."""
        x, y = (math.fsum(map(self.model.get_score, ids)) for ids in (a, b))
        return self.model.decode(a) == self.model.decode(b) and abs(x - y) <= 1e-3 + 1e-6 * abs(x)


class Ours:
    """`mpeft tokenize` on the values, beside whatever the caller does until it asks for the lines()."""

    def __init__(self, args, tokenizer, values, decode=False):
        self.command = [args.mpeft, "tokenize", "--tokenizer", str(tokenizer)] + (["--decode"] if decode else [])
        self.output = tempfile.TemporaryFile("w+")
        with tempfile.TemporaryFile("w+") as source:
            source.writelines(json.dumps(value) + "\n" for value in values)
            source.seek(0)
            self.process = subprocess.Popen(self.command, stdin=source, stdout=self.output)

    def lines(self):
        if self.process.wait() != 0:
            sys.exit(f"{' '.join(self.command)}: exit status {self.process.returncode}")
        with self.output:
            self.output.seek(0)
            return [json.loads(line) for line in self.output]


def compare(what, inputs, expected, found, is_tie=None):
    if len(expected) != len(found):
        sys.exit(f"{what}: {len(found)} lines for {len(expected)} inputs")
    unequal = [k for k, (a, b) in enumerate(zip(expected, found)) if a != b]
    wrong = [k for k in unequal if is_tie is None or not is_tie(expected[k], found[k])]
    if wrong:
        for k in wrong[:5]:
            print(f"{what}: input {inputs[k]!r:.400}\n  expected {expected[k]!r:.400}\n  found    {found[k]!r:.400}")
        sys.exit(f"{what}: {len(wrong)} of {len(inputs)} differ")
    if unequal:
        print(f"{what}: {len(unequal)} of {len(inputs)} equal but for the choice between segmentations of equal score")


def check(args, tokenizer, reference, name, texts):
    ours = Ours(args, tokenizer, texts)
    expected = reference.encode(texts)
    compare(f"{tokenizer.name}: ids of {name}", texts, expected, ours.lines(), reference.is_tie)
    ours = Ours(args, tokenizer, expected, decode=True)
    compare(f"{tokenizer.name}: text of {name}", expected, reference.decode(expected), ours.lines())
    return sum(map(len, expected))


def bench(args, tokenizer, reference, texts):
    size = sum(len(t.encode()) for t in texts)
    start = time.perf_counter()
    for text in texts:
        reference.encode([text])
    package = size / (time.perf_counter() - start) / 1e6
    with tempfile.TemporaryFile("w+") as source:
        source.write("\n".join(json.dumps(t) for t in texts) + "\n")
        command = [args.mpeft, "tokenize", "--tokenizer", str(tokenizer)]

        def seconds(stdin):
            source.seek(0)
            begin = time.perf_counter()
            subprocess.run(command, stdin=stdin, stdout=subprocess.DEVNULL, check=True)
            return time.perf_counter() - begin

        net = seconds(source) - seconds(subprocess.DEVNULL)  # without start and load, with reading and writing JSON
    print(f"{tokenizer.name}: package {package:.1f} MB/s, mpeft (JSON lines included) {size / net / 1e6:.1f} MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mpeft", required=True, help="the mpeft executable")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("MPEFT_DATA_ROOT"))
    parser.add_argument("--tokenizer", type=Path, action="append",
                        help="default: tokenizer/*.json and sentencepiece/*.model of the data root")
    parser.add_argument("--random", type=int, default=100_000, help="number of random strings")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--bench", action="store_true")
    args = parser.parse_args()
    if args.data_root is None:
        print("skipped: no tokenizers to compare (--data-root or MPEFT_DATA_ROOT, see data/README.md)")
        sys.exit(SKIPPED)
    root = Path(args.data_root)
    tokenizers = args.tokenizer or sorted(root.glob("tokenizer/*.json")) + sorted(root.glob("sentencepiece/*.model"))
    if not tokenizers:
        sys.exit(f"{root}: no tokenizer/*.json and no sentencepiece/*.model")
    for tokenizer in tokenizers:
        reference = (SentencePiece if tokenizer.suffix == ".model" else HuggingFace)(tokenizer)
        for name, texts in texts_of(root):
            if isinstance(reference, SentencePiece):  # a whole corpus as one text: rounding changes more than ties
                texts = [t for t in texts if len(t) <= 100_000]
            ids = check(args, tokenizer, reference, name, texts)
            print(f"{tokenizer.name}: {name}: {len(texts):,} texts, {ids:,} ids equal", flush=True)
        rng = random.Random(args.seed)
        phrases = PHRASES + reference.added
        for begin in range(0, args.random, 20_000):
            texts = [random_text(rng, phrases) for _ in range(min(20_000, args.random - begin))]
            check(args, tokenizer, reference, "random strings", texts)
        lists = [[rng.randrange(reference.size) for _ in range(rng.randint(0, 20))] for _ in range(args.random // 10)]
        ours = Ours(args, tokenizer, lists, decode=True)
        compare(f"{tokenizer.name}: random ids", lists, reference.decode(lists), ours.lines())
        print(f"{tokenizer.name}: {args.random:,} random strings and {len(lists):,} random id lists equal", flush=True)
        if args.bench:
            paths = [p for p in (root / "corpus/tinyshakespeare.txt", root / "spider/dev.json") if p.exists()]
            bench(args, tokenizer, reference, [line for p in paths for line in p.read_text().splitlines()])


if __name__ == "__main__":
    main()
