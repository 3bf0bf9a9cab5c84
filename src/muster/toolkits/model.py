"""VLMEvalKit's model classes as a backend: each replica is one of them, in a process of the interpreter that has it.

What it is asked about VLMEvalKit's own datasets is what VLMEvalKit would ask it: its own prompts, where it has any,
with its own settings. Everything else is asked with the task's messages and settings.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from muster.core import (
    JSON,
    Completion,
    ConfigurationError,
    Failure,
    Generation,
    Media,
    ReplicaError,
    Request,
    RunError,
    SampleError,
    TransientError,
)
from muster.core.own_python import SAFE_PATH
from muster.media.gate import media_file, read_media_file
from muster.media.images import open_picture
from muster.media.opening import open_prompt
from muster.models.keeper import Keeper
from muster.models.own_environment import own_environment
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.seeding import request_seed
from muster.results.fingerprint import model_fingerprint
from muster.toolkits.options import VLMEVALKIT, ToolkitOptions
from muster.toolkits.process import ToolkitProcess

PREFIX = f"{VLMEVALKIT}:"
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tiff"}
"""By what VLMEvalKit takes a file for a picture; by Pillow's names of formats."""
AT_ONCE = 4
"""Requests to an API, as its own `--api-nproc`."""
_OWN = ("python", "checkout", "said")
_SEEDS = 2**63


class _Facts(msgspec.Struct, frozen=True):
    wrapper: str
    remote: bool
    takes_videos: bool


class _Said(msgspec.Struct, frozen=True):
    number: int
    text: str | None = None
    failure: str = ""
    message: str = ""
    traceback: str = ""
    unplaced: list[str] = []


@dataclass(frozen=True, slots=True)
class _Options:
    """What `--model-args` say to this backend rather than to the wrapper."""

    python: str
    checkout: str | None
    said: frozenset[str]
    """Generation settings that the run has in place of the tasks'."""
    args: Mapping[str, JSON]
    """For the wrapper's constructor."""

    @classmethod
    def of(cls, args: Mapping[str, JSON]) -> _Options:
        for name in ("python", "checkout"):
            if not isinstance(args.get(name), str | None):
                raise ConfigurationError(f"--model-args {name}={args[name]}: must be a path")
        python, checkout, said = args.get("python"), args.get("checkout"), args.get("said")
        chosen = ToolkitOptions(vlmevalkit_python=None if python is None else str(python))
        return cls(
            chosen.python(VLMEVALKIT),
            None if checkout is None else str(Path(str(checkout)).expanduser().absolute()),
            frozenset(map(str, said)) if isinstance(said, list) else frozenset(),
            {name: value for name, value in args.items() if name not in _OWN},
        )


@dataclass(slots=True)
class _Files:
    """Pictures as files, which is how wrappers take them. What has none gets one in the process's folder."""

    folder: Path
    _kept: dict[str, Path] = field(default_factory=dict)

    def image(self, media: Media) -> str:
        """A file of the picture: its own bytes where the run opens it as it is, else its pixels as PNG.

        Raises `SampleError` where it can't be read.
        """
        if media.pixels_identity in self._kept:
            return str(self._kept[media.pixels_identity])
        picture = open_picture(media)
        suffix = SUFFIXES.get(picture.format)
        if media.image is None and suffix is not None:
            content = read_media_file(media)
        else:
            stream = io.BytesIO()
            picture.image.save(stream, "PNG", compress_level=1)
            content, suffix = stream.getvalue(), ".png"
        return str(self._keep(media.pixels_identity, content, suffix))

    def _keep(self, identity: str, content: bytes, suffix: str) -> Path:
        while len(self._kept) >= 256:  # those of the requests in work are among the last
            self._kept.pop(next(iter(self._kept))).unlink(missing_ok=True)
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}{suffix}"
        file.write_bytes(content)
        self._kept[identity] = file
        return file


class VlmevalkitModel:
    """One replica of a model of VLMEvalKit's `supported_VLM`.

    A wrapper that loads weights answers one request at a time, one that asks an API `--max-in-flight`.
    """

    models: ModelKind = "any"
    uses_gpus = True
    starts_processes = True

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` where VLMEvalKit isn't there. Nothing of it is imported."""
        options = _Options.of(settings.args)
        _package(options.python, options.checkout)

    @staticmethod
    def identity(args: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """A digest of all its wrappers and their settings, and the weights where an argument names their folder."""
        options = _Options.of(args)
        root = _package(options.python, options.checkout)
        digest = hashlib.blake2b(digest_size=16)
        files = [root / "config.py", *sorted(root.glob("vlm/**/*.py")), *sorted(root.glob("api/**/*.py"))]
        for file in files:
            digest.update(file.read_bytes())
        path = options.args.get("model_path")
        named: dict[str, JSON] = {}
        if isinstance(path, str) and Path(path).expanduser().is_dir():
            named = {"weights": model_fingerprint(path, VLMEVALKIT, {})}
        return {"vlmevalkit": digest.hexdigest(), **named}

    def __init__(self, settings: ModelSettings) -> None:
        """Load the wrapper.

        Raises:
            ConfigurationError: there is no such model, or what it needs isn't there.
            ReplicaError: it can't be loaded for another reason.
        """
        self._options = _Options.of(settings.args)
        self._at_once = settings.max_in_flight or AT_ONCE
        with own_environment():
            self._process = ToolkitProcess(VLMEVALKIT, "muster_vlmevalkit_model.py", self._options.python)
        keeper = Keeper(folder=self._process.scratch)  # should this process be killed
        keeper.watch(self._process.pid)
        self._end = weakref.finalize(self, _end, self._process, keeper)
        self._files = _Files(self._process.scratch / ".pictures")
        self._unplaced: set[str] = set()
        try:
            self._facts = self._process.first(
                {
                    "name": settings.model.removeprefix(PREFIX),
                    "args": dict(self._options.args),
                    "checkout": self._options.checkout,
                    "at_once": self._at_once,
                },
                _Facts,
            )
        except RunError as error:
            raise ReplicaError(f"{error}. It last said: {self._process.last_words()}") from error
        self.slots = self._at_once if self._facts.remote else 1
        self.videos = "video" if self._facts.takes_videos else "frames"
        self.notes: dict[str, str] = {
            "wrapper": f"{self._facts.wrapper} of VLMEvalKit, with its own prompts and settings for vlmevalkit: tasks"
        }

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests as they are ready.

        Raises:
            ReplicaError: the wrapper's process is gone, or its device is broken.
            ConfigurationError: a package is missing that it imports when it answers.
        """
        asked: dict[int, Request] = {}
        numbers, more = 0, True
        while more or asked:
            while more and len(asked) < self.slots:
                request = next(requests, None)
                if request is None:
                    more = False
                    continue
                try:
                    question = self._question(request)
                except Exception as error:  # noqa: BLE001 - the boundary that turns it into a record
                    yield Completion(request.key, failure=Failure.from_exception(error))
                    continue
                numbers += 1
                asked[numbers] = request
                self._tell({"number": numbers, **question})
            if asked:
                said = self._hear()
                yield self._completion(asked.pop(said.number), said)

    def close(self) -> None:
        """End the process. Losing the last reference does so too."""
        self._end()

    def _tell(self, message: Mapping[str, JSON]) -> None:
        try:
            self._process.send(message)
        except RunError as error:
            raise ReplicaError(str(error)) from error

    def _hear(self) -> _Said:
        try:
            frame = self._process.receive()
        except RunError as error:
            raise ReplicaError(str(error)) from error
        if frame is None:
            raise ReplicaError("VLMEvalKit's process has nothing more to say, and owes answers")
        return frame.read(_Said)

    def _question(self, request: Request) -> dict[str, JSON]:
        toolkit, _colon, name = request.key.task.partition(":")
        theirs = toolkit == VLMEVALKIT
        messages, pictures = request.messages, None
        if any(each.kind == "video" for each in request.media) and not self._whole_videos(request):
            opened = open_prompt(request.messages, takes_videos=False)
            messages, pictures = opened.messages, iter(opened.visuals)
        turns: list[JSON] = []
        for message in messages:
            if message.role == "system":
                continue
            parts: list[JSON] = []
            for part in message.parts:
                if part.media is None:
                    parts.append({"type": "text", "value": part.text or ""})
                elif part.media.kind == "video":
                    parts.append({"type": "video", "value": str(media_file(part.media))})
                else:
                    shown = next(pictures) if pictures is not None else None
                    parts.append({"type": "image", "value": self._picture(part.media, shown)})
            turns.append({"role": message.role, "parts": parts})
        return {
            "dataset": name if theirs else None,
            "sample": request.key.sample_id,
            "turns": turns,
            "system": "\n".join(message.text for message in messages if message.role == "system"),
            "settings": settings_of(request.generation, self._options.said if theirs else None),
            "seed": request_seed(request.generation.seed, request.key) % _SEEDS,
        }

    def _whole_videos(self, request: Request) -> bool:
        """Whether all videos can be given as files: what a wrapper does with them is its own affair."""
        return self._facts.takes_videos and all(
            each.path is not None and each.clip is None and media_file(each).is_file()
            for each in request.media
            if each.kind == "video"
        )

    def _picture(self, media: Media, shown: object) -> str:
        from PIL import Image

        if not isinstance(shown, Image.Image):
            return self._files.image(media)
        stream = io.BytesIO()
        shown.save(stream, "PNG", compress_level=1)
        return self._files.image(Media("image", data=stream.getvalue()))

    def _completion(self, request: Request, said: _Said) -> Completion:
        if said.text is not None:
            note = f"its wrapper has no place for {', '.join(said.unplaced)}" if said.unplaced else None
            cuts = [place for stop in request.generation.stop if (place := said.text.find(stop)) >= 0]
            return Completion(request.key, said.text[: min(cuts, default=None)], note=note)
        if said.failure == "replica":
            raise ReplicaError(f"the device failed: {said.message}")
        if said.failure == "configuration":
            raise ConfigurationError(f"{VLMEVALKIT}: {said.message}")
        kind = TransientError if said.failure == "transient" else SampleError
        words = f". It last said: {self._process.last_words()[-500:]}" if kind is TransientError else ""
        failure = Failure.from_exception(kind(said.message + words))
        if said.traceback:
            failure = Failure(failure.kind, failure.type, failure.message, said.traceback)
        return Completion(request.key, failure=failure)


def _end(process: ToolkitProcess, keeper: Keeper) -> None:
    process.end()
    keeper.close()


def settings_of(generation: Generation, only: frozenset[str] | None) -> dict[str, JSON]:
    """A request's generation settings by the names of transformers; `only`: those of these names."""
    settings: dict[str, JSON] = {
        "max_new_tokens": generation.max_new_tokens,
        "temperature": generation.temperature,
    }
    if generation.temperature > 0 and generation.top_p < 1.0:
        settings["top_p"] = generation.top_p
    if generation.temperature > 0 and generation.top_k is not None:
        settings["top_k"] = generation.top_k
    return {name: value for name, value in settings.items() if only is None or name in only}


@cache
def _package(python: str, checkout: str | None) -> Path:
    """The folder of the package `vlmeval`; nothing of it is imported. Raises `ConfigurationError`."""
    if checkout is not None:
        root = Path(checkout) / "vlmeval"
        if not (root / "config.py").is_file():
            raise ConfigurationError(f"--vlmevalkit-path {checkout}: that is no checkout of VLMEvalKit")
        return root
    code = "import importlib.util as u; s = u.find_spec('vlmeval'); print(s.origin if s else '')"
    try:
        found = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **SAFE_PATH},
        )
    except OSError as error:
        raise ConfigurationError(f"--vlmevalkit-python {python}: {error.strerror or error}") from error
    origin = found.stdout.strip()
    if not origin:
        raise ConfigurationError(
            f"{python} has no VLMEvalKit: --vlmevalkit-python names the interpreter that has it, --vlmevalkit-path a "
            "checkout of it"
        )
    return Path(origin).parent
