#!/usr/bin/env python3
"""Prompt tuning: PEFT's adapters here and ours in PEFT, the same logits to 1e-5, on random models, in fp32 on the CPU.

    python3 tests/parity/prompt_parity.py --bin-dir build/release/bin

PEFT puts the virtual tokens before each text and returns their outputs too; here they are read once and handed on as states.
"""

import json

from parity_tools import ROOT, Table, executable, mpeft_logits, parse_arguments, random_lists, require, run, single_thread, temporary_folder

single_thread()
require("torch", "transformers", "peft", "safetensors", "tokenizers")
import peft  # noqa: E402
import torch  # noqa: E402
from peft import PeftModel, PromptTuningConfig, get_peft_model  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import MambaForCausalLM  # noqa: E402

import mamba_reference as reference  # noqa: E402
import tiny_model  # noqa: E402

TOLERANCE = 1e-5
LENGTHS = [1, 5, 23]
TOKENIZER = ROOT / "data/sample/tokenizer.json"


def logits(model, lists):
    """Of the texts alone: the last rows, where virtual tokens stand before them."""
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -len(ids):] for ids in lists]


def compare(table, name, ours, theirs, base):
    table.at_most(name, max(reference.relative_error(a, b) for a, b in zip(ours, theirs)), TOLERANCE)
    table.holds(f"{name}: the prompt matters", max(reference.relative_error(a, b) for a, b in zip(theirs, base)) > 1e-3)


def check_theirs(table, arguments, folder, name, **fields):
    model = tiny_model.make(3)
    model.save_pretrained(folder / "base")
    lists = random_lists(model.config.vocab_size, LENGTHS, 7)
    base = logits(model, lists)
    sizes = dict(num_layers=model.config.num_hidden_layers, num_attention_heads=1, token_dim=model.config.hidden_size)
    torch.manual_seed(5)
    adapted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", **sizes, **fields)).eval()
    adapted.save_pretrained(folder / "adapter")
    ours = mpeft_logits(arguments, folder / "base", lists, folder, "--prec", "fp32", "--adapter", folder / "adapter")
    compare(table, name, ours, logits(adapted, lists), base)


def check_ours(table, arguments, folder, name, fields):
    base_folder = folder / "ours-base"
    tiny_model.make(3, vocab_size=Tokenizer.from_file(str(TOKENIZER)).get_vocab_size()).save_pretrained(base_folder)
    (folder / "prompt.json").write_text(json.dumps({"peft_type": "PROMPT_TUNING", **fields}))
    config = {"model": str(base_folder), "tokenizer": str(TOKENIZER), "peft": str(folder / "prompt.json"), "data": "dart",
              "data_root": str(ROOT / "data/sample"), "data_options": {"train_file": "trips-train.json", "val_file": "trips-dev.json"},
              "num_epochs": 1, "batch_size": 4, "learning_rate": 0.02, "prec": "fp32", "skip_eval": True, "debug": True,
              "output_dir": str(folder / "run")}
    (folder / "experiment.yaml").write_text(json.dumps(config))  # JSON is YAML
    run([executable(arguments, "train"), "--cfg", folder / "experiment.yaml", "--device", arguments.device, "--overwrite"])
    adapter = sorted((folder / "run").rglob("adapter_config.json"))[0].parent
    model = MambaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    lists = random_lists(model.config.vocab_size, LENGTHS, 99)
    base = logits(model, lists)
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter)
    compare(table, name, ours, logits(PeftModel.from_pretrained(model, adapter).eval(), lists), base)


def main():
    arguments = parse_arguments(__doc__)
    executable(arguments, "mpeft")
    executable(arguments, "train")
    table = Table(f"prompt tuning: peft {peft.__version__}, limit {TOLERANCE:g}")
    with temporary_folder() as folder:
        for number, fields in enumerate([{"num_virtual_tokens": 5}, {"num_virtual_tokens": 1, "prompt_tuning_init": "SAMPLE_VOCAB"}]):
            with table.case(f"PEFT's here: {fields}"):
                (folder / f"theirs{number}").mkdir()
                check_theirs(table, arguments, folder / f"theirs{number}", f"PEFT's here: {fields}", **fields)
        for fields in [{"num_virtual_tokens": 4}, {"num_virtual_tokens": 7, "prompt_tuning_init": "SAMPLE_VOCAB"}]:
            with table.case(f"ours in PEFT: {fields}"):
                check_ours(table, arguments, folder, f"ours in PEFT: {fields}", fields)
    table.finish()


if __name__ == "__main__":
    main()
