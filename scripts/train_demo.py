"""Trains the demo model on a CPU: `python -m scripts.train_demo --output FOLDER`."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from scripts.demo.architecture import build_model, build_processor, build_tokenizer
from scripts.demo.conversations import corpus
from scripts.demo.evaluation import accuracies, answer_items, read_items
from scripts.demo.scans import enlarge, load_scans
from scripts.demo.training import Schedule, Trainer


def train(output: Path, schedule: Schedule, seed: int, threads: int) -> None:
    """Train the model, save it with its processor. On one machine, equal arguments give equal weights."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    scans = load_scans()
    by_digit = [[scan for scan in scans.train if scans.digits[scan] == digit] for digit in range(10)]
    tokenizer = build_tokenizer(corpus(scans, by_digit))
    processor = build_processor(tokenizer)
    model = build_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    images = [enlarge(scan) for scan in scans.levels]
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    trainer = Trainer(model, processor, scans, by_digit, pixels, schedule, random.Random(seed))
    model.train()
    trainer.align()
    trainer.match()
    trainer.talk()
    model.eval().to(torch.bfloat16).save_pretrained(output)
    processor.save_pretrained(output)
    use_published_names(output / "model.safetensors")


def use_published_names(weights: Path) -> None:
    """Name the weights as the LLaVA checkpoints on model hubs do; other engines know no other names.

    transformers 5 reads both, but writes the vision tower's without their `vision_model.`.
    """
    short, published = "vision_tower.", "vision_tower.vision_model."
    tensors = load_file(weights)
    renamed = {
        published + name.removeprefix(short) if name.startswith(short) else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors leaves it readable by its owner alone


def print_accuracies(folder: Path) -> None:
    """Print how much of the benchmark the saved model answers exactly right."""
    items = read_items()
    for group, share in accuracies(items, list(answer_items(folder, items))).items():
        print(f"{group:28} {share:.3f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--align-steps", type=int, default=Schedule().align_steps)
    parser.add_argument("--match-steps", type=int, default=Schedule().match_steps)
    parser.add_argument("--talk-steps", type=int, default=Schedule().talk_steps)
    arguments = parser.parse_args()
    schedule = Schedule(arguments.align_steps, arguments.match_steps, arguments.talk_steps)
    train(arguments.output, schedule, arguments.seed, arguments.threads)
    print_accuracies(arguments.output)


if __name__ == "__main__":
    main()
