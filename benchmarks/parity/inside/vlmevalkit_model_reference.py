"""VLMEvalKit's own answers: its inference scripts, asking one of its models about its datasets.

Runs in the interpreter that has what it needs: `vlmevalkit_model_reference.py CHECKOUT MODEL ARGS ANSWERS NAME …`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.append(os.environ["PARITY_TOOLKITS"])


def main() -> None:
    """Write `{dataset: {index: prediction}}`."""
    checkout, name, args, answers_file, *datasets = sys.argv[1:]
    from muster_vlmevalkit_imports import import_vlmevalkit, supported_models

    # The model alone: with all the others nobody's environment is complete.
    import_vlmevalkit(checkout if checkout != "-" else None, "dataset", "vlm", "api")
    model = supported_models()[name](**json.loads(args))
    from vlmeval.dataset import build_dataset
    from vlmeval.inference import infer_data_job
    from vlmeval.inference_mt import infer_data_job_mt
    from vlmeval.smp import get_pred_file_path

    os.environ["PRED_FORMAT"] = "json"
    answers = {}
    for each in datasets:
        work = tempfile.mkdtemp()
        dataset = build_dataset(each)
        indices = [str(index) for index in dataset.data["index"]]
        infer = infer_data_job_mt if dataset.TYPE == "MT" else infer_data_job
        infer(model, work, name, dataset, api_nproc=4)
        rows = json.loads(Path(get_pred_file_path(work, name, each, use_env_format=True)).read_text())
        answers[each] = dict(zip(indices, [row["prediction"] for row in rows], strict=True))
        print(each, list(answers[each].values())[:2], file=sys.stderr, flush=True)
    Path(answers_file).write_text(json.dumps(answers), encoding="utf-8")
    os._exit(0)


if __name__ == "__main__":
    main()
