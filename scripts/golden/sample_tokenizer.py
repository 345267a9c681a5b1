#!/usr/bin/env python3
"""Trains data/sample/tokenizer.json (the quickstart's) and tests/golden/text/tiny_tokenizer.json with its golden ids.

Both are byte-level BPE laid out as GPT-NeoX's file: NFC, ByteLevel, <|endoftext|> = 0, <|padding|> = 1, then bytes, merges
and, in the tiny one, runs of spaces as added tokens behind the vocabulary.

    pip install tokenizers==0.23.3
    python3 scripts/golden/sample_tokenizer.py
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SIZE = 768
TINY_SIZE = 320

TINY_CORPUS = [
    "capital : Oslo : Norway", "Oslo, the capital of Norway, has 709,037 inhabitants.",
    "the river runs through the capital", "It's theirs, they'll say; we've said so and I'm glad you'd come.",
    "The quick brown fox jumps over the lazy dog 1234567890 times.", "Bergen is the second city of Norway",
]

GOLDEN_TEXTS = [
    "", " ", "  ", "   ", "Oslo", " Oslo, the capital of Norway.", "it's they'll we've I'm you'd they're don't 'S 'T",
    "a  b   c    d     e", "trailing   ", "\n\n\ttabs\r\n", "x\u00a0y\u3000z\u2028w\u0085v\u180eu",
    "<|endoftext|>", "the<|endoftext|>the", " <|endoftext|> <|padding|>", "<|endoftext", "<|endoftext|><|endoftext|>",
    "e\u0301 \u00e9 A\u030a \u212b \u1100\u1161\u11a8 \u0958 \u2126", "a\u0315\u0300\u05ae\u0300b", "\u0c3c\u0301 e\u0301\u0897\u0301",
    "Привет, мир! 你好世界 안녕 שלום مرحبا नमस्ते", "٣٤٥ ⅷ ² 123abc456", "👩‍👩‍👧 🇳🇴 👍🏽", "\x00\x01\x7f\ufffd\ufeff",
    "\U00011935\U00011930 \U0001e030", "!!!??? ... --- #$%^&*()", " \u0301 \u0301\u0301",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "the" * 40,
    " " * 5 + "the" + " " * 9 + "end",
]


def train(texts, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>", "<|padding|>"], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def strings_of(value):
    if isinstance(value, str):
        yield value
    else:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            yield from strings_of(item)


def sample_texts():
    """The sample's texts as a model sees them: triples joined with ' : ', references, questions."""
    for path in sorted((ROOT / "data/sample/dart").glob("*.json")):
        for record in json.loads(path.read_text()):
            yield " | ".join(" : ".join(triple) for triple in record["tripleset"])
            yield from (annotation["text"] for annotation in record["annotations"])
    for path in sorted((ROOT / "data/sample/jsonl").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield from strings_of(json.loads(line))


def main():
    train(sample_texts(), SAMPLE_SIZE).save(str(ROOT / "data/sample/tokenizer.json"), pretty=False)

    tiny = train(TINY_CORPUS, TINY_SIZE)
    tiny.add_tokens([AddedToken(" " * n, normalized=True) for n in range(6, 1, -1)])
    folder = ROOT / "tests/golden/text"
    folder.mkdir(parents=True, exist_ok=True)
    tiny.save(str(folder / "tiny_tokenizer.json"), pretty=False)
    # Everything that HfBpeTokenizer has a branch for and the published file does not use.
    flags = json.loads((folder / "tiny_tokenizer.json").read_text())
    flags["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}|\p{L}+|\s+|[^\s\p{L}\p{N}]+"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    flags["model"]["ignore_merges"] = True
    flags["model"]["vocab"]["of\u0120Norw"] = len(flags["model"]["vocab"])
    flags["added_tokens"] = [t for t in flags["added_tokens"] if t["special"]]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    for content, flag in [("<l>", "lstrip"), ("<r>", "rstrip"), ("<w>", "single_word"), ("e\u0301x", "normalized"), ("w", "single_word"),
                          ("<lit>", None), ("<s>", "special")]:
        known = flags["model"]["vocab"].get(content)
        largest = max(t["id"] for t in flags["added_tokens"])
        token = plain | {"id": max(largest + 1, len(flags["model"]["vocab"])) if known is None else known, "content": content}
        if flag:
            token[flag] = True
        flags["added_tokens"].append(token)
    (folder / "flags_tokenizer.json").write_text(json.dumps(flags, ensure_ascii=False))

    cases = []
    flag_texts = ["a <l> b", "a <r>  b", "a<w>b", "a <w> b", "<w>", "e\u0301x \u00e9x", "<l> <r> <l>", "<r>  <l>", "w wx xw w1 _w w.",
                  "of Norw", "<lit><s><lit>", "12345 67", "\u00e9<w>", "<w>\u0301", "<w> <w>", "  <l>  <l>", "the Norway of it's 12345the"]
    for name, texts in (("tiny_tokenizer.json", GOLDEN_TEXTS), ("flags_tokenizer.json", GOLDEN_TEXTS + flag_texts)):
        tokenizer = Tokenizer.from_file(str(folder / name))
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cases.append({"file": name, "text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
        size = max(tokenizer.get_vocab().values()) + 1
        for k in range(0, size, 7):  # halves of characters: U+FFFD by maximal subparts
            ids = [(k * 31 + 17 * j) % size for j in range(9)]
            cases.append({"file": name, "text": None, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
    with open(folder / "bpe_cases.jsonl", "w") as out:
        for case in cases:
            out.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
