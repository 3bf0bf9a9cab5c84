#!/usr/bin/env bash
# Gemma 3's image processor can cut long images into crops ("pan and scan"); a model's folder says whether.
#
# One would guess: a folder whose processor_config.json has `do_pan_and_scan: true` gives crops.
# What happens (transformers 5.24.0): the loaded image processor gives 5 pictures of a wide image, the loaded processor
# around it 1, although its image processor says True: the processor's class has settings of its own, which go before the
# saved ones. The same setting as an argument of from_pretrained or of the call does count.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.24.0 tokenizers==0.23.3 Pillow==13.0.0 numpy==2.4.6

cat > seen.py <<'PYTHON'
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor

words = ["<unk>", "<pad>", "<start>", "<end>", "<image>", "what?"]
splitting = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
splitting.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=splitting,
    unk_token="<unk>",
    pad_token="<pad>",
    extra_special_tokens={"boi_token": "<start>", "eoi_token": "<end>", "image_token": "<image>"},
)
pictures = Gemma3ImageProcessorPil(
    size={"height": 28, "width": 28},
    do_pan_and_scan=True,
    pan_and_scan_min_crop_size=256,
    pan_and_scan_max_num_crops=4,
    pan_and_scan_min_ratio_to_activate=1.2,
)
Gemma3Processor(pictures, tokenizer, image_seq_length=2, chat_template="").save_pretrained("model")

wide = Image.new("RGB", (2048, 512))
question = {"text": "<start> what?", "images": wide}
processor = Gemma3Processor.from_pretrained("model")
print("saved:", processor.image_processor.do_pan_and_scan)
print("image processor:", len(processor.image_processor(wide)["pixel_values"]))
print("processor:", len(processor(**question)["pixel_values"]))
print("processor, argument of the call:", len(processor(**question, do_pan_and_scan=True)["pixel_values"]))
told = Gemma3Processor.from_pretrained("model", do_pan_and_scan=True)
print("processor, argument of from_pretrained:", len(told(**question)["pixel_values"]))
PYTHON

cat > expected.txt <<'TEXT'
saved: True
image processor: 5
processor: 1
processor, argument of the call: 5
processor, argument of from_pretrained: 5
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
