#!/usr/bin/env python3
"""The event file of a run holds the numbers of its metrics.jsonl: read by the tensorboard package where it is installed,
and by the few lines below, which know the two formats (TFRecord, protocol buffers) from their specifications alone."""
import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check_crc(data, stored):
    crc = crc32c(data)
    assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == stored, "checksum"


def records(data):
    at = 0
    while at < len(data):
        size, size_crc = struct.unpack_from("<QI", data, at)
        check_crc(data[at:at + 8], size_crc)
        body = data[at + 12:at + 12 + size]
        check_crc(body, struct.unpack_from("<I", data, at + 12 + size)[0])
        yield body
        at += size + 16


def varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(field number, value) of a message: numbers of fixed and variable length, bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            code, size = {1: ("<d", 8), 5: ("<f", 4)}[key & 7]
            value, at = struct.unpack_from(code, data, at)[0], at + size
        yield key >> 3, value


def read_by_hand(path):
    points = {}
    for body in records(path.read_bytes()):
        event = dict(fields(body))
        for number, value in fields(event.get(5, b"")):
            assert number == 1
            point = dict(fields(value))
            points[point[1].decode(), event[2]] = point[2]
    return points


def read_by_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    points = {(tag, event.step): event.value for tag in accumulator.Tags()["scalars"] for event in accumulator.Scalars(tag)}
    for tag in accumulator.Tags()["tensors"]:  # newer versions keep scalars so
        for event in accumulator.Tensors(tag):
            points[tag, event.step] = event.tensor_proto.float_val[0]
    return points


def expected(path):
    points = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = row["metrics"] if row["kind"] == "eval" else row
        for name, value in values.items():
            if isinstance(value, (int, float)) and (row["kind"] == "eval" or name not in ("epoch", "step")):
                points[f"{row['kind']}/{name}", row["step"]] = value
    return points


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=pathlib.Path, required=True)
    bin_dir = parser.parse_args().bin_dir.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model.yaml").write_text("d_model: 32\nn_layer: 1\nvocab_size: 1024\n", encoding="utf-8")
        (folder / "x.yaml").write_text(f"""model: {folder / 'model.yaml'}
tokenizer: data/sample/tokenizer.json
data: dart
data_root: data/sample
data_options: {{train_file: people-train.json, val_file: people-dev.json, train_slice: {{first: 40}}, val_slice: {{first: 4}}, metrics: [bleu]}}
num_epochs: 2
batch_size: 8
log_steps: 2
prec: fp32
eval_gen: {{num_beams: 1, max_new_tokens: 8}}
output_dir: {folder / 'out'}
""", encoding="utf-8")
        subprocess.run([bin_dir / "train", "--cfg", folder / "x.yaml", "--device", "cpu", "-q"], check=True, cwd=ROOT)
        wanted = expected(folder / "out/metrics.jsonl")
        files = list((folder / "out").glob("events.out.tfevents.*"))
        assert len(files) == 1 and len(wanted) > 20, (files, wanted)
        readers = {"by hand": read_by_hand(files[0])}
        try:
            readers["tensorboard"] = read_by_tensorboard(folder / "out")
        except ImportError:
            print("the tensorboard package is not installed: read by hand only")
        for name, found in readers.items():
            assert found.keys() == wanted.keys(), (name, found.keys() ^ wanted.keys())
            for key, value in wanted.items():
                assert math.isclose(found[key], value, rel_tol=1e-6), (name, key, found[key], value)
            print(f"{name}: {len(found)} points equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
