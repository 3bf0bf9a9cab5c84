#!/usr/bin/env bash
# A task of the kind `multiple_choice` asks a model how likely each option is: `loglikelihood` returns (loss, is it greedy).
#
# One would guess: the task's scoring gets these pairs, and takes the option with the least loss.
# What happens (lmms-eval 0.7.3): the evaluator passes every output through `unwrap_generation_output`, which knows texts only
# and makes the text "(0.37, True)" of a pair. `multiple_choice`'s own scoring then takes 12 characters apart where it wants
# two numbers, and raises: seedbench_ppl, egoschema_subset_mcppl, worldqa_mc_ppl and others can't be scored.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3

cat > seen.py <<'PYTHON'
import ast
import importlib
import importlib.util
import sys
import types
from pathlib import Path

# The file itself, without lmms_eval's __init__, which imports torch and datasets.
folder = Path(importlib.util.find_spec("lmms_eval").origin).parent
for name in ("lmms_eval", "lmms_eval.api"):
    package = types.ModuleType(name)
    package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package
unwrap = importlib.import_module("lmms_eval.api.instance").unwrap_generation_output

# What its evaluator keeps of a model's `loglikelihood` for two options, and the first line of the scoring of it.
kept = [unwrap(output)[0] for output in [(0.37, True), (1.25, False)]]
print("kept:", kept)
try:
    losses, greedy = zip(*kept)
except ValueError as error:
    print("ValueError:", error)

calls = [
    (node.func.id, ast.unparse(node.args[0]))
    for node in ast.walk(ast.parse((folder / "evaluator.py").read_text()))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == unwrap.__name__
]
print("the evaluator calls it for every kind of request:", calls[-1])
scoring = (folder / "api" / "task.py").read_text()
print("the scoring begins with:", "lls, is_greedy = zip(*results)" in scoring)
PYTHON

cat > expected.txt <<'TEXT'
kept: ['(0.37, True)', '(1.25, False)']
ValueError: too many values to unpack (expected 2)
the evaluator calls it for every kind of request: ('unwrap_generation_output', 'x')
the scoring begins with: True
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
