"""How lmms-eval's results were made, and the scores of its groups, from `_results.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from muster.result_files.answers import as_number, as_text
from muster.result_files.loaded import Headline

_OF_THE_RUN = ("model", "model_args", "batch_size", "gen_kwargs", "limit", "offset", "random_seed")
_OF_A_TASK = (
    "dataset_path", "dataset_name", "test_split", "generation_kwargs", "lmms_eval_specific_kwargs", "num_fewshot",
    "repeats", "description",
)  # fmt: skip
_PACKAGES = {
    "lmms_eval_version": "lmms-eval",
    "transformers_version": "transformers",
    "torch_version": "torch",
}


def run_settings(document: Mapping[str, object]) -> dict[str, str]:
    """The run's settings, flat. Empty where there is no document."""
    config = document.get("config")
    config = config if isinstance(config, dict) else {}
    found = {f"lmms-eval.{key}": config.get(key) for key in _OF_THE_RUN}
    found["model"] = document.get("model_name") or config.get("model")
    found["model.chat_template"] = document.get("chat_template_sha")
    found["model.system_instruction"] = document.get("system_instruction")
    found |= {f"packages.{name}": document.get(key) for key, name in _PACKAGES.items()}
    return _shown(found)


def task_settings(document: Mapping[str, object], task: str) -> dict[str, str]:
    """One task's."""
    configs, versions = document.get("configs"), document.get("versions")
    config = configs.get(task) if isinstance(configs, dict) else None
    config = config if isinstance(config, dict) else {}
    found = {f"tasks.{task}.{key}": config.get(key) for key in _OF_A_TASK}
    found[f"tasks.{task}.version"] = versions.get(task) if isinstance(versions, dict) else None
    return _shown(found)


def group_scores(documents: Iterable[Mapping[str, object]]) -> dict[str, Headline]:
    """The first number of each group."""
    found: dict[str, Headline] = {}
    for document in documents:
        groups = document.get("groups")
        for name, scores in groups.items() if isinstance(groups, dict) else ():
            for key, value in scores.items() if isinstance(scores, dict) else ():
                metric = key.partition(",")[0]
                number = None if "_stderr" in metric or metric == "alias" else as_number(value)
                if number is not None:
                    found[name] = Headline(metric, number)
                    break
    return found


def _shown(settings: Mapping[str, object]) -> dict[str, str]:
    """Those that are known; an address of a function differs every time and says nothing."""
    shown = {name: as_text(value) for name, value in settings.items()}
    return {name: value for name, value in shown.items() if value and "<function" not in value}
