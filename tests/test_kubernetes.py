"""The Kubernetes manifests under `examples/`: their schemas, and the commands in them, without a cluster.

Guards against manifests that nobody applied since a field or an option was renamed. Pods, Jobs and Services are
checked strictly against Kubernetes' own published schemas; KubeRay's objects against the fields of its v1 types
(github.com/ray-project/kuberay, ray-operator/apis/ray/v1), their pod templates again against Kubernetes'.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate
import pytest
import yaml

from muster.results.results import Results
from processes import DEADLINE
from small_launcher import hold_port
from test_docs_commands import muster_arguments, parse

FOLDER = Path(__file__).parent.parent / "examples" / "kubernetes"
VERSION = "1.31"
"""Of Kubernetes; podFailurePolicy is stable from there on."""
Document: TypeAlias = Mapping[str, Any]

RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector",
    "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode",
    "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions",
    "headServiceAnnotations", "suspend",
}  # fmt: skip
HEAD = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKERS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template", "scaleStrategy",
}  # fmt: skip


def documents() -> list[tuple[str, Document]]:
    return [
        (file.name, document)
        for file in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]


def pod_templates(document: Document) -> Iterator[Document]:
    if document["kind"] == "Job":
        yield document["spec"]["template"]
    elif document["kind"] == "RayJob":
        cluster = document["spec"]["rayClusterSpec"]
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["workerGroupSpecs"])


def as_pod(template: Document) -> Document:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}


def assert_fields(given: Document, known: set[str], required: set[str]) -> None:
    assert set(given) <= known
    assert required <= set(given)


def check_ray_job(document: Document) -> None:
    assert document["apiVersion"] == "ray.io/v1"
    spec = document["spec"]
    assert_fields(spec, RAY_JOB, {"entrypoint", "rayClusterSpec"})
    assert isinstance(spec["entrypoint"], str)
    assert all(isinstance(spec[name], int) for name in ("backoffLimit", "ttlSecondsAfterFinished"))
    assert isinstance(spec["shutdownAfterJobFinishes"], bool)
    cluster = spec["rayClusterSpec"]
    assert_fields(cluster, RAY_CLUSTER, {"headGroupSpec", "rayVersion"})
    assert isinstance(cluster["rayVersion"], str)
    assert_fields(cluster["headGroupSpec"], HEAD, {"rayStartParams", "template"})
    for group in cluster["workerGroupSpecs"]:
        assert_fields(
            group, WORKERS, {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        )
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())


def commands(document: Document) -> Iterator[str]:
    """Command lines as a shell would take them; none of a Service."""
    if "entrypoint" in document["spec"]:
        yield document["spec"]["entrypoint"]
    for template in pod_templates(document):
        for container in template["spec"]["containers"]:
            yield shlex.join([*container.get("command", []), *container.get("args", [])])


@pytest.mark.parametrize(
    ("file", "document"), documents(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_manifest_fits_its_schema(file: str, document: Document) -> None:
    if document["kind"] == "RayJob":
        check_ray_job(document)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)
    for template in pod_templates(document):
        kubernetes_validate.validate(as_pod(template), VERSION, strict=True)


def test_the_check_would_notice() -> None:
    documents_by_kind = {document["kind"]: document for _file, document in documents()}
    job = documents_by_kind["Job"]
    wrong = {**job, "spec": {**job["spec"], "podFailurePolicies": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)
    ray = documents_by_kind["RayJob"]
    with pytest.raises(AssertionError):
        check_ray_job({**ray, "spec": {**ray["spec"], "entryPoint": "x"}})


def test_every_command_parses() -> None:
    parsed = []
    for _file, document in documents():
        for line in commands(document):
            words = shlex.split(line)
            if not words:
                continue  # Ray's own pods
            start = words.index("-m") + 1 if "-m" in words else 0
            arguments = muster_arguments(shlex.join(words[start:]))
            assert arguments is not None, line
            parsed.append(parse(arguments)[0])
    assert sorted(parsed) == ["run", "run", "run", "worker"]


def test_the_torchrun_job_numbers_its_nodes_as_torchrun_counts_them() -> None:
    service, job = (document for file, document in documents() if file == "torchrun.yaml")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(word.removeprefix("--").split("=", 1) for word in container["args"] if "=" in word)
    assert int(options["nnodes"]) == spec["completions"] == spec["parallelism"]
    assert spec["completionMode"] == "Indexed"
    assert int(options["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    # Pod 0 of an Indexed Job is named JOB-0, and found as JOB-0.SUBDOMAIN through a headless Service of that name.
    assert options["master-addr"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == (pod["subdomain"], "None")
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    (rank,) = (each for each in container["env"] if each["name"] == "NODE_RANK")
    assert "job-completion-index" in rank["valueFrom"]["fieldRef"]["fieldPath"]
    assert options["node-rank"] == "$(NODE_RANK)"


def test_the_commands_of_the_joining_example_work_together(tmp_path: Path) -> None:
    """They are run, with this machine's paths in the place of the pods'."""
    (tmp_path / "secret").write_text("a secret of the cluster's own")
    with hold_port() as held:
        _run_the_joining_example(tmp_path, held.getsockname()[1])


def _run_the_joining_example(tmp_path: Path, port: int) -> None:
    place = {
        "/etc/muster/secret": str(tmp_path / "secret"), "/runs/demo": str(tmp_path / "run"), "0.0.0.0": "127.0.0.1",
        "muster-run:29400": f"127.0.0.1:{port}", ":29400": f":{port}",
    }  # fmt: skip
    started = []
    lines = [line for file, document in documents() if file == "joining.yaml" for line in commands(document)]
    for line in lines:
        for pods, mine in place.items():
            line = line.replace(pods, mine)
        more = ["--limit", "20"] if " run " in f" {line} " else ["--model-args", "device=cpu"]
        command = [sys.executable, "-m", *shlex.split(line), *more]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [process.communicate(timeout=DEADLINE)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(outputs)
    assert Results.load(tmp_path / "run" / "results.json").complete
    assert not (tmp_path / "run" / "join-secret").exists()
