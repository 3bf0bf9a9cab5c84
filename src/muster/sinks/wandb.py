"""Weights & Biases: a run with scores in its history and summary, a table of them, and the report as an artifact.

`WANDB_MODE=offline` writes everything into a folder, for `wandb sync` later; so it works without a network.
"""

from __future__ import annotations

import os

import wandb

from muster.sinks.record import RunRecord

PROJECT = "muster"


def send(record: RunRecord, target: str) -> str:
    """Log a run to the project `target`, `PROJECT` or `ENTITY/PROJECT`. One that was sent before is continued."""
    entity, _, project = (target or PROJECT).rpartition("/")
    run = wandb.init(
        project=project,
        entity=entity or None,
        name=record.label,
        id=record.run,
        resume="allow",
        job_type="evaluation",
        config=dict(record.settings),
        dir=os.environ.get("WANDB_DIR") or str(record.folder),
        settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
    )
    with run:
        table = wandb.Table(columns=["task", "metric", "value", "ci95_low", "ci95_high", "unit", "n"])
        for score in record.scores:
            low, high = score.ci95 or (None, None)
            table.add_data(score.task, score.metric, score.value, low, high, score.unit, score.n)
        run.define_metric("train_step")
        run.define_metric("*", step_metric="train_step")
        run.log({"scores": table, "train_step": record.step, **record.numbers()})
        run.summary.update(record.numbers())
        artifact = wandb.Artifact(f"evaluation-{record.run}", type="evaluation")
        for file in record.files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        folder = run.dir.removesuffix("/files")
        where = f"offline, `wandb sync {folder}` sends it on" if run.offline else str(run.url)
    wandb.teardown()  # its service process, which would outlive us
    return where
