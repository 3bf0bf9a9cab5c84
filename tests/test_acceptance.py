"""What a joining machine agrees to: a coordinator must not be able to have programs of its choice started there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import msgspec
import pytest

from muster.core import JSON, ConfigurationError, RunError
from muster.engines.admission import Own, accept, check_places
from muster.models.protocol import ModelSettings
from muster.models.registry import resolve_model
from muster.results.fingerprint import model_fingerprint
from muster.wire.messages import Offer


def offer(backend: str, args: Mapping[str, JSON]) -> Offer:
    model = resolve_model("demo")
    settings = msgspec.msgpack.encode(asdict(ModelSettings(model, args)))
    fingerprint = msgspec.msgpack.encode(model_fingerprint(model, backend, args))
    return Offer("s", "r", "demo", backend, "", msgspec.Raw(settings), msgspec.Raw(fingerprint), {}, ["w"])


@pytest.mark.parametrize(
    ("backend", "args"),
    [
        ("vllm-server", {"command": ["sh", "-c", "anything"]}),
        ("vllm-server", {"server_args": "--trust-remote-code"}),
        ("sglang-server", {"python": "/somewhere/bin/python"}),
        ("vllm", {"worker_cls": "somebody.Else"}),
        ("openai", {"base_url": "http://10.0.0.7:8000/v1"}),
        ("openai", {"api_key_env": "AWS_SECRET_ACCESS_KEY"}),
        ("anthropic", {"api_key_env": "GITHUB_TOKEN"}),
        ("gemini", {"headers": {"x": "y"}}),
        ("replay", {"folder": "/home/somebody"}),
        ("transformers", {"attn_implementation": "somebody/kernels"}),
        ("transformers", {"processor": {"template": "~/secrets"}}),
    ],
)
def test_programs_that_a_run_names_are_not_started_on_its_word(backend: str, args: dict[str, JSON]) -> None:
    (name,) = args
    with pytest.raises(ConfigurationError, match=f"can't make this machine run, read or send: {name}="):
        accept(offer(backend, args), Own())
    assert accept(offer(backend, args), Own(args=args)).settings.args == args


@pytest.mark.parametrize("places", [[], ["a", "b"], ["a.0", "a.0"], ["../../etc"], ["a.0\n"], ["x" * 500]])
def test_names_that_a_coordinator_gives_are_checked(places: list[str]) -> None:
    replicas = 2 if places == ["a.0", "a.0"] else 1
    given = msgspec.structs.replace(offer("transformers", {}), places=places)
    with pytest.raises(RunError, match="asked for names"):
        check_places(given, replicas)
    check_places(msgspec.structs.replace(given, places=["me@gpu7.0"]), 1)


def test_what_would_change_answers_is_the_runs_to_say() -> None:
    asked: dict[str, JSON] = {"server_args": "--dtype float32", "command": "vllm", "max_images": 2}
    with pytest.raises(ConfigurationError, match="server_args: could change the answers"):
        accept(offer("vllm-server", asked), Own(args={"server_args": "--dtype half", "command": "vllm"}))
    own = {"server_args": "--dtype float32", "command": "/here/vllm"}
    assert accept(offer("vllm-server", asked), Own(args=own)).settings.args == {**asked, **own}


def test_numbers_and_other_backends_need_no_word() -> None:
    assert accept(offer("vllm-server", {"max_images": 2, "batch_invariant": True}), Own())
    assert accept(offer("transformers", {"dtype": "float32"}), Own())


GOOD = asdict(ModelSettings("/no/such/model"))


@pytest.mark.parametrize(
    "settings",
    [
        [1],
        {},
        {**GOOD, "args": [1]},
        {**GOOD, "args": None},
        {**GOOD, "model": 5},
        {**GOOD, "model": "a\0b"},
        {**GOOD, "model": "/" + "x" * 5000},
        {**GOOD, "gpus_per_replica": -3},
        {**GOOD, "gpus_per_replica": "all"},
        {**GOOD, "batch_size": 0},
        {**GOOD, "parallelism": "sideways"},
        {**GOOD, "request_timeout": float("nan")},
        {**GOOD, "trust_remote_code": "no"},
    ],
)
def test_settings_that_make_no_sense_are_no_traceback(settings: object) -> None:
    raw = msgspec.Raw(msgspec.msgpack.encode(settings))
    with pytest.raises(RunError, match="makes no sense"):
        accept(msgspec.structs.replace(offer("transformers", {}), settings=raw), Own())


@pytest.mark.parametrize(
    "change", [{"backend": "nonsense"}, {"backend": ""}, {"fingerprint": [1]}, {"fingerprint": {}}]
)
def test_an_offer_that_makes_no_sense_is_no_traceback(change: dict[str, object]) -> None:
    """A folder of this machine that comes with nothing to compare would be loaded on a coordinator's word."""
    if "fingerprint" in change:
        change = {"fingerprint": msgspec.Raw(msgspec.msgpack.encode(change["fingerprint"]))}
    with pytest.raises(RunError, match="makes no sense"):
        accept(msgspec.structs.replace(offer("transformers", {}), **change), Own())
