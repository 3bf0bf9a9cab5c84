#!/usr/bin/env bash
# ChartQA accepts numbers within 5 % of the right one, whatever way they are written.
#
# One would guess: "0.0" is right for "0", as "5.0" is for "5".
# What happens (lmms-eval 0.7.3): a right answer of zero counts as no number, so the two are compared as texts: "0.0", "0%" and
# "0.00" are wrong for "0".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 PyYAML==6.0.4 loguru==0.7.3 numpy==2.4.6

cat > seen.py <<'PYTHON'
import importlib
import importlib.util
import sys
import types
from pathlib import Path

# The scorers' own files, without lmms_eval.tasks' __init__, which imports torch and datasets.
spec = importlib.util.find_spec("lmms_eval")
tasks = types.ModuleType("lmms_eval.tasks")
tasks.__path__ = [str(Path(spec.origin).parent / "tasks")]
sys.modules["lmms_eval.tasks"] = tasks

scorer = importlib.import_module("lmms_eval.tasks.chartqa.utils")
for answer, right in ("5.0", "5"), ("5.00", "5"), ("0", "0"), ("0.0", "0"), ("0.00", "0"), ("0%", "0"):
    print(f"{answer} for {right}:", scorer.relaxed_correctness(answer, right))
PYTHON

cat > expected.txt <<'TEXT'
5.0 for 5: True
5.00 for 5: True
0 for 0: True
0.0 for 0: False
0.00 for 0: False
0% for 0: False
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
