"""The records of the comparison, cut from DART's two development files and tinyshakespeare."""
import json
import random

RESTAURANTS = "e2e"  # DART's source of restaurant descriptions: the task; everything else is the base's


def linearise(triples):
    """As the `dart` data set does it."""
    return " | ".join(" : ".join(part.strip() for part in triple) for triple in triples)


def read_dart(folder):
    """(input, references, source) of both development files, each set of triples once."""
    records = {}
    for name in ("dart-v1.0.0b-full-dev.json", "dart-v1.1.1-full-dev.json"):
        for record in json.loads((folder / name).read_text(encoding="utf-8")):
            texts = [a["text"].strip() for a in record["annotations"] if a["text"].strip()]
            if texts:
                records[linearise(record["tripleset"])] = (texts, record["annotations"][0]["source"])
    return [(key, texts, source) for key, (texts, source) in records.items()]


def passages(path, n_characters=320):
    """Speeches of tinyshakespeare as continuation tasks: the first line is the input, the rest what to write."""
    made, piece = [], ""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        piece = f"{piece}\n\n{block}" if piece else block
        if len(piece) >= n_characters:
            first, _, rest = piece.partition("\n")
            made.append((first, [rest.strip()[:2 * n_characters]]))
            piece = ""
    return made


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for text, references in rows:
            file.write(json.dumps({"input": text, "text": references}, ensure_ascii=False) + "\n")


def write_records(data_root, folder, n_validation):
    """base.jsonl, base-val.jsonl, task.jsonl, task-val.jsonl; returns how many records each has.

    The base reads no restaurant. Those of the task's validation have names that its training has not."""
    folder.mkdir(parents=True, exist_ok=True)
    shuffled = random.Random(0)
    base, by_name = [], {}
    for text, references, source in read_dart(data_root / "dart"):
        if source == RESTAURANTS:
            by_name.setdefault(text.split(" : ")[0], []).append((text, references))
        else:
            base.append((text, references))
    names = sorted(by_name)
    shuffled.shuffle(names)
    validation = []
    while len(validation) < n_validation:
        validation += by_name.pop(names.pop())
    shuffled.shuffle(validation)
    shuffled.shuffle(base)
    parts = {"base-val": base[:100],
             "base": base[100:] + passages(data_root / "corpus" / "tinyshakespeare.txt"),
             "task-val": validation[:n_validation],
             "task": [record for name in names for record in by_name[name]]}
    for name, rows in parts.items():
        write(folder / f"{name}.jsonl", rows)
    return {name: len(rows) for name, rows in parts.items()}
