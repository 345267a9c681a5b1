#!/usr/bin/env python3
"""Compares our model with transformers' MambaForCausalLM on shared random weights of the 130m size.

    python3 tests/parity/model_parity.py --bin-dir build/release/bin [--size tiny] [--unit-model PATH]

  fp32   relative error of `mpeft logits` against transformers and against an fp64 implementation <= 1e-5
  bf16   error of `mpeft logits --prec bf16` against fp64 <= 1.5 x that of transformers in bf16
  gradients   every one against transformers in fp32 <= 1e-4 (by unit_model, when it is there: it reads the case from a folder)
"""

import os
import subprocess
from pathlib import Path

from parity_tools import (Table, executable, mpeft_logits, parse_arguments, random_lists, require, temporary_folder)

require("torch", "transformers", "safetensors")
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import MambaConfig, MambaForCausalLM  # noqa: E402

import mamba_reference as reference  # noqa: E402
import tiny_model  # noqa: E402

SIZES = {"130m": dict(vocab_size=50280, hidden_size=768, num_hidden_layers=24), "tiny": None}
LENGTHS = [1, 2, 37, 130]
GRADIENT_IDS = 24


def make_model(size):
    if SIZES[size] is None:
        return tiny_model.make()
    torch.manual_seed(1)
    # Upstream's scale of initial weights. With transformers' default of 0.1 the network amplifies rounding 1,000 times: its own fp32
    # logits are 2e-4 off the fp64 ones, and nothing could be compared to 1e-5.
    config = MambaConfig(**SIZES[size], initializer_range=0.02, rescale_prenorm_residual=True, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    model = MambaForCausalLM(config).float().eval()
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("A_log", ".D", "norm.weight", "norm_f.weight", "conv1d.bias")):
                p.add_(0.1 * torch.randn(p.shape, generator=noise))  # no value that hides an error
    return model


def forward(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def check_gradients(table, unit_model, model, folder):
    """Leaves the case where unit_model's ModelParity finds it: config, weights, ids, labels, logits, loss, gradients."""
    ids = torch.tensor(random_lists(model.config.vocab_size, [GRADIENT_IDS, GRADIENT_IDS], 4))
    labels = torch.full_like(ids, -100)
    labels[:, 4:-1] = ids[:, 5:]
    logits = model(ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    names, parameters = zip(*model.named_parameters())
    gradients = torch.autograd.grad(loss, parameters)
    save_file({"ids": ids, "labels": labels, "lengths": torch.full((2,), GRADIENT_IDS, dtype=torch.int32),
               "logits": logits.detach().contiguous(), "loss": loss.detach(),
               **{f"grad.{n}": g.contiguous() for n, g in zip(names, gradients)}}, folder / "cases.safetensors")
    result = subprocess.run([unit_model, "--gtest_filter=*ModelParity*/fp32AgainstTransformers"], text=True,
                            capture_output=True, env={**os.environ, "MPEFT_MODEL_PARITY_FOLDER": str(folder)})
    passed = result.returncode == 0 and "[  PASSED  ] 1 test" in result.stdout
    table.holds(f"fp32: loss and {len(names)} gradients <= 1e-4 (unit_model)", passed)
    if not passed:
        print(result.stdout[-4000:])


def main():
    def add(parser):
        parser.add_argument("--size", choices=SIZES, default="130m")
        parser.add_argument("--unit-model", type=Path, help="default: unit_model beside mpeft, when it is there")
    arguments = parse_arguments(__doc__, add)
    mpeft = Path(executable(arguments, "mpeft"))
    unit_model = arguments.unit_model or mpeft.parent / "unit_model"
    model = make_model(arguments.size)
    lists = random_lists(model.config.vocab_size, LENGTHS, 3)
    table = Table(f"model parity, {arguments.size}: transformers on random weights, texts of {LENGTHS} tokens")
    with temporary_folder() as folder:
        model.save_pretrained(folder)
        exact_parameters = reference.parameters(model)
        with torch.no_grad():
            exact = [reference.logits(exact_parameters, torch.tensor([ids]), model.config)[0] for ids in lists]
        del exact_parameters
        theirs = [forward(model, ids) for ids in lists]
        ours = mpeft_logits(arguments, folder, lists, folder, "--prec", "fp32")
        for i, n in enumerate(LENGTHS):
            table.at_most(f"fp32, {n} tokens: against transformers", reference.relative_error(ours[i], theirs[i]), 1e-5)
            table.at_most(f"fp32, {n} tokens: against fp64", reference.relative_error(ours[i], exact[i]), 1e-5)
        if unit_model.exists():
            check_gradients(table, str(unit_model), model, folder)
        else:
            print(f"  gradients not compared: no {unit_model}")
        ours = mpeft_logits(arguments, folder, lists, folder, "--prec", "bf16")
        model = model.to(torch.bfloat16)
        theirs = [forward(model, ids) for ids in lists]
        for i, n in enumerate(LENGTHS):
            limit = 1.5 * reference.relative_error(theirs[i], exact[i])
            table.at_most(f"bf16, {n} tokens: against fp64 (limit 1.5 x transformers')", reference.relative_error(ours[i], exact[i]), limit)
    table.finish()


if __name__ == "__main__":
    main()
