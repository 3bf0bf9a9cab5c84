"""Three stages: naming digits (vision alone), looking up choices (text alone), then talking about images."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F  # noqa: N812
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from scripts.demo.architecture import IMAGE_TOKENS
from scripts.demo.conversations import Example, draw_example, draw_lookup
from scripts.demo.scans import IMAGE_SIZE, Scans

IGNORED = -100
"""The label of positions that carry no loss."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and how fast, in optimiser steps; the defaults made the shipped model."""

    align_steps: int = 2000
    match_steps: int = 400
    talk_steps: int = 3200
    batch_size: int = 48
    learning_rate: float = 2e-3
    max_shift: int = 2
    """Augmentation: pixels of the 32 by which images move, each way. No other corruption is trained on."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """Everything that the stages share. `pixels` holds the processed image of every scan."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    scans: Scans
    by_digit: Sequence[Sequence[int]]
    pixels: torch.Tensor
    schedule: Schedule
    rng: random.Random

    def align(self) -> None:
        """Stage 1: the mean projected patch of a scan points at its digit's token embedding.

        Without it the language model has to discover vision and matching at once, and multiple choice
        stays at chance.
        """
        tokenizer = self.processor.tokenizer
        rows = [tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
        embedding = self.model.get_input_embeddings().weight
        optimizer = self._optimizer()
        progress = Progress("align", self.schedule.align_steps)
        for step in range(self.schedule.align_steps):
            done = step / self.schedule.align_steps
            self._set_rate(optimizer, min(1.0, (step + 1) / 100) * (1 - 0.9 * done))
            batch = self.rng.choices(self.scans.train, k=self.schedule.batch_size)
            features = self.model.get_image_features(self._augmented(batch)).pooler_output
            patches = torch.stack(list(features)).view(len(batch), IMAGE_TOKENS, -1)
            logits = 2 * patches.mean(1) @ embedding[rows].t()
            target = torch.tensor([self.scans.digits[scan] for scan in batch])
            loss = F.cross_entropy(logits, target)
            self._update(optimizer, loss)
            progress.report(step, {"digit": loss.item()})

    def match(self) -> None:
        """Stage 2: begin to find the letter that stands before a digit in a list of choices, without images.

        One answer per image is too thin a signal to discover this from: without this stage stage 3 ends with
        half of the multiple-choice questions right. Here every choice is asked for.
        """
        optimizer = self._optimizer()
        progress = Progress("match", self.schedule.match_steps)
        for step in range(self.schedule.match_steps):
            self._set_rate(optimizer, min(1.0, (step + 1) / 100))
            examples = [draw_lookup(self.rng) for _ in range(self.schedule.batch_size)]
            progress.report(step, self._learn(optimizer, examples))

    def talk(self) -> None:
        """Stage 3: next-token loss on the answers to questions about images, cosine schedule."""
        optimizer = self._optimizer()
        progress = Progress("talk", self.schedule.talk_steps)
        for step in range(self.schedule.talk_steps):
            done = step / self.schedule.talk_steps
            cosine = 0.5 * (1 + math.cos(math.pi * done))
            self._set_rate(optimizer, min(1.0, (step + 1) / 200) * (0.97 * cosine + 0.03))
            examples = [
                draw_example(self.scans, self.by_digit, self.rng) for _ in range(self.schedule.batch_size)
            ]
            progress.report(step, self._learn(optimizer, examples))

    def _learn(self, optimizer: torch.optim.Optimizer, examples: Sequence[Example]) -> dict[str, float]:
        """One step on the answers' tokens; the loss per token by task."""
        inputs = self._batch(examples)
        labels = inputs.pop("labels")[:, 1:]
        logits = self.model(**inputs).logits[:, :-1]
        losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        self._update(optimizer, losses.sum() / (labels != IGNORED).sum())
        means = (losses.sum(1) / (labels != IGNORED).sum(1)).tolist()
        tasks = {example.task for example in examples}
        return {
            task: fmean(mean for mean, example in zip(means, examples, strict=True) if example.task == task)
            for task in sorted(tasks)
        }

    def _batch(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Prompts by the chat template, answers and end of sequence as labels, padded on the right."""
        tokenizer = self.processor.tokenizer
        prompts = self.processor.apply_chat_template(
            [example.messages for example in examples], add_generation_prompt=True
        )
        prompts = [prompt.replace("<image>", "<image>" * IMAGE_TOKENS) for prompt in prompts]
        asked = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        answers = [example.answer + tokenizer.eos_token for example in examples]
        answered = tokenizer(answers, add_special_tokens=False)["input_ids"]
        length = max(len(a) + len(b) for a, b in zip(asked, answered, strict=True))
        shape = (len(examples), length)
        tokens, labels = torch.full(shape, tokenizer.pad_token_id), torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, (question, answer) in enumerate(zip(asked, answered, strict=True)):
            end = len(question) + len(answer)
            tokens[row, :end] = torch.tensor(question + answer)
            labels[row, len(question) : end] = torch.tensor(answer)
            mask[row, :end] = 1
        batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
        if shown := [scan for example in examples for scan in example.scans]:
            batch["pixel_values"] = self._augmented(shown)
        return batch

    def _augmented(self, batch: Sequence[int]) -> torch.Tensor:
        """The scans' images, each shifted by up to `max_shift` pixels, black moving in."""
        reach = self.schedule.max_shift
        padded = F.pad(self.pixels[list(batch)], (reach,) * 4, value=-1.0)
        crops = []
        for image in padded:
            x, y = self.rng.randint(0, 2 * reach), self.rng.randint(0, 2 * reach)
            crops.append(image[:, y : y + IMAGE_SIZE, x : x + IMAGE_SIZE])
        return torch.stack(crops)

    def _optimizer(self) -> torch.optim.Optimizer:
        rate = self.schedule.learning_rate
        return torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)

    def _set_rate(self, optimizer: torch.optim.Optimizer, share: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * share

    def _update(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()


class Progress:
    """Prints a line every so many steps: running losses by task, the rate, the time since the stage began."""

    def __init__(self, stage: str, steps: int, every: int = 100) -> None:
        self.stage, self.steps, self.every = stage, steps, every
        self.began = time.monotonic()
        self.losses: dict[str, float] = {}

    def report(self, step: int, losses: Mapping[str, float]) -> None:
        """Takes in the losses of `step` (from 0)."""
        for task, loss in losses.items():
            self.losses[task] = 0.96 * self.losses.get(task, loss) + 0.04 * loss
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            seconds = time.monotonic() - self.began
            line = "  ".join(f"{task} {loss:.4f}" for task, loss in sorted(self.losses.items()))
            print(
                f"{self.stage} {step + 1}/{self.steps}  {line}  {(step + 1) / seconds:.1f} steps/s  {seconds:.0f} s",
                flush=True,
            )
