#!/usr/bin/env bash
# An RGB PNG may name one colour as transparent. `convert("RGB")` is what evaluation code does to be rid of transparency.
#
# One would guess: an image after convert("RGB") is opaque, and an image processor keeps its colours.
# What happens (transformers 5.24.0, Pillow 13.0.0): convert("RGB") leaves the colour in `info`, and the image processor's
# own conversion makes each pixel of it white. The same pixels without `info` keep their colours, so what a model sees
# depends on whether the image went through numpy (or a JPEG) before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check transformers==5.24.0 Pillow==13.0.0 numpy==2.4.6

cat > seen.py <<'PYTHON'
import io

import numpy as np
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

colours = np.zeros((8, 8, 3), np.uint8)
colours[:, :4], colours[:, 4:] = (10, 20, 30), (200, 0, 0)
file = io.BytesIO()
Image.fromarray(colours).save(file, "PNG", transparency=(10, 20, 30))

processor = CLIPImageProcessorPil(do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False)
converted = Image.open(file).convert("RGB")
copied = Image.fromarray(np.asarray(converted))
print("same pixels:", np.array_equal(np.asarray(converted), np.asarray(copied)))
for name, image in ("converted", converted), ("copied", copied):
    seen = np.asarray(processor(image)["pixel_values"][0])
    print(f"{name}: {image.mode} {image.info}, the model sees {seen[:, 0, 0].tolist()} and {seen[:, 0, 7].tolist()}")
PYTHON

cat > expected.txt <<'TEXT'
same pixels: True
converted: RGB {'transparency': (10, 20, 30)}, the model sees [255, 255, 255] and [200, 0, 0]
copied: RGB {}, the model sees [10, 20, 30] and [200, 0, 0]
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
