"""As vLLM's module of this name."""

from abc import ABC, abstractmethod


class StatLoggerBase(ABC):
    @abstractmethod
    def record(self, scheduler_stats: object, iteration_stats: object) -> None: ...
