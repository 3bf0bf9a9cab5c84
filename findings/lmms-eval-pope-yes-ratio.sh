#!/usr/bin/env bash
# POPE's yes-ratio is the share of questions that a model answers with yes: far from one half, it is biased.
#
# One would guess: 0 for a model that always says no, 1 for one that always says yes.
# What happens (lmms-eval 0.7.3): 0.5 for both (and for any model on balanced data), because the right answers are counted.
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

scorer = importlib.import_module("lmms_eval.tasks.pope.utils")
for answer in "yes", "no":
    results = [
        scorer.pope_process_results({"question_id": str(number), "answer": right}, [answer])["pope_yes_ratio"]
        for number, right in enumerate(["yes", "no"] * 5)
    ]
    print(f"always {answer!r}: yes-ratio", scorer.pope_aggregate_yes_ratio(results))
PYTHON

cat > expected.txt <<'TEXT'
always 'yes': yes-ratio 0.5
always 'no': yes-ratio 0.5
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
