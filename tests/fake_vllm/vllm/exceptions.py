"""As vLLM's module of this name."""


class VLLMClientError(Exception):
    pass
