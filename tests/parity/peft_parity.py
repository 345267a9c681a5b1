#!/usr/bin/env python3
"""Adapters of ours in Hugging Face PEFT and PEFT's here: the same logits to 1e-5, on random models, in fp32 on the CPU.

    python3 tests/parity/peft_parity.py --bin-dir build/release/bin

PEFT refuses out_proj on Mamba because fused kernels would ignore it; that one check is lifted here. transformers computes dt_proj
from the weight alone, so that an adapter on it acts only once merged: such adapters are compared after merge_and_unload().
Ours are trained by `train` for a few steps on data/sample, so that what is tested is the file that a user gets.
"""

import json

from parity_tools import ROOT, Table, executable, mpeft_logits, parse_arguments, random_lists, require, run, single_thread, temporary_folder

single_thread()
require("torch", "transformers", "peft", "safetensors", "tokenizers")
import peft.tuners.tuners_utils  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import MambaForCausalLM  # noqa: E402

import mamba_reference as reference  # noqa: E402
import tiny_model  # noqa: E402

TOLERANCE = 1e-5
LENGTHS = [1, 5, 23]
TOKENIZER = ROOT / "data/sample/tokenizer.json"

# What PEFT makes and we load: name -> (LoraConfig's fields, extra sizes of the model).
THEIRS = {
    "in_proj": dict(target_modules=["in_proj"], r=4, lora_alpha=8),
    "in_proj, x_proj, dt_proj": dict(target_modules=["in_proj", "x_proj", "dt_proj"], r=3, lora_alpha=6),
    "out_proj": dict(target_modules=["out_proj"], r=4, lora_alpha=4),
    "rsLoRA": dict(target_modules=["in_proj", "x_proj"], r=9, lora_alpha=6, use_rslora=True),
    "rank and alpha patterns": dict(target_modules=["in_proj", "x_proj"], r=4, lora_alpha=8, rank_pattern={"x_proj": 2},
                                    alpha_pattern={"layers.1.mixer.in_proj": 32}),
    "patterns with rsLoRA": dict(target_modules=["in_proj", "x_proj"], r=4, lora_alpha=8, use_rslora=True,
                                 rank_pattern={"backbone.layers.0.mixer.in_proj": 7}, alpha_pattern={"x_proj": 3}),
    "a regular expression": dict(target_modules=r".*\.1\.mixer\.(in|x)_proj", r=4, lora_alpha=8),
    "one layer": dict(target_modules=["in_proj"], layers_to_transform=[1], layers_pattern="layers", r=4, lora_alpha=8),
    "all-linear": dict(target_modules="all-linear", r=4, lora_alpha=8),
    "embeddings": dict(target_modules=["embeddings"], r=4, lora_alpha=8),
    "embeddings and in_proj, untied": dict(target_modules=["embeddings", "in_proj"], r=4, lora_alpha=8, untied=True),
    "lm_head": dict(target_modules=["lm_head"], r=4, lora_alpha=8, untied=True),
    "lm_head of a tied model": dict(target_modules=["lm_head"], r=4, lora_alpha=8),
    "embedding and head saved too": dict(target_modules=["in_proj"], r=4, lora_alpha=8, save_embedding_layers=True),
    "embedding and head saved too, untied": dict(target_modules=["embeddings", "lm_head"], r=4, lora_alpha=8, untied=True,
                                                 save_embedding_layers=True),
    "bias of what is targeted": dict(target_modules=["in_proj"], r=4, lora_alpha=8, bias="lora_only", use_bias=True),
    "all biases": dict(target_modules=["in_proj"], r=4, lora_alpha=8, bias="all"),
    "DoRA": dict(target_modules=["in_proj", "x_proj"], r=4, lora_alpha=8, use_dora=True),
    "DoRA with biases": dict(target_modules=["in_proj", "out_proj"], r=4, lora_alpha=8, use_dora=True, use_bias=True),
    "DoRA on dt_proj": dict(target_modules=["dt_proj", "out_proj"], r=2, lora_alpha=8, use_dora=True),
    "DoRA on embeddings": dict(target_modules=["embeddings", "in_proj"], r=4, lora_alpha=8, use_dora=True, untied=True),
    "PiSSA": dict(target_modules=["in_proj", "x_proj"], r=4, lora_alpha=8, init_lora_weights="pissa"),
    "PiSSA with rsLoRA": dict(target_modules=["in_proj", "out_proj"], r=4, lora_alpha=8, init_lora_weights="pissa", use_rslora=True),
    "a module saved whole": dict(target_modules=["in_proj"], r=4, lora_alpha=8, modules_to_save=["lm_head"], untied=True),
}

# What we train and PEFT loads.
OURS = {
    "in_proj": {"target_modules": ["in_proj"], "r": 4, "lora_alpha": 8},
    "in_proj, x_proj, dt_proj": {"target_modules": ["in_proj", "x_proj", "dt_proj"], "r": 3, "lora_alpha": 6, "lora_dropout": 0.1},
    "every projection": {"target_modules": ["in_proj", "x_proj", "dt_proj", "out_proj"], "r": 2, "lora_alpha": 2},
    "rsLoRA with patterns": {"target_modules": ["in_proj", "x_proj"], "r": 4, "lora_alpha": 8, "use_rslora": True,
                             "rank_pattern": {"x_proj": 2}, "alpha_pattern": {"layers.1.mixer.in_proj": 32}},
    "embeddings": {"target_modules": ["embeddings", "in_proj"], "r": 4, "lora_alpha": 8},
    "DoRA": {"target_modules": ["in_proj", "x_proj"], "r": 4, "lora_alpha": 8, "use_dora": True},
    "DoRA on every projection": {"target_modules": "all-linear", "r": 2, "lora_alpha": 2, "use_dora": True},
    "PiSSA": {"target_modules": ["in_proj", "x_proj"], "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"},
    "LoRA+": {"target_modules": ["in_proj", "x_proj"], "r": 4, "lora_alpha": 8, "loraplus_lr_ratio": 4},
}

# What we train on slices (and what PEFT could only approximate) and PEFT loads after `mpeft export --format peft`.
EXPORTED = {
    "in_proj_x": {"target_modules": ["in_proj_x"], "r": 4, "lora_alpha": 8},
    "every slice": {"target_modules": ["in_proj_x", "in_proj_z", "x_proj_dt", "x_proj_B", "x_proj_C", "dt_proj", "out_proj"], "r": 3, "lora_alpha": 6},
    "slices of different ranks and scales": {"target_modules": ["in_proj_x", "in_proj_z", "x_proj_C"], "r": 4, "lora_alpha": 8,
                                             "rank_pattern": {"in_proj_z": 2}, "alpha_pattern": {"layers.1.mixer.in_proj_z": 5}},
    "slices of one layer": {"target_modules": ["in_proj_z", "x_proj_B"], "r": 4, "lora_alpha": 8, "layers_to_transform": [1]},
    "slices with DoRA": {"target_modules": ["in_proj_z", "x_proj_B", "x_proj_C"], "r": 4, "lora_alpha": 8, "use_dora": True},
    "slices with rsLoRA": {"target_modules": ["in_proj_x", "x_proj_dt"], "r": 4, "lora_alpha": 8, "use_rslora": True},
    "PiSSA": {"target_modules": ["in_proj_x", "out_proj"], "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"},
    "approximate PiSSA": {"target_modules": ["in_proj"], "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa_niter_4"},
}


def lift_mamba_check():
    peft.tuners.tuners_utils._check_lora_target_modules_mamba = lambda *arguments, **named: None


def base_model(seed=3, untied=False, **sizes):
    return tiny_model.make(seed, tie_word_embeddings=not untied, **sizes)


def logits(model, lists):
    with torch.no_grad():
        return [model(torch.tensor([ids]), use_cache=False).logits[0] for ids in lists]


def peft_logits(model, lists):
    """Of a PeftModel: as it runs where every adapter acts, and merged where transformers goes past a module."""
    goes_past = any("dt_proj" in name and "lora_" in name for name, _ in model.named_parameters())
    return logits(model.merge_and_unload() if goes_past else model, lists)


def compare(table, name, ours, theirs, base):
    table.at_most(name, max(reference.relative_error(a, b) for a, b in zip(ours, theirs)), TOLERANCE)
    table.holds(f"{name}: the adapter matters", max(reference.relative_error(a, b) for a, b in zip(theirs, base)) > 1e-3)


def check_theirs(table, arguments, folder, number, name, fields):
    fields = dict(fields)
    model = base_model(untied=fields.pop("untied", False), use_bias=fields.pop("use_bias", False))
    save = {"save_embedding_layers": True} if fields.pop("save_embedding_layers", False) else {}
    base_folder, adapter_folder = folder / f"base{number}", folder / f"adapter{number}"
    model.save_pretrained(base_folder)
    lists = random_lists(model.config.vocab_size, LENGTHS, number)
    base = logits(model, lists)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields)).eval()
    noise = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn(p.shape, generator=noise))
    adapted.save_pretrained(adapter_folder, **save)
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter_folder)
    compare(table, f"PEFT's here: {name}", ours, peft_logits(adapted, lists), base)


def train_adapter(arguments, folder, base_folder, fields):
    """Trains for a few steps and returns the adapter's folder."""
    (folder / "adapter.json").write_text(json.dumps(fields if "peft_type" in fields else {"peft_type": "LORA", "lora_dropout": 0.0, **fields}))
    config = {"model": str(base_folder), "tokenizer": str(TOKENIZER), "peft": str(folder / "adapter.json"), "data": "dart",
              "data_root": str(ROOT / "data/sample"), "data_options": {"train_file": "trips-train.json", "val_file": "trips-dev.json"},
              "num_epochs": 1, "batch_size": 4, "learning_rate": 0.02, "prec": "fp32", "skip_eval": True, "debug": True,
              "output_dir": str(folder / "run")}
    (folder / "experiment.yaml").write_text(json.dumps(config))  # JSON is YAML
    run([executable(arguments, "train"), "--cfg", folder / "experiment.yaml", "--device", arguments.device, "--overwrite"])
    found = sorted((folder / "run").rglob("adapter_config.json"))
    assert found, f"train left no adapter in {folder / 'run'}"
    return found[0].parent


def check_ours(table, arguments, folder, base_folder, name, fields):
    model = MambaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    lists = random_lists(model.config.vocab_size, LENGTHS, 99)
    base = logits(model, lists)
    adapter = train_adapter(arguments, folder, base_folder, fields)
    saved = load_file(adapter / "adapter_model.safetensors")
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter)
    theirs = PeftModel.from_pretrained(model, adapter).eval()
    loaded = {n for n, _ in theirs.named_parameters() if "lora_" in n}
    table.holds(f"ours in PEFT: {name}: every tensor is taken", len(loaded) == len(saved), f"{len(loaded)} of {len(saved)}")
    compare(table, f"ours in PEFT: {name}", ours, peft_logits(theirs, lists), base)


def check_exported(table, arguments, folder, base_folder, name, fields):
    model = MambaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    lists = random_lists(model.config.vocab_size, LENGTHS, 98)
    base = logits(model, lists)
    adapter = train_adapter(arguments, folder, base_folder, fields)
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter)
    with temporary_folder() as out:
        run([executable(arguments, "mpeft"), "export", "--model", base_folder, "--adapter", adapter, "--format", "peft",
             "--output", out / "exported"])
        saved = load_file(out / "exported/adapter_model.safetensors")
        theirs = PeftModel.from_pretrained(model, out / "exported").eval()
        loaded = {n for n, _ in theirs.named_parameters() if "lora_" in n}
        table.holds(f"exported to PEFT: {name}: every tensor is taken", len(loaded) == len(saved), f"{len(loaded)} of {len(saved)}")
        compare(table, f"exported to PEFT: {name}", ours, peft_logits(theirs, lists), base)


# What PEFT has not: `mpeft export --format peft` writes the weights that it changes, whole, for transformers' own model.
DELTAS = {
    "SD_LORA": {"peft_type": "SD_LORA", "num_freeze": {"state": 0.75, "channel": 0.9}, "num_warmup_it": 1, "proj_lora_r": 2,
                "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"]},
    "LAYER_FREEZE on slices": {"peft_type": "LAYER_FREEZE", "trainable_layers": ["x_proj_B", "conv1d", "norm_f"]},
    "several adapters": {"peft_type": "COMPOSITE", "adapters": [{"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x"]},
                                                                {"peft_type": "BITFIT"}]},
}

# Several LoRAs are one of PEFT's.
COMPOSITE = {"peft_type": "COMPOSITE", "adapters": [{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["in_proj_x", "dt_proj"]},
                                                    {"peft_type": "LORA", "r": 5, "lora_alpha": 5, "target_modules": ["in_proj_z", "x_proj"]}]}


def check_delta(table, arguments, folder, base_folder, name, fields):
    model = MambaForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    lists = random_lists(model.config.vocab_size, LENGTHS, 96)
    base = logits(model, lists)
    adapter = train_adapter(arguments, folder, base_folder, fields)
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter)
    with temporary_folder() as out:
        run([executable(arguments, "mpeft"), "export", "--model", base_folder, "--adapter", adapter, "--format", "peft",
             "--output", out / "exported"])
        loaded = model.load_state_dict(load_file(out / "exported/delta.safetensors"), strict=False)
    table.holds(f"delta in transformers: {name}: every tensor is taken", not loaded.unexpected_keys, str(loaded.unexpected_keys))
    compare(table, f"delta in transformers: {name}", ours, logits(model, lists), base)


def check_state_spaces(table, arguments, folder, base_folder):
    """The merged checkpoint as mamba_ssm reads it: torch.load without executing anything, its names, and the same logits here."""
    fields = {"target_modules": ["in_proj_x", "out_proj"], "r": 4, "lora_alpha": 8}
    adapter = train_adapter(arguments, folder, base_folder, fields)
    vocab_size = MambaForCausalLM.from_pretrained(base_folder).config.vocab_size
    lists = random_lists(vocab_size, LENGTHS, 97)
    ours = mpeft_logits(arguments, base_folder, lists, folder, "--prec", "fp32", "--adapter", adapter)
    with temporary_folder() as out:
        run([executable(arguments, "mpeft"), "export", "--model", base_folder, "--adapter", adapter, "--format", "state-spaces",
             "--output", out / "merged"])
        state = torch.load(out / "merged/pytorch_model.bin", map_location="cpu", weights_only=True)
        config = json.loads((out / "merged/config.json").read_text())
        table.holds("state-spaces: the tied head is the embedding", torch.equal(state["lm_head.weight"], state["backbone.embedding.weight"]))
        table.holds("state-spaces: every tensor of the model", len(state) == 2 + 1 + 10 * config["n_layer"], f"{len(state)} tensors")
        merged = mpeft_logits(arguments, out / "merged", lists, folder, "--prec", "fp32")
        table.at_most("state-spaces: merged logits", max(reference.relative_error(a, b) for a, b in zip(merged, ours)), TOLERANCE)


def main():
    arguments = parse_arguments(__doc__)
    executable(arguments, "mpeft")
    executable(arguments, "train")
    lift_mamba_check()
    table = Table(f"PEFT parity: peft {peft.__version__}, limit {TOLERANCE:g}")
    with temporary_folder() as folder:
        for number, (name, fields) in enumerate(THEIRS.items()):
            with table.case(f"PEFT's here: {name}"):
                check_theirs(table, arguments, folder, number, name, fields)
        base_folder = folder / "ours-base"
        base_model(vocab_size=Tokenizer.from_file(str(TOKENIZER)).get_vocab_size()).save_pretrained(base_folder)
        for name, fields in OURS.items():
            with table.case(f"ours in PEFT: {name}"):
                check_ours(table, arguments, folder, base_folder, name, fields)
        for name, fields in EXPORTED.items():
            with table.case(f"exported to PEFT: {name}"):
                check_exported(table, arguments, folder, base_folder, name, fields)
        with table.case("exported to PEFT: several adapters"):
            check_exported(table, arguments, folder, base_folder, "several adapters", COMPOSITE)
        for name, fields in DELTAS.items():
            with table.case(f"delta in transformers: {name}"):
                check_delta(table, arguments, folder, base_folder, name, fields)
        with table.case("state-spaces"):
            check_state_spaces(table, arguments, folder, base_folder)
    table.finish()


if __name__ == "__main__":
    main()
