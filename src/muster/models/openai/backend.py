"""The model arguments of the openai backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from muster.core import JSON
from muster.models.api.headers import authorizes, read_headers
from muster.models.api.images import ImageLimits
from muster.models.api.model import ApiModel
from muster.models.api.options import ApiOptions, parse_options, read_key
from muster.models.api.parameters import Parameters
from muster.models.api.reach import check_reachable
from muster.models.openai.http import ChatCompletions
from muster.models.openai.messages import ChatFormat, LimitField, Video
from muster.models.protocol import ModelSettings
from muster.models.template_settings import TOGETHER

URL_VARIABLE = "OPENAI_BASE_URL"
KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"
OWN_HOST = "api.openai.com"
MOST_IMAGE_BYTES = 20_000_000
"""Of one image; servers of one's own rarely have a limit, and OpenAI's is 50 MB for all that is sent."""


class OpenAIOptions(ApiOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`--model-args` of this backend."""

    limit_field: LimitField | None = None
    """How the server calls the longest answer; None: max_completion_tokens at OpenAI's own, else max_tokens."""
    video: Video = "frames"
    chat_template_kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the server is to tell the model's chat template: `chat_template.NAME`. vLLM and SGLang take it."""

    @property
    def body(self) -> Mapping[str, JSON]:
        """What is merged into every request."""
        extra = dict(self.extra_body)
        if self.chat_template_kwargs:
            extra[TOGETHER] = {**(extra.get(TOGETHER) or {}), **self.chat_template_kwargs}
        return extra


class OpenAIModel(ApiModel[bytes]):
    """A model behind one or more OpenAI-compatible servers."""

    default_url = DEFAULT_URL
    url_variable = URL_VARIABLE
    options = OpenAIOptions

    def __init__(self, settings: ModelSettings) -> None:
        options = parse_options(settings.args, OpenAIOptions)
        urls = self.urls(options)
        at_openai = any(url.host == OWN_HOST for url in urls)
        variable = options.api_key_env or KEY_VARIABLE
        headers = read_headers(options.extra_headers)
        key = read_key(
            variable, needed=(at_openai and not authorizes(headers)) or options.api_key_env is not None
        )
        chat = ChatFormat(
            model=settings.model,
            limit_field=options.limit_field or ("max_completion_tokens" if at_openai else "max_tokens"),
            image_limits=ImageLimits(options.max_image_bytes or MOST_IMAGE_BYTES, options.max_image_side),
            max_images=options.max_images,
            image_urls=options.image_urls,
            video=options.video,
            extra_body=options.body,
            parameters=Parameters(options.body),
        )
        api = ChatCompletions(urls, key, variable, chat, options.connect_timeout, headers)
        super().__init__(settings, options, api, [url.url for url in urls])
        check_reachable(urls, options)
