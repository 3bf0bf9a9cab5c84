#!/usr/bin/env bash
# MMMU-Pro asks the same questions as text with pictures and, in the setting "vision", all in one picture.
#
# One would guess: lmms-eval reads the letter out of an answer in both settings.
# What happens (lmms-eval 0.7.3): it looks for a letter where the sample has the fields `question` and `options`. Vision
# samples have no `question`, so the whole answer is compared: "B." and "(B)" are wrong for B, and the two settings' scores,
# which are averaged, aren't measured alike.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 PyYAML==6.0.4 loguru==0.7.3 numpy==2.4.6

cat > seen.py <<'PYTHON'
import contextlib
import importlib
import importlib.util
import io
import sys
import types
from pathlib import Path

# The scorers' own files, without lmms_eval.tasks' __init__, which imports torch and datasets.
spec = importlib.util.find_spec("lmms_eval")
tasks = types.ModuleType("lmms_eval.tasks")
tasks.__path__ = [str(Path(spec.origin).parent / "tasks")]
sys.modules["lmms_eval.tasks"] = tasks

scorer = importlib.import_module("lmms_eval.tasks.mmmu_pro.utils")
vision = {"id": "test_Math_1", "subject": "Math", "options": "['three', 'four']", "answer": "B"}
standard = vision | {"question": "How many sides has a square?"}
for answer in "B", "B.", "(B)", "The answer is B":
    scores = []
    for sample in standard, vision:
        result = scorer.mmmu_pro_process_results(sample, [answer])["mmmu_acc"]
        with contextlib.redirect_stdout(io.StringIO()):
            scores.append(scorer.mmmu_pro_aggregate_results([result]))
    print(f"{answer!r}: standard {scores[0]}, vision {scores[1]}")
PYTHON

cat > expected.txt <<'TEXT'
'B': standard 1.0, vision 1.0
'B.': standard 1.0, vision 0.0
'(B)': standard 1.0, vision 0.0
'The answer is B': standard 1.0, vision 0.0
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
