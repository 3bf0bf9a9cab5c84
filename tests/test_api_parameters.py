"""Servers that don't take every parameter, and servers that refuse everything.

Guards against runs in which every sample fails for a parameter that may be left out, against parameters that silently
had no effect, and against a wrong model name that is written down as the fault of each sample.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from api_servers import Answer, Call, Stream, ask, chat, error, question, serving
from muster.core import ConfigurationError, RunError
from muster.models.api import retry_policy
from muster.models.api.parameters import refused_parameter
from muster.models.openai import OpenAIModel
from muster.models.protocol import ModelSettings
from test_api_openai import model


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("muster.models.api.breaker.COOLDOWN_SECONDS", 0.02)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "named", "refused"),
    [
        (
            "Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.",
            "max_tokens",
            "max_tokens",
        ),
        ("Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.", "", "max_tokens"),
        ("'temperature' does not support 0 with this model. Only the default (1) value", "", "temperature"),
        ("temperature: Extra inputs are not permitted", "", "temperature"),
        ("`temperature` is deprecated for this model.", "", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "", "top_p"),
        ("`temperature` may only be set to 1 when thinking is enabled", "", "temperature"),
        ("[{'type': 'extra_forbidden', 'loc': ['body', 'top_k'], 'msg': 'Extra …'}]", "", "top_k"),
        ("Unexpected fields in the request: {'top_k'}", "", "top_k"),
        ("litellm.UnsupportedParamsError: openai does not support parameters: ['seed']", "", "seed"),
        ("Unrecognized request argument supplied: top_k", "", "top_k"),
        ("Input validation error: `temperature` must be strictly positive", "", "temperature"),
        ("Unsupported parameter: 'stop' is not supported with this model.", "", "stop"),
        ("Unknown name \"topP\" at 'generation_config': Cannot find field.", "", "top_p"),
        ("max_tokens is too large: 5000. This model supports at most 4096 completion tokens", "", None),
        ("This model's maximum context length is 4096 tokens; reduce max_tokens", "", None),
        ("unsupported image; please stop sending them", "", None),
        ("top_p must be in (0, 1]", "", None),
    ],
)
def test_which_parameter_a_server_refuses(words: str, named: str, refused: str | None) -> None:
    assert refused_parameter(words, named) == refused


def without(name: str, answer: Answer) -> Callable[[Call], Answer]:
    return lambda call: answer if name in call.body else chat("7\nand")


@pytest.mark.parametrize(
    ("name", "answer", "effect"),
    [
        (
            "temperature",
            error(400, "'temperature' is not supported", "unsupported_parameter"),
            "temperature=0.7",
        ),
        ("top_k", Answer(b'{"detail": "Unexpected fields in the request: {\'top_k\'}"}', 422), "top_k=5"),
        ("seed", error(400, "Unrecognized request argument supplied: `seed`"), None),
        ("max_tokens", error(400, "'max_tokens' is not supported, use 'max_completion_tokens'"), None),
        ("stop", error(400, "'stop' is not supported with this model"), None),
        ("stop", error(500, "Internal Server Error"), None),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_once_and_for_all(
    name: str, answer: Answer, effect: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [question(i, temperature=0.7, top_k=5, stop=("\n",)) for i in range(4)]
    with serving(without(name, answer)) as server, caplog.at_level(logging.WARNING):
        one = model(server, in_flight=1)
        completions = ask(one, *asked)
    assert [completion.text for completion in completions] == ["7"] * 4
    assert len(server.calls) == 5, "the first was asked twice"
    assert caplog.text.count(f"{name} is ") == 1
    if name == "max_tokens":
        assert server.calls[-1].body["max_completion_tokens"] == 16
    if effect is not None:
        assert completions[0].note == f"{name} had no effect: the server doesn't take it"
        assert completions[-1].note == f"{effect} had no effect: the server doesn't take it"


def test_a_parameter_of_the_users_own_is_not_left_out() -> None:
    with serving(without("top_k", error(400, "top_k is not supported"))) as server:
        stream = Stream([question(i) for i in range(50)])
        with pytest.raises(ConfigurationError, match=r"top_k is not supported.*--model-args"):
            list(model(server, extra_body={"top_k": 3}).generate(stream))


def test_a_server_that_fails_is_not_asked_twice_as_often_for_stop_strings_that_it_takes() -> None:
    with serving(lambda call: error(500) if call.number else chat("7")) as server:
        one = model(server, in_flight=1, max_retries=2)
        ask(one, question(0, stop=("\n",)), question(1, stop=("\n",)))
    assert len(server.calls) == 4


@pytest.mark.parametrize("number", [2, 40])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{\"detail\": \"Server is pinned to 'a'; requested 'm'.\"}", 400),
        error(400, "m is not a valid model ID (request 8f3a-11)"),
        Answer(b'{"detail": [{"loc": ["body"], "msg": "field required"}]}', 422),
    ],
)
def test_everything_refused_in_the_same_words_is_the_settings_fault(answer: Answer, number: int) -> None:
    with serving(lambda _: answer) as server:
        stream = Stream([question(i) for i in range(number)])
        with pytest.raises(ConfigurationError, match=r"not about the samples: .*answered 4"):
            list(model(server).generate(stream))
    assert stream.pulled < 40


def test_refusals_about_samples_and_of_a_run_that_works_are_the_samples() -> None:
    """Also where a run is taken up again of which nothing but bad samples is left."""
    long = error(400, "maximum context length is 4096 tokens")
    with serving(lambda _: long) as server:
        completions = ask(model(server), *(question(i) for i in range(10)))
    assert {completion.failure.kind for completion in completions if completion.failure} == {"sample"}
    with serving(lambda call: error(400, "bad") if call.number else chat("7")) as server:
        ask(model(server, in_flight=1), *(question(i) for i in range(10)))
    with serving(lambda _: error(400, "bad")) as server:
        settings = ModelSettings("m", args={"base_url": server.url}, resumed=True)
        ask(OpenAIModel(settings), *(question(i) for i in range(10)))


def test_what_fails_again_and_again_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It took minutes of silence until the run ended."""
    with serving(lambda _: error(500, "no luck")) as server, pytest.raises(RunError):
        ask(model(server, max_retries=1), *(question(i) for i in range(20)))
    assert caplog.text.count("failed 5 times with the same words") == 1
    assert "no luck" in caplog.text
