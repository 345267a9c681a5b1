"""What is compared: every method at its budget, with the learning rate it gets.

Learning rates of configurations that the reference has are its own for DART with the 130m model (cfg/exps/*/dart); the
others, marked "chosen", were set once by analogy and not tuned: LoRA's where a low-rank pair trains, that of D and the
norms where vectors train. The seeds share everything but initial values, data order and dropout.
"""
import pathlib
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Method:
    name: str              # of its files
    title: str             # in the table
    fields: object         # the configuration: a file below the root, fields, or None for full fine-tuning
    learning_rate: float
    peft_type: str = ""


def method(name, title, fields, learning_rate):
    if fields is None:
        kind = "-"
    elif isinstance(fields, str):
        folder = fields.split("/")[2]
        kind = {"lora": "LORA", "layer_freeze": "LAYER_FREEZE", "bitfit": "BITFIT", "sd_lora": "SD_LORA",
                "ssm_peft": "SSMPEFT"}[folder]
    else:
        kind = fields["peft_type"]
    return Method(name, title, fields, learning_rate, kind)


def lora(**more):
    return {"peft_type": "LORA", "target_modules": ["out_proj"], "r": 8, "lora_alpha": 8, "lora_dropout": 0.1, **more}


SD_PAPER = {"peft_type": "SD_LORA", "num_freeze": {"state": 0.75, "channel": 0.99},
            "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"], "proj_lora_r": 8,
            "selection": {"metric": "abar_delta"}, "warmup": {"scope": "ssm_full"}}

METHODS = [
    method("full", "full fine-tuning", None, 4e-4),
    # SDT with LoRA against LoRA of the same size, as the paper compares them.
    method("sd_lora_n75", "SD_LORA, states 0.75, channels 0.99", "cfg/peft/sd_lora/500it/n0.75_d0.99.json", 4e-3),
    method("sd_lora_n90", "SD_LORA, states 0.9, channels 0.99", "cfg/peft/sd_lora/500it/n0.9_d0.99.json", 2e-3),
    method("sd_lora_n95", "SD_LORA, states 0.95, channels 0.99", "cfg/peft/sd_lora/500it/n0.95_d0.99.json", 4e-3),
    method("sd_lora_paper", "SD_LORA, the paper's warm-up and measure", SD_PAPER, 4e-3),  # chosen
    method("lora_r2_budget", "LoRA r 2, out + x + dt", "cfg/peft/lora/r2/lora_outproj_xproj_dt_proj.json", 4e-3),
    method("lora_r3_budget", "LoRA r 3, out + x", "cfg/peft/lora/r3/lora_outproj_xproj.json", 4e-3),
    method("lora_r5_budget", "LoRA r 5, out + dt", "cfg/peft/lora/r5/lora_outproj_dtproj.json", 4e-3),
    # LoRA and its kin.
    method("lora_r8_out", "LoRA r 8, out", "cfg/peft/lora/r8/lora_outproj.json", 4e-3),
    method("lora_r8_inout", "LoRA r 8, in_x + in_z + out", "cfg/peft/lora/r8/lora_inoutproj.json", 4e-3),
    method("lora_r8_ssm", "LoRA r 8, x + dt", "cfg/peft/lora/r8/lora_xproj_dtproj.json", 4e-3),
    method("lora_r8_all", "LoRA r 8, all", "cfg/peft/lora/r8/lora_all_no_embed_conv.json", 4e-3),
    method("lora_r8_conv", "LoRA r 8, conv1d", "cfg/peft/lora/r8/lora_conv.json", 4e-3),  # chosen
    method("dora_r8_out", "DoRA r 8, out", lora(use_dora=True), 4e-3),  # chosen
    method("rslora_r8_out", "rsLoRA r 8, out", lora(use_rslora=True), 2e-3),  # chosen: its scale is 2.8 times LoRA's
    method("loraplus_r8_out", "LoRA+ r 8, out (ratio 16)", lora(lora_plus_lr_ratio=16), 1e-3),  # chosen
    method("pissa_r8_out", "PiSSA r 8, out", lora(init_lora_weights="pissa", lora_dropout=0.0), 1e-3),  # chosen
    # Some of the weights.
    method("bitfit", "BitFit", "cfg/peft/bitfit/conv_dt.json", 1e-2),  # chosen
    method("freeze_ssm", "A_log, B, C, D, dt, conv", "cfg/peft/layer_freeze/A_log_B_C_D_delta_conv.json", 1e-3),
    method("freeze_A_log", "A_log", "cfg/peft/layer_freeze/A_log.json", 4e-2),
    method("freeze_x_proj", "x_proj", "cfg/peft/layer_freeze/x_proj.json", 2e-3),
    method("freeze_dt_proj", "dt_proj", "cfg/peft/layer_freeze/dt_proj.json", 4e-3),
    method("freeze_conv", "conv1d", "cfg/peft/layer_freeze/conv.json", 2e-3),
    method("freeze_D_norm", "D and norms", "cfg/peft/layer_freeze/D_norm.json", 1e-2),
    # The state.
    method("init_state", "initial state", "cfg/peft/ssm_peft/init_state_zero.json", 2e-3),
    method("init_state_conv", "initial state and conv state", "cfg/peft/ssm_peft/init_state_conv_state_zero.json", 2e-3),
    method("offset_h", "state offset h",
           {"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "init": "zero"}, 4e-3),  # chosen
    method("offset_y", "state offset y",
           {"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING", "init": "zero"}, 1e-2),  # chosen
    method("param_transform", "scale and bias of B and C",
           {"peft_type": "PARAM_TRANSFORM", "parameters": ["B", "C"], "scale_shape": ["d", "n"],
            "bias_shape": ["d", "n"], "init": "zero"}, 4e-3),  # chosen
    method("prompt", "prompt tuning, 16 tokens", {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 16}, 1e-2),  # chosen
    method("affix", "affix tuning, 3 tokens", {"peft_type": "AFFIX_TUNING"}, 1e-2),  # chosen
    method("additional_scan", "additional scan, 8 states",
           {"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 8}, 4e-3),  # chosen
]


def uncompared():
    """Registered methods that are not in the list (COMPOSITE applies others together)."""
    text = (ROOT / "src" / "peft" / "methods.def").read_text(encoding="utf-8")
    names = [line.split("(")[1].split(",")[0] for line in text.splitlines() if line.startswith("PEFT_METHOD(")]
    return [name for name in names if name != "COMPOSITE" and name not in {m.peft_type for m in METHODS}]
