"""A tiny model that comes with its own code and a chat method: it answers with what it was given, as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CONFIGURATION = """
from transformers import PretrainedConfig

class EchoConfig(PretrainedConfig):
    model_type = "echo_chat"
"""

MODELING = """
import json
from pathlib import Path

import torch
from transformers import PreTrainedModel

from .configuration_echo import EchoConfig
from .words import SYSTEM

Path({marker!r}).touch()  # shows that this code has run


class EchoChat(PreTrainedModel):
    config_class = EchoConfig

    def __init__(self, config, use_flash_attn=True):
        super().__init__(config)
        self.flash = use_flash_attn
        self.weight = torch.nn.Linear(3, 1, bias=False)
        self.drop = [x.item() for x in torch.linspace(0, 0.1, 3)]  # as InternVL's vision tower
        self.system_message = SYSTEM
        self.num_image_token = 4
        # And no post_init(), as in code from before transformers 5.

    def chat(self, tokenizer, pixel_values, question, generation_config, {parameters}):
        if "break" in question:
            raise ValueError("this one can't be answered")
        if "memory" in question:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if "device" in question:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        generation_config["eos_token_id"] = 1  # InternVL writes into it too
        said = dict(question=question, system=self.system_message, generation=generation_config, flash=self.flash)
        said.update(more(locals()))
        if pixel_values is not None:
            said["pixels"] = list(pixel_values.shape)
            said["means"] = [round(self.weight(tile.mean((1, 2))).item(), 4) for tile in pixel_values]
        if generation_config["do_sample"]:
            said["draw"] = torch.rand(1).item()
        return json.dumps(said)


def more(given):
    return dict((name, given[name]) for name in ("num_patches_list", "history") if name in given)
"""


def write_chat_model(
    folder: Path, marker: Path, *, parameters: str = "num_patches_list=None, history=None", **config: object
) -> Path:
    """A model folder whose code touches `marker` as soon as it is imported."""
    folder.mkdir(parents=True)
    (folder / "configuration_echo.py").write_text(CONFIGURATION)
    (folder / "modeling_echo.py").write_text(MODELING.format(marker=str(marker), parameters=parameters))
    (folder / "words.py").write_text("SYSTEM = 'You see tiles.'\n")
    settings = {
        "architectures": ["EchoChat"],
        "model_type": "echo_chat",
        "auto_map": {"AutoConfig": "configuration_echo.EchoConfig", "AutoModel": "modeling_echo.EchoChat"},
        "force_image_size": 28,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 6,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(settings | config))
    save_file(
        {"weight.weight": torch.tensor([[1.0, 2.0, 4.0]])}, folder / "model.safetensors", {"format": "pt"}
    )
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    vocabulary = {byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
