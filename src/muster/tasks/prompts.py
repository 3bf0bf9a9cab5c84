"""Prompts as jinja2 templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from muster.core import ConfigurationError, Message, Part, Sample
from muster.core.numbers import whole
from muster.core.text import did_you_mean
from muster.metrics.letters.options import lettered
from muster.tasks.markers import place_media, protect
from muster.tasks.sandbox import rendered, sandbox
from muster.tasks.special_tokens import written_in

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.lexer import Token, TokenStream
    from jinja2.sandbox import SandboxedEnvironment

DEFAULT_TEMPLATE = """\
{{ question }}{% if choices %}

{{ choice_lines }}
Answer with the letter of the correct option.{% endif %}"""
"""The question; where there are choices, those by letter and how to answer."""


class TemplateProblem(NamedTuple):
    """What is wrong with a template, and on which of its lines (from 1)."""

    line: int
    message: str


class TemplateTurn(NamedTuple):
    """A message before the one that asks, as a template."""

    role: Literal["user", "assistant"]
    template: str


@dataclass(slots=True)
class TemplatePrompt:
    """A user message rendered from a sandboxed jinja2 template, after an optional system message and other `before`.

    `<image>` and `<video>` in the templates place the sample's media; without them, media come before the last
    message's text.
    """

    template: str = DEFAULT_TEMPLATE
    system: str | None = None
    before: tuple[TemplateTurn, ...] = ()
    """Turns that were before it, the same for every sample but for what their templates say of it."""
    description: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` where the template can't be used, whatever the sample."""
        templates = [*(turn.template for turn in self.before), self.template]
        if problems := [problem for each in templates for problem in check_template(each)]:
            raise ConfigurationError("\n".join(f"template line {line}: {text}" for line, text in problems))
        first = [f"[system] {self.system}"] if self.system else []
        turns = [f"[{turn.role}] {turn.template.rstrip()}" for turn in self.before]
        last = f"[user] {self.template}" if self.before else self.template
        self.description = "\n".join((*first, *turns, last))

    def render(self, sample: Sample) -> tuple[Message, ...]:
        """The system message, where there is one, the turns before and the user's; of a later turn only the last.

        Raises:
            ConfigurationError: a template asks for what the sample lacks, the markers don't fit the sample's
                media, or nothing came out.
        """
        before = self.before if sample.previous is None else ()
        turns = (*before, TemplateTurn("user", self.template))
        texts = [self._text(turn.template, sample) for turn in turns]
        messages = []
        for turn, parts in zip(turns, place_media(texts, sample), strict=True):
            if not parts:
                raise ConfigurationError(f"sample {sample.id!r}: the prompt's template gives an empty prompt")
            messages.append(Message(turn.role, parts, _compiled(turn.template).special_tokens))
        if self.system and sample.previous is None:
            messages.insert(0, Message("system", (Part(text=self.system),), written_in([self.system])))
        return tuple(messages)

    def _text(self, template: str, sample: Sample) -> str:
        try:
            compiled = _compiled(template)
            return rendered(compiled.template, {name: _VALUES[name](sample) for name in compiled.names})
        except Exception as error:  # a template runs arbitrary expressions over the sample
            raise ConfigurationError(
                f"sample {sample.id!r}: the prompt's template can't be rendered: {error} "
                f"(the sample's metadata: {', '.join(sample.metadata) or 'none'})"
            ) from error

    def digest(self) -> str:
        """Covers the templates and the system message."""
        text = json.dumps(["template-1", self.template, self.system, *self.before])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_template(template: str) -> list[TemplateProblem]:
    """What is wrong with a template before it meets a sample: syntax, unknown filters and variables."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    environment = _environment()
    try:
        tree = environment.parse(template)
        environment.compile(template)
    except TemplateSyntaxError as error:
        return [TemplateProblem(error.lineno, error.message or "it isn't a jinja2 template")]
    unknown = meta.find_undeclared_variables(tree) - set(VARIABLES) - environment.globals.keys()
    first = {name.name: name.lineno for name in reversed(list(tree.find_all(nodes.Name)))}
    return sorted(TemplateProblem(first.get(name, 1), _unknown_variable(name)) for name in unknown)


def _unknown_variable(name: str) -> str:
    if name in {"answer", "answers"}:
        return f"{name!r} isn't available to prompts, so that no prompt gives the answer away"
    return f"unknown variable {name!r}{did_you_mean(name, VARIABLES)} (there are: {', '.join(VARIABLES)})"


def _choice_lines(sample: Sample) -> str:
    return "\n".join(f"{letter}. {text}" for letter, text in lettered(sample.choices).items())


_VALUES: Mapping[str, Callable[[Sample], object]] = {
    "question": lambda sample: sample.question,
    "choices": lambda sample: list(lettered(sample.choices).values()),
    "choice_lines": _choice_lines,
    "letters": lambda sample: list(lettered(sample.choices)),
    "metadata": lambda sample: {name: whole(value) for name, value in sample.metadata.items()},
    "image_count": lambda sample: len(sample.images),
    "video_count": lambda sample: len(sample.videos),
    "turn": lambda sample: len(sample.dialogue),
}
"""What a template can use. The answer isn't among them, so that no prompt can give it away."""
VARIABLES = tuple(_VALUES)


class _Compiled(NamedTuple):
    template: Template
    names: tuple[str, ...]
    """Of the variables, those that it looks at."""
    special_tokens: tuple[str, ...]


@lru_cache(maxsize=256)
def _compiled(template: str) -> _Compiled:
    # Not an attribute of the prompt: prompts stay plain values that can be compared and copied.
    from jinja2 import meta

    environment = _environment()
    used = meta.find_undeclared_variables(environment.parse(template))
    names = tuple(name for name in VARIABLES if name in used)
    return _Compiled(environment.from_string(template), names, written_in([template]))


@cache
def _environment() -> SandboxedEnvironment:
    """The sandbox, with the template's own markers told from those in the sample's text."""
    from jinja2.ext import Extension
    from jinja2.lexer import Token

    class OwnMarkers(Extension):
        def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
            for token in stream:
                own = token.type == "data"
                yield Token(token.lineno, token.type, protect(token.value)) if own else token

    return sandbox(OwnMarkers)
