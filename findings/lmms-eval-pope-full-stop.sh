#!/usr/bin/env bash
# POPE and MME both ask yes or no.
#
# One would guess: lmms-eval takes "Yes." and "Yes, there is a dog." for yes in both.
# What happens (lmms-eval 0.7.3): in MME it does; in POPE the answer is only stripped and put in lower case, so that both are
# wrong, and a model that writes a full stop has an accuracy of 0.
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

pope = importlib.import_module("lmms_eval.tasks.pope.utils")
mme = importlib.import_module("lmms_eval.tasks.mme.utils")
for answer in "Yes", " yes ", "Yes.", "Yes, there is a dog.":
    result = pope.pope_process_results({"question_id": "1", "answer": "yes"}, [answer])["pope_accuracy"]
    print(f"{answer!r}: MME reads {mme.parse_pred_ans(answer)}, POPE scores {result['score']}")
PYTHON

cat > expected.txt <<'TEXT'
'Yes': MME reads yes, POPE scores 1.0
' yes ': MME reads yes, POPE scores 1.0
'Yes.': MME reads yes, POPE scores 0.0
'Yes, there is a dog.': MME reads yes, POPE scores 0.0
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
