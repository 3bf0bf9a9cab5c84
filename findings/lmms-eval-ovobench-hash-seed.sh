#!/usr/bin/env bash
# OVO-Bench's forward score is the mean of the accuracies of three tasks.
#
# One would guess: the same answers get the same score, to the last digit.
# What happens (lmms-eval 0.7.3): the tasks are added up in the order of a set of their names, which Python changes from process
# to process (PYTHONHASHSEED), so the same answers get one of two scores. MLVU's dev score is added up so, too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 loguru==0.7.3 filelock==3.20.3

cat > seen.py <<'PYTHON'
import contextlib
import importlib
import importlib.util
import io
import sys
import types
from pathlib import Path

# The scorer's own files, without lmms_eval.tasks' __init__, which imports torch and datasets.
spec = importlib.util.find_spec("lmms_eval")
tasks = types.ModuleType("lmms_eval.tasks")
tasks.__path__ = [str(Path(spec.origin).parent / "tasks")]
sys.modules["lmms_eval.tasks"] = tasks
scorer = importlib.import_module("lmms_eval.tasks.ovobench.utils")

# 1 of 10 right, 2 of 10, 3 of 10.
results = [
    {"task": task, "test_info": [{"response": "Yes" if number < right else "No", "type": 1} for number in range(10)]}
    for task, right in (("SSR", 1), ("CRR", 2))
]
results.append({"task": "REC", "test_info": [{"response": str(number), "count": min(number, 2)} for number in range(10)]})
with contextlib.redirect_stdout(io.StringIO()):
    score = scorer.ovo_forward_acc(results, None)
print(score)
PYTHON

cat > expected.txt <<'TEXT'
20.0
20.000000000000004
TEXT

for seed in $(seq 0 19); do
  PYTHONHASHSEED=$seed venv/bin/python seen.py
done | sort -u | tee seen.txt
diff expected.txt seen.txt
