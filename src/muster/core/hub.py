"""What goes wrong with the hub, as Muster's errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from muster.core.errors import ConfigurationError, MusterError, RunError


@contextmanager
def hub_errors(
    name: str,
    revision: str | None,
    unreachable: Callable[[], str],
    kind: Literal["model", "dataset"] = "model",
) -> Iterator[None]:
    """`ConfigurationError` for what the user has to change, or `RunError` for what may pass.

    `unreachable` says what is told where the hub can't be reached, and what can be done without it.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = name if kind == "model" else f"the dataset {name}"
    try:
        yield
    except MusterError:
        raise
    except GatedRepoError as error:
        raise ConfigurationError(
            f"{what} is gated: accept its terms on the hub, then log in (`hf auth login`) or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigurationError(f"{what} has no revision {revision!r} on the hub") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        nowhere = (
            f"{name} is neither a folder here nor a model"
            if kind == "model"
            else f"there is no dataset {name}"
        )
        raise ConfigurationError(f"{nowhere} on the hub (a private one needs HF_TOKEN)") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ConfigurationError(unreachable()) from error
    except Exception as error:
        # The connection broke, the disk is full …: what came so far stays in the cache and is continued from.
        if kind == "dataset" and _is_about_the_connection(error):
            # Models are looked for by one call that makes this a LocalEntryNotFoundError; datasets are listed first.
            raise ConfigurationError(unreachable()) from error
        raise RunError(f"{name} could not be fetched from the hub: {error}") from error


def _is_about_the_connection(error: Exception) -> bool:
    """The hub's client raises its HTTP library's errors, whichever that is in its version."""
    name = type(error).__name__
    return isinstance(error, ConnectionError) or "Connect" in name or "Timeout" in name
