"""The operators of libmpeft_ops.so for PyTorch: put them into your own Mamba.

    import mamba_peft_ops as ops
    ops.load()                                  # or ops.load("build/release/lib/libmpeft_ops.so")
    out, last_state = ops.selective_scan(u, delta, A, B, C, D, z=z, delta_bias=bias)
    out.sum().backward()

Layout is channels-last: (batch, seqlen, channels), last axis contiguous, any other strides. Activations are float32,
bfloat16 or float16 (float64 on the CPU); everything small (A, D, biases, states, convolution and norm weights) is float32
(float64 with float64). The library runs with the PyTorch that it was built with: the version must be the same.
"""

import os
from pathlib import Path

import torch

_LIBRARY = "libmpeft_ops.so"


def find_library():
    """Path of the operator library: $MPEFT_OPS_LIBRARY, beside this file's installation, or the newest of build/*/lib."""
    named = os.environ.get("MPEFT_OPS_LIBRARY")
    if named:
        return Path(named)
    here = Path(__file__).resolve()
    candidates = [here.parent / _LIBRARY, *(folder / "lib" / _LIBRARY for folder in here.parents[:4])]
    candidates += sorted(here.parents[2].glob(f"build/*/lib/{_LIBRARY}"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"{_LIBRARY} not found: build it (scripts/build.sh), then name it with load(PATH) or $MPEFT_OPS_LIBRARY")


def load(path=None):
    """Loads the operators as torch.ops.mpeft.*; safe to call again. Returns the path of the library."""
    path = Path(path) if path else find_library()
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise OSError(f"{path}: {error}. Was it built with this PyTorch ({torch.__version__})?") from error
    return path


def _call(name, **given):
    """Calls torch.ops.mpeft.name; optional inputs that nobody gave are absent."""
    op = getattr(torch.ops.mpeft, name).default
    arguments = {a.name: None for a in op._schema.arguments if isinstance(a.type, torch.OptionalType)}
    return op(**{**arguments, **given})


def selective_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, initial_state=None, lengths=None,
                   delta_softplus=True, **options):
    """The selective scan (Gu and Dao 2023, algorithm 2) with everything around it.

        delta' = softplus(delta + delta_bias)
        h_t    = exp(delta'_t A) h_(t-1) + delta'_t u_t B_t,   y_t = C_t h_t + D u_t,   out_t = y_t silu(z_t)

    u, delta, z (batch, seqlen, d_inner); A (d_inner, d_state), negative; B, C (batch, seqlen, d_state); D, delta_bias
    (d_inner); initial_state (batch or 1, d_inner, d_state); lengths (batch) int32: steps of each row that are not padding.
    `options` are the further inputs of the operator, by name: print(torch.ops.mpeft.selective_scan.default._schema).
    Returns (out (batch, seqlen, d_inner) in u's dtype, last_state (batch, d_inner, d_state)). Differentiable.
    """
    return _call("selective_scan", u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias,
                 initial_state=initial_state, lengths=lengths, delta_softplus=delta_softplus, **options)


def causal_conv1d(x, weight, bias=None, initial_state=None, lengths=None, silu=True, **options):
    """Depthwise causal convolution, with SiLU unless told otherwise.

    x (batch, seqlen, d_inner), weight (d_inner, width), bias (d_inner), initial_state (batch or 1, width - 1, d_inner) in
    x's dtype. Returns (out, last_state (batch, width - 1, d_inner): the last inputs of each row). Differentiable.
    """
    return _call("causal_conv1d", x=x, weight=weight, bias=bias, initial_state=initial_state, lengths=lengths, silu=silu,
                 **options)


def rms_norm(x, weight, residual=None, eps=1e-5):
    """residual_out = x + residual (float32), out = residual_out / rms(residual_out) weight, in x's dtype.

    x (..., d_model), residual (..., d_model) float32, weight (d_model). Returns (out, residual_out). Differentiable.
    """
    return _call("rms_norm", x=x, residual=residual, weight=weight, eps=eps)


def cross_entropy(logits, labels, ignore_index=-100, n_valid=0):
    """Cross entropy of each row: logits (rows, columns), labels (rows) int64 -> (rows) float32, 0 where ignored.

    n_valid > 0: columns from there on do not count. Differentiable; keeps the logits for the backward.
    """
    return _call("cross_entropy", logits=logits, labels=labels, ignore_index=ignore_index, n_valid=n_valid)


def cross_entropy_take_gradient_(logits, labels, ignore_index=-100, n_valid=0, gradient_scale=1.0):
    """The losses; `logits` are overwritten by gradient_scale times the gradient of the losses' sum.

    One read and one write of the logits. For a head whose backward you write yourself; logits that require a gradient are
    refused.
    """
    return _call("cross_entropy_take_gradient_", logits=logits, labels=labels, ignore_index=ignore_index, n_valid=n_valid,
                 gradient_scale=gradient_scale)
