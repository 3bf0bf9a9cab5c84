"""A user's own task in rounds: a colour is guessed, three times at most, each time with all that was said before."""

from __future__ import annotations

from typing import Any


class Guesses:
    """What is told from round to round; no JSON can hold it."""

    def __init__(self, messages: list[Any]) -> None:
        self.messages = messages


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    return [doc["image"].convert("RGB")]


def doc_to_text(doc: dict[str, Any]) -> str:
    return f"{doc['question']} Answer with one word."


def doc_to_messages(
    doc: dict[str, Any],
    round_idx: int | None = None,
    previous_output: Any = None,
    previous_round_info: Any = None,
) -> Any:
    first = [{"type": "image", "url": doc_to_visual(doc)[0]}, {"type": "text", "text": doc_to_text(doc)}]
    if round_idx is None:
        return [{"role": "user", "content": first}]
    before = previous_round_info.messages if previous_round_info else [{"role": "user", "content": first}]
    said = previous_output[-1]
    if doc["answer"] in said.lower() or round_idx == 3:
        return None, True, previous_output, None
    again = [
        {"type": "text", "text": f"It isn't {said[:20]}. Look again, closer:"},
        {"type": "image", "url": doc["image"].convert("RGB").resize((96, 64))},
    ]
    talk = [
        *before,
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
        {"role": "user", "content": again},
    ]
    return talk, False, previous_output, Guesses(talk)


def process_results(doc: dict[str, Any], results: Any) -> dict[str, float]:
    [guesses] = results
    right = doc["answer"] in guesses[-1].lower()
    return {"guessed": (4 - len(guesses)) / 3 if right else 0.0, "rounds": float(len(guesses))}


def rounds(counts: list[float]) -> float:
    return sum(counts) / len(counts)
