"""Running text against running text: BLEU, METEOR, F-measure of words, and edit distance, through NLTK.

Chinese is cut into words by jieba. Source: OCRBench v2's `cal_per_metrics`.
"""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Callable
from functools import cache

from muster.metrics.documents.edit_distance import distance
from muster.metrics.documents.wordnet import wordnet

_CHINESE = re.compile("[\u4e00-\u9fa5]")


def page_score(predicted: str, truth: str) -> float:
    """The mean of BLEU, METEOR, F-measure and 1 - normalised edit distance, 0-1; 0.0 where both are empty."""
    longest = max(len(predicted), len(truth))
    if longest == 0:
        return 0.0
    from nltk.metrics import f_measure
    from nltk.translate import bleu, meteor_score

    chinese = _CHINESE.search(predicted) or _CHINESE.search(truth)
    cut = _jieba() if chinese else str.split
    reference, hypothesis = cut(truth), cut(predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of n-grams that don't overlap
        overlap = float(bleu([reference], hypothesis))
    meaning = float(meteor_score.meteor_score([reference], hypothesis, wordnet=wordnet()))
    words = f_measure(set(reference), set(hypothesis)) or 0.0
    return (overlap + meaning + words + (1 - distance(predicted, truth) / longest)) / 4


@cache
def _jieba() -> Callable[[str], list[str]]:
    """Cuts a text; its dictionary is read from the package, never from a cache that others could have written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its patterns and of setuptools
        import jieba
    jieba.setLogLevel(logging.WARNING)
    tokeniser = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        tokeniser.tmp_dir = folder
        tokeniser.initialize()

    def cut(text: str) -> list[str]:
        return [str(word) for word in tokeniser.lcut(text)]

    return cut
