"""lmms-eval's own client, driven without its tasks; needs an interpreter that has lmms-eval.

    PYTHON benchmarks/api_lmms_eval.py URL IN_FLIGHT QUESTIONS OUTPUT

`num_cpus` is what its semaphore is made of. Prints seconds and CPU seconds of `generate_until`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure."""
    from lmms_eval.api.instance import Instance
    from lmms_eval.models.chat.async_openai import AsyncOpenAIChat
    from PIL import Image

    url, in_flight, questions, output = sys.argv[1:]
    folder = Path(questions).parent
    rows = [json.loads(line) for line in Path(questions).read_text().splitlines()]
    model: Any = AsyncOpenAIChat(model_version="m", base_url=url, api_key="none", num_cpus=int(in_flight))
    model.task_dict = {"made_up": {"test": rows}}

    def messages(row: dict[str, Any]) -> list[dict[str, Any]]:
        image = Image.open(folder / row["images"][0]).convert("RGB")  # as its tasks give them
        content = [{"type": "image", "url": image}, {"type": "text", "text": row["question"]}]
        return [{"role": "user", "content": content}]

    requests = [
        Instance(
            request_type="generate_until",
            arguments=(row["question"], messages, {"max_new_tokens": 16}, number, "made_up", "test"),
            idx=0,
            metadata={"task": "made_up", "doc_id": number, "repeats": 1},
        )
        for number, row in enumerate(rows)
    ]
    began, cpu = time.monotonic(), time.process_time()
    answers = model.generate_until(requests)
    measured = {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
    texts = [answer if isinstance(answer, str) else str(answer) for answer in answers]
    Path(output).write_text("".join(json.dumps({"prediction": text}) + "\n" for text in texts))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
