#!/usr/bin/env python3
"""Writes data/sample: two small data sets in DART's official format, one in JSON lines, and a few records in the formats
of SAMSum, GLUE RTE, CIFAR-10 and Spider.

Everything in them is invented (the people do not exist, the trips never happened) and dedicated to the public domain
(CC0). The output depends on nothing but this file: run it again and git shows no change.

  dart/people-{train,dev}.json   who somebody is: what a tiny model is trained on from scratch
  dart/trips-{train,dev}.json    another kind of record (other relations, another sentence): what an adapter learns
  jsonl/questions-{train,dev}.jsonl   questions with one or more right answers, for `data: jsonl:PATH`
  samsum/{train,val,test}.json   two people arrange to meet, and who brings what
  glue/RTE/{train,dev}.tsv       whether a fact follows from a sentence of part one
  cifar-10-batches-bin/          a band of one colour a class
  spider/                        questions about residents of towns, their SQL, and the database

No record of a dev file has the combination of entities of a train record, but every entity and every relation of a dev
file occurs in the train files: what is measured is putting known things together in a new way.
"""

import argparse
import json
import pathlib
import random
import sqlite3

# Few of each, so that a model of three layers learns in a minute to copy what it has seen into a new combination.
NAMES = ["Ada", "Bruno", "Clara", "Diego", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kofi", "Lena"]
CITIES = ["Oslo", "Lima", "Cairo", "Delhi", "Quito", "Seoul", "Accra", "Lyon", "Porto", "Turin", "Zürich", "Malmö"]
JOBS = ["baker", "doctor", "teacher", "painter", "farmer", "pilot", "singer", "nurse"]
FOODS = ["bread", "rice", "soup", "apples", "honey", "cheese", "beans", "figs"]
VEHICLES = ["train", "bus", "ship", "bicycle", "tram", "car"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

# relation of part one -> (what can stand in it, how the sentence says it)
PEOPLE = {
    "lives in": (CITIES, "lives in {}"),
    "comes from": (CITIES, "comes from {}"),
    "works as": (JOBS, "is a {}"),
    "likes": (FOODS, "likes {}"),
    "commutes by": (VEHICLES, "goes to work by {}"),
    "day off": (DAYS, "is free on {}"),
}


def enumerate_clauses(clauses):
    """["a", "b", "c"] -> "a, b and c"."""
    return clauses[0] if len(clauses) == 1 else ", ".join(clauses[:-1]) + " and " + clauses[-1]


def person(rng, name):
    """A record of part one: two to four facts; the sentence tells them in their order."""
    relations = rng.sample(sorted(PEOPLE), rng.choice([2, 3, 3, 4]))
    facts, cities = [], list(CITIES)
    rng.shuffle(cities)  # one person does not live where they come from
    for relation in relations:
        values, _ = PEOPLE[relation]
        facts.append((relation, cities.pop() if values is CITIES else rng.choice(values)))
    text = f"{name} " + enumerate_clauses([PEOPLE[r][1].format(v) for r, v in facts]) + "."
    return {"tripleset": [[name, r, v] for r, v in facts], "annotations": [{"source": "sample_people", "text": text}]}


def trip(rng, name):
    """A record of part two: the facts in any order; two sentences that put them in their own order."""
    start, end = rng.sample(CITIES, 2)
    facts = {"departure": start, "destination": end}
    for relation, values in (("weekday", DAYS), ("vehicle", VEHICLES), ("luggage", FOODS)):
        if rng.random() < 0.6:
            facts[relation] = rng.choice(values)
    order = list(facts)
    rng.shuffle(order)
    luggage = f" with {facts['luggage']}" if "luggage" in facts else ""
    vehicle = f" by {facts['vehicle']}" if "vehicle" in facts else ""
    route = f"from {start} to {end}"
    if "weekday" in facts:
        day = facts["weekday"]
        texts = [f"On {day} {name} goes {route}{vehicle}{luggage}.", f"{name} goes {route}{vehicle}{luggage} on {day}."]
    else:
        texts = [f"{name} goes {route}{vehicle}{luggage}.", f"{name} leaves {start} for {end}{vehicle}{luggage}."]
    return {"tripleset": [[name, r, facts[r]] for r in order], "subtree_was_extended": False,
            "annotations": [{"source": "sample_trips", "text": text} for text in texts]}


def question(rng, name):
    """A record of the JSON-lines sample: a fact, a question about it, the right answers."""
    relation = rng.choice(["lives in", "works as", "likes"])
    value = rng.choice(PEOPLE[relation][0])
    asked = {"lives in": "Where does {} live?", "works as": "What does {} do?", "likes": "What does {} like?"}[relation]
    said = f"{name} {PEOPLE[relation][1].format(value)}."
    return {"context": said, "question": asked.format(name), "answers": [value, said]}


def conversation(rng, number):
    """A record in SAMSum's format; some dialogues end their lines as Windows does, as the published ones."""
    first, second = rng.sample(NAMES, 2)
    day, city, food = rng.choice(DAYS), rng.choice(CITIES), rng.choice(FOODS)
    lines = [f"{first}: Are you free on {day}?", f"{second}: Yes! Shall we meet in {city}?",
             f"{first}: Good. I'll bring {food} :)"]
    if rng.random() < 0.5:
        lines.append(f"{second}: See you <3")
    return {"id": str(13800000 + number),
            "summary": f"{first} and {second} will meet in {city} on {day}. {first} will bring {food}.",
            "dialogue": rng.choice(["\n", "\r\n"]).join(lines)}


def entailment(rng, record):
    """A row in RTE's format: a sentence of part one, and one of its facts or a changed one."""
    name, relation, value = rng.choice(record["tripleset"])
    follows = rng.random() < 0.5
    if not follows:
        value = rng.choice([v for v in PEOPLE[relation][0] if v != value])
    return (record["annotations"][0]["text"], f"{name} {PEOPLE[relation][1].format(value)}.",
            "entailment" if follows else "not_entailment")


def picture(rng, label):
    """A record in CIFAR-10's binary format: a band of the class's colour on a grey ground."""
    top = rng.randrange(4, 20)
    planes = []
    for channel in range(3):
        colour = (label * 83 + channel * 61) % 256
        planes += [colour if top <= y < top + 8 else 120 + rng.randrange(16) for y in range(32) for _ in range(32)]
    return bytes([label, *planes])


TOWN_TABLES = """
CREATE TABLE town (Town_ID INTEGER PRIMARY KEY, Name TEXT, Population INTEGER);
CREATE TABLE resident (Resident_ID INTEGER PRIMARY KEY, Name TEXT, Job TEXT, Age INTEGER,
  Town_ID INTEGER REFERENCES town (Town_ID));
"""


def sql_question(rng, number):
    """A record in Spider's format (the three keys that are read), about the database `towns`; all levels occur."""
    joined = "FROM resident AS T1 JOIN town AS T2 ON T1.Town_ID = T2.Town_ID"
    age, city, job, least = rng.randrange(20, 70), rng.choice(CITIES), rng.choice(JOBS), rng.randrange(1, 5)
    question, query = [
        (f"How many residents are older than {age}?", f"SELECT count(*) FROM resident WHERE Age > {age}"),
        (f"What is the population of {city}?", f'SELECT Population FROM town WHERE Name = "{city}"'),
        (f"Which jobs do the residents of {city} have?", f'SELECT DISTINCT T1.Job {joined} WHERE T2.Name = "{city}"'),
        (f"Who is the oldest {job}?", f'SELECT Name FROM resident WHERE Job = "{job}" ORDER BY Age DESC LIMIT 1'),
        (f"Which towns have more than {least} residents, and how many?",
         f"SELECT T2.Name ,  count(*) {joined} GROUP BY T2.Town_ID HAVING count(*) > {least}"),
        (f"Which towns have no {job}?",
         f'SELECT Name FROM town EXCEPT SELECT T2.Name {joined} WHERE T1.Job = "{job}"'),
    ][number % 6]
    return {"db_id": "towns", "query": query, "question": question}


def town_schema():
    """The entry of tables.json for `towns`."""
    columns = [[-1, "*"], [0, "Town_ID"], [0, "Name"], [0, "Population"], [1, "Resident_ID"], [1, "Name"], [1, "Job"],
               [1, "Age"], [1, "Town_ID"]]
    types = ["text", "number", "text", "number", "number", "text", "text", "number", "number"]
    return {"db_id": "towns", "table_names": ["town", "resident"], "table_names_original": ["town", "resident"],
            "column_names": [[t, name.lower().replace("_", " ")] for t, name in columns],
            "column_names_original": columns, "column_types": types, "primary_keys": [1, 4], "foreign_keys": [[8, 1]]}


def write_town_database(rng, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA page_size = 1024;" + TOWN_TABLES)
    connection.executemany("INSERT INTO town VALUES (?, ?, ?)",
                           [(i + 1, city, rng.randrange(20, 900) * 1000) for i, city in enumerate(CITIES)])
    connection.executemany("INSERT INTO resident VALUES (?, ?, ?, ?, ?)",
                           [(i + 1, name, rng.choice(JOBS), rng.randrange(18, 80), rng.randrange(1, len(CITIES) + 1))
                            for i, name in enumerate(NAMES * 3)])
    connection.commit()
    connection.close()
    with open(path, "r+b") as file:  # the version of the library that wrote it: the one thing that differs
        file.seek(96)
        file.write((3040001).to_bytes(4, "big"))


def distinct(rng, make, count):
    """`count` records without a repetition, the names in turn so that all of them occur."""
    records, seen = [], set()
    while len(records) < count:
        record = make(rng, NAMES[len(records) % len(NAMES)])
        key = frozenset(map(tuple, record["tripleset"])) if "tripleset" in record else record["context"]
        if key not in seen:
            seen.add(key)
            records.append(record)
    rng.shuffle(records)
    return records


def write_json_list(path, records):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8", newline="\n")


def write_jsonl(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8", newline="\n")


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(f"{i}\t" + "\t".join(row) for i, row in enumerate(rows))]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


def write_pictures(path, pictures):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pictures))


def values_of(records):
    return {value for record in records for triple in record["tripleset"] for value in triple}


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=here / "data" / "sample")
    output = parser.parse_args().output

    people = distinct(random.Random(1), person, 520)
    trips = distinct(random.Random(2), trip, 340)
    people_train, people_dev = people[:480], people[480:]
    trips_train, trips_dev = trips[:300], trips[300:]
    assert values_of(people_dev) <= values_of(people_train)
    assert values_of(trips_dev) <= values_of(trips_train)
    write_json_list(output / "dart" / "people-train.json", people_train)
    write_json_list(output / "dart" / "people-dev.json", people_dev)
    write_json_list(output / "dart" / "trips-train.json", trips_train)
    write_json_list(output / "dart" / "trips-dev.json", trips_dev)

    questions = distinct(random.Random(3), question, 80)
    write_jsonl(output / "jsonl" / "questions-train.jsonl", questions[:60])
    write_jsonl(output / "jsonl" / "questions-dev.jsonl", questions[60:])

    rng = random.Random(4)
    conversations = [conversation(rng, i) for i in range(40)]
    for name, part in (("train", conversations[:24]), ("val", conversations[24:32]), ("test", conversations[32:])):
        write_json_list(output / "samsum" / f"{name}.json", part)
    rng = random.Random(5)
    for name, part in (("train", people_train[:80]), ("dev", people_dev[:24])):
        rows = [entailment(rng, record) for record in part]
        write_table(output / "glue" / "RTE" / f"{name}.tsv", "index\tsentence1\tsentence2\tlabel", rows)
    rng = random.Random(6)
    write_pictures(output / "cifar-10-batches-bin" / "data_batch_1.bin", [picture(rng, label) for label in range(10)])
    write_pictures(output / "cifar-10-batches-bin" / "test_batch.bin", [picture(rng, label) for label in (3, 8, 0, 6)])
    rng = random.Random(7)
    questions = [sql_question(rng, i) for i in range(60)]
    write_json_list(output / "spider" / "train_spider.json", questions[:48])
    write_json_list(output / "spider" / "dev.json", questions[48:])
    write_json_list(output / "spider" / "tables.json", [town_schema()])
    write_town_database(random.Random(8), output / "spider" / "database" / "towns" / "towns.sqlite")


if __name__ == "__main__":
    main()
