#!/usr/bin/env bash
# A decoder's `generate` returns prompt and answer; the answer is what follows as many ids as the prompt has.
#
# One would guess: BLIP's, which is given input_ids for a conditional caption, too.
# What happens (transformers 5.24.0): it takes the prompt's last id (the tokenizer's [SEP]) away before it goes on, so what
# it returns begins with one id less than the prompt, and cutting off the prompt's length takes the answer's first token.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6

cat > seen.py <<'PYTHON'
import torch
from transformers import BlipConfig, BlipForConditionalGeneration

torch.manual_seed(0)
size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
config = BlipConfig(
    text_config={**size, **special, "vocab_size": 40, "projection_dim": 16, "encoder_hidden_size": 16},
    vision_config={**size, "image_size": 16, "patch_size": 8},
    projection_dim=16,
)
model = BlipForConditionalGeneration(config).eval()
prompt = torch.tensor([[1, 5, 6, 7, 2]])
returned = model.generate(
    pixel_values=torch.zeros(1, 3, 16, 16), input_ids=prompt, attention_mask=torch.ones_like(prompt),
    do_sample=False, min_new_tokens=4, max_new_tokens=4,
)[0].tolist()  # fmt: skip
print("prompt's ids:", prompt.shape[1], "asked for: 4")
print("returned begins with the prompt:", returned[:5] == prompt[0].tolist())
print("returned begins with the prompt without its last id:", returned[:4] == prompt[0, :4].tolist())
print("after the prompt's length:", len(returned[5:]))
PYTHON

cat > expected.txt <<'TEXT'
prompt's ids: 5 asked for: 4
returned begins with the prompt: False
returned begins with the prompt without its last id: True
after the prompt's length: 3
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
