"""ROUGE-1, -2, -L and -Lsum by their definitions (Lin 2004, with the conventions of rouge_score 0.1.2), for machines
without that package. Slow and plain: tables as in a textbook.

Words are runs of a-z and 0-9 of the lower-cased text; with `stem`, words of more than three letters are stemmed by nltk's
Porter stemmer. Of several references the one with the best F counts.
"""

import collections
import re

from nltk.stem.porter import PorterStemmer

STEMMER = PorterStemmer()


def words(text, stem):
    tokens = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    tokens = [STEMMER.stem(t) if stem and len(t) > 3 else t for t in tokens]
    return [t for t in tokens if re.match(r"^[a-z0-9]+$", t)]


def f_measure(hits, n_predicted, n_reference):
    precision, recall = hits / max(n_predicted, 1), hits / max(n_reference, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def rouge_n(reference, prediction, n):
    grams = [collections.Counter(tuple(t[i:i + n]) for i in range(len(t) - n + 1)) for t in (prediction, reference)]
    return f_measure((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())


def lcs_table(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table


def lcs_positions(a, b):
    """Positions in `a` of one longest common subsequence with `b`, read backwards off the table."""
    table, i, j, found = lcs_table(a, b), len(a), len(b), []
    while i > 0 and j > 0:
        if a[i - 1] == b[j - 1]:
            found.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found


def rouge_l(reference, prediction):
    return f_measure(lcs_table(reference, prediction)[-1][-1], len(prediction), len(reference)) if reference and prediction else 0.0


def rouge_lsum(reference, prediction, stem):
    """The summary-level LCS: lines are sentences; each reference sentence takes the union of its LCS with all predicted ones,
    and a word counts as often as both sides have it left."""
    sides = [[words(line, stem) for line in text.split("\n") if line] for text in (reference, prediction)]
    totals = [sum(map(len, side)) for side in sides]
    if 0 in totals:
        return 0.0
    left = [collections.Counter(w for line in side for w in line) for side in sides]
    hits = 0
    for line in sides[0]:
        union = sorted({place for other in sides[1] for place in lcs_positions(line, other)})
        for word in (line[place] for place in union):
            if left[0][word] > 0 and left[1][word] > 0:
                hits += 1
                left[0][word] -= 1
                left[1][word] -= 1
    return f_measure(hits, totals[1], totals[0])


def score(references, prediction, stem):
    """{type: F}, as RougeScorer(…).score_multi."""
    predicted = words(prediction, stem)
    best = collections.defaultdict(float)
    for reference in references:
        target = words(reference, stem)
        values = {"rouge1": rouge_n(target, predicted, 1), "rouge2": rouge_n(target, predicted, 2),
                  "rougeL": rouge_l(target, predicted), "rougeLsum": rouge_lsum(reference, prediction, stem)}
        for name, value in values.items():
            best[name] = max(best[name], value)
    return dict(best)
