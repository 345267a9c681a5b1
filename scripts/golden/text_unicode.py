#!/usr/bin/env python3
"""Writes src/text/unicode_ranges.inc: what the Hugging Face `tokenizers` package makes of every code point.

The package carries three Unicode tables of three versions (Oniguruma's for \\p{L}, \\p{N}, \\s; the regex crate's for
\\w; unicode-normalization-alignments' for NFC, Unicode 9), and the system's utf8proc and PCRE2 have a fourth and a
fifth that change with the distribution. Token ids must not, so the classes are asked from the package itself, code
point by code point, and committed.

    pip install tokenizers==0.23.3 unicodedata2==18.0.0
    python3 scripts/golden/text_unicode.py > src/text/unicode_ranges.inc
"""

import importlib.metadata
import sys

import unicodedata2
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

LETTER, NUMBER, SPACE, WORD, NORMALIZE, OPAQUE = 1, 2, 4, 8, 16, 32
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

nfc = normalizers.NFC().normalize_str
pieces = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
single_word = Tokenizer(models.BPE())
single_word.add_tokens([AddedToken("<t>", single_word=True)])


def scanner_class(char):
    """Which alternative of GPT-2's pattern takes the character: it stays with a neighbour of its own class only."""
    if len(pieces("a" + char)) == 1:
        return LETTER
    if len(pieces("1" + char)) == 1:
        return NUMBER
    return 0 if len(pieces("!" + char)) == 1 else SPACE


def canonical_pairs():
    """(first, second, composite) of the newest Unicode version at hand."""
    for c in CODE_POINTS:
        decomposition = unicodedata2.decomposition(chr(c))
        parts = decomposition.split()
        if len(parts) == 2 and not decomposition.startswith("<"):
            yield int(parts[0], 16), int(parts[1], 16), c


def is_mark_for_package(char):
    """Non-zero combining class: swaps with a mark of class 1 behind it or of class 240 in front of it."""
    return nfc("\u2204" + char + "\u20d2") != "\u2204" + char + "\u20d2" or nfc("\u0345" + char) != "\u0345" + char


def normalization_bits():
    pairs = list(canonical_pairs())
    known = {p for p in pairs if nfc(chr(p[2])) != chr(p[2]) or nfc(chr(p[0]) + chr(p[1])) == chr(p[2])}
    opaque, normalize = set(), set()
    for c in CODE_POINTS:
        char = chr(c)
        if nfc(char) != char:
            normalize.add(c)
        elif unicodedata2.combining(char) != 0:
            (normalize if is_mark_for_package(char) else opaque).add(c)
    for first, second, composite in pairs:
        if (first, second, composite) in known:
            normalize.add(second)
    used = {c for pair in known for c in pair}
    for pair in pairs:
        if pair not in known:
            new = [c for c in pair if c not in used and c not in normalize]
            assert new, f"a new composite of old characters: {pair}"
            opaque.update(new)
    normalize.update(range(0x1161, 0x1176))  # Hangul vowels and
    normalize.update(range(0x11A8, 0x11C3))  # final consonants join the syllable before them
    assert not opaque & normalize
    return normalize, opaque


def main():
    normalize, opaque = normalization_bits()
    ranges = []
    for c in CODE_POINTS:
        char = chr(c)
        bits = scanner_class(char)
        if not single_word.encode("<t>" + char).tokens:
            bits |= WORD
        bits |= NORMALIZE * (c in normalize) | OPAQUE * (c in opaque)
        if bits == 0:
            continue
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == bits:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, bits])
    print("// Written by scripts/golden/text_unicode.py with tokenizers "
          f"{importlib.metadata.version('tokenizers')} and Unicode {unicodedata2.unidata_version}: do not edit.")
    print("// {first, last, CodePointClass bits}; code points in no range have none.")
    for k in range(0, len(ranges), 5):
        print(" ".join(f"{{0x{a:X}, 0x{b:X}, {bits}}}," for a, b, bits in ranges[k:k + 5]))
    print(f"{len(ranges)} ranges, normalize {len(normalize)}, opaque {len(opaque)}: "
          + " ".join(hex(c) for c in sorted(opaque)), file=sys.stderr)


if __name__ == "__main__":
    main()
