"""The vllm backend's parts that need no vLLM: settings, room, what its processes see, who ends them.

Guards against answers that were sampled where greedy decoding was asked for, an engine that is starved or hoards, a
process group that waits for the launcher's ranks, and engines and servers that outlive a killed worker.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, Generation, MissingExtraError
from muster.models.own_environment import own_environment
from muster.models.protocol import ModelSettings
from muster.models.registry import load_backend
from muster.models.vllm import versions
from muster.models.vllm.answers import sampling_arguments
from muster.models.vllm.options import (
    check_settings,
    engine_arguments,
    engine_variables,
    gives_videos,
    parse_options,
)
from muster.models.vllm.room import Room
from processes import DEADLINE, gone, until
from tiny_requests import ask

# Settings


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (Generation(max_new_tokens=7), {"max_tokens": 7, "temperature": 0.0}),
        # What is said of sampling means nothing to greedy decoding.
        (Generation(top_p=0.5, top_k=3), {"max_tokens": 128, "temperature": 0.0}),
        (
            Generation(temperature=0.7, top_p=0.9, top_k=5, stop=("a", "b", "c", "d", "e")),
            {
                "max_tokens": 128,
                "temperature": 0.7,
                "top_p": 0.9,
                "top_k": 5,
                "stop": ["a", "b", "c", "d", "e"],
            },
        ),
        (Generation(temperature=1.0), {"max_tokens": 128, "temperature": 1.0, "top_p": 1.0}),
    ],
)
def test_generation_settings_mean_the_same_to_vllm(
    generation: Generation, expected: dict[str, object]
) -> None:
    arguments = sampling_arguments(ask("a", "?", generation=generation), {})
    seed = arguments.pop("seed", None)
    assert (seed is not None) == (generation.temperature > 0)
    assert arguments == expected


def test_sampled_answers_depend_on_the_seed_and_the_name() -> None:
    def seed(name: str, seed: int) -> object:
        return sampling_arguments(ask(name, "?", generation=Generation(temperature=1, seed=seed)), {})["seed"]

    assert seed("a", 0) == seed("a", 0)
    assert len({seed("a", 0), seed("b", 0), seed("a", 1)}) == 3


def test_of_the_models_own_generation_settings_only_the_repetition_penalty_counts() -> None:
    own = {"repetition_penalty": 1.05, "temperature": 0.1, "top_p": 0.001, "top_k": 1, "max_tokens": 3}
    assert (
        sampling_arguments(ask("a", "?", generation=Generation(temperature=0.5)), own).items()
        >= {
            "repetition_penalty": 1.05,
            "temperature": 0.5,
            "top_p": 1.0,
            "max_tokens": 128,
        }.items()
    )


def arguments(args: dict[str, JSON], **settings: object) -> dict[str, object]:
    given = ModelSettings("m", args, **settings)  # type: ignore[arg-type]
    return engine_arguments(given, parse_options(args), "/folder")


def test_a_replica_is_one_engine_on_its_gpus() -> None:
    one = arguments({})
    assert (one["tensor_parallel_size"], one["distributed_executor_backend"]) == (1, "uni")
    four = arguments({}, gpus_per_replica=4, parallelism="tensor")
    assert (four["tensor_parallel_size"], four["distributed_executor_backend"]) == (4, "mp")


def test_model_arguments_reach_the_engine() -> None:
    given = arguments(
        {
            "max_images": 3,
            "max_pixels": 1000,
            "processor_do_resize": False,
            "dtype": "float32",
            "max_model_len": 64,
        },
        max_in_flight=9,
        seed=5,
        trust_remote_code=True,
    )
    assert (
        given.items()
        >= {"model": "/folder", "dtype": "float32", "max_model_len": 64, "max_num_seqs": 9}.items()
    )
    assert (given["seed"], given["trust_remote_code"], given["enable_prefix_caching"]) == (5, True, True)
    assert given["limit_mm_per_prompt"] == {"image": 3, "video": 0}
    assert given["mm_processor_kwargs"] == {"max_pixels": 1000, "do_resize": False}
    assert arguments({"max_num_seqs": 4}, max_in_flight=9)["max_num_seqs"] == 4


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("tensor_parallel_size", "--gpus-per-replica"),
        ("data_parallel_size", "--replicas"),
        ("temperature", "--temperature"),
        ("batch_size", "--max-in-flight"),
        ("seed", "--seed"),
        ("mm_processor_kwargs", "processor_NAME"),
    ],
)
def test_what_is_said_elsewhere_is_refused_with_its_place(name: str, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        check_settings(ModelSettings("m", {name: 2, "max_pixels": 5}))
    assert instead in str(refused.value)


@pytest.mark.parametrize(
    ("args", "asked", "takes_videos", "limits"),
    [
        ({}, {"most_images": 5, "most_videos": 0}, True, {"image": 5, "video": 0}),
        ({"max_images": 2}, {"most_images": 5, "most_videos": 0}, False, {"image": 2, "video": 0}),
        ({}, {"most_images": 1, "most_videos": 2}, True, {"video": 2}),
        # How many frames a video has is known when it is opened.
        ({}, {"most_images": 1, "most_videos": 2}, False, {"video": 0}),
        ({"max_images": 40}, {"most_images": 0, "most_videos": 1}, False, {"image": 40, "video": 0}),
        ({}, {}, True, {}),
        ({}, {}, False, {"video": 0}),
    ],
)
def test_room_is_kept_for_what_the_run_asks_about(
    args: dict[str, JSON], asked: dict[str, int], takes_videos: bool, limits: dict[str, int]
) -> None:
    settings = ModelSettings("m", args, **asked)  # type: ignore[arg-type]
    given = engine_arguments(settings, parse_options(args), "/folder", takes_videos=takes_videos)
    assert given["limit_mm_per_prompt"] == limits


def test_videos_are_given_as_such_where_that_was_compared() -> None:
    assert gives_videos("auto", "qwen2_5_vl", possible=True)
    assert not gives_videos("auto", "qwen2_5_vl", possible=False)
    assert not gives_videos("auto", "llava_onevision", possible=True)
    assert gives_videos("video", "llava_onevision", possible=True)
    assert not gives_videos("frames", "qwen2_5_vl", possible=True)
    with pytest.raises(ConfigurationError, match="no part for videos"):
        gives_videos("video", "llava", possible=False)
    with pytest.raises(ConfigurationError, match="video=films"):
        parse_options({"video": "films"})


def test_batch_invariance_is_asked_for_where_the_record_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_variables(parse_options({"batch_invariant": True})) == {"VLLM_BATCH_INVARIANT": "1"}
    assert engine_variables(parse_options({})) == {}
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    with pytest.raises(ConfigurationError, match="batch_invariant=true"):
        check_settings(ModelSettings("m"))
    check_settings(ModelSettings("m", {"batch_invariant": True}))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_said_before_anything_starts() -> None:
    with pytest.raises(MissingExtraError, match=r"'\.\[vllm\]"):
        load_backend("vllm")


@pytest.mark.parametrize("version", ["0.11.2", "0.8.5.post1+cu124"])
def test_an_old_vllm_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda: version)
    with pytest.raises(ConfigurationError, match=r"0\.32 or newer, this is " + version.replace("+", r"\+")):
        versions.check_version()


@pytest.mark.parametrize("version", ["0.32.0+cpu", "0.33.1", "1.0", "", "0.0.0.dev3"])
def test_other_versions_are_tried(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda: version)
    versions.check_version()


# Room


@given(
    slots=st.integers(1, 1024),
    most=st.none() | st.integers(1, 2000),
    steps=st.lists(st.tuples(st.integers(0, 1024), st.integers(0, 2000))),
)
def test_there_is_always_room_for_one_and_never_for_more_than_was_said(
    slots: int, most: int | None, steps: list[tuple[int, int]]
) -> None:
    room = Room(slots, most)
    for running, waiting in steps:
        before = room.places
        assert room.seen(running, waiting) == (room.places > before)
        assert 1 <= room.places <= room.most
    if most is not None:
        assert room.most == most


def test_an_engine_that_lets_requests_wait_is_given_fewer_and_more_again_when_it_can() -> None:
    """Keys and values for forty sequences only, where a thousand are allowed: the rest is for other replicas."""
    room = Room(1000)
    assert room.places == 1125
    room.seen(running=40, waiting=1085)
    assert room.places == 40 + room.ahead
    for _ in range(50):
        running = min(600, room.places)
        room.seen(running, waiting=max(0, room.places - 600 - room.ahead))
    assert 600 <= room.places <= 600 + 2 * room.ahead


# What its processes see


def test_processes_see_no_ranks_and_the_worker_keeps_them() -> None:
    before = {
        "RANK": "3",
        "WORLD_SIZE": "8",
        "MASTER_ADDR": "head",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMPI_COMM_WORLD_RANK": "3",
        "VLLM_HOST_IP": "10.0.0.3",
        "VLLM_WORKER_MULTIPROC_METHOD": "fork",
        "HOME": "/root",
    }
    env = dict(before)
    with own_environment({"MORE": "1"}, env):
        assert not env.keys() & {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_USE_AGENT_STORE"}
        assert not any(name.startswith("OMPI_") for name in env)
        assert (env["HOME"], env["VLLM_HOST_IP"]) == ("/root", "10.0.0.3")
        assert (env["VLLM_WORKER_MULTIPROC_METHOD"], env["MORE"]) == ("spawn", "1")
    assert "MORE" not in env
    assert {name: env[name] for name in before if name != "VLLM_WORKER_MULTIPROC_METHOD"} == {
        name: value for name, value in before.items() if name != "VLLM_WORKER_MULTIPROC_METHOD"
    }


# The keeper

STARTS = """
import subprocess, sys, time
from muster.models.keeper import Keeper
code = "import signal, subprocess, sys, time; {signals}; sleep = 'import time; time.sleep(600)'; "
code += "print(subprocess.Popen([sys.executable, '-c', sleep]).pid, flush=True); time.sleep(600)"
keeper = Keeper(grace=0.5)
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session={session})
keeper.watch(child.pid)
print(child.pid, child.stdout.readline().strip(), keeper.pid, flush=True)
{then}
"""


@pytest.mark.parametrize(
    "then", ["time.sleep(600)", "keeper.close()", "pass"], ids=["killed", "closed", "ends"]
)
@pytest.mark.parametrize("stubborn", [False, True], ids=["polite", "ignores SIGTERM"])
def test_what_is_watched_ends_with_whoever_started_it(then: str, stubborn: bool) -> None:
    signals = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "pass"
    code = STARTS.replace("{signals}", signals).replace("{session}", str(stubborn)).replace("{then}", then)
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    started = [int(word) for word in starter.stdout.readline().split()]
    processes = [psutil.Process(pid) for pid in started]
    if then.startswith("time"):
        starter.send_signal(signal.SIGKILL)
    starter.wait(DEADLINE)
    until(lambda: not any(not gone(each) for each in processes))


def test_orphans_of_a_watched_session_end_too() -> None:
    """A server whose first process was killed leaves an engine behind, which nobody's child list names."""
    code = STARTS.replace("{signals}", "pass").replace("{session}", "True")
    code = code.replace("{then}", "child.kill(); child.wait(); keeper.close(); time.sleep(600)")
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    grandchild = psutil.Process(int(starter.stdout.readline().split()[1]))
    try:
        until(lambda: gone(grandchild))
    finally:
        starter.kill()
        starter.wait()
