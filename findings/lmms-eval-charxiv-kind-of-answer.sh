#!/usr/bin/env bash
# CharXiv has four kinds of answers to its reasoning questions (`reasoning_a_type`: text or number, in the chart or derived),
# and for each an instruction and a grading rule. Another column says who thought of the question (`reasoning_q_source`, 1 to 3).
#
# One would guess: the instruction goes by the kind of answer.
# What happens (lmms-eval 0.7.3): both go by `reasoning_q_source`. A text answer to a question that a person wrote (3) is asked
# for as "a number that is explicitly written" and graded as a number, and a derived number (4) is never told its decimal places.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 tqdm==4.67.1

cat > seen.py <<'PYTHON'
import importlib
import importlib.util
import sys
import types
from pathlib import Path

# The task's own file, without lmms_eval.tasks' __init__, which imports torch; datasets and openai are only named in it.
spec = importlib.util.find_spec("lmms_eval")
tasks = types.ModuleType("lmms_eval.tasks")
tasks.__path__ = [str(Path(spec.origin).parent / "tasks")]
sys.modules["lmms_eval.tasks"] = tasks
for name, member in (("datasets", "Dataset"), ("openai", "OpenAI")):
    module = types.ModuleType(name)
    setattr(module, member, type(member, (), {}))
    sys.modules[name] = module

task = importlib.import_module("lmms_eval.tasks.charxiv.utils")
by_people = {"reasoning_q_source": 3}
for kind, question, answer in (
    (1, "Which model declines most?", "SGD"),
    (4, "How far apart are the peaks?", "0.25"),
):
    row = {"reasoning_q": question, "reasoning_a": answer, "reasoning_a_type": kind, **by_people}
    lines = task.charxiv_reasoning_doc_to_text_cot(row).splitlines()
    print(f"kind {kind}, answer {answer}: {lines[1].strip()}")
PYTHON

cat > expected.txt <<'TEXT'
kind 1, answer SGD: * Your final answer must be grounded to a number that is exlicitly written and relevant to the question in the chart, even if it's an approximate value.
kind 4, answer 0.25: * Your final answer must be grounded to a number that is exlicitly written and relevant to the question in the chart, even if it's an approximate value.
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
