"""What a server answers to `POST /chat/completions`, read without trusting it."""

from __future__ import annotations

import msgspec

from muster.core import SampleError, Usage
from muster.models.api.failures import UnavailableError, shown
from muster.models.api.protocol import Reply


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None

    @property
    def text(self) -> str | None:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    error: msgspec.Raw


_completion = msgspec.json.Decoder(_Completion)
_tokens = msgspec.json.Decoder(_Tokens | None)
_error = msgspec.json.Decoder(_Error)


def read_reply(content: bytes, endpoint: str) -> Reply:
    """The answer in a reply of status 200.

    What a model says instead of an answer (a refusal, nothing at all) is its answer. Raises `SampleError` where the
    server's filter withheld it, and `UnavailableError` for what is no completion.
    """
    try:
        completion = _completion.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(content, endpoint, str(error)) from None
    if not completion.choices:
        raise UnavailableError(f"{endpoint} answered without a choice")
    choice = completion.choices[0]
    text, refusal = choice.message.text, choice.message.refusal
    if text is None and refusal is None and choice.finish_reason == "content_filter":
        raise SampleError(f"{endpoint} withheld the answer: its content filter")
    if text is None and refusal is not None:
        return Reply(refusal, "refusal", _usage(completion.usage))
    return Reply(text or "", choice.finish_reason, _usage(completion.usage))


def _usage(raw: msgspec.Raw) -> Usage:
    try:
        tokens = _tokens.decode(raw)
    except msgspec.DecodeError:
        return Usage()
    return Usage(tokens.prompt_tokens, tokens.completion_tokens) if tokens else Usage()


def _unreadable(content: bytes, endpoint: str, why: str) -> UnavailableError:
    try:
        words = (
            f"an error with status 200: {shown(bytes(_error.decode(content).error).decode(errors='replace'))}"
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = f"something that is no completion ({why}): {shown(content[:200].decode(errors='replace'))}"
    return UnavailableError(f"{endpoint} answered {words}")
