"""Image captions: CIDEr, and BLEU, ROUGE-L and METEOR through the field's own implementation."""
