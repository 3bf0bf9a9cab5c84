"""Which installation of another toolkit is meant, and what of it: the options of a run that are about toolkits."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muster.core import ConfigurationError

LMMS_EVAL = "lmms-eval"
VLMEVALKIT = "vlmevalkit"
TOOLKITS = (LMMS_EVAL, VLMEVALKIT)


@dataclass(frozen=True, slots=True)
class ToolkitOptions:
    """What a run says of toolkits. The names are those of the run's options."""

    lmms_eval_python: str | None = None
    """The interpreter that has lmms-eval; None: the one that runs Muster."""
    lmms_eval_model: str | None = None
    """The model whose own prompts and settings lmms-eval's tasks are asked with, where they have any for it."""
    include_path: tuple[str, ...] = ()
    """Folders of users' own tasks for lmms-eval."""
    vlmevalkit_python: str | None = None
    vlmevalkit_path: str | None = None
    """A checkout of VLMEvalKit, for an interpreter that hasn't got it installed."""
    limit: int | float | None = None
    sample_ids: tuple[str, ...] | None = field(default=None)
    """What of the documents the run will take: only these are rendered."""

    @classmethod
    def of_environment(cls, env: Mapping[str, str] = os.environ) -> ToolkitOptions:
        """As the `MUSTER_…` variables of a run's options say it, for commands without a run."""
        return cls(
            lmms_eval_python=env.get("MUSTER_LMMS_EVAL_PYTHON") or None,
            lmms_eval_model=env.get("MUSTER_LMMS_EVAL_MODEL") or None,
            include_path=tuple(part for part in env.get("MUSTER_INCLUDE_PATH", "").split(",") if part),
            vlmevalkit_python=env.get("MUSTER_VLMEVALKIT_PYTHON") or None,
            vlmevalkit_path=env.get("MUSTER_VLMEVALKIT_PATH") or None,
        )

    def python(self, toolkit: str) -> str:
        """The interpreter that has a toolkit, as an absolute path."""
        chosen = self.lmms_eval_python if toolkit == LMMS_EVAL else self.vlmevalkit_python
        return sys.executable if chosen is None else os.path.abspath(Path(chosen).expanduser())  # noqa: PTH100

    def folders(self) -> list[str]:
        """`include_path`, absolute. Raises `ConfigurationError` for what is no folder."""
        folders = [Path(each).expanduser().resolve() for each in self.include_path]
        for folder in folders:
            if not folder.is_dir():
                raise ConfigurationError(f"--include-path {folder}: there is no such folder")
        return [str(folder) for folder in folders]


def toolkit_of(name: str) -> str | None:
    """The toolkit that a task's name is of: `lmms-eval` for `lmms-eval:mme`; None for Muster's own and files."""
    prefix, colon, rest = name.partition(":")
    return prefix if colon and rest and prefix in TOOLKITS else None
