"""The client that most evaluation scripts have: the SDK's, a semaphore, a line of JSON per answer.

    python benchmarks/api_plain.py URL IN_FLIGHT QUESTIONS OUTPUT

The structure is that of lmms-eval's `async_openai_compatible_chat`: a task per request, of which a semaphore lets
so many run. It does no more than Muster does: files are read and sent as they are. Prints seconds and CPU seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path

from openai import AsyncOpenAI


async def run(url: str, in_flight: int, questions: Path, output: Path) -> None:
    """Ask everything."""
    client = AsyncOpenAI(api_key="none", base_url=url, timeout=600)
    places = asyncio.Semaphore(in_flight)

    async def ask(row: dict[str, str], folder: Path) -> tuple[str, str | None]:
        async with places:
            image = base64.b64encode((folder / row["images"][0]).read_bytes()).decode()
            response = await client.chat.completions.create(
                model="m",
                max_tokens=16,
                temperature=0,
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}},
                            {"type": "text", "text": row["question"]},
                        ],
                    }
                ],
            )
            return row["id"], response.choices[0].message.content

    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    with output.open("w") as lines:
        tasks = [asyncio.create_task(ask(row, questions.parent)) for row in rows]
        for task in asyncio.as_completed(tasks):
            name, text = await task
            lines.write(json.dumps({"id": name, "prediction": text}) + "\n")


def main() -> None:
    """Measure."""
    url, in_flight, questions, output = sys.argv[1:]
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(run(url, int(in_flight), Path(questions), Path(output)))
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
