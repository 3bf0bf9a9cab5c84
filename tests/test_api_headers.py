"""Headers for gateways.

Guards against secrets on command lines, in manifests, journals and logs, and against headers that don't arrive.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import muster
from api_servers import ask, chat, claude, error, question, serving
from muster.core import JSON, ConfigurationError, MusterError
from muster.models.anthropic import AnthropicModel
from muster.models.api.headers import read_headers
from muster.models.gemini import GeminiModel
from muster.models.openai import OpenAIModel
from muster.models.protocol import Model, ModelSettings
from muster.results.fingerprint import model_fingerprint
from muster.results.redaction import redact_command, redact_settings
from muster.settings_text import parse_model_args
from processes import write_benchmark
from test_api_vendors import gemini

SECRET = "pa55-for-the-gateway"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY", SECRET)
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "k" * 12)


MAKE: dict[str, Callable[[ModelSettings], Model]] = {
    "openai": OpenAIModel,
    "anthropic": AnthropicModel,
    "gemini": GeminiModel,
}


@pytest.mark.parametrize("backend", MAKE)
def test_headers_arrive_and_are_not_shown(backend: str) -> None:
    make = MAKE[backend]
    good = {"openai": chat("7"), "anthropic": claude("7"), "gemini": gemini("7")}[backend]
    quoting = error(400, f"you sent {SECRET}")
    with serving(lambda call: quoting if call.number else good) as server:
        url = server.url if backend == "openai" else f"http://127.0.0.1:{server.port}"
        extra: JSON = {"X-Team": "vision", "X-Gateway": "env:GATEWAY", "X-Auth": "Bearer env:GATEWAY"}
        one = make(ModelSettings("m", args={"base_url": url, "extra_headers": extra}))
        (first,) = ask(one, question(0))
        (second,) = ask(one, question(1))
    assert first.text == "7"
    sent = server.calls[0].headers
    assert (sent["x-team"], sent["x-gateway"], sent["x-auth"]) == ("vision", SECRET, f"Bearer {SECRET}")
    assert second.failure is not None
    assert SECRET not in second.failure.message


def test_an_authorization_of_the_gateway_stands_in_for_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    extra: JSON = {"authorization": "Bearer env:GATEWAY", "anthropic-version": "2023-06-01"}
    with serving(lambda _: chat("7")) as server:
        ask(
            OpenAIModel(ModelSettings("m", args={"base_url": server.url, "extra_headers": extra})), question()
        )
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    with serving(lambda _: claude("7")) as server:
        args: dict[str, JSON] = {"base_url": f"http://127.0.0.1:{server.port}", "extra_headers": extra}
        one = AnthropicModel(ModelSettings("m", args=args))
        ask(one, question())
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert server.calls[0].headers["anthropic-version"] == "2023-06-01"
    assert server.calls[0].body["temperature"] == 0.0, "that version takes it"
    assert not one.notes


@pytest.mark.parametrize(
    "given",
    [
        {"X": "env:NOT_SET"},
        {"a b": "x"},
        {"X": "a\nb: c"},
        {"Host": "x"},
        {"X": ["a"]},
        {"X": ""},
        {"x": "1", "X": "2"},
    ],
)
def test_what_is_no_header_is_refused(given: dict[str, JSON]) -> None:
    with pytest.raises(ConfigurationError, match="extra_headers"):
        read_headers(given)


def test_how_headers_are_spelled_and_what_is_written_of_them() -> None:
    line = f"base_url=http://h/v1,extra_headers.X-Team=3,extra_headers.X-Gw={SECRET},extra_headers.X-Env=env:GATEWAY"
    args = parse_model_args(line)
    assert args["extra_headers"] == {"X-Team": 3, "X-Gw": SECRET, "X-Env": "env:GATEWAY"}
    assert read_headers({"X-Team": 3}) == {"X-Team": "3"}
    shown = redact_settings({"judge_args": {"extra_headers": args["extra_headers"]}})
    assert shown == {
        "judge_args": {"extra_headers": {"X-Team": "***", "X-Gw": "***", "X-Env": "env:GATEWAY"}}
    }
    written = json.dumps({"extra_headers": {"X-Gw": SECRET}, "max_retries": 3})
    for command in ([f"--model-args={line}"], ["--model-args", line], ["--model-args", written]):
        assert SECRET not in " ".join(redact_command(command))
    assert "X-Env=env:GATEWAY" in redact_command([line])[0]
    assert SECRET not in json.dumps(model_fingerprint("m", "openai", args, {}))


def test_no_value_of_a_header_is_in_the_run_folder(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 4)
    quoting = error(403, f"not with X-Gw: {SECRET}")
    with serving(lambda call: quoting if call.number == 2 else chat("answer s0")) as server:
        extra = {"X-Gw": SECRET}
        with contextlib.suppress(MusterError):
            muster.evaluate(
                "m",
                [str(task)],
                backend="openai",
                model_args={"base_url": server.url, "extra_headers": extra},
                output=tmp_path / "run",
                max_in_flight=1,
            )
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
