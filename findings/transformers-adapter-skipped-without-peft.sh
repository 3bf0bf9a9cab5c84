#!/usr/bin/env bash
# A model's folder may hold a LoRA adapter beside the full weights; `from_pretrained` puts the adapter on them.
#
# One would guess: where the package peft is missing, loading such a folder is an error, or a warning at least.
# What happens (transformers 5.24.0): without peft the base model is loaded and nothing is said; with peft 0.20.0 the same
# line gives the adapted one. So two machines with the same folder and the same transformers give other answers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
pip() { venv/bin/pip install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6

cat > make.py <<'PYTHON'
import json

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    initializer_range=0.5,
)  # fmt: skip
LlamaForCausalLM(config).save_pretrained("model")
adapter = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj"],
    "base_model_name_or_path": None,
}  # fmt: skip
with open("model/adapter_config.json", "w") as file:
    json.dump(adapter, file)
where = "base_model.model.model.layers.0.self_attn.q_proj."
parts = {where + "lora_A.weight": torch.randn(2, 16), where + "lora_B.weight": torch.randn(16, 2)}
save_file(parts, "model/adapter_model.safetensors")
PYTHON

cat > seen.py <<'PYTHON'
import importlib.util
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

ids = torch.tensor([[3, 1, 4, 1, 5]])
base = LlamaForCausalLM(LlamaConfig.from_pretrained("model")).eval()
base.load_state_dict(load_file(Path("model/model.safetensors")))
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    model = AutoModelForCausalLM.from_pretrained("model").eval()
with torch.no_grad():
    same = torch.allclose(model(ids).logits, base(ids).logits, atol=1e-4)
peft = "with" if importlib.util.find_spec("peft") else "without"
print(f"{peft} peft: the base model's logits: {same}, warnings about adapters: {sum('dapter' in str(w.message) for w in warned)}")
PYTHON

cat > expected.txt <<'TEXT'
without peft: the base model's logits: True, warnings about adapters: 0
logged about adapters: 0
with peft: the base model's logits: False, warnings about adapters: 0
TEXT

venv/bin/python make.py 2> /dev/null
{
  venv/bin/python seen.py 2> log.txt
  echo "logged about adapters: $(grep -ci adapter log.txt || true)"
  pip peft==0.20.0 accelerate==1.15.0
  venv/bin/python seen.py 2> /dev/null
} | tee seen.txt
diff expected.txt seen.txt
