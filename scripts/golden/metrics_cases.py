"""Cases for the metrics, with reference values from the Python packages (see metrics_reference.py for what is needed).

    python scripts/golden/metrics_cases.py FOLDER [--fuzz N --seed S]

Writes FOLDER/{texts,generation,classification}.jsonl. Without --fuzz the hand-written cases of tests/golden/metrics; with
it N cases each, made of fragments that the tokenizers treat specially. MPEFT_METRICS_CASES=FOLDER makes unit_metrics
compare with them.
"""

import argparse
import io
import json
import os
import random
import warnings

import metrics_reference

TEXTS = [
    "",
    " \t\n",
    "The Eagle is a cheap coffee shop near Burger King, in the city centre.",
    "Dr. Smith met Mr. J. Bach at 5 p.m. in Washington, D.C. They left at 6. Then it rained...",
    'He said: "I can\'t, won\'t and shouldn\'t\'ve." She\'d gone; they\'ll know.',
    "''Twas the night -- 'tis said -- that gonna, wanna and gimme were cannot's cousins: D'ye see? More'n that!",
    "Good muffins cost $3.88\nin New York.  Please buy me\ntwo of them.\n\nThanks.",
    "(He left.) [She stayed.] {They slept.} <It ended.>",
    'Wait... what?! "Really?" he asked. "Yes!" - "No!"',
    "U.S. G.D.P. rose 3.5% (vs. 2.1%) in Q4; Inc. and Co. Ltd. fell, e.g. by 1,000.50 or -2.5. No. 7 won.",
    "“Curly quotes” and ‘single ones’. «Guillemets»! „Low“ quotes… dash – and — em‒fig―bar.",
    "He wrote “It ends here.” Then he left. She read ‘so.’ Nobody knew.",
    "İstanbul'da ΟΔΟΣ ΣΑΣ ΑΣ. straße STRASSE ǅ ﬁne naïve café CAFÉ Ⅷ ⓐ ª K",
    "日本語のテキスト。 한국어 텍스트! עברית? العربية؟ हिन्दी।",
    "😀👍 emoji 👩‍👩‍👧 zero\u200bwidth\u00a0nbsp\u2003em\u2028line\u2029par\x1cfs\x85nel",
    "x\x1d.\x1e y. \x1f\n\x1c\n Z. q",
    "&quot;A&amp;B&quot; &lt;skipped&gt; <skipped> co-\noperate 1-2 3-D state-of-the-art a-b. 5.",
    "running runs ran easily fairly dying news skies innings relational conditional rationalization hopping filing",
    "sensibilities geologi theology operators formalities agreed feed plastered motoring ponies ties dies yyyyes",
    "mice geese oxen children better best worse happily dogs' churches aardwolves abaci went gone taught bring",
    "The physician treats the auto, which is an automobile; a large big huge great dwelling house home.",
    ". . . and so ... .. on -- --- , , ;: a. b. c. ??!! ' '' ``x`` `y` \"z\" '",
    "ellipsis . . . . at 3. He stopped. . . . Then etc. and so on. 12. 13) 14.",
    "a.b.c. the end.) \" ' ] } > »”’  \n",
    "one,two:three, four: five,\n6,7:8, :",
    "http://example.com/a?b=c&d=e#f user@example.com #tag 50% *bold* a_b [x](y)",
    "Mt. Everest is in St. Louis, Mo. It was Sept. 11. Prof. A. B. Cee said so. Vol. 3 p. 4 fig. 5 i.e. this.",
    "i. The first. I. The second. A. Lincoln. B. obama. 1. One. 1990. The year.",
]

PAIRS = [
    (0, [2]), (2, [0]), (2, [2]), (0, [0]), (2, [20, 2]), (3, [27, 3]), (4, [5, 4]), (5, [4]), (6, [6]), (7, [8, 7]),
    (8, [7]), (9, [3, 9]), (10, [11, 10]), (11, [10]), (12, [12, 13]), (13, [13]), (14, [14]), (15, [15, 21]),
    (16, [16, 25]), (17, [18, 17]), (18, [17]), (19, [20, 19]), (20, [19]), (21, [21]), (22, [21, 22]), (23, [23]),
    (24, [24]), (25, [16]), (26, [27]), (27, [26, 3]),
]
EDITED = [
    ("The cat sat on the mat.", ["A cat was sitting on the mat.", "The cat is on the mat"]),
    ("the the the the the the the", ["The cat is on the mat.", "There is a cat on the mat."]),
    ("It is a guide to action which ensures that the military always obeys the commands of the party",
     ["It is a guide to action that ensures that the military will forever heed Party commands",
      "It is the guiding principle which guarantees the military forces always being under the command of the Party"]),
    ("The physician bought a large automobile.", ["The doctor purchased a big car."]),
    ("He walks quickly\nto the shops\n\nand runs", ["To the shop he ran\nquickly\nand walked"]),
    ("police killed the gunman", ["police kill the gunman\nthe gunman kill police"]),
    ("a b c d e f g", ["a b c d e f g h i j", "a b"]),
    ("x", ["x"]),
    (".", ["."]),
    ("Rates rose 3.5 % in 1999", ["rates rose 3.5% in 1999."]),
]

FRAGMENTS = """. .. ... .... ? ! ?! , ; : ' '' ''' ` `` ``` " “ ” ‘ ’ « » „ ( ) [ ] { } < > & &amp; &quot; &lt; - -- --- – — * @ # $ %
/ \\ ^ ~ _ | = + 's 'S 'm 'd 'll 'LL 're 've n't N'T 't 'tis 'twas 'TWAS cannot Cannot gimme gonna gotta lemme wanna
more'n d'ye 'n 're' 'nothing 've. don't they're it's I'm o'clock rock'n'roll Dr. Mr. Mrs. U.S. U.K. e.g. i.e. etc. a.m. p.m. Inc. Co. No.
Jan. Sept. vs. J. B. A. i. x. 1. 12. 3.14 1,000 1,000.50 -5 -.5 50% $3.88 2nd 1990s 3-D 10:30 1/2 ٣ ३. ² ½ Ⅷ
The the He he It it However But In in They this I we a an of to and is was near King Bach Smith Washington
cat cats dog dogs running ran runs happily happier best better physician doctor automobile car big large house dwelling
mice geese children went gone bring taught dying lying skies news innings agreed plastered hopping relational yellow
eat food restaurant coffee shop rating customer price range city centre riverside family friendly located
İstanbul ΣΑΣ ΟΔΟΣ Σ. ſo 'ſ 'tıs 'TİS wanna\u0301 café CAFÉ naïve straße Ärger ñ é́ 日本語 。 한국어 עברית العربية؟ हिन्दी।
😀 👍 👩‍👧 \u200d \u200b \u00a0 \u2003 \u2028 \u0085 \u001c \u001d \u1680 \u3000 ａ Ａ １ ． ， ａ．  ⓐ Ⓑ. ª. ʰ. 𝔸. 𐐀. 𐐨.""".split(" ")
FRAGMENTS = [f for piece in FRAGMENTS for f in piece.split("\n") if f]
SEPARATORS = [" "] * 12 + ["", "", "", "  ", "\n", "\n\n", "\t", "\r\n", " \n", "-\n"]


def random_text(rng, words):
    pieces = []
    for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13, 21, 34])):
        kind = rng.random()
        if kind < 0.45:
            piece = rng.choice(words)
            piece = rng.choice([str.capitalize, str.upper, str, str, str])(piece)
            piece += rng.choice(["", "", "", ".", ",", "'s", "?", "."])
        elif kind < 0.95:
            piece = rng.choice(FRAGMENTS)
        else:
            piece = "".join(rng.choice(".,'\"-` \nabAB1é") for _ in range(rng.randint(1, 9)))
        pieces += [piece, rng.choice(SEPARATORS)]
    return "".join(pieces)


def mutate(rng, text, words):
    tokens = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(tokens))
        action = rng.random()
        if action < 0.3:
            tokens[i] = rng.choice(words)
        elif action < 0.5:
            tokens.insert(i, rng.choice(FRAGMENTS))
        elif action < 0.7:
            rng.shuffle(tokens)
        elif action < 0.85 and len(tokens) > 1:
            del tokens[i]
        else:
            tokens[i] = tokens[i].swapcase()
    return " ".join(tokens)


def load_words(rng):
    """Words that WordNet knows, and inflected forms of them."""
    words = []
    for part in ("noun", "verb", "adj", "adv"):
        with open(os.path.join(metrics_reference.WORDNET, "index." + part)) as f:
            lemmas = [line.split(" ")[0] for line in f if not line.startswith(" ")]
        words += rng.sample([w for w in lemmas if "_" not in w], 800)
        with open(os.path.join(metrics_reference.WORDNET, part + ".exc")) as f:
            words += [line.split()[0] for line in f][:: 7 if part != "adv" else 1]
    endings = ["s", "es", "ed", "ing", "er", "est", "ly", "ness", "ational", "alli", "fulli", "logi", "y", "ies", "ied"]
    return words + [w + rng.choice(endings) for w in words]


def classification(rng, n):
    import numpy as np
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    number = lambda x: None if np.isnan(x) else float(x)
    for i in range(n):
        size, classes = rng.choice([1, 2, 3, 5, 20, 100]), rng.choice([1, 2, 2, 2, 3, 10])
        references = [rng.randrange(classes) for _ in range(size)]
        predictions = [r if rng.random() < 0.6 else rng.randrange(classes) for r in references]
        record = {"predictions": predictions, "references": references,
                  "accuracy": float(accuracy_score(references, predictions)),
                  "matthews": float(matthews_corrcoef(references, predictions))}
        if classes <= 2:
            record["f1"] = float(f1_score(references, predictions))
        if size > 1:
            scale = rng.choice([1e-6, 1, 1, 1e9])
            x = [round(rng.gauss(0, 1), rng.choice([0, 1, 12])) * scale for _ in range(size)]
            y = [round(v + rng.gauss(0, 1) * scale, 1) if scale == 1 else v + rng.gauss(0, 1) * scale for v in x]
            record["regression"] = {"predictions": x, "references": y, "pearson": number(pearsonr(x, y)[0]),
                                    "spearman": number(spearmanr(x, y)[0])}
        yield record


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--fuzz", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    warnings.simplefilter("ignore")

    if options.fuzz:
        words = load_words(rng)
        texts = [random_text(rng, words) for _ in range(options.fuzz)]
        records = []
        for _ in range(options.fuzz):
            reference = random_text(rng, words)
            others = [rng.choice([mutate(rng, reference, words), random_text(rng, words)]) for _ in range(rng.randint(0, 3))]
            references = [reference] + others
            prediction = mutate(rng, rng.choice(references), words) if rng.random() < 0.95 else ""
            records.append((prediction, references))
    else:
        texts = TEXTS
        records = [(TEXTS[p], [TEXTS[r] for r in rs]) for p, rs in PAIRS] + EDITED

    os.makedirs(options.folder, exist_ok=True)
    with open(os.path.join(options.folder, "texts.jsonl"), "w") as out:
        metrics_reference.tokenize(io.StringIO("".join(json.dumps({"text": t}) + "\n" for t in texts)), out)
    with open(os.path.join(options.folder, "generation.jsonl"), "w") as out:
        lines = "".join(json.dumps({"prediction": p, "references": r}) + "\n" for p, r in records)
        metrics_reference.score(io.StringIO(lines), out)
    with open(os.path.join(options.folder, "classification.jsonl"), "w") as out:
        for record in classification(rng, options.fuzz or 40):
            out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
