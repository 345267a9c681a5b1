"""Every file below cfg/peft: path -> fields, in the spelling of Hugging Face PEFT and of the reference."""

# Which parts of a block LoRA adapts, by the name of the file. Each is written for every rank below.
LORA_TARGETS = {
    "all_no_embed_conv": "in_proj_x in_proj_z out_proj dt_proj x_proj_C x_proj_B x_proj_dt",
    "conv": "conv1d",
    "delta": "x_proj_dt dt_proj",
    "dtproj": "dt_proj",
    "embed": "embedding",
    "inoutproj": "in_proj_x in_proj_z out_proj",
    "inoutproj_dtproj": "in_proj_x in_proj_z out_proj dt_proj",
    "inproj": "in_proj_x in_proj_z",
    "inproj_dt": "in_proj_x in_proj_z x_proj_dt dt_proj",
    "inproj_dtproj": "in_proj_x in_proj_z dt_proj",
    "inproj_x": "in_proj_x",
    "inproj_xproj": "in_proj_x in_proj_z x_proj_B x_proj_C x_proj_dt",
    "inproj_xproj_dt_proj": "in_proj_x in_proj_z x_proj_B x_proj_C x_proj_dt dt_proj",
    "inproj_z": "in_proj_z",
    "outproj": "out_proj",
    "outproj_dt": "out_proj x_proj_dt dt_proj",
    "outproj_dtproj": "out_proj dt_proj",
    "outproj_xproj": "out_proj x_proj_B x_proj_C x_proj_dt",
    "outproj_xproj_dt_proj": "out_proj x_proj_B x_proj_C x_proj_dt dt_proj",
    "xproj": "x_proj_C x_proj_B x_proj_dt",
    "xproj_B": "x_proj_B",
    "xproj_B_C": "x_proj_B x_proj_C",
    "xproj_C": "x_proj_C",
    "xproj_dt": "x_proj_dt",
    "xproj_dtproj": "dt_proj x_proj_C x_proj_B x_proj_dt",
    "xproj_inoutproj": "x_proj_C x_proj_B x_proj_dt in_proj_x in_proj_z out_proj",
}
LORA_RANKS = (2, 3, 5, 8)

# Which tensors train as they are.
FREEZE_TRAINABLE = {
    "A_log": "A_log",
    "A_log_B_C": "A_log x_proj_B x_proj_C",
    "A_log_B_C_D_delta": "A_log D x_proj_B x_proj_C x_proj_dt dt_proj",
    "A_log_B_C_D_delta_conv": "A_log D x_proj_B x_proj_C x_proj_dt dt_proj conv1d",
    "A_log_B_C_delta": "A_log x_proj_B x_proj_C x_proj_dt dt_proj",
    "A_log_B_C_delta_conv": "A_log x_proj_B x_proj_C x_proj_dt dt_proj conv1d",
    "A_log_delta": "A_log x_proj_dt dt_proj",
    "A_log_x_dt_proj": "A_log x_proj_B x_proj_C x_proj_dt dt_proj",
    "D_norm": "D norm.weight norm_f.weight",
    "bias_D_norm": "D norm.weight norm_f.weight conv1d.bias dt_proj.bias",
    "conv": "conv1d",
    "delta": "x_proj_dt dt_proj",
    "dt_proj": "dt_proj",
    "inout": "in_proj out_proj",
    "out": "out_proj",
    "x_proj": "x_proj_B x_proj_C x_proj_dt",
}

# SD_LORA: optimizer steps of the warm-up, by folder; share of the states that stays frozen (of the channels: 0.99).
SD_LORA_WARMUP = {"250it": 248, "500it": 499}
SD_LORA_FROZEN_STATES = (0.75, 0.9, 0.95)
SD_LORA_FROZEN_CHANNELS = 0.99


def adapter_files():
    """Path -> fields of every adapter configuration."""
    files = {"bitfit/conv_dt": {"peft_type": "BITFIT", "target_modules": ["conv1d", "dt_proj"]}}
    for name, trainable in FREEZE_TRAINABLE.items():
        files[f"layer_freeze/{name}"] = {"peft_type": "LAYER_FREEZE", "trainable_layers": trainable.split()}
    for rank in LORA_RANKS:
        for name, targets in LORA_TARGETS.items():
            files[f"lora/r{rank}/lora_{name}"] = {
                "peft_type": "LORA",
                "target_modules": targets.split(),
                "r": rank,
                "lora_alpha": rank,
                "lora_dropout": 0.1,
                "bias": "none",
            }
    for folder, steps in SD_LORA_WARMUP.items():
        for states in SD_LORA_FROZEN_STATES:
            files[f"sd_lora/{folder}/n{states}_d{SD_LORA_FROZEN_CHANNELS}"] = {
                "peft_type": "SD_LORA",
                "num_zero": {"state": 0, "channel": 0},
                "num_freeze": {"state": states, "channel": SD_LORA_FROZEN_CHANNELS},
                "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"],
                "proj_lora_r": 8,
                "num_warmup_it": steps,
            }
    initial_state = {"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}}
    files["ssm_peft/init_state_zero"] = initial_state
    files["ssm_peft/init_state_conv_state_zero"] = {
        **initial_state, "conv_init_state": True, "conv_init_state_init": "zero"}
    return {f"cfg/peft/{name}.json": fields for name, fields in files.items()}
