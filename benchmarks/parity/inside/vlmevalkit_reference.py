"""VLMEvalKit's own scores of recorded answers: its `evaluate` on a prediction file, with a judge or exact matching.

Runs in the interpreter that has what it needs: `python vlmevalkit_reference.py CHECKOUT FOLDER NAME …`. Writes
`FOLDER/NAME.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmms_eval_reference import texts


def main() -> None:
    """Write the answers and the scores of each dataset, or why there are none."""
    sys.path.insert(0, sys.argv[1])
    folder, names = Path(sys.argv[2]), sys.argv[3:]
    from vlmeval.dataset import build_dataset
    from vlmeval.smp import toliststr
    from vlmeval.smp.file import dump

    judge = os.environ.get("PARITY_JUDGE", "exact_matching")

    sys.path.append(os.environ["PARITY_TOOLKITS"])
    from muster_vlmevalkit import _numbers as numbers  # names what `evaluate` gave, as Muster does

    for name in names:
        try:
            dataset = build_dataset(name)
            data = dataset.data.copy()
            column = "answers" if "answers" in data else "answer"
            said = list(texts([_first(each) for each in data[column]]))
            if dataset.TYPE == "MT":
                talks = [
                    [f"{text} {turn}" for turn in range(len(toliststr(line)))]
                    for text, line in zip(said, data["question"], strict=True)
                ]
                answers = {
                    f"{index}:{turn}": text
                    for index, talk in zip(data["index"], talks, strict=True)
                    for turn, text in enumerate(talk, 1)
                }
                data["prediction"] = talks
            else:
                answers = dict(zip(map(str, data["index"]), said, strict=True))
                data["prediction"] = said
            if "image" in data:
                data = data.drop(columns=["image"])
            file = Path(tempfile.mkdtemp()) / f"recorded_{name}.xlsx"
            dump(data, str(file))
            found = dataset.evaluate(str(file), model=judge, nproc=4, verbose=False, retry=3)
            scores = {name: dict(numbers(found))}
            written: dict[str, Any] = {"answers": {name: answers}, "scores": scores}
        except BaseException as error:
            written = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(name, str(written.get("scores", written))[:200], file=sys.stderr, flush=True)
        (folder / f"{name}.json").write_text(json.dumps(written), encoding="utf-8")
    os._exit(0)


def _first(answer: Any) -> str:
    """Of a list in a cell its first entry."""
    text = str(answer)
    return text.strip("[]").split(",")[0].strip(" '\"") if text.startswith("[") else text


if __name__ == "__main__":
    main()
