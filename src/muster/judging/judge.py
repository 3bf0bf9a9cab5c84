"""Who judges: `--judge MODEL`, `--judge-backend NAME` and `--judge-args`, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from muster.core import JSON, ConfigurationError, Generation
from muster.judging.own_prompts import is_about_prompts, own_prompts
from muster.metrics.judge_prompts import JudgePrompt
from muster.metrics.protocol import Inquiry
from muster.models.protocol import ModelSettings
from muster.models.registry import check_settings, load_backend, model_kind, resolve_model, served_by
from muster.results.fingerprint import digest_of, model_fingerprint
from muster.results.usage import Prices
from muster.results.verdicts import Judge, VerdictBook

DEFAULT_BACKEND = "openai"


class _Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `--judge-args` say about asking, besides prompts; all others are the backend's."""

    max_new_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Instead of the prompt's own: judges that think need more."""
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_in_flight: Annotated[int, msgspec.Meta(ge=1)] | None = None
    batch_size: Annotated[int, msgspec.Meta(ge=1)] | Literal["auto"] = "auto"
    gradings: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """How often it is asked about each answer; the score is the mean. Wants a temperature."""
    trust_remote_code: bool = False
    """Of the judge's own code: the run's `--trust-remote-code` is about another model."""


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """A judge that can be started."""

    judge: Judge
    backend: str
    settings: ModelSettings
    prices: Prices
    temperature: float = 0.0
    max_new_tokens: int | None = None
    gradings: int = 1
    prompts: Mapping[str, JudgePrompt] = field(default_factory=dict)
    """The user's own, by the label of Muster's whose place they take."""

    def book(self, verdicts: Path) -> VerdictBook:
        """Its verdicts in a journal of verdicts. Raises `ConfigurationError` for a file that is no such journal."""
        labels = {replaced: prompt.label for replaced, prompt in self.prompts.items()}
        return VerdictBook.load(verdicts, self.judge, self.prices, labels, self.gradings)

    def worded(self, inquiry: Inquiry) -> Inquiry:
        """The inquiry as this judge is asked: in the user's own words where there are any."""
        own = self.prompts.get(inquiry.prompt)
        return inquiry if own is None or inquiry.places is None else own.fill(inquiry.places)

    def generation(self, inquiry: Inquiry) -> Generation:
        """How the judge answers."""
        tokens = self.max_new_tokens or inquiry.max_new_tokens
        return Generation(max_new_tokens=tokens, temperature=self.temperature)


def judge_spec(
    model: str | None,
    backend: str | None,
    args: Mapping[str, JSON],
    *,
    request_timeout: float = 600.0,
) -> JudgeSpec | None:
    """The judge that the options name; None where they name none.

    Raises:
        ConfigurationError: options of a judge without one, an unknown backend, arguments that it doesn't take, prompts
            that can't be used.
    """
    if model is None:
        if backend is not None or args:
            option = "--judge-args" if args else "--judge-backend"
            raise ConfigurationError(
                f"{option} is about a judge, but there is none: name it with --judge MODEL"
            )
        return None
    try:
        return _spec(model, backend or DEFAULT_BACKEND, args, request_timeout)
    except ConfigurationError as error:
        raise of_the_judge(error) from error


def of_the_judge(error: ConfigurationError) -> ConfigurationError:
    """A backend's complaint in the words of the judge's options."""
    return ConfigurationError(f"judge: {in_its_options(str(error))}")


def in_its_options(complaint: str) -> str:
    """The same words with the judge's options in place of the model's."""
    words = complaint.replace("--model-args", "--judge-args").replace("--backend", "--judge-backend")
    return words.replace("--model ", "--judge ")


def _spec(model: str, backend: str, args: Mapping[str, JSON], request_timeout: float) -> JudgeSpec:
    known = [field.name for field in msgspec.structs.fields(_Asking)]
    try:
        asking = msgspec.convert(
            {name: value for name, value in args.items() if name in known}, _Asking, strict=False
        )
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"--judge-args: {error}") from None
    if asking.gradings > 1 and asking.temperature == 0:
        raise ConfigurationError(
            f"--judge-args: gradings={asking.gradings} asks the same thing several times, which at temperature 0 is "
            "answered alike: give a temperature too"
        )
    own = {name: value for name, value in args.items() if name not in known and not is_about_prompts(name)}
    prompts = own_prompts(args)
    loaded = load_backend(backend)
    settings = ModelSettings(
        model=resolve_model(model, model_kind(loaded)),
        args=own,
        batch_size=asking.batch_size,
        max_in_flight=asking.max_in_flight,
        trust_remote_code=asking.trust_remote_code,
        request_timeout=request_timeout,
    )
    check_settings(loaded, settings)
    identity = {
        **model_fingerprint(settings.model, backend, own, served_by(loaded, own)),
        "temperature": asking.temperature,
        "max_new_tokens": asking.max_new_tokens,
    }
    digest = digest_of([msgspec.json.encode(identity, order="sorted").decode()])
    return JudgeSpec(
        Judge(model, digest),
        backend,
        settings,
        Prices.of(own),
        asking.temperature,
        asking.max_new_tokens,
        asking.gradings,
        prompts,
    )
