"""Mamba-1 in plain PyTorch, one loop over time: the definition, for fp64.

transformers cannot serve as the fp64 truth: its norms, decay rates and time-step bias are cast to fp32 whatever the dtype of
the weights. Written from the paper (Gu and Dao 2023, section 3.4) and the checkpoint's tensor names.
"""

import torch
import torch.nn.functional as F


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def mixer(p, prefix, u, d_state, d_conv):
    """u (batch, seqlen, d_model) -> same; p: tensors by checkpoint name."""
    get = lambda name: p.get(f"{prefix}.{name}")
    x, z = F.linear(u, get("in_proj.weight"), get("in_proj.bias")).chunk(2, dim=-1)  # (batch, seqlen, d_inner) each
    d_inner = x.shape[-1]
    x = F.conv1d(F.pad(x.transpose(1, 2), (d_conv - 1, 0)), get("conv1d.weight"), get("conv1d.bias"), groups=d_inner)
    x = F.silu(x.transpose(1, 2))
    dt_rank = get("dt_proj.weight").shape[1]
    dt, B, C = F.linear(x, get("x_proj.weight")).split([dt_rank, d_state, d_state], dim=-1)
    delta = F.softplus(F.linear(dt, get("dt_proj.weight"), get("dt_proj.bias")))  # (batch, seqlen, d_inner)
    A = -torch.exp(get("A_log"))  # (d_inner, d_state)
    h = x.new_zeros(x.shape[0], d_inner, d_state)
    ys = []
    for t in range(x.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)
        h = decay * h + (delta[:, t] * x[:, t])[:, :, None] * B[:, t, None, :]
        ys.append((h * C[:, t, None, :]).sum(-1))
    y = torch.stack(ys, dim=1) + get("D") * x
    return F.linear(y * F.silu(z), get("out_proj.weight"), get("out_proj.bias"))


def logits(p, ids, config):
    """ids (batch, seqlen) -> (batch, seqlen, vocab_size) in the dtype of p. config: transformers' MambaConfig."""
    hidden = F.embedding(ids, p["backbone.embeddings.weight"])
    for i in range(config.num_hidden_layers):
        layer = f"backbone.layers.{i}"
        normed = rms_norm(hidden, p[f"{layer}.norm.weight"], config.layer_norm_epsilon)
        hidden = hidden + mixer(p, f"{layer}.mixer", normed, config.state_size, config.conv_kernel)
    hidden = rms_norm(hidden, p["backbone.norm_f.weight"], config.layer_norm_epsilon)
    return F.linear(hidden, p.get("lm_head.weight", p["backbone.embeddings.weight"]))


def parameters(model, dtype=torch.float64, requires_grad=False):
    """The parameters of a transformers model as `p` above (a tied head once)."""
    return {name: t.detach().to(dtype).requires_grad_(requires_grad) for name, t in model.named_parameters()}


def relative_error(a, b):
    """L2 error of a against b over the L2 norm of b."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-300))
