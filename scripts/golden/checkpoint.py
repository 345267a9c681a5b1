#!/usr/bin/env python3
"""Writes tests/golden/checkpoint: small files of the real torch.save and safetensors, which the readers must read bit for bit.

Each x.bin has an x.safetensors beside it that holds the same tensors, contiguous. Made with torch 2.11.0 and safetensors
0.8.0 (`pip install torch==2.11.0 safetensors numpy packaging`); run it as `python scripts/golden/checkpoint.py`.
"""
import json
import pathlib

import safetensors.torch
import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "checkpoint"


def every_dtype():
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    return {
        "f64": normal,
        "f32": normal.float(),
        "f16": normal[:, :1].half().contiguous(),
        "bf16": normal.bfloat16(),
        "i64": torch.tensor([-(2**63), -1, 0, 2**63 - 1]),
        "i32": torch.tensor([[-(2**31), 2**31 - 1]], dtype=torch.int32),
        "i16": torch.tensor([-32768, 32767, 7], dtype=torch.int16),
        "i8": torch.tensor([-128, 127, 1], dtype=torch.int8),
        "u8": torch.arange(7, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(0.1),
        "empty": torch.zeros(0, 4),
        "not finite": torch.tensor([float("inf"), float("-inf"), float("nan"), -0.0]),
        "Ünïcode/名": torch.ones(2, 1, 3),
    }


def views():
    base = torch.arange(24.0)
    return {
        "whole": base,
        "transposed": base.view(4, 6).t(),
        "rows": base.view(4, 6)[1:3],
        "every_second": base.view(4, 6)[:, ::2],
        "one": base[5],
        "expanded": torch.full((1,), 2.5).expand(3, 1),
        "tied": base,
    }


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)  # buffers, an int64 scalar among them


def save_reference(name, tensors):
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    safetensors.torch.save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"format": "pt"})


def save(name, tensors, **options):
    torch.save(tensors, FOLDER / f"{name}.bin", **options)
    save_reference(name, tensors)


def save_shards():
    folder = FOLDER / "sharded"
    folder.mkdir(exist_ok=True)
    shards = {
        "pytorch_model-00001-of-00002.bin": {"backbone.embedding.weight": torch.arange(8.0).view(4, 2)},
        "pytorch_model-00002-of-00002.bin": {"backbone.norm_f.weight": torch.ones(2)},
    }
    for name, tensors in shards.items():
        torch.save(tensors, folder / name)
    index = {
        "metadata": {"total_size": 40},
        "weight_map": {tensor: shard for shard, tensors in shards.items() for tensor in tensors},
    }
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    save("every_dtype", every_dtype())
    save("views", views())
    save("module", Tiny().state_dict())  # an OrderedDict with _metadata
    save("parameters", {k: torch.nn.Parameter(v) for k, v in Tiny().named_parameters()})
    for protocol in (3, 4, 5):
        save(f"protocol{protocol}", Tiny().state_dict(), pickle_protocol=protocol)
    torch.serialization.set_crc32_options(False)
    save("no_crc", {"w": torch.arange(3.0)})
    torch.serialization.set_crc32_options(True)
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 3}, FOLDER / "nested.bin")
    torch.save({"w": torch.ones(2)}, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, FOLDER / "complex.bin")
    torch.save({"w": torch.ones(2, dtype=torch.float8_e4m3fn)}, FOLDER / "float8.bin")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), FOLDER / "script.bin")
    save_shards()


if __name__ == "__main__":
    main()
