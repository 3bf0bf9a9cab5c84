#!/usr/bin/env bash
# Prompts of unequal length are padded on the left for generation: for a decoder the answers go on at the right end, and
# transformers warns where a decoder's prompts are padded on the right.
#
# One would guess: for an encoder with an attention mask the side makes no difference, so left is safe for every model.
# What happens (transformers 5.24.0): the positions of BART's encoder (Florence-2's text model is one) are counted from the
# first id, padding included. Padded on the left, a question's logits are others than alone; on the right they are the same.
# Nothing is said in either case.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6

cat > seen.py <<'PYTHON'
import torch
from transformers import BartConfig, BartForConditionalGeneration

torch.manual_seed(0)
config = BartConfig(
    vocab_size=64, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    decoder_start_token_id=2, forced_eos_token_id=None, init_std=1.0,
)  # fmt: skip
model = BartForConditionalGeneration(config).eval()
question, longer = [5, 6, 7], [8, 9, 10, 11, 12, 13]


def first_logits(prompts: list[list[int]]) -> torch.Tensor:
    ids = torch.tensor(prompts)
    settings = {"do_sample": False, "num_beams": 1, "max_new_tokens": 1}
    returned = model.generate(
        input_ids=ids, attention_mask=(ids != 1).long(), output_logits=True, return_dict_in_generate=True, **settings
    )
    return returned.logits[0][0]


alone = first_logits([question])
for side, padded in ("left", [1, 1, 1, *question]), ("right", [*question, 1, 1, 1]):
    same = torch.allclose(first_logits([padded, longer]), alone, atol=1e-3)
    print(f"padded on the {side}: the logits of the question alone: {same}")
PYTHON

cat > expected.txt <<'TEXT'
padded on the left: the logits of the question alone: False
padded on the right: the logits of the question alone: True
said about padding: 0
TEXT

{
  venv/bin/python seen.py 2> log.txt
  echo "said about padding: $(grep -ci padding log.txt || true)"
} | tee seen.txt
diff expected.txt seen.txt
