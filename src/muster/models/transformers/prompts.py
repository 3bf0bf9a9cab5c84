"""From chat messages to the text that a processor takes, a placeholder where each image goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muster.core import JSON, Message, SampleError
from muster.models.transformers.interfaces import Conversation, Processor, Tokenizer
from muster.models.transformers.placeholders import Layout, layout_of
from muster.models.transformers.special_tokens import SpecialTokens, marked_in, refused

if TYPE_CHECKING:
    from PIL.Image import Image


class PromptRenderer:
    """Renders messages with the model's chat template.

    A template that knows no parts (a text model's) gets each message as one text, the image token where an image goes.
    A model without a template (PaliGemma, base models) gets those texts alone, one per line and without roles. Neither
    gets a token that the processor doesn't want: see `layout_of`.
    """

    def __init__(self, processor: Processor, *, as_text: bool = True) -> None:
        """`as_text`: special tokens in a question's own words are marked, to be asked as text; else it is refused."""
        self._tokenizer = processor.tokenizer
        self._text_defaults = getattr(processor, "text_kwargs", None) or {}
        self._template: Processor | Tokenizer | None = next(
            (holder for holder in (processor, processor.tokenizer) if holder.chat_template), None
        )
        self._special = SpecialTokens(processor, _source(self._template))
        self._as_text = as_text
        self._takes_parts = self._template is not None and takes_parts(self._template)
        self._layout = Layout() if self._takes_parts else layout_of(processor)
        self.takes_videos = (
            self._takes_parts and self._template is not None and takes_videos(processor, self._template)
        )
        """Whether the model has videos of its own; else their frames have to be shown as images."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, special tokens of the data marked in it.

        Raises `SampleError` for what the model or its template can't express.
        """
        messages = [self._special.marked(message) for message in messages]
        if not self._as_text and (tokens := marked_in("".join(message.text for message in messages))):
            raise refused(tokens, "this backend can't ask them as text")
        if self._template is None:
            return "\n".join(flat_text(message, self._layout.placeholder) for message in messages)
        turns = (
            conversation(messages)
            if self._takes_parts
            else flat_conversation(messages, self._layout.placeholder)
        )
        try:
            return self._template.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        except Exception as error:
            # Templates raise for what their model wasn't trained on, e.g. a system message.
            raise SampleError(f"the model's chat template refuses these messages: {error}") from error

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text alone."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def images_argument(
        self, rows: Sequence[Sequence[Image]]
    ) -> Sequence[Image] | Sequence[Sequence[Image]] | None:
        """The images of several prompts as the processor takes them."""
        if not any(rows):
            return None
        if self._layout.one_image_bare and all(len(images) == 1 for images in rows):
            return [images[0] for images in rows]
        return [list(images) for images in rows]

    def text_arguments(self, prompt: str) -> dict[str, object]:
        """Arguments for the processor: whether to add BOS and the like is its own business, but for prompts that
        have one from their chat template, as in `apply_chat_template`.
        """
        return {} if self.adds_special_tokens(prompt) else {"add_special_tokens": False}

    def adds_special_tokens(self, prompt: str) -> bool:
        """Whether the tokenizer still has to add BOS: not where the chat template wrote it, or the processor does."""
        bos = self._tokenizer.bos_token
        written = self._template is not None and bos and prompt.startswith(bos)
        return not written and bool(self._text_defaults.get("add_special_tokens", True))


def _source(template: Processor | Tokenizer | None) -> str:
    """A chat template's source; of several, all."""
    source: object = template.chat_template if template is not None else ""
    return "\n".join(map(str, source.values())) if isinstance(source, dict) else str(source)


def takes_parts(template: Processor | Tokenizer) -> bool:
    """Whether a chat template reads messages as lists of parts.

    One that doesn't either raises or prints the list as Python would, which a model would then be asked.
    """
    turns: Conversation = [{"role": "user", "content": [{"type": "text", "text": "probe"}]}]
    try:
        rendered = template.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except Exception:  # noqa: BLE001 - templates raise as they like
        # Perhaps it refuses the probe for another reason; then its own message is worth more than a guess.
        return not _renders_texts(template)
    return "'type'" not in rendered and '"type"' not in rendered


def takes_videos(processor: Processor, template: Processor | Tokenizer) -> bool:
    """Whether a processor has a part for videos and its chat template a place for them.

    Processors of a library without torchvision have lost that part, and many templates of models for images alone
    ignore what is no image.
    """
    token = next(
        (
            token
            for holder in (processor, processor.tokenizer)
            if isinstance(token := getattr(holder, "video_token", None), str)
        ),
        None,
    )
    if token is None or getattr(processor, "video_processor", None) is None:
        return False
    turns: Conversation = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "probe"}]}
    ]
    try:
        return token in template.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except Exception:  # noqa: BLE001 - templates raise as they like
        return False


def _renders_texts(template: Processor | Tokenizer) -> bool:
    try:
        template.apply_chat_template(
            [{"role": "user", "content": "probe"}], add_generation_prompt=True, tokenize=False
        )
    except Exception:  # noqa: BLE001
        return False
    return True


def conversation(messages: Sequence[Message]) -> Conversation:
    """Messages in the form that chat templates of vision-language models expect."""
    turns: Conversation = []
    for message in messages:
        content: list[JSON] = [
            {"type": part.media.kind} if part.media is not None else {"type": "text", "text": part.text or ""}
            for part in message.parts
        ]
        turns.append({"role": message.role, "content": content})
    return turns


def flat_conversation(messages: Sequence[Message], token: str) -> Conversation:
    """Messages in the form that chat templates of text models expect."""
    return [{"role": message.role, "content": flat_text(message, token)} for message in messages]


def flat_text(message: Message, token: str) -> str:
    """A message as one text, the image token where an image goes."""
    return "".join(token if part.media is not None else part.text or "" for part in message.parts)
