"""The demo model: a small LLaVA that reads handwritten digits, in the package so that Muster runs anywhere.

It is an ordinary model folder and is loaded like any other. Trained by scripts/train_demo.py on the scans
that the `digits` benchmark does not contain.
"""

from __future__ import annotations

from pathlib import Path


def demo_model_path() -> Path:
    """The demo model's folder: weights, processor, tokenizer, chat template and configuration."""
    return Path(__file__).with_name("model")
