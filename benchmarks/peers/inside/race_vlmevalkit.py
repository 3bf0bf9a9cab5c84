"""What a user of VLMEvalKit writes for a model and a benchmark of their own, by its Development page."""

from __future__ import annotations

import os
from typing import Any


def model_class(vlm: Any) -> Any:
    """A wrapper of whatever transformers loads from a folder."""

    class RaceModel(vlm.BaseModel):  # type: ignore[misc]
        INSTALL_REQ = False
        INTERLEAVE = True

        def __init__(self, model_path: str, max_new_tokens: int) -> None:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            self.processor = AutoProcessor.from_pretrained(model_path)
            self.model = AutoModelForImageTextToText.from_pretrained(model_path, dtype="auto")
            self.model.eval().to(os.environ["RACE_DEVICE"])
            self.max_new_tokens = max_new_tokens
            super().__init__()

        def generate_inner(self, message: Any, dataset: Any = None) -> str:  # noqa: ARG002
            from PIL import Image

            images = [Image.open(each["value"]).convert("RGB") for each in message if each["type"] == "image"]
            content = [
                {"type": "image"} if each["type"] == "image" else {"type": "text", "text": each["value"]}
                for each in message
            ]
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            inputs = self.processor(images=images, text=prompt, return_tensors="pt").to(self.model.device)
            tokens = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
            answer = tokens[0][inputs["input_ids"].shape[1] :]
            return str(self.processor.tokenizer.decode(answer, skip_special_tokens=True))

    return RaceModel


def dataset_class(datasets: Any) -> Any:
    """A TSV in LMUData whose answers must be met exactly."""

    class RaceDataset(datasets.CustomVQADataset):  # type: ignore[misc]
        def evaluate(self, eval_file: str, **_judge: Any) -> dict[str, float]:
            from vlmeval.smp import load

            rows = load(eval_file)
            right = [
                str(said).strip() == str(answer).strip()
                for said, answer in zip(rows["prediction"], rows["answer"], strict=True)
            ]
            return {"Overall": sum(right) / len(right)}

    return RaceDataset
