#!/usr/bin/env python3
"""Trains tests/golden/text/tiny_spm.model (unigram, no normalization: its tables would be 240 kB) and writes its golden ids.

    pip install sentencepiece==0.2.3
    python3 scripts/golden/text_sentencepiece.py
"""

import io
import json
from pathlib import Path

import sentencepiece

FOLDER = Path(__file__).resolve().parents[2] / "tests/golden/text"
CORPUS = ["capital : Oslo : Norway", "Oslo, the capital of Norway, has 709,037 inhabitants.", "the river runs through the city",
          "Bergen is the second city of Norway", "The quick brown fox jumps over the lazy dog."] * 5
TEXTS = ["", " ", "Oslo", "  the   capital  ", "the capital of Norway", "éa日本", "a</s>b <s> <unk>", "1234567 times", "x\ty\nz", "\u2581\u2581the"]


def main():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=60, hard_vocab_limit=False,
                                             model_type="unigram", normalization_rule_name="identity", pad_id=3, minloglevel=2)
    (FOLDER / "tiny_spm.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = processor.get_piece_size()
    with open(FOLDER / "spm_cases.jsonl", "w") as out:
        cases = [(text, processor.encode(text)) for text in TEXTS]
        cases += [(None, [(k * 13 + j * 7) % size for j in range(6)]) for k in range(8)]
        for text, ids in cases:
            out.write(json.dumps({"text": text, "ids": ids, "decoded": processor.decode(ids)}) + "\n")


if __name__ == "__main__":
    main()
