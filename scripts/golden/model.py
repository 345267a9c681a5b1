#!/usr/bin/env python3
"""Writes tests/golden/model/tiny: a random Mamba, and what transformers and an fp64 implementation compute with it.

model.safetensors and config.json are read by our model; cases.safetensors holds, for one right-padded batch,
  ids, lengths, labels   labels[i, t] is the token after ids[i, t], -100 where there is no loss
  logits, loss, grad.*   transformers MambaForCausalLM in fp32
  logits64, loss64, grad64.*   mamba_reference.py in fp64
"""

import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mamba_reference as reference  # noqa: E402
import tiny_model  # noqa: E402

SEED = 7


def make_batch(vocab_size):
    g = torch.Generator().manual_seed(SEED)
    lengths = torch.tensor([13, 1, 9, 5], dtype=torch.int32)
    ids = torch.randint(0, vocab_size, (len(lengths), int(lengths.max())), generator=g)
    labels = torch.full_like(ids, -100)
    for row, length in enumerate(lengths.tolist()):
        ids[row, length:] = 0
        prompt = length // 3
        labels[row, prompt:length - 1] = ids[row, prompt + 1:length]
    return ids, lengths, labels


def with_gradients(parameters, logits, labels, prefix):
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    return {f"loss{prefix}": loss.detach(), f"logits{prefix}": logits.detach().contiguous(),
            **{f"grad{prefix}.{n}": g.contiguous() for n, g in zip(parameters, gradients)}}


def main(golden):
    folder = golden / "model" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model.make()
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)

    ids, lengths, labels = make_batch(model.config.vocab_size)
    mask = (torch.arange(ids.shape[1])[None, :] < lengths[:, None]).long()
    named = dict(model.named_parameters())
    cases = with_gradients(named, model(ids, attention_mask=mask, use_cache=False).logits, labels, "")
    exact = reference.parameters(model, requires_grad=True)
    cases |= with_gradients(exact, reference.logits(exact, ids, model.config), labels, "64")

    # The two implementations have to agree before anything is measured against them.
    for name in [k for k in cases if not k.startswith(("logits64", "loss64", "grad64"))]:
        kind, _, rest = name.partition(".")
        a, b = cases[name], cases[f"{kind}64" + (f".{rest}" if rest else "")]
        if kind == "logits":
            a, b = a[mask.bool()], b[mask.bool()]
        error = reference.relative_error(a, b)
        assert error < 2e-5, (name, error)
    cases |= {"ids": ids, "lengths": lengths, "labels": labels}
    save_file(cases, folder / "cases.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    return [folder / n for n in ("config.json", "model.safetensors", "cases.safetensors")]


if __name__ == "__main__":
    for path in main(pathlib.Path(__file__).parents[2] / "tests" / "golden"):
        print(path, path.stat().st_size)
