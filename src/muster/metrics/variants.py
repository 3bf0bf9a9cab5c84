"""What metrics with several scoring variants have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from muster.metrics.protocol import MetricInfo
from muster.metrics.references import followed


@dataclass(frozen=True, kw_only=True)
class VariantMetric:
    """A metric as a frozen dataclass of its variant and its parameters, so that any variant of it can be built.

    A subclass says its `name` and its `variants`, the default first, and gives the field `variant` that default.
    Where parameters name a benchmark that not every toolkit evaluates, `offered` leaves the others out.
    """

    name: ClassVar[str]
    variants: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1
    reads_answers: ClassVar[bool] = True
    """Whether an answer of which nothing was extracted could not be read, rather than being wrong."""

    variant: str

    @property
    def offered(self) -> tuple[str, ...]:
        """The variants there are with these parameters, the default first."""
        return self.variants

    def in_variant(self, variant: str) -> Self:
        """The same metric in another of its `variants`; parameters that only one of them has may go.

        Raises `ConfigurationError` where the parameters and the variant contradict each other.
        """
        return dataclasses.replace(self, variant=variant)

    def _described(
        self, primary: str, units: Mapping[str, str], means: Mapping[str, str] | None = None
    ) -> MetricInfo:
        return MetricInfo(
            name=self.name,
            variant=self.variant,
            version=self.version,
            follows=followed(self.name, self.variant),
            primary=primary,
            units=units,
            means=means or {},
        )
