"""The openai backend against servers that misbehave, over real sockets.

Guards against answers that are lost or asked for twice, errors of the moment that are written down as the sample's,
errors of the sample that are tried for minutes, and against waiting for a server that will never answer.
"""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from api_servers import Answer, ApiServer, Call, Stream, ask, chat, dead_port, error, question, serving
from muster.core import JSON, ConfigurationError, RunError
from muster.models.api import retry_policy
from muster.models.openai import OpenAIModel
from muster.models.protocol import ModelSettings
from processes import DEADLINE

KEY = "a-key-that-must-not-be-seen"


@pytest.fixture(autouse=True)
def _quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("muster.models.api.breaker.COOLDOWN_SECONDS", 0.02)
    monkeypatch.setattr("muster.models.api.breaker.LONGEST_COOLDOWN_SECONDS", 0.1)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def model(
    *servers: ApiServer | str, seconds: float = 18.0, in_flight: int | None = None, **args: JSON
) -> OpenAIModel:
    urls: list[JSON] = [server if isinstance(server, str) else server.url for server in servers]
    settings = ModelSettings(
        "m", args={"base_url": urls, **args}, max_in_flight=in_flight, request_timeout=seconds / 0.9
    )
    return OpenAIModel(settings)


def first(number: int, then: Answer, before: Answer) -> Callable[[Call], Answer]:
    """`before` to the first so many calls, `then` to the others."""
    return lambda call: before if call.number < number else then


def test_what_is_asked_and_what_is_kept() -> None:
    with serving(lambda _: chat("7")) as server:
        (completion,) = ask(
            model(server), question(temperature=0.7, top_p=0.9, top_k=5, stop=("\n",), seed=3)
        )
    assert completion.text == "7"
    assert completion.finish_reason == "stop"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 3)
    (call,) = server.calls
    assert call.path == "/v1/chat/completions"
    seed = call.body.pop("seed")
    assert 0 <= seed < 2**31
    assert call.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Which digit?"}],
        "max_tokens": 16,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "stop": ["\n"],
    }
    assert "authorization" not in call.headers


def test_extra_body_adds_replaces_and_leaves_out() -> None:
    with serving(lambda _: chat()) as server:
        extra: JSON = {
            "temperature": None,
            "max_tokens": 5,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        ask(model(server, extra_body=extra, limit_field="max_completion_tokens"), question())
    body = server.calls[0].body
    assert "temperature" not in body
    assert body["max_tokens"] == 5
    assert body["max_completion_tokens"] == 16
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_repeats_of_a_sample_have_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one seed for all, a server gives the same answer to every repeat."""
    from dataclasses import replace

    one = question(temperature=1.0)
    two = replace(one, key=one.key._replace(repeat=1))
    with serving(lambda _: chat()) as server:
        ask(model(server), one, two)
    assert len({call.body["seed"] for call in server.calls}) == 2


def test_an_answer_ends_before_its_stop_string_even_if_the_server_ignores_it() -> None:
    with serving(lambda _: chat("yes.\nQuestion: and", finish="length")) as server:
        (completion,) = ask(model(server), question(stop=("a", "b", "c", "d", "\n")))
    assert server.calls[0].body["stop"] == ["a", "b", "c", "d"], "more are refused by OpenAI"
    assert (completion.text, completion.finish_reason) == ("yes.", "stop")


@pytest.mark.parametrize(
    ("answer", "text", "finish"),
    [
        (chat("long", finish="length"), "long", "length"),
        (chat(None, finish="length", reasoning_content="hm"), "", "length"),
        (chat("a", finish="repetition_detected"), "a", "repetition_detected"),
        (chat("a", finish="eos_token"), "a", "stop"),
        (chat("", finish="tool_calls"), "", "tool_calls"),
        (chat(None, refusal="I can't look at this."), "I can't look at this.", "refusal"),
        (chat(""), "", "stop"),
        (
            Answer(
                b'{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}'
            ),
            "ab",
            None,
        ),
        (Answer(b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":"many"}}'), "x", None),
        (Answer(b'{"choices":[{"message":{"content":"\\ud83d"}}]}'), None, None),
    ],
    ids=[
        "cut",
        "only reasoning",
        "own word",
        "other word",
        "tool",
        "refusal",
        "empty",
        "parts",
        "odd usage",
        "half a character",
    ],
)
def test_odd_answers_are_answers(answer: Answer, text: str | None, finish: str | None) -> None:
    with serving(lambda _: answer) as server:
        (completion,) = ask(model(server, max_retries=0), question())
    if text is None:
        assert completion.text or completion.failure  # not JSON that holds to its own rules, and no crash
    else:
        assert (completion.text, completion.finish_reason) == (text, finish)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "hm so 7"},
        {"reasoning": "hm so 7"},
        {"text": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm so 7"}]}]},
        {"text": [{"type": "reasoning", "text": "hm so 7"}]},
        {"text": "", "reasoning": {"content": [{"text": "hm so "}, {"text": "7"}]}},
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "hm so "},
                {"type": "reasoning.text", "text": "7"},
                {"type": "reasoning.encrypted", "data": "c2VjcmV0"},
            ]
        },
        {"text": "", "thinking_blocks": [{"type": "thinking", "thinking": "hm so 7", "signature": "x"}]},
    ],
)
def test_a_thought_apart_from_the_answer_is_kept_apart(message: dict[str, object]) -> None:
    """An empty answer beside a long thought was scored as wrong in silence."""
    with serving(lambda _: chat(**{"text": None, **message})) as server:  # type: ignore[arg-type]
        (completion,) = ask(model(server), question())
    assert (completion.text, completion.reasoning) == ("", "hm so 7")
    assert completion.note is not None
    assert "the answer is empty: all that came (7 characters)" in completion.note
    with serving(lambda _: chat("7", reasoning="hm")) as server:
        (completion,) = ask(model(server), question())
    assert (completion.text, completion.reasoning, completion.note) == ("7", "hm", None)


def test_a_thought_that_is_kept_back_is_told_where_no_answer_came() -> None:
    """OpenAI's and Gemini's reasoning models spend the whole limit on a thought that nobody sees."""
    usage = '{"prompt_tokens":5,"completion_tokens":16,"completion_tokens_details":{"reasoning_tokens":16}}'
    body = f'{{"choices":[{{"finish_reason":"length","message":{{"content":""}}}}],"usage":{usage}}}'
    with serving(lambda _: Answer(body.encode())) as server:
        (completion,) = ask(model(server), question())
    assert (completion.text, completion.finish_reason, completion.reasoning) == ("", "length", None)
    assert (
        completion.note == "the answer is empty: 16 tokens went into a thought that the API keeps to itself"
    )
    assert completion.usage.completion_tokens == 16


BROKEN = {
    "500": error(500, "out of luck"),
    "502": Answer(b"<html><h1>Bad Gateway</h1></html>", 502),
    "503": error(503),
    "garbage": Answer(b"\x00\xffnot json"),
    "nothing": Answer(b""),
    "wrong JSON": Answer(b'{"result": 7}'),
    "a list": Answer(b"[]"),
    "no choices": Answer(b'{"choices": []}'),
    "no message": Answer(b'{"choices": [{}]}'),
    "text for a number": Answer(b'{"choices": [{"message": {"content": 17}}]}'),
    "an error with status 200": Answer(b'{"error": {"message": "overloaded"}}'),
    "deep": Answer(b"[" * 100_000),
    "finish error": chat("half an ans", finish="error"),
    "abort": chat("half an ans", finish="abort"),
    "cancelled": chat("half an ans", finish="CANCELLED"),
    "resources": chat("half an ans", finish="insufficient_system_resource"),
    "not over": chat("half an ans", finish=None),
    "an error in the choice": Answer(
        b'{"choices":[{"finish_reason":"stop","error":{"code":502,"message":"gone"},"message":{"content":"ha"}}]}'
    ),
    "an error beside the choice": Answer(
        b'{"error":{"message":"gone"},"choices":[{"finish_reason":"stop","message":{"content":"ha"}}]}'
    ),
    "nothing and no reason": Answer(b'{"choices":[{"message":{"content":null}}]}'),
    "reset at once": Answer(b"", cut_after=0),
    "reset in the body": Answer(chat().body, cut_after=20),
    "too short a body": Answer(b'{"cho', headers={"content-length": "500"}, cut_after=5),
    "no HTTP": Answer(b"", headers={"content-length": "many"}),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_failure_of_the_server_is_retried_then_recorded(answer: Answer) -> None:
    with serving(first(2, chat("7"), answer)) as server:
        (completion,) = ask(model(server), question())
    assert completion.text == "7"
    assert len(server.calls) == 3
    with serving(lambda _: answer) as server:
        (completion,) = ask(model(server, max_retries=2), question())
    assert completion.failure is not None
    assert (completion.failure.kind, completion.failure.type) == ("transient", "UnavailableError")
    assert "(asked 3 times)" in completion.failure.message
    assert len(server.calls) == 3


def test_a_huge_reply_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.models.openai.http.MOST_BYTES", 1 << 20)
    with serving(lambda _: Answer(b" " * (8 << 20))) as server:
        (completion,) = ask(model(server, max_retries=0), question())
    assert completion.failure is not None
    assert "more than 1 MiB" in completion.failure.message


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(chat().body, drip=0.1)], ids=["hangs", "drips"])
def test_a_server_that_never_finishes_is_given_up(answer: Answer) -> None:
    with serving(first(1, chat("7"), answer)) as server:
        (completion,) = ask(model(server, timeout=0.5), question())
        assert completion.text == "7"


REFUSED = {
    "too long": error(400, "maximum context length is 4096 tokens", "context_length_exceeded"),
    "filtered": error(400, "content management policy", "content_filter"),
    "too large": error(413),
    "unprocessable": Answer(b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', 422),
    "withheld": chat(None, finish="content_filter"),
    "withheld halfway": chat("half an ans", finish="content_filter"),
    "sensitive": chat("half an ans", finish="sensitive"),
    "over the rate by itself": error(429, "Request too large for m on tokens per min", "rate_limit_exceeded"),
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_the_samples_fault_is_not_retried(answer: Answer) -> None:
    with serving(lambda call: answer if "bad" in call.text else chat("7")) as server:
        bad, good = ask(model(server), question(0, "bad"), question(1))
    assert bad.failure is not None
    assert bad.failure.kind == "sample"
    assert good.text == "7"
    assert len(server.calls) == 2


def test_a_storm_of_429_is_weathered() -> None:
    """A server that takes four requests at a time and refuses the rest loses none and is not asked much too often."""
    holder: list[ApiServer] = []

    def four(call: Call) -> Answer:
        return error(429, "slow down") if holder[0].now > 4 else Answer(chat("7").body, delay=0.02)

    with serving(four) as server:
        holder.append(server)
        completions = ask(model(server, in_flight=64), *(question(i) for i in range(100)))
    assert all(completion.text == "7" for completion in completions)
    assert len(server.calls) < 100 * 4


def test_retry_after_is_obeyed_by_all_requests() -> None:
    for value in ("0.5", email.utils.format_datetime(email.utils.localtime().astimezone())):
        with serving(first(1, chat("7"), error(429, retry_after=value))) as server:
            completions = ask(model(server, in_flight=1), question(0), question(1))
        assert [completion.text for completion in completions] == ["7", "7"]
        if value == "0.5":
            assert server.calls[1].at - server.calls[0].at >= 0.5


def test_endless_refusals_are_recorded_when_the_time_is_over() -> None:
    with serving(lambda _: error(429, "slow down")) as server:
        (completion,) = ask(model(server, seconds=0.9), question())
    assert completion.failure is not None
    assert (completion.failure.kind, completion.failure.type) == ("transient", "OverloadedError")
    assert "slow down" in completion.failure.message


def test_a_server_that_wants_hours_of_rest_ends_the_run() -> None:
    with (
        serving(lambda _: error(429, "daily quota", retry_after="86400")) as server,
        pytest.raises(RunError, match="alone for 8"),
    ):
        ask(model(server), question())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(401, "bad key"), "api_key_env"),
        (error(403, "not for you"), "not allowed"),
        (error(404, "no such model"), "no model 'm'"),
        (Answer(b"", 301, {"location": "http://elsewhere/"}), "base_url"),
        (error(400, "max_tokens is not supported", "unsupported_parameter"), "extra_body"),
    ],
    ids=["401", "403", "404", "redirect", "unsupported"],
)
def test_wrong_settings_end_the_run_early(answer: Answer, message: str) -> None:
    with serving(lambda _: answer) as server:
        stream = Stream([question(i) for i in range(500)])
        with pytest.raises(ConfigurationError, match=message):
            list(model(server).generate(stream))
    assert stream.pulled < 50


@pytest.mark.parametrize("answer", [error(402, "pay first"), error(429, "quota", "insufficient_quota")])
def test_an_empty_account_ends_the_run(answer: Answer) -> None:
    with serving(lambda _: answer) as server, pytest.raises(RunError, match="run the same command again"):
        ask(model(server), question())


def test_a_prompt_that_is_forbidden_doesnt_end_a_run_that_works() -> None:
    """Moderation answers 403 to single prompts; a wrong key does it from the first."""
    with serving(lambda call: error(403, "flagged") if "bad" in call.text else chat("7")) as server:
        one = model(server, in_flight=1)
        completions = ask(one, question(0), question(1, "bad"), question(2))
    assert [completion.failure and completion.failure.kind for completion in completions] == [
        None,
        "sample",
        None,
    ]


def test_a_server_that_fails_everything_ends_the_run_before_all_is_spoilt() -> None:
    with serving(lambda _: error(500)) as server:
        stream = Stream([question(i) for i in range(1_000)])
        completions = []
        with pytest.raises(RunError, match="none was answered"):
            completions += list(model(server, max_retries=0).generate(stream))
    assert stream.pulled < 100


# -- several servers


def test_a_dead_server_costs_nothing_but_its_share() -> None:
    with serving(lambda _: Answer(chat("7").body, delay=0.01)) as alive, dead_port() as port:
        completions = ask(
            model(alive, f"http://127.0.0.1:{port}/v1", in_flight=8), *(question(i) for i in range(200))
        )
    assert all(completion.text == "7" for completion in completions)
    assert len(alive.calls) == 200


def test_a_server_that_dies_on_the_way_and_comes_back() -> None:
    down = threading.Event()

    def second(call: Call) -> Answer:
        if call.number == 20:
            down.set()
            threading.Timer(0.2, down.clear).start()
        return Answer(b"", cut_after=0) if down.is_set() else Answer(chat("7").body, delay=0.01)

    with serving(lambda _: Answer(chat("7").body, delay=0.01)) as one, serving(second) as two:
        completions = ask(model(one, two, in_flight=8), *(question(i) for i in range(400)))
    assert all(completion.text == "7" for completion in completions)
    assert len(two.calls) > 50, "it was used again"


def test_when_all_servers_are_gone_the_run_ends_and_says_so() -> None:
    """Nothing was wrong with the samples: they must not be written down as failed."""
    with serving(lambda _: Answer(chat("7").body, delay=0.05)) as server:
        one = model(server, in_flight=2, seconds=1.8)
        stream = Stream([question(i) for i in range(1_000)])
        completions = []
        with pytest.raises(RunError, match="nothing answers at http://127"):
            for completion in one.generate(stream):
                completions.append(completion)
                if len(completions) == 10:
                    server.stop()
    assert len(completions) >= 10
    broken = [completion for completion in completions if completion.failure]
    assert len(broken) <= 2, [completion.failure for completion in broken]


def test_a_server_that_isnt_there_is_said_before_anything_is_asked() -> None:
    with dead_port() as port:
        with pytest.raises(ConfigurationError, match=r"no server can be reached .*Connection refused"):
            model(f"http://127.0.0.1:{port}/v1")
        with pytest.raises(ConfigurationError, match="expected an address"):
            model("127.0.0.1:8000")


def test_waiting_for_a_server_that_is_still_starting() -> None:
    server = ApiServer(lambda _: chat("7"))
    port = server.port
    server._socket.close()
    with pytest.raises(ConfigurationError):
        model(f"http://127.0.0.1:{port}/v1", wait_for_server=0.1)

    def come() -> None:
        import socket

        server._socket = socket.create_server(("127.0.0.1", port))
        server.start()

    threading.Timer(0.3, come).start()
    try:
        (completion,) = ask(model(f"http://127.0.0.1:{port}/v1", wait_for_server=20), question())
    finally:
        server.stop()
    assert completion.text == "7"


# -- claims


def test_no_more_is_pulled_than_is_asked_at_once() -> None:
    """Pulling is claiming: what lies here can't be answered by another replica."""
    with serving(lambda _: Answer(chat().body, delay=0.05)) as server:
        stream = Stream([question(i) for i in range(60)])
        ahead = 0
        done = 0
        for _ in model(server, in_flight=5).generate(stream):
            done += 1
            ahead = max(ahead, stream.pulled - done)
    assert done == 60
    assert server.busiest == 5
    assert ahead <= 2 * 5, "at most what was answered and not yet taken, beside what is under way"


def test_a_stream_that_blocks_holds_up_no_answer() -> None:
    """The coordinator may let a worker wait until it has answered: then its answers must still get out."""
    answered = threading.Event()

    class Withholding(Stream):
        def __next__(self) -> object:  # type: ignore[override]
            if self.pulled == 1:
                assert answered.wait(DEADLINE), "the first answer didn't get out"
            return super().__next__()

    with serving(lambda _: chat()) as server:
        completions = []
        for completion in model(server).generate(Withholding([question(0), question(1)])):  # type: ignore[arg-type]
            completions.append(completion)
            answered.set()
    assert len(completions) == 2


def test_what_the_stream_raises_is_raised() -> None:
    class Broken(Stream):
        def __next__(self) -> object:  # type: ignore[override]
            raise RunError("the coordinator is gone")

    with serving(lambda _: chat()) as server, pytest.raises(RunError, match="the coordinator is gone"):
        list(model(server).generate(Broken([])))  # type: ignore[arg-type]


def test_generate_may_be_called_again_and_left_halfway() -> None:
    with serving(lambda _: Answer(chat().body, delay=0.01)) as server:
        one = model(server, in_flight=4)
        for _ in one.generate(Stream([question(i) for i in range(50)])):
            break
        threads = [thread.name for thread in threading.enumerate()]
        assert "muster-api" not in threads
        assert len(ask(one, question(1))) == 1
        assert one._pool.places(time.monotonic()) == 4, "nothing is left over of what was broken off"


# -- keys


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers quote what they were sent, and quotes end in the journal."""
    monkeypatch.setenv("MY_KEY", KEY)
    quote = error(400, f"your header was: Bearer {KEY}")
    with serving(lambda call: quote if "bad" in call.text else chat("7")) as server:
        bad, _ = ask(model(server, api_key_env="MY_KEY"), question(0, "bad"), question(1))
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert bad.failure is not None
    assert "Bearer ***" in bad.failure.message
    assert KEY not in json.dumps([bad.failure.message, bad.failure.traceback])


def test_a_key_on_the_command_line_is_refused_and_a_missing_one_is_named() -> None:
    with pytest.raises(ConfigurationError, match="seen by everybody"):
        OpenAIModel(ModelSettings("m", args={"api_key": "x"}))
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        OpenAIModel(ModelSettings("m"))
    with pytest.raises(ConfigurationError, match="NOT_SET"):
        OpenAIModel(ModelSettings("m", args={"base_url": "http://127.0.0.1:1/v1", "api_key_env": "NOT_SET"}))


def test_credentials_in_an_address_are_sent_and_not_shown() -> None:
    with serving(lambda _: error(500, "no s3cret here: s3cret")) as server:
        url = server.url.replace("http://", "http://ann:s3cret@")
        (completion,) = ask(model(url, max_retries=0), question())
    assert server.calls[0].headers["authorization"].startswith("Basic ")
    assert completion.failure is not None
    assert "s3cret" not in completion.failure.message


@pytest.fixture
def few_files() -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_in_flight_need_more_open_files_than_shells_allow(few_files: None) -> None:
    with serving(lambda _: Answer(chat().body, delay=0.5)) as server:
        completions = ask(model(server, in_flight=120), *(question(i) for i in range(120)))
    assert server.busiest > 100
    assert all(completion.text for completion in completions)
