"""As vLLM's module of this name."""


class EngineGenerateError(Exception):
    pass


class EngineDeadError(Exception):
    pass
