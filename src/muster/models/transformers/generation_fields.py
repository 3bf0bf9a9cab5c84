"""What becomes of each setting in a model's `generation_config.json`: all fields of transformers 5.24, and no torch.

A model's own settings decide where an answer ends. How its tokens are chosen is the task's to say, or scores of two
models would differ by what their authors happened to save. A repetition penalty is kept: some models run in circles
without the one that they were made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

FieldKind: TypeAlias = Literal["model", "tokens", "computation", "task", "method", "output", "record"]
"""`model`: kept as the model has it. All others are reset; `tokens` (which ones are likelier or forbidden) and
`computation` (how the same tokens are computed) may be asked for with `--model-args generation_NAME=…`, while the
`task` decides its own, and other decoding `method`s and forms of `output` have no place here. `record`: for the record.
"""

_BY_KIND: Mapping[FieldKind, str] = {
    "model": """
        eos_token_id pad_token_id bos_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
        stop_strings repetition_penalty
    """,
    "tokens": """
        no_repeat_ngram_size min_length min_new_tokens encoder_repetition_penalty encoder_no_repeat_ngram_size
        bad_words_ids suppress_tokens begin_suppress_tokens sequence_bias exponential_decay_length_penalty
        guidance_scale renormalize_logits remove_invalid_values
    """,
    "computation": """
        use_cache cache_implementation cache_config max_cache_len prefill_chunk_size disable_compile
    """,
    "task": """
        max_length max_new_tokens max_time do_sample temperature top_k top_p min_p top_h typical_p epsilon_cutoff
        eta_cutoff
    """,
    "method": """
        num_beams num_beam_groups num_return_sequences early_stopping length_penalty diversity_penalty
        constraints force_words_ids penalty_alpha low_memory dola_layers token_healing watermarking_config use_mtp
        is_assistant num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold
        assistant_early_exit assistant_lookbehind target_lookbehind assistant_ensemble_weight speculation_type
        prompt_lookup_num_tokens max_matching_ngram_size compile_config continuous_batching_config
    """,
    "output": "output_attentions output_hidden_states output_scores output_logits return_dict_in_generate",
    "record": "transformers_version _from_model_config _commit_hash _original_object_hash",
}
FIELDS: Mapping[str, FieldKind] = {name: kind for kind, names in _BY_KIND.items() for name in names.split()}

NEUTRAL: Mapping[str, object] = {
    "do_sample": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "use_cache": True,
    "max_length": 20,
    "min_length": 0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "early_stopping": False,
    "length_penalty": 1.0,
    "diversity_penalty": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "assistant_lookbehind": 10,
    "target_lookbehind": 10,
}
"""transformers' defaults that change nothing; of the other fields that is None or False."""
IN_FORCE: Mapping[str, object] = {
    name: NEUTRAL[name] for name in ("do_sample", "num_beams", "num_return_sequences", "use_cache")
}
"""What fields are reset to, where it isn't None."""

_TASK_SAYS = {
    "max_new_tokens": "--max-new-tokens",
    "max_length": "--max-new-tokens",
    "do_sample": "--temperature",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "top_k": "the task's generation.top_k",
    "stop_strings": "the task's generation.stop",
}


def changes_nothing(name: str, value: object) -> bool:
    """Whether a setting is what transformers would do without it."""
    return value is None or (value == NEUTRAL[name] if name in NEUTRAL else value is False)


def why_not(name: str) -> str | None:
    """Why `--model-args generation_NAME=…` can't be honoured, and what to use instead; None where it can."""
    if name in _TASK_SAYS:
        return f"this is set per task; use {_TASK_SAYS[name]}"
    match FIELDS.get(name):
        case "task":
            return "answers end and are sampled as the task says: --max-new-tokens, --temperature, --top-p"
        case "method":
            return "the transformers backend decodes one sequence per request, token by token"
        case "output" | "record":
            return "it decides nothing about an answer"
        case _:
            return None
