"""Reference values of the text metrics, from the Python packages themselves.

    pip install nltk rouge_score
    NLTK_DATA=/path/with/tokenizers/punkt_tab python scripts/golden/metrics_reference.py score < in.jsonl > out.jsonl

`score` reads {"prediction", "references"} a line and adds {"meteor", "bleu", "rouge", "rouge_stemmed"} of each line alone.
`tokenize` reads {"text"} a line and adds {"punkt", "treebank", "words", "bleu_tokens", "stems", "synonyms"} of that text.

Hugging Face's metric scripts are not packages; what they do beyond these packages is repeated here: BLEU is the
tensorflow/nmt `compute_bleu` over Tokenizer13a, METEOR is `meteor_score` over `word_tokenize`, ROUGE is `RougeScorer`.
"""

import collections
import json
import math
import os
import re
import shutil
import sys
import tempfile
import warnings

WORDNET = "/usr/share/wordnet"  # Debian's wordnet-base
LEXNAMES = """adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person
noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance
noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact
verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"""


class Tokenizer13a:
    """mteval-v13a, as in `evaluate`'s bleu/tokenizer_13a.py (from sacreBLEU 1.x)."""

    rules = [
        (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
        (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
        (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
        (re.compile(r"([0-9])(-)"), r"\1 \2 "),
    ]

    def __call__(self, line):
        line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
        if "&" in line:
            for entity, char in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
                line = line.replace(entity, char)
        line = f" {line} "
        for regex, replacement in self.rules:
            line = regex.sub(replacement, line)
        return line.split()


def ngrams(tokens, max_order):
    return collections.Counter(
        tuple(tokens[i : i + n]) for n in range(1, max_order + 1) for i in range(len(tokens) - n + 1)
    )


def bleu(predictions, references, max_order=4):
    """The corpus BLEU of tensorflow/nmt, without smoothing. Raises as it does where it divides by zero."""
    tokenizer = Tokenizer13a()
    matches, possible, translation_length, reference_length = [0] * max_order, [0] * max_order, 0, 0
    for prediction, refs in zip(predictions, references):
        tokens, refs = tokenizer(prediction), [tokenizer(r) for r in refs]
        reference_length += min(len(r) for r in refs)
        translation_length += len(tokens)
        merged = collections.Counter()
        for r in refs:
            merged |= ngrams(r, max_order)
        for ngram, n in (ngrams(tokens, max_order) & merged).items():
            matches[len(ngram) - 1] += n
        for order in range(1, max_order + 1):
            possible[order - 1] += max(0, len(tokens) - order + 1)
    precisions = [m / p if p > 0 else 0.0 for m, p in zip(matches, possible)]
    mean = math.exp(sum(math.log(p) / max_order for p in precisions)) if min(precisions) > 0 else 0.0
    ratio = translation_length / reference_length
    penalty = 1.0 if ratio > 1.0 else math.exp(1 - 1.0 / ratio)
    return {"bleu": mean * penalty, "precisions": precisions, "brevity_penalty": penalty,
            "translation_length": translation_length, "reference_length": reference_length}


def load_wordnet():
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    root = tempfile.mkdtemp()
    for name in (n for n in os.listdir(WORDNET) if os.path.isfile(os.path.join(WORDNET, n))):
        shutil.copy(os.path.join(WORDNET, name), os.path.join(root, name))
    with open(os.path.join(root, "lexnames"), "w") as f:
        for i, name in enumerate(LEXNAMES.split()):
            f.write(f"{i:02d}\t{name}\t1\n")
    try:
        import nltk.pathsec  # newer NLTK refuses to read outside its data folders

        nltk.data.path.insert(0, root)
    except ImportError:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The map between WordNet versions serves other languages only, and needs files that Debian does not have.
        WordNetCorpusReader.map_wn = lambda self, version="wordnet": None
        return WordNetCorpusReader(root, None)


def make_meteor():
    from nltk import word_tokenize
    from nltk.translate.meteor_score import meteor_score

    wordnet = load_wordnet()

    def meteor(prediction, references):
        return meteor_score([word_tokenize(r) for r in references], word_tokenize(prediction), wordnet=wordnet)

    return meteor, wordnet


def score(lines, out):
    from rouge_score.rouge_scorer import RougeScorer

    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    plain, stemmed = RougeScorer(types), RougeScorer(types, use_stemmer=True)
    meteor, _ = make_meteor()
    for line in lines:
        record = json.loads(line)
        prediction, references = record["prediction"], record["references"]
        record["meteor"] = meteor(prediction, references)
        try:
            record["bleu"] = bleu([prediction], [references])["bleu"]
        except ZeroDivisionError:
            record["bleu"] = None
        for name, scorer in (("rouge", plain), ("rouge_stemmed", stemmed)):
            record[name] = {k: list(v) for k, v in scorer.score_multi(references, prediction).items()}
        out.write(json.dumps(record) + "\n")


def tokenize(lines, out):
    from nltk import sent_tokenize, word_tokenize
    from nltk.stem.porter import PorterStemmer
    from nltk.tokenize.destructive import NLTKWordTokenizer

    stemmer, treebank, tokenizer = PorterStemmer(), NLTKWordTokenizer(), Tokenizer13a()
    wordnet = load_wordnet()

    def synonyms(word):
        return sorted({n for s in wordnet.synsets(word) for n in s.lemma_names() if "_" not in n} | {word})

    for line in lines:
        record = json.loads(line)
        text = record["text"]
        words = word_tokenize(text)
        lowered = [w.lower() for w in words]
        record.update(punkt=sent_tokenize(text), treebank=treebank.tokenize(text), words=words,
                      bleu_tokens=tokenizer(text), lower=lowered, stems=[stemmer.stem(w) for w in lowered],
                      synonyms=[synonyms(w) for w in lowered])
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    {"score": score, "tokenize": tokenize}[sys.argv[1]](sys.stdin, sys.stdout)
