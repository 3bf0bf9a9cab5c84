"""The anthropic and gemini backends, against servers that speak their wire formats.

Guards against requests that their APIs refuse, errors that mean something else there than with OpenAI (529, an invalid
key with status 400, delays in a body), and against retries of the SDKs beneath Muster's own.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from api_servers import Answer, ApiServer, Call, ask, claude, question, serving
from muster.core import JSON, ConfigurationError, Media, Message, Part, Request, RequestKey, VideoSettings
from muster.models.anthropic import AnthropicModel
from muster.models.api import retry_policy
from muster.models.api.model import ApiModel
from muster.models.gemini import GeminiModel
from muster.models.protocol import ModelSettings
from video_files import write_video

FILM = b"\x00\x00\x00\x18ftypisom"
"""How an MP4 begins."""
KEY = "a-key-that-must-not-be-seen"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("muster.models.api.breaker.COOLDOWN_SECONDS", 0.02)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)


def settings(server: ApiServer, **args: JSON) -> ModelSettings:
    url = f"http://127.0.0.1:{server.port}"
    return ModelSettings("m-1", args={"base_url": url, **args}, request_timeout=20.0)


def picture() -> Media:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    return Media("image", data=buffer.getvalue())


def conversation() -> Request:
    return Request(
        RequestKey("t", "s"),
        (
            Message("system", (Part(text="Be brief."),)),
            Message("user", (Part(media=picture()), Part(text="Which colour?"))),
            Message("assistant", (Part(text="Red"),)),
            Message("user", (Part(text="Sure?"),)),
        ),
        question(temperature=0.5, top_k=7, stop=("\n", "END")).generation,
    )


def gemini(text: str | None = "Yes.", reason: str = "STOP", **fields: object) -> Answer:
    parts = [{"text": "hm", "thought": True}, *([{"text": text}] if text is not None else [])]
    content = {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 3},
        **fields,
    }
    return Answer(json.dumps(content).encode())


def claude_error(status: int, kind: str, message: str = "no", **headers: str) -> Answer:
    content = {"type": "error", "error": {"type": kind, "message": message}}
    return Answer(
        json.dumps(content).encode(),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


def gemini_error(status: int, kind: str, *details: dict[str, object], message: str = "no") -> Answer:
    content = {"error": {"code": status, "message": message, "status": kind, "details": list(details)}}
    return Answer(json.dumps(content).encode(), status)


def test_what_claude_is_asked() -> None:
    with serving(lambda _: claude()) as server:
        (completion,) = ask(AnthropicModel(settings(server)), conversation())
    assert (completion.text, completion.finish_reason) == ("Yes.", "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (120, 5)
    (call,) = server.calls
    assert call.path == "/v1/messages"
    assert any(value.endswith(KEY) for value in call.headers.values()), "in a header, by the SDK's choice"
    data = base64.b64encode(picture().data or b"").decode()
    assert call.body == {
        "model": "m-1",
        "max_tokens": 16,
        "stop_sequences": ["END"],
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
                    {"type": "text", "text": "Which colour?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Red"}]},
            {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
        ],
    }


def test_claude_gets_sampling_parameters_only_where_they_are_taken() -> None:
    """API version 2026-10-21, which SDK 2 asks for, refuses them: every sample failed. What is given is sent."""
    with serving(lambda _: claude()) as server:
        model = AnthropicModel(settings(server, extra_body={"temperature": 0.0}))
        (completion,) = ask(model, question(temperature=0.5, top_p=0.9))
    assert "temperature, top_k, top_p are not sent" in model.notes["sampling"]
    assert completion.note == "top_p=0.9 had no effect: the server doesn't take it"
    assert server.calls[0].body["temperature"] == 0.0
    assert "top_p" not in server.calls[0].body


@pytest.mark.parametrize("words", ["Unknown name \"topK\" at 'generation_config': Cannot find field."])
def test_gemini_gets_no_parameter_that_it_refused(words: str) -> None:
    def script(call: Call) -> Answer:
        sent = call.body["generationConfig"]
        return gemini_error(400, "INVALID_ARGUMENT", message=words) if "topK" in sent else gemini()

    with serving(script) as server:
        one = GeminiModel(settings(server))
        (first,) = ask(one, question(temperature=0.5, top_k=7))
        (second,) = ask(one, question(temperature=0.5, top_k=7))
    assert (first.text, second.text, len(server.calls)) == ("Yes.", "Yes.", 3)
    assert second.note == "top_k=7 had no effect: the server doesn't take it"


def test_what_gemini_is_asked() -> None:
    with serving(lambda _: gemini()) as server:
        (completion,) = ask(GeminiModel(settings(server)), conversation())
    assert (completion.text, completion.finish_reason) == ("Yes.", "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (20, 8)
    (call,) = server.calls
    assert call.path.endswith("/models/m-1:generateContent")
    assert call.headers["x-goog-api-key"] == KEY
    sent = call.body["generationConfig"]
    assert 0 <= sent.pop("seed") < 2**31
    assert sent == {"temperature": 0.5, "topK": 7, "maxOutputTokens": 16, "stopSequences": ["\n", "END"]}
    assert call.body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert [content["role"] for content in call.body["contents"]] == ["user", "model", "user"]
    assert inline(call) == ("image/png", picture().data)


def inline(call: Call) -> tuple[str, bytes]:
    """The first part of the first message; the API takes both spellings and both alphabets."""
    part = call.body["contents"][0]["parts"][0]["inlineData"]
    data = part["data"].replace("-", "+").replace("_", "/")
    return part.get("mimeType") or part["mime_type"], base64.b64decode(data)


def test_gemini_takes_videos_as_files_where_it_is_told_to() -> None:
    film = question(media=(Media("video", data=FILM),))
    with serving(lambda _: gemini()) as server:
        (completion,) = ask(GeminiModel(settings(server, video="file")), film)
    assert completion.text == "Yes."
    assert inline(server.calls[0]) == ("video/mp4", FILM)


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
def test_both_take_videos_as_frames(vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a video that can't be decoded is told without asking."""
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0")
    film = write_video(tmp_path / "film.mp4", 20)
    shown = Media("video", path=str(film), shown=VideoSettings(frames=3))
    make, answer = BOTH[vendor]
    with serving(lambda _: answer) as server:
        (completion,) = ask(make(settings(server)), question(media=(shown,)))
        (broken,) = ask(make(settings(server)), question(media=(Media("video", data=FILM),)))
    assert completion.note == f"video {film}: 3 frames as images"
    assert json.dumps(server.calls[0].body).count("image/jpeg") == 3
    assert broken.failure is not None
    assert (broken.failure.kind, len(server.calls)) == ("sample", 1)


Make = Callable[[ModelSettings], ApiModel[object]]
BOTH: dict[str, tuple[Make, Answer]] = {
    "anthropic": (AnthropicModel, claude()),  # type: ignore[dict-item]
    "gemini": (GeminiModel, gemini()),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", BOTH)
def test_failures_are_retried_by_muster_alone(name: str) -> None:
    """An SDK that retries too would multiply the load on a server that is down."""
    make, good = BOTH[name]
    broken = [
        Answer(b"<html>", 502),
        Answer(b"{", 200),
        Answer(b'{"candidates": 3, "content": 3}'),
        Answer(b"", cut_after=0),
        claude_error(529, "overloaded_error"),
    ]

    def script(call: Call) -> Answer:
        return broken[call.number] if call.number < len(broken) else good

    with serving(script) as server:
        (completion,) = ask(make(settings(server)), question())
    assert completion.text == "Yes."
    assert len(server.calls) == len(broken) + 1
    with serving(lambda _: Answer(b"{}", 500)) as server:
        (completion,) = ask(make(settings(server, max_retries=1)), question())
    assert completion.failure is not None
    assert completion.failure.kind == "transient"
    assert len(server.calls) == 2


@pytest.mark.parametrize("name", BOTH)
def test_a_hanging_server_is_given_up(name: str) -> None:
    make, good = BOTH[name]
    with serving(lambda call: good if call.number else Answer(hang=True)) as server:
        (completion,) = ask(make(settings(server, timeout=0.5)), question())
    assert completion.text == "Yes."


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("anthropic", claude_error(401, "authentication_error", f"invalid x-api-key {KEY}")),
        ("anthropic", claude_error(404, "not_found_error", "model: m-1")),
        (
            "gemini",
            gemini_error(400, "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}, message=f"not valid: {KEY}"),
        ),
        ("gemini", gemini_error(404, "NOT_FOUND", message="models/m-1 is not found")),
    ],
)
def test_wrong_settings_end_the_run(name: str, refusal: Answer) -> None:
    make, _ = BOTH[name]
    with serving(lambda _: refusal) as server, pytest.raises(ConfigurationError) as raised:
        ask(make(settings(server)), question())
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("anthropic", claude_error(400, "invalid_request_error", "prompt is too long")),
        ("gemini", gemini_error(400, "INVALID_ARGUMENT")),
        ("anthropic", claude(None, "refusal")),
        ("anthropic", claude("half an ans", "refusal")),
        ("gemini", gemini(None, "SAFETY")),
        ("gemini", gemini("half an ans", "RECITATION")),
        ("gemini", gemini("half an ans", "PROHIBITED_CONTENT")),
        ("gemini", Answer(b'{"promptFeedback": {"blockReason": "SAFETY"}}')),
    ],
)
def test_what_is_the_samples_fault_is_not_retried(name: str, refusal: Answer) -> None:
    make, _ = BOTH[name]
    with serving(lambda _: refusal) as server:
        (completion,) = ask(make(settings(server)), question())
    assert completion.failure is not None
    assert completion.failure.kind == "sample"
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("anthropic", claude_error(429, "rate_limit_error", retry_after="0.6")),
        ("gemini", gemini_error(429, "RESOURCE_EXHAUSTED", {"@type": "RetryInfo", "retryDelay": "0.6s"})),
    ],
)
def test_they_say_how_long_to_wait(name: str, refusal: Answer) -> None:
    make, good = BOTH[name]
    with serving(lambda call: good if call.number else refusal) as server:
        (completion,) = ask(make(settings(server)), question())
    assert completion.text == "Yes."
    assert server.calls[1].at - server.calls[0].at >= 0.6


@pytest.mark.parametrize(
    ("answer", "text", "finish"),
    [
        (claude("a", "max_tokens"), "a", "length"),
        (claude("a", "model_context_window_exceeded"), "a", "length"),
        (claude("", "end_turn"), "", "stop"),
        (claude("a", "end_turn"), "a", "stop"),
    ],
)
def test_how_claude_ends(answer: Answer, text: str, finish: str) -> None:
    with serving(lambda _: answer) as server:
        (completion,) = ask(AnthropicModel(settings(server)), question())
    assert (completion.text, completion.finish_reason) == (text, finish)


THINKING = {
    "anthropic": claude(None, "max_tokens"),
    "gemini": gemini(None, "MAX_TOKENS"),
}


@pytest.mark.parametrize("name", BOTH)
def test_who_is_cut_off_while_thinking_has_said_nothing(name: str) -> None:
    make, good = BOTH[name]
    with serving(lambda call: good if call.number else THINKING[name]) as server:
        one = make(settings(server))
        (thinking,) = ask(one, question())
        (answered,) = ask(one, question())
    assert (thinking.text, thinking.finish_reason, thinking.reasoning) == ("", "length", "hm")
    assert "the answer is empty" in (thinking.note or "")
    assert (answered.text, answered.reasoning, answered.note) == ("Yes.", "hm", None)


def test_a_thought_that_gemini_keeps_back_is_told_where_no_answer_came() -> None:
    empty = gemini(candidates=[{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}])
    make, _ = BOTH["gemini"]
    with serving(lambda _: empty) as server:
        (completion,) = ask(make(settings(server)), question())
    assert (completion.text, completion.finish_reason) == ("", "length")
    assert completion.note == "the answer is empty: 3 tokens went into a thought that the API keeps to itself"


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("anthropic", claude("half an ans", "pause_turn")),
        ("anthropic", claude("half an ans", "overloaded")),
        ("anthropic", Answer(b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')),
        ("gemini", gemini("half an ans", "OTHER")),
        ("gemini", gemini("half an ans", "MALFORMED_RESPONSE")),
        ("gemini", gemini("half an ans", "UNEXPECTED_TOOL_CALL")),
        ("gemini", gemini("half an ans", "FINISH_REASON_UNSPECIFIED")),
        ("gemini", Answer(b'{"candidates": []}')),
        ("gemini", Answer(b'{"error": {"code": 503, "message": "busy"}}')),
    ],
)
def test_what_broke_off_is_asked_again_and_never_an_answer(name: str, broken: Answer) -> None:
    make, good = BOTH[name]
    with serving(lambda call: good if call.number else broken) as server:
        (completion,) = ask(make(settings(server)), question())
    assert (completion.text, len(server.calls)) == ("Yes.", 2)
    with serving(lambda _: broken) as server:
        (completion,) = ask(make(settings(server, max_retries=1)), question())
    assert completion.failure is not None
    assert (completion.failure.kind, len(server.calls)) == ("transient", 2)


@pytest.mark.parametrize("name", BOTH)
def test_many_at_a_time(name: str) -> None:
    make, good = BOTH[name]
    with serving(lambda _: Answer(good.body, delay=0.1)) as server:
        completions = ask(make(settings(server)), *(question(i) for i in range(32)))
    assert all(completion.text == "Yes." for completion in completions)
    assert server.busiest >= 8


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        AnthropicModel(ModelSettings("m"))
    with pytest.raises(ConfigurationError, match="GEMINI_API_KEY"):
        GeminiModel(ModelSettings("m"))
