"""Memory that `muster plan` predicts against what is measured: weights, KV cache, activations of real forward passes.

    python -m benchmarks.planner            # on a GPU: 7B architectures with random weights in bfloat16
    python -m benchmarks.planner --quick    # small ones; on a CPU these are all there are

On a GPU the measure is `torch.cuda.max_memory_allocated`; on a CPU it is the peak of all tensors that are alive at the
same time, which leaves out what a kernel takes for itself. Exits 1 if anything needed more than was predicted, or
less than half of it.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from muster.sizing.architecture import read_architecture
from muster.sizing.checkpoint import Checkpoint, Tensor
from muster.sizing.empty_model import tensors_of
from muster.sizing.fit import GIB
from muster.sizing.image_grids import ImageSize
from muster.sizing.image_tokens import image_rule
from muster.sizing.memory import Demand, activation_bytes, cache_bytes
from muster.sizing.parameters import count_parameters

TEXT = {"vocab_size": 32064, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32}  # fmt: skip
CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 336, "patch_size": 14, "projection_dim": 768}  # fmt: skip
QWEN = {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4}  # fmt: skip
QWEN_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
               "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}  # fmt: skip
SMALL = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8}
IMAGE = 31999


@dataclass(frozen=True, slots=True)
class Case:
    """An architecture with inputs of any size."""

    name: str
    config: transformers.PreTrainedConfig
    image: ImageSize
    pixels: Callable[[int, torch.device, torch.dtype], dict[str, torch.Tensor]]
    """What the model takes of so many images beside their tokens."""
    image_tokens: int


def llava(text: dict[str, int], clip: dict[str, int]) -> Case:
    """LLaVA-1.5: one square image, as many tokens as patches."""
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text), vision_config=transformers.CLIPVisionConfig(**clip),
        image_token_index=IMAGE, vision_feature_layer=-2,
    )  # fmt: skip
    edge = clip["image_size"]

    def pixels(count: int, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.zeros(count, 3, edge, edge, device=device, dtype=dtype)}

    return Case("LLaVA", config, ImageSize(edge, edge), pixels, (edge // clip["patch_size"]) ** 2)


def qwen(text: dict[str, int], vision: dict[str, Any], edge: int) -> Case:
    """Qwen2.5-VL: an image of edge × edge, a token for 28×28 pixels."""
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    config = transformers.Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope}, vision_config=vision, image_token_id=IMAGE,
        vision_start_token_id=1, vision_end_token_id=2, video_token_id=3,
    )  # fmt: skip
    side = edge // vision["patch_size"]

    def pixels(count: int, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        values = torch.zeros(
            count * side * side, 3 * 2 * vision["patch_size"] ** 2, device=device, dtype=dtype
        )
        return {
            "pixel_values": values,
            "image_grid_thw": torch.tensor([[1, side, side]] * count, device=device),
        }

    return Case("Qwen2.5-VL", config, ImageSize(edge, edge), pixels, side * side // 4)


class CudaMeter:
    """What torch's allocator has handed out."""

    def __init__(self) -> None:
        self.peak = 0
        self._before = 0

    def __enter__(self) -> Self:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self._before = torch.cuda.memory_allocated()
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.synchronize()
        self.peak = torch.cuda.max_memory_allocated() - self._before


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of all tensors that operations have made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = {
            tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if _is_tensor(tensor)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if _is_tensor(tensor) and tensor.untyped_storage()._cdata not in known:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def forget(_: object) -> None:
            self._alive -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, forget)
        self._alive += size
        self.peak = max(self.peak, self._alive)


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Bytes, beside the weights."""

    predicted: int
    measured: int

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured / self.predicted


def build(case: Case, device: torch.device, dtype: torch.dtype) -> Any:
    """The architecture with random weights."""
    with device:
        return transformers.AutoModelForImageTextToText.from_config(case.config, dtype=dtype).eval()


def measure(
    case: Case, model: Any, batch: int, text: int, answer: int, meter: CudaMeter | LiveTensors
) -> Outcome:
    """One batch of one image and `text` tokens each, with `answer` tokens generated, all but one padded a little."""
    device, dtype = model.device, model.dtype
    config = case.config.to_dict()
    architecture = read_architecture(config)
    rule = image_rule(
        architecture, config, {"min_pixels": 1, "max_pixels": case.image.width * case.image.height}
    )
    prompt = case.image_tokens + text
    demand = Demand(batch, prompt, answer, rule.cost(case.image).patches)
    size = dtype.itemsize
    predicted = activation_bytes(architecture, size, demand) + cache_bytes(
        architecture.text, size, batch, demand.length
    )
    ids = torch.full((batch, prompt), 5, device=device)
    ids[:, 4 : 4 + case.image_tokens] = IMAGE
    mask = torch.ones_like(ids)
    mask[1:, 0] = 0
    kinds = (ids == IMAGE).int()
    inputs: dict[str, torch.Tensor] = {
        "input_ids": ids,
        "attention_mask": mask,
        **case.pixels(batch, device, dtype),
    }
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = kinds
    with torch.inference_mode(), meter:
        model.generate(
            **inputs, max_new_tokens=answer, min_new_tokens=answer, do_sample=False, pad_token_id=0
        )
    return Outcome(predicted, meter.peak)


def weights(case: Case, model: Any) -> Outcome:
    """Bytes of the parameters: as the planner counts them, and as they are."""
    config = {**case.config.to_dict(), "dtype": str(model.dtype).removeprefix("torch.")}
    names: list[Tensor] = tensors_of(model)
    counted = count_parameters(
        Checkpoint(case.name, config, {}, tuple(names), "headers"), read_architecture(config)
    )
    return Outcome(counted.loaded_bytes, sum(p.numel() * p.element_size() for p in model.parameters()))


def cases(*, small: bool) -> list[Case]:
    """The architectures: of 7B, or small ones of the same shapes."""
    if not small:
        return [llava(TEXT, CLIP), qwen(QWEN, QWEN_VISION, 28 * 46)]
    text = {**SMALL, "vocab_size": 32064}
    clip = {**CLIP, **SMALL, "num_hidden_layers": 3, "image_size": 168}
    vision = {**QWEN_VISION, "depth": 2, "hidden_size": 128, "intermediate_size": 344, "num_heads": 4,
              "out_hidden_size": 256, "fullatt_block_indexes": [1]}  # fmt: skip
    return [
        llava({**text, "num_key_value_heads": 8}, clip),
        qwen({**text, "num_key_value_heads": 2}, vision, 28 * 14),
    ]


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print Markdown."""
    header = (
        "architecture",
        "batch",
        "tokens of prompt",
        "of answer",
        "predicted MiB",
        "measured MiB",
        "ratio",
    )
    print(f"\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a prediction was too low or too high."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small architectures")
    options = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    points = (
        [(1, 512, 16), (4, 512, 16), (8, 1024, 16)]
        if on_gpu and not options.quick
        else [(1, 256, 4), (4, 256, 4)]
    )
    transformers.logging.set_verbosity_error()
    rows, good = [], True
    for case in cases(small=options.quick or not on_gpu):
        model = build(case, device, dtype)
        loaded = weights(case, model)
        good &= loaded.predicted == loaded.measured
        rows.append([f"{case.name}, weights", "", "", "", *_cells(loaded)])
        for batch, text, answer in points:
            outcome = measure(case, model, batch, text, answer, CudaMeter() if on_gpu else LiveTensors())
            good &= 0.5 <= outcome.ratio <= 1
            rows.append([case.name, str(batch), str(case.image_tokens + text), str(answer), *_cells(outcome)])
        del model
        if on_gpu:
            torch.cuda.empty_cache()
    where = torch.cuda.get_device_name() if on_gpu else "CPU, tensors alive"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"Memory beside the weights: {where}, {dtype}, {versions}")
    if on_gpu:
        free, total = torch.cuda.mem_get_info()
        context = total - free - torch.cuda.memory_reserved()
        print(
            f"Taken on the GPU beyond torch's allocator (context, and whoever else is there): {context / GIB:.2f} GiB"
        )
    table(rows)
    print(
        f"\nAim, measured between half and all of what was predicted, weights exactly: {'met' if good else 'MISSED'}."
    )
    return 0 if good else 1


def _cells(outcome: Outcome) -> list[str]:
    return [f"{outcome.predicted / 2**20:.2f}", f"{outcome.measured / 2**20:.2f}", f"{outcome.ratio:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
