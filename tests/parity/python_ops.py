"""Compares the operators, called from Python, with plain PyTorch: values and gradients in float64, float32 and bfloat16,
second derivatives refused, and torch.library.opcheck. Needs the PyTorch that the library was built with.

    tests/parity/python_ops.py --library build/release/lib/libmpeft_ops.so [--device cuda]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "python"))
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    skip(f"{error}: an interpreter with the PyTorch that the library was built with is needed")
import mamba_peft_ops as ops


def plain_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, initial_state=None):
    wide, stored = A.dtype, u.dtype
    u, delta, B, C = (t.to(wide) for t in (u, delta, B, C))
    delta = F.softplus(delta if delta_bias is None else delta + delta_bias)
    batch, seqlen, d_inner = u.shape
    h = torch.zeros(batch, d_inner, A.shape[1], dtype=wide, device=u.device) if initial_state is None else initial_state
    ys = []
    for t in range(seqlen):
        h = torch.exp(delta[:, t, :, None] * A) * h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None, :]
        ys.append((h * C[:, t, None, :]).sum(-1))
    y = torch.stack(ys, 1)
    if D is not None:
        y = y + D * u
    return (y if z is None else y * F.silu(z.to(wide))).to(stored), h


def plain_conv(x, weight, bias=None, initial_state=None):
    wide, width = weight.dtype, weight.shape[1]
    before = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if initial_state is None else initial_state.expand(x.shape[0], -1, -1)
    window = torch.cat([before, x], 1)
    y = F.conv1d(window.to(wide).transpose(1, 2), weight[:, None], bias, groups=weight.shape[0]).transpose(1, 2)
    return F.silu(y).to(x.dtype), window[:, x.shape[1]:]


def plain_norm(x, weight, residual=None, eps=1e-5):
    r = x.to(weight.dtype) if residual is None else x.to(weight.dtype) + residual
    return (r * torch.rsqrt(r.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype), r


def plain_loss(logits, labels):
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return (F.cross_entropy(logits.to(wide), labels, reduction="none"),)


def draw(generator, dtype, device):
    """Inputs by name for each operator: activations in dtype, small tensors in float32 (float64 with float64)."""
    small = torch.float64 if dtype == torch.float64 else torch.float32

    def normal(*shape, dtype=small, scale=1.0):
        value = torch.randn(*shape, generator=generator, dtype=torch.float32) * scale
        return value.to(device, dtype).requires_grad_()

    def act(*shape):
        return normal(*shape, dtype=dtype)

    b, t, d, n = 2, 19, 24, 8
    A = (-torch.rand(d, n, generator=generator) - 0.1).to(device, small).requires_grad_()
    labels = torch.tensor([3, 0, 60, -100, 7], device=device)
    return {
        "selective_scan": (ops.selective_scan, plain_scan,
                           dict(u=act(b, t, d), delta=act(b, t, d), A=A, B=act(b, t, n), C=act(b, t, n), D=normal(d), z=act(b, t, d),
                                delta_bias=normal(d), initial_state=normal(b, d, n))),
        "selective_scan, bare": (ops.selective_scan, plain_scan, dict(u=act(b, t, d), delta=act(b, t, d), A=A, B=act(b, t, n), C=act(b, t, n))),
        "causal_conv1d": (ops.causal_conv1d, plain_conv,
                          dict(x=act(b, t, d), weight=normal(d, 4), bias=normal(d), initial_state=act(b, 3, d))),
        "rms_norm": (ops.rms_norm, plain_norm, dict(x=act(b, t, d), weight=normal(d), residual=normal(b, t, d))),
        "cross_entropy": (lambda logits, labels: (ops.cross_entropy(logits, labels),), plain_loss, dict(logits=act(5, 61), labels=labels)),
    }


def run(function, inputs, seed, dtype):
    """Outputs, then the gradients of a random weighting of them, the same for every precision: rounded to dtype."""
    generator = torch.Generator().manual_seed(seed)
    leaves = {k: v.detach().clone().requires_grad_(v.requires_grad) for k, v in inputs.items()}
    outputs = [o for o in function(**leaves)]
    loss = sum((o * torch.randn(o.shape, generator=generator).to(dtype).to(o.device, o.dtype)).sum() for o in outputs if o.requires_grad)
    wanted = {k: v for k, v in leaves.items() if v.requires_grad}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return {**{f"output {i}": o.detach() for i, o in enumerate(outputs)}, **{f"d{k}": g for k, g in zip(wanted, gradients)}}


def relative(a, truth):
    a, truth = a.double().cpu(), truth.double().cpu()
    return ((a - truth).norm() / truth.norm().clamp_min(1e-30)).item()


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, ok, text):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        if not ok:
            print("FAILED", text)


def compare(check, dtype, device):
    for name, (ours, plain, inputs) in draw(torch.Generator().manual_seed(1), dtype, device).items():
        exact_inputs = {k: v.detach().double().requires_grad_(v.requires_grad) if v.is_floating_point() else v for k, v in inputs.items()}
        truth, naive, got = (run(plain, exact_inputs, 2, dtype), run(plain, inputs, 2, dtype), run(ours, inputs, 2, dtype))
        for key, value in truth.items():
            error = relative(got[key], value)
            bound = 2 * relative(naive[key], value) + 2e-6
            check(got[key].dtype == naive[key].dtype, f"{name} {dtype} {key}: is {got[key].dtype}, expected {naive[key].dtype}")
            check(error <= bound, f"{name} {dtype} {device} {key}: relative error {error:.1e}, more than {bound:.1e}")


def check_opcheck(check, device):
    dtype = torch.float32
    for name, (_, _, inputs) in draw(torch.Generator().manual_seed(3), dtype, device).items():
        op = getattr(torch.ops.mpeft, name.split(",")[0]).default
        arguments = {a.name: None for a in op._schema.arguments if isinstance(a.type, torch.OptionalType)}
        if name.startswith("selective_scan"):
            arguments["delta_softplus"] = True
        if name == "causal_conv1d":
            arguments["silu"] = True
        if name == "rms_norm":
            arguments["eps"] = 1e-5
        try:
            torch.library.opcheck(op, (), {**arguments, **inputs})
            check(True, name)
        except Exception as error:  # noqa: BLE001: whatever opcheck finds is the message
            check(False, f"opcheck {name}: {error}")
    logits, labels = torch.randn(5, 61, device=device), torch.arange(5, device=device)
    for op, inputs in ((torch.ops.mpeft.cross_entropy_take_gradient_.default, (logits, labels)),
                       (torch.ops.mpeft.decode_linear.default, (torch.randn(3, 32, device=device), torch.randn(16, 32, device=device)))):
        try:
            torch.library.opcheck(op, inputs)
            check(True, op.name())
        except Exception as error:  # noqa: BLE001
            check(False, f"opcheck {op.name()}: {error}")


def check_in_place(check, device):
    logits = torch.randn(6, 1003, device=device)
    labels = torch.randint(1003, (6,), device=device)
    leaf = logits.clone().requires_grad_()
    expected = F.cross_entropy(leaf, labels, reduction="none")
    gradient, = torch.autograd.grad(expected.sum(), leaf)
    losses = ops.cross_entropy_take_gradient_(logits, labels, gradient_scale=2.0)
    check(relative(losses, expected.detach()) < 1e-6, "losses in place")
    check(relative(logits, 2 * gradient) < 2e-6, "gradient in place")
    try:
        ops.cross_entropy_take_gradient_(leaf, labels)
        check(False, "logits that require a gradient were overwritten")
    except RuntimeError as error:
        check("cannot be overwritten" in str(error), f"message: {error}")


def check_second_derivative(check, device):
    x, weight = torch.randn(2, 8, device=device, requires_grad=True), torch.ones(8, device=device)
    dx, = torch.autograd.grad(ops.rms_norm(x, weight)[0].sum(), x, create_graph=True)
    try:
        dx.sum().backward()
        check(False, "a second derivative was given")
    except RuntimeError as error:
        check("cannot be differentiated again" in str(error), f"message: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, help="libmpeft_ops.so (default: $MPEFT_OPS_LIBRARY, else the newest of build/*/lib)")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    try:
        path = ops.load(arguments.library)
    except OSError as error:
        skip(error)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        skip("no GPU here")
    check = Checks()
    dtypes = [torch.float32, torch.bfloat16, torch.float16] + ([torch.float64] if arguments.device == "cpu" else [])
    for dtype in dtypes:
        compare(check, dtype, arguments.device)
    check_opcheck(check, arguments.device)
    check_in_place(check, arguments.device)
    check_second_derivative(check, arguments.device)
    print(f"{path}, PyTorch {torch.__version__}, {arguments.device}: {check.passed} checks passed, {check.failed} failed")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
