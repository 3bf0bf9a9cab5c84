"""Model arguments of other tools that have no meaning here, and what to write instead.

lmms-eval's models each have arguments of their own, which its users' command lines carry along. To hand them to
`from_pretrained` would end in an error about something else, or in nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from muster.core import ConfigurationError

_TASK = "it belongs to the task's prompt (`prompt.system`, docs/tasks.md)"
_TEMPLATE = "the prompt's form comes from the model's own chat template; chat_template=FILE gives another"
_PROCESSOR = "a setting of the model's image processor is written processor_NAME=… (docs/models.md)"
_VIDEOS = "how many frames of a video are shown is not a model argument: --video frames=N (docs/video.md)"

MEANINGS = {
    "conv_template": _TEMPLATE,
    "conv_mode": _TEMPLATE,
    "model_name": "the architecture is read from the model's config.json",
    "model_base": "merge the adapter into its base model and give the merged folder as --model",
    "lora_path": "merge the adapter into its base model and give the merged folder as --model",
    "peft": "merge the adapter into its base model and give the merged folder as --model",
    "use_flash_attention_2": "write attn_implementation=flash_attention_2",
    "use_flash_attn": "write attn_implementation=flash_attention_2",
    "parallelize": "write --gpus-per-replica K, for as many GPUs as one copy of the model needs",
    "tensor_parallel_size": "write --gpus-per-replica K --parallelism tensor",
    "data_parallel_size": "write --replicas N",
    "num_processes": "write --replicas N, or start N processes with accelerate launch or torchrun",
    "batch_size": "write --batch-size N",
    "max_batch_size": "write --batch-size N",
    "seed": "write --seed N",
    "max_frames_num": _VIDEOS,
    "max_num_frames": _VIDEOS,
    "num_frame": _VIDEOS,
    "num_frames": _VIDEOS,
    "fps": _VIDEOS,
    "video_decode_backend": _VIDEOS,
    "use_custom_video_loader": _VIDEOS,
    "modality": "images and videos are told apart by the samples",
    "mm_spatial_pool_stride": "it belongs to the original LLaVA-NeXT code, which is not used here",
    "mm_spatial_pool_mode": "it belongs to the original LLaVA-NeXT code, which is not used here",
    "token_strategy": "it belongs to the original LLaVA code, which is not used here",
    "customized_config": "change the config.json in the model's folder",
    "tie_weights": "weights are tied as the model's config.json says",
    "truncation": "prompts are never cut: one that is too long is recorded as failed",
    "truncate_context": "prompts are never cut: one that is too long is recorded as failed",
    "max_image_size": _PROCESSOR,
    "max_num": _PROCESSOR,
    "dynamic": "how an image is tiled is said by the model's image processor; " + _PROCESSOR,
    "system_prompt": _TASK,
    "reasoning_prompt": _TASK,
    "interleave_visuals": "images stand where the task's prompt puts them",
}


def refuse_what_belongs_elsewhere(names: Iterable[str]) -> None:
    """Raise `ConfigurationError` that says, for every such argument, what has become of it."""
    found = [f"  {name}: {MEANINGS[name]}" for name in names if name in MEANINGS]
    if found:
        raise ConfigurationError(
            "--model-args has arguments of other tools that mean nothing here:\n"
            + "\n".join(found)
            + "\nLeave them out."
        )
