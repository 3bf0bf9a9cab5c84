"""Tiny models without a chat template, most of which place the image themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from family_parts import (
    BLIP_VISION,
    IMAGE,
    QFORMER,
    SIDE,
    blip_images,
    clip_images,
    llama,
    surrounded,
    widen,
    words,
)
from tiny_models import (
    TEXT_SIZE,
    VISION_SIZE,
    build_tokenizer,
    save,
    seeded,
    token_ids,
)


def build_blip(folder: Path) -> None:
    """BLIP: cross-attention, no placeholder, a `generate` of its own that takes the prompt's last token off."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor

    seeded()
    tokenizer = surrounded(words(build_tokenizer(), "[DEC]"))
    ids = {**token_ids(tokenizer), "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]")}
    config = BlipConfig(
        vision_config=BLIP_VISION,
        text_config={**VISION_SIZE, **ids, "encoder_hidden_size": 32, "projection_dim": 32,
                     "sep_token_id": ids["eos_token_id"], "max_position_embeddings": 128},
        projection_dim=32,
    )  # fmt: skip
    save(widen(BlipForConditionalGeneration(config)), BlipProcessor(blip_images(), tokenizer), folder)


def opt(tokenizer: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, word_embed_proj_dim=32,
        max_position_embeddings=256, init_std=0.5, **token_ids(tokenizer),
    )  # fmt: skip


def t5(tokenizer: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, initializer_factor=2.0,
        decoder_start_token_id=tokenizer.pad_token_id, **token_ids(tokenizer),
    )  # fmt: skip


def _blip_2(folder: Path, text: Callable[[Any], Any], deviation: float = 0.3, **around: str) -> None:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    seeded()
    tokenizer = surrounded(build_tokenizer(), **around)
    processor = Blip2Processor(blip_images(), tokenizer, num_query_tokens=4)
    config = Blip2Config(
        vision_config=BLIP_VISION, qformer_config=QFORMER, text_config=text(tokenizer), num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(widen(Blip2ForConditionalGeneration(config), deviation), processor, folder)


def blip_2_opt(folder: Path) -> None:
    _blip_2(folder, opt, after="")


def blip_2_t5(folder: Path) -> None:
    _blip_2(folder, t5, deviation=0.6, before="")


def build_instructblip(folder: Path) -> None:
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, InstructBlipProcessor

    seeded()
    tokenizer = surrounded(build_tokenizer(), after="")
    reader = surrounded(build_tokenizer())
    processor = InstructBlipProcessor(blip_images(), tokenizer, reader, num_query_tokens=4)
    config = InstructBlipConfig(
        vision_config=BLIP_VISION, qformer_config={**QFORMER, "vocab_size": len(reader)},
        text_config=llama(tokenizer), num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    save(widen(InstructBlipForConditionalGeneration(config)), processor, folder)


def build_git(folder: Path) -> None:
    """GIT: the image stands in front of the text inside the model, whose positions are counted without a mask."""
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    seeded()
    tokenizer = surrounded(build_tokenizer(), after="")
    config = GitConfig(
        vision_config=BLIP_VISION, **VISION_SIZE, **token_ids(tokenizer), max_position_embeddings=256,
    )  # fmt: skip
    save(widen(GitForCausalLM(config)), GitProcessor(clip_images(), tokenizer), folder)


def build_florence2(folder: Path) -> None:
    """Florence-2: an encoder with learned positions, and a processor that puts the image in front."""
    from transformers import (
        BartConfig,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
    )

    seeded()
    tokenizer = surrounded(build_tokenizer(image_token=IMAGE))
    images = clip_images()
    images.image_seq_length = 2
    config = Florence2Config(
        vision_config={
            "depths": [1, 1], "patch_size": [3, 3], "patch_stride": [4, 2], "patch_padding": [1, 1],
            "patch_prenorm": [False, True], "embed_dim": [16, 32], "num_heads": [2, 2], "num_groups": [2, 2],
            "window_size": 2, "projection_dim": 32, "initializer_range": 0.5, "drop_path_rate": 0.0,
        },
        text_config=BartConfig(
            d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=256, init_std=0.5,
            decoder_start_token_id=tokenizer.eos_token_id, forced_eos_token_id=None, **token_ids(tokenizer),
        ),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE), tie_word_embeddings=False,
    )  # fmt: skip
    images.image_seq_length = 5
    processor = Florence2Processor(images, tokenizer)
    save(Florence2ForConditionalGeneration(config), processor, folder)


def build_kosmos2(folder: Path) -> None:
    """KOSMOS-2: the processor puts the image in front, as ids that stand for nothing."""
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor

    seeded()
    tokenizer = words(build_tokenizer(), "<unk>", *(f"<unused_{n}>" for n in range(64)))
    tokenizer.unk_token = "<unk>"
    processor = Kosmos2Processor(clip_images(), tokenizer, num_patch_index_tokens=4)
    config = Kosmos2Config(
        vision_config={**BLIP_VISION},
        text_config={
            "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 2, "max_position_embeddings": 512,
            "init_std": 0.5, "dropout": 0.0, "attention_dropout": 0.0, **token_ids(tokenizer),
        },
        latent_query_num=64, tie_word_embeddings=False,
    )  # fmt: skip
    save(widen(Kosmos2ForConditionalGeneration(config), 0.1), processor, folder)


def build_idefics(folder: Path) -> None:
    """IDEFICS: no chat template and no placeholder; the processor's texts name images by a token pair."""
    from transformers import (
        IdeficsConfig,
        IdeficsForVisionText2Text,
        IdeficsImageProcessorPil,
        IdeficsProcessor,
    )

    seeded()
    tokenizer = build_tokenizer()
    processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=16), tokenizer, image_size=16)
    config = IdeficsConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        **token_ids(tokenizer), max_position_embeddings=1024, alpha_initializer="ones", cross_layer_interval=1,
        vision_config={
            "embed_dim": 32, "image_size": 16, "intermediate_size": 64, "patch_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    )  # fmt: skip
    save(widen(IdeficsForVisionText2Text(config), 0.2), processor, folder)


def build_chameleon(folder: Path) -> None:
    """Chameleon: the image becomes tokens of a codebook. Its processor puts a separator behind every prompt."""
    from transformers import (
        ChameleonConfig,
        ChameleonForConditionalGeneration,
        ChameleonImageProcessorPil,
        ChameleonProcessor,
    )

    seeded()
    codes = [f"IMGIMG{'ABCDEFGH'[n]}Z" for n in range(8)]
    tokenizer = surrounded(
        words(build_tokenizer(image_token=IMAGE, boi_token="<img>", eoi_token="</img>"), *codes), after=""
    )
    tokenizer.sep_token = "<end_of_utterance>"
    images = ChameleonImageProcessorPil(size={"shortest_edge": 16}, crop_size=SIDE)
    processor = ChameleonProcessor(images, tokenizer, image_seq_length=64)
    config = ChameleonConfig(
        **TEXT_SIZE, **token_ids(tokenizer),
        vq_config={
            "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "resolution": 16, "base_channels": 32,
            "channel_multiplier": [1, 1], "num_res_blocks": 1, "attn_type": "vanilla",
        },
        vocabulary_map={token: tokenizer.convert_tokens_to_ids(token) for token in ("<image>", *codes)},
    )  # fmt: skip
    save(ChameleonForConditionalGeneration(config), processor, folder)
