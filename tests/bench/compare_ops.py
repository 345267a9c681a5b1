"""Times the operators on a GPU beside mamba_ssm and causal_conv1d, where those are installed: median ms and our share of theirs.

    tests/bench/compare_ops.py [--library build/release/lib/libmpeft_ops.so] [--json]

The forward as training runs it, then forward and backward, each repeated in one CUDA graph so that Python's time does
not count; the backward is the difference. Each pair is compared first: outputs that differ by more than bf16 allows end
the program. Layouts are each side's own: channels-last here, (batch, channels, seqlen) there. Exit status 77: nothing
to run on.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "python"))

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
import mamba_peft_ops as ops

SHAPES = [(1, 1536, 512), (4, 1536, 128), (4, 1536, 512), (4, 1536, 600), (4, 1536, 2048), (4, 4096, 512), (4, 4096, 2048), (4, 5120, 2048)]


def peers():
    found = {}
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        found["scan"] = selective_scan_fn
    except ImportError as error:
        print(f"mamba_ssm: not here ({error})", file=sys.stderr)
    try:
        from causal_conv1d import causal_conv1d_fn
        found["conv"] = causal_conv1d_fn
    except ImportError as error:
        print(f"causal_conv1d: not here ({error})", file=sys.stderr)
    return found


def median_ms(call):
    for _ in range(3):
        call()
    times = []
    for _ in range(25):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


REPEATS = 10  # in one graph: the time to start it does not count


def graph_ms(call):
    """Median time of one call on the GPU alone: calls recorded in a CUDA graph, so that Python's time does not count."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            call()
    return median_ms(graph.replay) / REPEATS


def time_pair(forward, inputs, dout):
    """Output; milliseconds of the forward as training runs it, and of the backward."""
    fwd = graph_ms(forward)
    both = graph_ms(lambda: torch.autograd.grad(forward(), inputs, dout))
    return forward().detach(), fwd, both - fwd


def require_alike(name, ours, theirs):
    error = ((ours - theirs).float().norm() / theirs.float().norm()).item()
    if not error <= 2e-2:
        sys.exit(f"{name}: outputs differ by {error:.1e}: not timed")


def leaf(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype).requires_grad_()


def swapped(t):
    return t.detach().transpose(1, 2).contiguous().requires_grad_()


def scan(peer, b, d, t, n=16):
    u, delta, z, B, C = leaf(b, t, d), leaf(b, t, d), leaf(b, t, d), leaf(b, t, n), leaf(b, t, n)
    A = (-torch.rand(d, n, device="cuda") - 0.5).requires_grad_()
    D, bias = leaf(d, dtype=torch.float32), leaf(d, dtype=torch.float32)
    dout = torch.randn_like(u)
    out, fwd, bwd = time_pair(lambda: ops.selective_scan(u, delta, A, B, C, D, z, bias)[0], [u, delta, A, B, C, D, z, bias], dout)
    if peer is None:
        return fwd, bwd, None, None
    pu, pdelta, pz, pB, pC = (swapped(x) for x in (u, delta, z, B, C))
    theirs, pfwd, pbwd = time_pair(lambda: peer(pu, pdelta, A, pB, pC, D, pz, bias, delta_softplus=True),
                                   [pu, pdelta, A, pB, pC, D, pz, bias], dout.transpose(1, 2).contiguous())
    require_alike("scan", out, theirs.transpose(1, 2))
    return fwd, bwd, pfwd, pbwd


def conv(peer, b, d, t):
    x, weight, bias = leaf(b, t, d), leaf(d, 4, dtype=torch.float32), leaf(d, dtype=torch.float32)
    dout = torch.randn_like(x)
    out, fwd, bwd = time_pair(lambda: ops.causal_conv1d(x, weight, bias)[0], [x, weight, bias], dout)
    if peer is None:
        return fwd, bwd, None, None
    px = swapped(x)
    pweight, pbias = (w.detach().bfloat16().requires_grad_() for w in (weight, bias))
    theirs, pfwd, pbwd = time_pair(lambda: peer(px, pweight, pbias, activation="silu"), [px, pweight, pbias], dout.transpose(1, 2).contiguous())
    require_alike("conv", out, theirs.transpose(1, 2))
    return fwd, bwd, pfwd, pbwd


def loss(_, rows, columns, __):
    logits, labels = leaf(rows, columns), torch.randint(columns, (rows,), device="cuda")

    def ours():
        return ops.cross_entropy(logits, labels).sum()

    def theirs():
        return F.cross_entropy(logits.float(), labels, reduction="sum")

    require_alike("loss", ours().detach(), theirs().detach())
    one = torch.ones((), device="cuda")
    _, fwd, bwd = time_pair(ours, [logits], one)
    _, pfwd, pbwd = time_pair(theirs, [logits], one)
    return fwd, bwd, pfwd, pbwd


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, help="libmpeft_ops.so (default: $MPEFT_OPS_LIBRARY, else the newest of build/*/lib)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: no GPU here")
        sys.exit(77)
    ops.load(arguments.library)
    torch.manual_seed(0)
    found = peers()
    runs = [("scan", scan, s) for s in SHAPES] + [("conv", conv, s) for s in SHAPES]
    runs += [("loss (PyTorch)", loss, (rows, 50280, 1)) for rows in (64, 256, 2048)]
    rows = []
    for name, run, shape in runs:
        fwd, bwd, pfwd, pbwd = run(found.get(name), *shape)
        rows.append({"op": name, "shape": shape, "forward_ms": fwd, "backward_ms": bwd, "peer_forward_ms": pfwd, "peer_backward_ms": pbwd})
        if not arguments.json:
            def cell(ours, theirs):
                return f"{ours:9.4f}" + (f" {theirs:9.4f}  x {ours / theirs:.2f}" if theirs else " " * 18)
            print(f"{name:15s} {str(shape):20s} forward {cell(fwd, pfwd)}   backward {cell(bwd, pbwd)}", flush=True)
    if arguments.json:
        print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
