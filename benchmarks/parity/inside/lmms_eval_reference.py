"""lmms-eval's own scores of recorded answers: its `simple_evaluate`, one process, one thread, one task at a time.

Runs in the interpreter that has lmms-eval: `lmms_eval_reference.py FOLDER TASK …`. Writes `FOLDER/TASK.json`, and
makes the answers as it goes: by turns what is right, another document's answer, prose around either, nothing, and what
nobody can parse.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def texts(targets: list[Any]) -> Iterator[str]:
    """One answer for each document."""
    for place, target in enumerate(targets):
        right = _said(target)
        wrong = _said(targets[(place + 3) % len(targets)])
        yield (
            right,
            wrong,
            f"Let me look at the picture. There is something in the corner, so the answer is {right}.",
            right.lower(),
            "",
            f"<think>It could be {wrong}.</think>Answer: {right}",
            "??? ((( \u00a7\u00a7 ,,,, \\frac{",
            f"({right}) {right}",
            f"I first thought {right}, but on reflection I choose {wrong}\n\nFinal answer: {wrong}.",
        )[place % 9]


def likelihoods(place: int, options: int) -> str:
    """Sums of log-probabilities, tokens and whether these were the likeliest, as a backend of Muster writes them."""
    return json.dumps(
        [
            [-0.37 * (1 + (7 * place + 3 * k) % 11), 1 + (place + k) % 5, (place + k) % 3 == 0]
            for k in range(options)
        ]
    )


def losses(text: str) -> list[tuple[float, bool]]:
    return [(-summed / tokens, greedy) for summed, tokens, greedy in json.loads(text)]


def in_rounds(said: dict[str, str]) -> dict[str, list[str]]:
    """As many answers as there may be rounds: by turns colours, numbers, yes and no, among what else is said."""
    usual, others = ("Yes", "No", "2", "red", "It is blue.", "3 times", "Yes."), list(said.values())
    return {
        name: [
            usual[(place + k) % 7] if (place + k) % 3 else others[(5 * place + k) % len(others)]
            for k in range(9)
        ]
        for place, name in enumerate(said)
    }


def _said(target: Any) -> str:
    if isinstance(target, (list, tuple)):
        if target and all(isinstance(each, (int, float)) for each in target):
            return "[" + ", ".join(f"{each:.3f}" for each in target) + "]"
        return _said(target[0]) if target else ""
    return str(target)


def main() -> None:
    """Write the answers and the scores of each task, or why there are none."""
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    from lmms_eval import __main__ as command
    from lmms_eval import evaluator
    from lmms_eval.api.model import lmms
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager, get_task_dict

    class Recorded(lmms):  # type: ignore[misc]
        is_simple = False

        def generate_until(self, requests: Any) -> list[str]:
            return [answers[each.args[-2]][str(each.args[-3])] for each in requests]

        def generate_until_multi_round(self, requests: Any) -> list[list[str]]:
            """By the loop of lmms-eval's own chat model; what it would ask is answered from the record."""
            from lmms_eval.models.chat.vllm import VLLM

            said = []
            for each in requests:
                self.left = iter(answers[each.args[-2]][str(each.args[-3])])
                said += VLLM.generate_until_multi_round(self, [each])
            return said

        def _resolve_sampling_params(self, settings: Any) -> Any:
            return settings

        def _to_openai_messages(self, messages: Any) -> Any:
            return messages

        def _chat_once(self, _messages: Any, _settings: Any) -> str:
            return str(next(self.left))

        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            """The mean loss of each option, as lmms-eval's models have it."""
            return [losses(answers[each.args[-2]][str(each.args[-3])])[each.idx] for each in requests]

    class RecordedSimply(Recorded):
        """Its chat models are asked for no likelihoods."""

        is_simple = True

    unwrap = evaluator.unwrap_generation_output

    def unwrapped(output: Any) -> Any:
        """0.7.3 makes a text of a likelihood, which its own scoring then can't read; here it stays what it is."""
        return (
            (output, None) if isinstance(output, tuple) and isinstance(output[0], float) else unwrap(output)
        )

    evaluator.unwrap_generation_output = unwrapped
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(float(seconds), 0.02))  # before it asks a judge again
    sys.argv = ["lmms_eval", "--output_path", "submissions"]
    parsed = command.parse_eval_args()
    arguments = parsed[-1] if isinstance(parsed, tuple) else parsed
    manager = TaskManager("ERROR", include_path=str(Path(__file__).parent / "tasks"))
    answers: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {"bootstrap_iters": 0, "log_samples": False, "cli_args": arguments}
    if "process_docs_parallel" in inspect.signature(simple_evaluate).parameters:
        options["process_docs_parallel"] = 1  # with four threads a guess at random is anybody's
    for name in names:
        began, simply = time.time(), False
        answers.clear()
        try:
            for task_name, task in _leaves(get_task_dict([name], manager, "chat")):
                docs = task.eval_docs_no_media
                made = texts([_target(task, docs[each]) for each in range(len(docs))])
                answers[task_name] = {str(each): text for each, text in enumerate(made)}
                if "multi_round" in task.OUTPUT_TYPE:
                    answers[task_name] = in_rounds(answers[task_name])
                if task.OUTPUT_TYPE == "multiple_choice":
                    simply = True
                    counts = [len(task.doc_to_choice(docs[each])) for each in range(len(docs))]
                    answers[task_name] = {str(i): likelihoods(i, count) for i, count in enumerate(counts)}
            model = RecordedSimply() if simply else Recorded()
            found = simple_evaluate(model=model, tasks=[name], task_manager=manager, **options)
            scores = {task: _numbers(values) for task, values in found["results"].items()}
            written: dict[str, Any] = {"answers": answers, "scores": scores}
        except BaseException as error:
            written = {"error": f"{type(error).__name__}: {_inner(error)}"[:300]}
        said = str(written.get("scores", written))[:200]
        print(name, f"{time.time() - began:.1f} s", said, file=sys.stderr, flush=True)
        (folder / f"{name}.json").write_text(json.dumps(written), encoding="utf-8")
    os._exit(0)


def _target(task: Any, doc: Any) -> Any:
    """What would be right. Where the task's target doesn't say it, or what to click: the document's own columns."""
    target = task.doc_to_target(doc)
    if doc.get("bbox") and not isinstance(target, list):
        left, top, right, bottom = (float(each) for each in doc["bbox"][:4])
        return [(left + right) / 2, (top + bottom) / 2]
    if target in (doc.get("candidates") or ()):
        return "ABCDE"[doc["candidates"].index(target)]
    if "video_idx" in doc and str(target).isdigit():
        return "ABCDE"[int(target)]
    if "correct_choice" in doc:
        return "ABCDE"[doc["correct_choice"]]
    if corners := doc.get("box_coordinates"):
        around = [corners[0], corners[1], corners[0] + corners[2], corners[1] + corners[3]]
        points = {"bbox": around, "refusal": [-1, -1]}.get(doc["box_type"], corners)
        return [sum(points[k::2]) / (len(points) // 2) for k in (0, 1)]
    if target in ("answer", None) and isinstance(doc.get("answers"), list) and doc["answers"]:
        first = doc["answers"][0]
        return first["answer"] if isinstance(first, dict) else first
    return target


def _inner(error: BaseException) -> str:
    attempt = getattr(error, "last_attempt", None)
    return repr(attempt.exception()) if attempt is not None else str(error)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        found += _leaves(value) if isinstance(value, dict) else [(str(name), value)]
    return found


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key.removesuffix(",none"): value
        for key, value in values.items()
        if "_stderr" not in key and key not in ("alias", "samples", " ")
    }


if __name__ == "__main__":
    main()
