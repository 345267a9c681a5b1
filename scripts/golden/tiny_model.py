"""The tiny random model of the golden files: odd sizes, no parameter left at a value that hides an error (1, 0, -n)."""

import torch
from transformers import MambaConfig, MambaForCausalLM


def make(seed=20240601, **overrides):
    sizes = dict(vocab_size=53, hidden_size=20, state_size=16, num_hidden_layers=2, conv_kernel=4, expand=2,
                 time_step_rank=3, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    torch.manual_seed(seed)
    model = MambaForCausalLM(MambaConfig(**{**sizes, **overrides})).float().eval()
    noise = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=noise)
            if name.endswith(("embeddings.weight", "lm_head.weight")):
                p.copy_(r * 0.4)
            elif name.endswith(("A_log", ".D", "norm.weight", "norm_f.weight")):
                p.add_(r * 0.2)
            elif name.endswith(("conv1d.bias", "in_proj.bias", "out_proj.bias")):
                p.copy_(r * 0.3)
            elif name.endswith("dt_proj.bias"):
                p.add_(r * 0.5 + 1.0)
            else:
                p.mul_(1.5)
    return model
