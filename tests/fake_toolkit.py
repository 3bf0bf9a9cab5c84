"""A toolkit for tests, in a process of its own: the standard library, the protocol, two tasks. Run as its script."""

import http.client
import json
import os
import struct
import sys
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(os.environ["MUSTER_TEST_INSIDE"])

from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError, serve, start

COLOURS = ["red", "green", "blue", "red"]
OUTPUTS = {"likelihood": "multiple_choice", "agent": "generate_until_agentic"} | dict.fromkeys(
    ("rounds", "endless"), "generate_until_multi_round"
)
ROUNDS = 12
"""Documents that are asked in rounds; number N in 1 + N % 4 of them."""
scored: dict[Any, dict[str, float]] = {}
Frames = Iterator[tuple[dict[str, Any], list[bytes] | tuple[()]]]


def png(shade: int) -> bytes:
    """A picture of one pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" + bytes([shade, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def hello(_request: dict[str, Any]) -> Frames:
    yield {"version": "9.9", "python": "3"}, ()


def load(request: dict[str, Any]) -> Frames:
    for name in request["names"]:
        if name not in ("colours", "judged", "likelihood", "talk", "rounds", "endless", "agent"):
            raise RefusedError(f"there is no task {name!r}")
        yield (
            {
                "about": "task",
                "asked": name,
                "name": name,
                "output": OUTPUTS.get(name, "generate_until"),
                "count": ROUNDS if name == "rounds" else len(COLOURS),
                "repeats": 1,
                "generation": {
                    "max_new_tokens": 16,
                    "do_sample": False,
                    "temperature": 0.0,
                    "until": ["\n"],
                    "others": ["num_beams=3"],
                },
                "metrics": ["accuracy", "worst"],
                "higher_is_better": {},
                "version": "1",
                "dataset": "d",
                "subset": "",
                "split": "test",
                "config": "c",
                "data": "d",
                "files": "f",
                "may_ask": name == "judged",
            },
            (),
        )


def render(request: dict[str, Any]) -> Frames:
    media = MediaWriter()
    docs = request["docs"]
    if request["task"] == "talk":
        for turn in ("first", "second"):
            said = {"role": "user", "parts": [{"text": f"the {turn} question"}]}
            yield {"id": turn, "previous": "first" if turn == "second" else "", "messages": [said]}, ()
        return
    if request["task"] in ("rounds", "endless"):
        for place in range(ROUNDS) if docs is None else docs:
            said = {"role": "user", "parts": [{"text": f"document {place}"}]}
            yield {"id": place, "messages": [said]}, ()
        return
    if request["task"] == "likelihood":
        for place in range(len(COLOURS)) if docs is None else docs:
            said = {"role": "user", "parts": [{"text": f"Which colour has {place}?"}]}
            options = [f" {each}" for each in ("red", "green and yellow", "blue")]
            yield {"id": place, "messages": [said], "choices": options}, ()
        return
    for place in range(len(COLOURS)) if docs is None else docs:
        if place == 2 and request["task"] == "judged":
            yield {"id": place, "fault": "its image isn't there"}, ()
            continue
        [item] = media.media(png(COLOURS.index(COLOURS[place])), "image")
        parts = [{"text": "Which colour?"}, {"media": item}]
        messages = [{"role": "user", "parts": parts}]
        yield (
            {"id": place, "messages": messages, "references": [COLOURS[place]], "cells": {"place": place}},
            media.take(),
        )


def next_round(request: dict[str, Any]) -> Frames:
    answers, place = request["answers"], int(request["document"])
    if answers[-1] == "raise":
        raise ValueError("the code of the task can't go on")
    if len(answers) > place % 4 and request["task"] == "rounds":
        yield {"answers": answers}, ()
        return
    media = MediaWriter()
    [item] = media.media(png(len(answers)), "image")
    parts = [{"text": f"after {answers[-1]}"}, {"media": item}, {"media": {**item, "fresh": False}}]
    yield {"messages": [{"role": "user", "parts": parts}]}, media.take()


def score_likelihoods(request: dict[str, Any]) -> Frames:
    places = []
    for name, [options] in request["answers"]:
        means = [summed / tokens for summed, tokens, _greedy in options]
        places.append(float(means.index(max(means))))
        yield {"id": int(name), "scores": {"place": places[-1]}}, ()
    yield {"about": "task", "values": {"place": sum(places) / len(places)}, "means": {"place": 1.0}}, ()


def score_rounds(request: dict[str, Any]) -> Frames:
    values = {}
    for name, [texts] in request["answers"]:
        wanted = [f"document {name} [0]"]
        for _number in range(int(name) % 4):
            wanted.append(f"after {wanted[-1]} [2]")
        values[name] = float(texts == wanted)
        yield {"id": int(name), "scores": {"accuracy": values[name]}}, ()
    scored[request["task"], request["repeat"]] = values
    numbers = aggregates(list(values.values()))
    yield {"about": "task", "values": numbers, "resample": True, "means": {"accuracy": 1.0}}, ()


def ask_judge(text: str) -> str | None:
    address = urllib.parse.urlsplit(os.environ["OPENAI_API_URL"])
    connection = http.client.HTTPConnection(address.netloc)
    body = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": text}], "max_tokens": 7})
    connection.request(
        "POST", "/v1/chat/completions", body, {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    )
    reply = connection.getresponse()
    content = json.loads(reply.read())
    return str(content["choices"][0]["message"]["content"]) if reply.status == 200 else None


def score(request: dict[str, Any]) -> Frames:
    if request["task"] in ("rounds", "endless"):
        yield from score_rounds(request)
        return
    if request["task"] == "likelihood":
        yield from score_likelihoods(request)
        return
    values = {}
    for name, texts in request["answers"]:
        judge.refused, judge.document = "", name
        if texts[0] == "crash":
            os._exit(7)
        if texts[0] == "raise":
            yield {"id": int(name), "problem": "ValueError: cannot"}, ()
            continue
        right = float(texts[0] == COLOURS[int(name)])
        if request["task"] == "judged":
            said = ask_judge(f"Is {texts[0]} right?")
            right = float(said == "yes")  # no verdict counts as wrong here, as in many a toolkit
        if judge.refused:
            yield {"id": int(name), "unscored": judge.refused}, ()
            continue
        values[name] = right
        yield {"id": int(name), "scores": {"accuracy": right}}, ()
    scored[request["task"], request["repeat"]] = values
    Path("submissions").mkdir(exist_ok=True)
    Path("submissions/answers.json").write_text("[]", encoding="utf-8")
    numbers = aggregates(list(values.values()))
    facts = {"values": numbers, "files": ["submissions/answers.json", "../outside"], "resample": True}
    yield {"about": "task", **facts, "means": {"accuracy": 1.0}}, ()


def aggregates(numbers: list[float]) -> dict[str, float]:
    return {"accuracy": sum(numbers) / len(numbers), "worst": min(numbers)} if numbers else {}


def aggregate(request: dict[str, Any]) -> Frames:
    values = scored[request["task"], request["repeat"]]
    yield {"values": aggregates([values[name] for name in request["documents"]])}, ()


wire = start(sys.argv[1:])
judge = JudgeEndpoint(wire)
judge.announce()
serve(
    wire,
    {
        "hello": hello,
        "load": load,
        "render": render,
        "round": next_round,
        "score": score,
        "aggregate": aggregate,
    },
)
