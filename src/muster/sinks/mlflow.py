"""MLflow: a run of an experiment, with scores as metrics, settings as parameters and the report as an artifact.

Where it goes is MLflow's own to say: `MLFLOW_TRACKING_URI`, else an SQLite file in the working directory. The package
mlflow-skinny is enough for servers.
"""

from __future__ import annotations

import re
import time

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from muster.sinks.record import RunRecord

EXPERIMENT = "muster"
_TAG = "muster.run"
_NOT_IN_NAMES = re.compile(r"[^\w\-./ ]")
_LONGEST_PARAM = 6000
"""Characters of a parameter's value; MLflow refuses longer ones."""
_AT_ONCE = 100
"""Parameters in one request to an MLflow server, at most."""


def send(record: RunRecord, target: str) -> str:
    """Log a run to the experiment `target`. One that was sent before gets the new scores and files."""
    client = MlflowClient()
    experiment = _experiment(client, target or EXPERIMENT)
    found = client.search_runs([experiment], f"tags.`{_TAG}` = '{record.run}'", max_results=1)
    if found:
        run = found[0].info.run_id
        client.update_run(run, status="RUNNING", name=record.label)
    else:
        run = client.create_run(experiment, run_name=record.label, tags={_TAG: record.run}).info.run_id
        params = [Param(_name(name), str(value)[:_LONGEST_PARAM]) for name, value in record.settings.items()]
        for start in range(0, len(params), _AT_ONCE):
            client.log_batch(run, params=params[start : start + _AT_ONCE])
    now = int(time.time() * 1000)
    numbers = [Metric(_name(name), value, now, record.step) for name, value in record.numbers().items()]
    for start in range(0, len(numbers), 1000):
        client.log_batch(run, metrics=numbers[start : start + 1000])
    client.log_batch(run, tags=[RunTag("muster.folder", str(record.folder))])
    for file in record.files:
        client.log_artifact(run, str(file))
    client.set_terminated(run, status="FINISHED" if record.complete else "FAILED")
    return f"experiment {target or EXPERIMENT}, run {run} at {mlflow.get_tracking_uri()}"


def _experiment(client: MlflowClient, name: str) -> str:
    known = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if known is None else known.experiment_id)


def _name(name: str) -> str:
    """As MLflow takes names: letters, digits, `_`, `-`, `.`, `/` and spaces."""
    return _NOT_IN_NAMES.sub("_", name)
