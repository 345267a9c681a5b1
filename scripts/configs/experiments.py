"""Every file below cfg/exps: path -> keys. Two studies, each a table of adapter × task with the learning rate inside."""

MODELS = {"130m": "state-spaces/mamba-130m", "1.4b": "state-spaces/mamba-1.4b", "2.8b": "state-spaces/mamba-2.8b"}
GENERATION = "{max_length: 1024, min_length: 5, num_beams: 5}"

# Task (folder): model, data, epochs, whether the file says how to generate.
TASKS = {
    "cifar":     ("130m", "cifar-tvt",     5,  False),
    "dart":      ("130m", "dart",          10, True),
    "glue/cola": ("130m", "glue-tvt_cola", 10, False),
    "glue/mnli": ("130m", "glue-tvt_mnli", 3,  False),
    "glue/mrpc": ("130m", "glue-tvt_mrpc", 10, False),
    "glue/qnli": ("130m", "glue-tvt_qnli", 10, False),
    "glue/qqp":  ("130m", "glue-tvt_qqp",  3,  False),
    "glue/rte":  ("130m", "glue-tvt_rte",  10, False),
    "glue/sst2": ("130m", "glue-tvt_sst2", 10, False),
    "samsum":    ("1.4b", "samsum",        10, True),
    "spider":    ("1.4b", "spider-tvt",    10, False),
    "spider28b": ("2.8b", "spider-tvt",    10, False),
}

# Learning rates. Rows: the adapter below cfg/peft ("full" trains everything), numbered from 000; columns: tasks.
BENCHMARK = """
adapter                             cifar   dart   glue/cola glue/mnli glue/mrpc glue/qnli glue/qqp glue/rte glue/sst2 samsum  spider  spider28b
full                                0.0001  0.0004 0.0001    0.0001    0.0001    0.0001    0.0001   0.0001   0.0001    0.00004 0.00004 0.00004
lora/r8/lora_all_no_embed_conv      0.0004  0.004  0.0004    0.0004    0.0004    0.0004    0.0004   0.0004   0.002     0.001   0.002   0.001
lora/r8/lora_inoutproj              0.001   0.004  0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.001   0.002   0.002
lora/r8/lora_inproj_x               0.0004  0.01   0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.002   0.002   0.002
lora/r8/lora_inproj_z               0.001   0.004  0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.001   0.004   0.002
lora/r8/lora_inproj                 0.001   0.004  0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.001   0.002   0.002
lora/r8/lora_outproj                0.004   0.004  0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.002   0.002   0.002
layer_freeze/A_log_B_C_D_delta_conv 0.0002  0.001  0.0002    0.0002    0.0002    0.0002    0.0002   0.0002   0.0002    0.0002  0.0004  0.0002
lora/r8/lora_xproj_dtproj           0.002   0.004  0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.002   0.004   0.002
layer_freeze/A_log                  0.02    0.04   0.02      0.02      0.02      0.02      0.02     0.02     0.02      0.02    0.04    0.04
layer_freeze/x_proj                 0.0004  0.002  0.0002    0.0002    0.0002    0.0002    0.0002   0.0002   0.0002    0.0004  0.001   0.0004
lora/r8/lora_xproj                  0.001   0.01   0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.004   0.004   0.004
layer_freeze/dt_proj                0.004   0.004  0.002     0.001     0.002     0.001     0.001    0.002    0.002     0.0004  0.0004  0.0004
lora/r8/lora_dtproj                 0.002   0.01   0.002     0.004     0.002     0.004     0.004    0.002    0.002     0.004   0.004   0.004
layer_freeze/conv                   0.0004  0.002  0.0004    0.0004    0.0004    0.0004    0.0004   0.0004   0.0004    0.001   0.001   0.001
layer_freeze/D_norm                 0.004   0.01   0.004     0.01      0.004     0.004     0.004    0.002    0.004     0.01    0.01    0.02
ssm_peft/init_state_conv_state_zero 0.002   0.002  0.001     0.002     0.001     0.001     0.004    0.001    0.01      0.0002  0.0004  0.001
ssm_peft/init_state_zero            0.001   0.002  0.002     0.002     0.001     0.002     0.002    0.0004   0.002     0.0002  0.001   0.0004
bitfit/conv_dt                      -       -      0.002     0.002     0.004     0.002     0.002    0.002    0.004     0.002   0.004   0.004
"""

# LoRA and SD_LORA of equal size, numbered from 0; IT is the folder of the warm-up length.
SDLORA = """
adapter                           dart  glue/cola glue/mnli glue/mrpc glue/qnli glue/qqp glue/rte glue/sst2 samsum spider
lora/r2/lora_outproj_xproj_dt_proj 0.004 0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.001  0.002
lora/r3/lora_outproj_xproj         0.004 0.001     0.001     0.001     0.001     0.001    0.002    0.001     0.0004 0.002
lora/r5/lora_outproj_dtproj        0.004 0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.0004 0.002
sd_lora/IT/n0.75_d0.99             0.004 0.001     0.001     0.002     0.001     0.001    0.001    0.001     0.0004 0.002
sd_lora/IT/n0.95_d0.99             0.004 0.001     0.001     0.001     0.001     0.001    0.001    0.001     0.0004 0.002
sd_lora/IT/n0.9_d0.99              0.002 0.001     0.001     0.001     0.001     0.001    0.002    0.001     0.0004 0.002
"""

# Where the reference's benchmark departs from its rule, by task and row number.
TEN_EPOCHS = {("glue/mnli", n) for n in (0, *range(2, 8))} | {("glue/qqp", n) for n in (0, *range(2, 8))}
NAMES = {("samsum", 0): "ft", ("samsum", 11): "lora_lora_xproj"}
NO_SAVE_UNSAID = {("glue/cola", 5), ("glue/mrpc", 5)} | {(task, 0) for task in TASKS if task.startswith("glue/")}
# The reference trains the initial states of the large models with smaller batches.
BATCH_SIZES = {("samsum", 16): 2, ("samsum", 17): 2, ("spider", 16): 2, ("spider", 17): 2, ("spider28b", 16): 1,
               ("spider28b", 17): 1}
SEED_UNSAID = {("dart", 3), ("dart", 4)}


def cells(table):
    """(task, row number, adapter, learning rate) of every cell that is not '-'."""
    lines = [line.split() for line in table.strip().splitlines()]
    tasks = lines[0][1:]
    for number, (adapter, *rates) in enumerate(lines[1:]):
        assert len(rates) == len(tasks), adapter
        for task, rate in zip(tasks, rates):
            if rate != "-":
                yield task, number, adapter, rate


def keys(task, adapter, learning_rate, **more):
    """The keys of one experiment in the order in which they are written, as YAML values."""
    model, data, epochs, generates = TASKS[task]
    result = {
        "model": MODELS[model],
        "data": data,
        "peft": "null" if adapter == "full" else f"cfg/peft/{adapter}.json",
        "prec": "bf16",
        "learning_rate": learning_rate,
        "batch_size": 4,
        "num_epochs": epochs,
        "seed": None,
        "no_save": "false",
        "eval_gen": GENERATION if generates else None,
    }
    result.update(more)
    return {key: value for key, value in result.items() if value is not None}


def experiment_files():
    """Path -> keys of every experiment."""
    files = {}
    for task, number, adapter, rate in cells(BENCHMARK):
        row = (task, number)
        more = {"batch_size": BATCH_SIZES.get(row, 4)}
        if row in TEN_EPOCHS:
            more["num_epochs"] = 10
        if row in NO_SAVE_UNSAID:
            more["no_save"] = None
        name = NAMES.get(row) or ("bitfit" if adapter == "bitfit/conv_dt" else adapter.replace("/", "_"))
        files[f"cfg/exps/benchmark/{task}/{number:03}_{name}.yaml"] = keys(task, adapter, rate, **more)
    for task, number, adapter, rate in cells(SDLORA):
        more = {"seed": None if (task, number) in SEED_UNSAID else 42}
        if task.startswith("glue/"):
            more["prec"] = "fp32"
        if task == "spider":
            more["eval_gen"] = GENERATION
        # RTE has 498 steps an epoch: its warm-up ends within the first.
        adapter = adapter.replace("/IT/", "/250it/" if task == "glue/rte" else "/500it/")
        family, *_, last = adapter.split("/")
        name = adapter.split("/", 1)[1].replace("/", "_") if family == "lora" else f"channels_and_states_outlora_{last}"
        files[f"cfg/exps/sdlora/{task}/{number}_{name}.yaml"] = keys(task, adapter, rate, **more)
    return files
