"""What a server answers to `POST /chat/completions`, read without trusting it.

Where the thought stands: `reasoning_content` (vLLM up to 0.10, SGLang, DeepSeek), `reasoning` (vLLM, OpenRouter), parts
of the type `thinking` or `reasoning` (Mistral), `thinking` (Ollama), `reasoning_details` (OpenRouter),
`thinking_blocks` (LiteLLM).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from muster.core import Usage
from muster.models.api.endings import check_ending
from muster.models.api.failures import UnavailableError, shown
from muster.models.api.protocol import Reply

_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_text", "thought", "redacted_thinking"})
"""Types of parts that are no answer."""


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None
    thinking: Any = None
    reasoning: Any = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None

    @property
    def text(self) -> str | None:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content if part.type not in _THOUGHTS)
        return self.content

    @property
    def thought(self) -> str:
        parts = self.content if isinstance(self.content, list) else []
        thoughts = [part for part in parts if part.type in _THOUGHTS]
        inside = "".join(
            _words(part.thinking) or _words(part.reasoning) or part.text or "" for part in thoughts
        )
        apart = (
            self.reasoning_content,
            self.reasoning,
            self.thinking,
            self.reasoning_details,
            self.thinking_blocks,
        )
        return next(filter(None, map(_words, apart)), inside)


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    """Null while it isn't over (OpenAI's API reference); some servers leave it out."""
    error: Any = None
    """OpenRouter's, where the provider behind it failed."""


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None


class _Error(msgspec.Struct):
    error: msgspec.Raw


_completion = msgspec.json.Decoder(_Completion)
_tokens = msgspec.json.Decoder(_Tokens | None)
_error = msgspec.json.Decoder(_Error)


def read_reply(content: bytes, endpoint: str) -> Reply:
    """The answer in a reply of status 200.

    What a model says instead of an answer (a refusal, nothing at all) is its answer. Raises `SampleError` where the
    server's filter withheld it, and `UnavailableError` for what broke off or is no completion.
    """
    try:
        completion = _completion.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(content, endpoint, str(error)) from None
    if completion.error:
        raise UnavailableError(
            f"{endpoint} answered an error with status 200: {_error_words(completion.error)}"
        )
    if not completion.choices:
        raise UnavailableError(f"{endpoint} answered without a choice")
    choice = completion.choices[0]
    if choice.error:
        words = _error_words(choice.error)
        raise UnavailableError(f"{endpoint} broke the answer off: {words}")
    text, refusal, thought = choice.message.text, choice.message.refusal, choice.message.thought
    tokens = _read_tokens(completion.usage)
    usage = Usage(tokens.prompt_tokens, tokens.completion_tokens)
    details = tokens.completion_tokens_details
    unseen = 0 if thought or details is None else details.reasoning_tokens or 0
    if text is None and refusal is not None:
        return Reply(refusal, "refusal", usage, thought)
    said = bool(text or thought) and choice.finish_reason is not None
    reason = check_ending(choice.finish_reason or None, endpoint, said=said)
    return Reply(text or "", reason, usage, thought, unseen=unseen)


def _words(value: object) -> str:
    """The text in whatever form a thought comes: a text, a list of parts, an object with a text."""
    return "".join(_texts(value))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(
            next((value[key] for key in ("text", "content", "thinking", "summary") if value.get(key)), None)
        )


def _error_words(error: object) -> str:
    words = error.get("message") if isinstance(error, dict) else None
    return shown(str(words or error))


def _read_tokens(raw: msgspec.Raw) -> _Tokens:
    try:
        return _tokens.decode(raw) or _Tokens()
    except msgspec.DecodeError:
        return _Tokens()


def _unreadable(content: bytes, endpoint: str, why: str) -> UnavailableError:
    try:
        words = (
            f"an error with status 200: {shown(bytes(_error.decode(content).error).decode(errors='replace'))}"
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = f"something that is no completion ({why}): {shown(content[:200].decode(errors='replace'))}"
    return UnavailableError(f"{endpoint} answered {words}")
