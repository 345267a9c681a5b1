#!/usr/bin/env bash
# Includes go down the modules only. What a module may include is what CMakeLists.txt says it DEPENDS on: one list.
#
#   scripts/check_layering.sh
#
# Also: LibTorch's headers only in TORCH modules, kernels/<op>/{<op>,torch_*}.{h,cpp}, kernels/glue and kernels/bench;
# spdlog and fmt only in src/core; paths from the root; no build flag in a header; no <torch/torch.h>.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 - <<'PY'
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TORCH = re.compile(r"^(ATen|torch|c10|caffe2)/")
problems = []


def complain(path, line, message):
    problems.append(f"{path}:{line}: {message}")


def read_modules():
    """Name -> (modules it depends on, whether it sees LibTorch), as mpeft_add_module says."""
    text = re.sub(r"#.*", "", open("CMakeLists.txt", encoding="utf-8").read())
    modules = {}
    for call in re.findall(r"mpeft_add_module\(([^)]*)\)", text):
        words = call.split()
        depends, key = set(), None
        for word in words[1:]:
            if word in ("TORCH", "DEPENDS", "PRIVATE_LIBS"):
                key = word
            elif key == "DEPENDS":
                depends.add(word)
        modules[words[0]] = (depends, "TORCH" in words)
    return modules


def sources(top):
    for folder, _, names in sorted(os.walk(top)):
        for name in sorted(names):
            if name.endswith((".h", ".cpp", ".cu", ".cuh")):
                yield os.path.join(folder, name)


def includes(path):
    for number, line in enumerate(open(path, encoding="utf-8", errors="replace"), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def check_everywhere(path):
    header = path.endswith((".h", ".cuh"))
    for number, quote, name in includes(path):
        if name == "torch/torch.h":
            complain(path, number, "<torch/torch.h> costs 15 s a file: include what is used")
        if name.startswith(("../", "./")):
            complain(path, number, f'"{name}": write the path from the root ("mpeft/..." or "kernels/...")')
        if name.startswith(("spdlog/", "fmt/")) and not path.startswith("src/core/"):
            complain(path, number, f"<{name}>: LibTorch carries another fmt; log through mpeft/core/logging.h")
        if name.startswith("mpeft/") and not os.path.exists("include/" + name):
            complain(path, number, f'"{name}": no such header')
    if header:
        for number, line in enumerate(open(path, encoding="utf-8", errors="replace"), 1):
            if re.match(r"\s*#\s*(ifdef|ifndef|if|elif)\b.*\bMPEFT_(?!\w*_H_?\b)", line):
                complain(path, number, "a build flag in a header: let the source file or CMake choose")


def check_module(path, module, modules):
    depends, torch = modules[module]
    for number, quote, name in includes(path):
        if name.startswith("mpeft/"):
            other = name.split("/")[1]
            if other != module and other not in depends:
                complain(path, number, f'"{name}": {module} does not depend on {other} (CMakeLists.txt)')
        if name.startswith("kernels/") and "ops" not in depends:
            complain(path, number, f'"{name}": {module} does not depend on ops (CMakeLists.txt)')
        if TORCH.match(name) and not torch:
            complain(path, number, f"<{name}>: {module} is not a TORCH module (CMakeLists.txt)")
        if quote == '"' and not name.startswith(("mpeft/", "kernels/")) and not name.endswith(".def"):
            if not os.path.exists(os.path.join("src", name)) or name.split("/")[0] != module:
                complain(path, number, f'"{name}": private headers are included from src/: "{module}/..."')


def is_glue(path):
    """kernels/*.cpp, kernels/<op>/{<op>,torch_*}.{h,cpp}, what these share (glue/) and what times them (bench/)."""
    parts = path.split("/")
    stem, ending = os.path.splitext(parts[-1])
    is_torch = stem.startswith("torch_") and ending in (".h", ".cpp") and parts[1] != "common"
    return len(parts) == 2 or parts[1] in ("glue", "bench") or stem == parts[1] or is_torch


def check_kernel(path):
    for number, quote, name in includes(path):
        if name.startswith("mpeft/"):
            complain(path, number, f'"{name}": kernels are below all modules')
        if not is_glue(path):
            if TORCH.match(name):
                complain(path, number, f"<{name}>: only <op>.{{h,cpp}}, torch_*.{{h,cpp}} and kernels/glue know LibTorch")
            if name.startswith("kernels/") and name.endswith(".h") and is_glue(name) and name != "kernels/ops.def":
                complain(path, number, f'"{name}": that header has LibTorch in it')


modules = read_modules()
if not modules:
    sys.exit("check_layering: no mpeft_add_module(...) found in CMakeLists.txt")
count = 0
for top in ("include", "src", "kernels", "tests"):
    for path in sources(top):
        count += 1
        check_everywhere(path)
        parts = path.split("/")
        if top == "kernels":
            check_kernel(path)
        elif top in ("include", "src"):
            module = parts[2] if top == "include" else parts[1]
            if module in modules:
                check_module(path, module, modules)
            elif module != "app":
                complain(path, 1, f"{module} is no module of CMakeLists.txt")
for problem in problems:
    print(problem, file=sys.stderr)
if problems:
    sys.exit(f"layering: {len(problems)} problems")
print(f"layering: {count} files, {len(modules)} modules, includes go down only")
PY
