#!/usr/bin/env python3
"""Compares `mpeft score` with the packages that people quote, on generated cases and on the golden files.

    python3 tests/parity/metrics_parity.py --bin-dir build/release/bin [--cases 2000] [--seed 1] [--golden FOLDER]

Texts: METEOR is nltk's, BLEU the definition of `evaluate` (tensorflow/nmt over mteval-v13a tokens), ROUGE is rouge_score's. Numbers:
scikit-learn and SciPy. Every value must agree to 1e-9; each metric gets as many cases as --cases says, empty texts and
Unicode among them. --golden (default: $MPEFT_GOLDEN_ROOT/metrics, if set) names a folder of generation.jsonl and
classification.jsonl.
"""

import json
import math
import os
import random
import warnings
from pathlib import Path

from parity_tools import Table, executable, json_lines, parse_arguments, require, run, skip

require("nltk", "rouge_score", "sklearn", "scipy")
import metrics_cases  # noqa: E402
import metrics_reference  # noqa: E402

TOLERANCE = 1e-9
TEXT_METRICS = ["bleu", "meteor", "rouge", "rouge_stemmed"]


def make_rouge():
    """A scorer: (references, prediction, stem) -> {type: F}."""
    from rouge_score.rouge_scorer import RougeScorer
    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorers = {stem: RougeScorer(types, use_stemmer=stem) for stem in (False, True)}
    return lambda references, prediction, stem: {
        name: value.fmeasure for name, value in scorers[stem].score_multi(references, prediction).items()}


def expected_text_scores(records, meteor, rouge):
    for prediction, references in records:
        values = {"meteor": meteor(prediction, references)}
        try:
            values["bleu"] = metrics_reference.bleu([prediction], [references])["bleu"]
        except ZeroDivisionError:
            values["bleu"] = 0.0
        values |= rouge(references, prediction, False)
        values |= {f"{name}_stemmed": value for name, value in rouge(references, prediction, True).items()}
        yield values


def generated_texts(rng, n):
    """Records of texts: edited copies of a reference, other texts, empty ones."""
    words = metrics_cases.load_words(rng)
    records = []
    for i in range(n):
        reference = metrics_cases.random_text(rng, words)
        references = [reference]
        for _ in range(rng.randint(0, 3)):
            references.append(rng.choice([metrics_cases.mutate(rng, reference, words), metrics_cases.random_text(rng, words)]))
        prediction = metrics_cases.mutate(rng, rng.choice(references), words)
        if i % 20 == 0:
            prediction = rng.choice(["", " ", "\u3000\n"])
        if i % 23 == 0:
            references[rng.randrange(len(references))] = ""
        records.append((prediction, references))
    return records


def worst(pairs):
    """(largest difference, index of the case) of (ours, theirs)."""
    differences = [0.0 if math.isnan(a) and math.isnan(b) else abs(a - b) for a, b in pairs]
    differences = [math.inf if math.isnan(d) else d for d in differences]
    place = max(range(len(differences)), key=differences.__getitem__)
    return differences[place], place


def check_texts(table, mpeft, name, records, meteor, rouge):
    lines = json_lines({"prediction": p, "references": r} for p, r in records)
    document = json.loads(run([mpeft, "score", *TEXT_METRICS, "--per-example", "--json", "--predictions", "-"], lines))
    expected = list(expected_text_scores(records, meteor, rouge))
    for metric in sorted(expected[0]):
        difference, place = worst([(ours[metric], theirs[metric]) for ours, theirs in zip(document["examples"], expected, strict=True)])
        table.at_most(f"{name}: {metric} of {len(records)} records", difference, TOLERANCE)
        if difference > TOLERANCE:
            print("        ", json.dumps(records[place]), document["examples"][place][metric], expected[place][metric])
        if metric != "bleu":  # the corpus is the mean
            mean = math.fsum(values[metric] for values in expected) / len(expected)
            table.at_most(f"{name}: {metric} of the corpus", abs(document["metrics"][metric] - mean), TOLERANCE)
    theirs = metrics_reference.bleu([p for p, _ in records], [r for _, r in records])["bleu"]
    table.at_most(f"{name}: bleu of the corpus", abs(document["metrics"]["bleu"] - theirs), TOLERANCE)


def number(value):
    return math.nan if value is None else float(value)


def check_numbers(table, mpeft, name, cases, metrics):
    """cases: dicts of predictions, references and a value by metric; one group each, so that one call scores them all."""
    lines = [{"prediction": p, "references": [r], "group": f"{i}"} for i, case in enumerate(cases)
             for p, r in zip(case["predictions"], case["references"], strict=True)]
    ours = json.loads(run([mpeft, "score", *metrics, "--json", "--predictions", "-"], json_lines(lines)))["metrics"]
    for metric in metrics:
        pairs = [(number(ours[f"{metric}_{i}"]), number(case[metric])) for i, case in enumerate(cases)]
        difference, place = worst(pairs)
        table.at_most(f"{name}: {metric} of {len(cases)} lists", difference, TOLERANCE)
        if difference > TOLERANCE:
            print("        ", json.dumps(cases[place]), ours[f"{metric}_{place}"])


def check_all_numbers(table, mpeft, name, cases):
    check_numbers(table, mpeft, name, cases, ["accuracy", "matthews"])
    binary = [case for case in cases if "f1" in case and set(case["references"]) in ({0, 1}, {1}, {0})]
    check_numbers(table, mpeft, name, binary, ["f1"])
    regression = [case["regression"] for case in cases if "regression" in case]
    check_numbers(table, mpeft, name, regression, ["pearson", "spearman"])
    return len(binary), len(regression)


def generated_numbers(rng, n):
    """At least n cases of each kind: half of the cases have two classes, all but those of one number a correlation."""
    cases, n_binary, n_regression = [], 0, 0
    generator = metrics_cases.classification(rng, 100 * n)
    while len(cases) < n or n_binary < n or n_regression < n:
        case = next(generator)
        n_binary += "f1" in case
        n_regression += "regression" in case
        cases.append(case)
    return cases


def main():
    def add(parser):
        parser.add_argument("--cases", type=int, default=2000)
        parser.add_argument("--seed", type=int, default=1)
        root = os.environ.get("MPEFT_GOLDEN_ROOT")
        parser.add_argument("--golden", type=Path, default=Path(root) / "metrics" if root else None)
    arguments = parse_arguments(__doc__, add)
    mpeft = executable(arguments, "mpeft")
    if not Path(metrics_reference.WORDNET).is_dir():
        skip(f"no WordNet in {metrics_reference.WORDNET} (apt-get install wordnet-base)")
    try:
        meteor, _ = metrics_reference.make_meteor()
        meteor("He left. She stayed.", ["They left."])
    except LookupError:
        skip("NLTK's punkt_tab is not installed (set NLTK_DATA)")
    warnings.simplefilter("ignore")  # the packages warn of every empty text
    rng = random.Random(arguments.seed)
    rouge = make_rouge()

    table = Table(f"metrics parity: at most {TOLERANCE} apart")
    check_texts(table, mpeft, "generated", generated_texts(rng, arguments.cases), meteor, rouge)
    n_binary, n_regression = check_all_numbers(table, mpeft, "generated", generated_numbers(rng, arguments.cases))
    table.holds("as many lists of two classes and of numbers as were asked for",
                min(n_binary, n_regression) >= arguments.cases, f"{n_binary}, {n_regression}")
    if arguments.golden:
        texts = [json.loads(line) for line in open(arguments.golden / "generation.jsonl", encoding="utf-8")]
        check_texts(table, mpeft, "golden", [(r["prediction"], r["references"]) for r in texts], meteor, rouge)
        numbers = [json.loads(line) for line in open(arguments.golden / "classification.jsonl", encoding="utf-8")]
        check_all_numbers(table, mpeft, "golden", numbers)
    else:
        print("  golden files not compared: set MPEFT_GOLDEN_ROOT or --golden")
    table.finish()


if __name__ == "__main__":
    main()
