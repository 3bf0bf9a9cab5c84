"""Reading yes or no out of an answer: one reader per scoring variant, all `text -> "yes", "no" or None`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from muster.metrics.vqa_text import vlmevalkit_punctuation

Verdict = Literal["yes", "no"]
VerdictReader = Callable[[str], Verdict | None]

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_STATED = re.compile(r"answer\s*(?:is|:|=)[\s\"'*(\[]*(yes|no)\b")
_MARKUP = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)|</?[a-z]{1,12}>|[*_`]", re.DOTALL)
_CHINESE = re.compile("[\u4e00-\u9fa5]")
_AS_VERDICT: dict[str, Verdict] = {"yes": "yes", "no": "no", "y": "yes", "n": "no"}


def muster(text: str) -> Verdict | None:
    """A first word yes or no; else the last "the answer is yes"; else the only one of the two words."""
    text = _MARKUP.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    words = _WORDS.findall(text)
    if words and (words[0] in ("yes", "no") or len(words) == 1):
        return _AS_VERDICT.get(words[0])
    stated = _STATED.findall(text)
    if stated:
        return _AS_VERDICT[stated[-1]]
    return _only_one("yes" in words, "no" in words)


def lmms_eval_pope(text: str) -> Verdict | None:
    """lmms-eval's POPE: the answer is exactly yes or no. "Yes." is neither."""
    return _exact(text.strip().lower())


def internvl_pope(text: str) -> Verdict:
    """InternVL's POPE: no iff the first sentence has a token No, not or no; else yes, whatever it says."""
    tokens = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(tokens) else "yes"


def vlmevalkit(text: str) -> Verdict | None:
    """VLMEvalKit's POPE, MME and HallusionBench: the only one of the words yes and no."""
    words = vlmevalkit_punctuation(text.lower()).split()
    return _only_one("yes" in words, "no" in words)


def lmms_eval_mme(text: str) -> Verdict | None:
    """lmms-eval's MME: yes, no, y, n, or one of the words among the first four characters ("noon" is no)."""
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return _AS_VERDICT.get(text)
    return _exact(text) or _among_first_four(text)


def official_mme(text: str) -> Verdict | None:
    """MME's own script: yes or no, or one of the words among the first four characters."""
    text = text.lower()
    return _exact(text) or _among_first_four(text)


def internvl_mme(text: str) -> Verdict | None:
    """InternVL's MME: Chinese and true/false are translated, then the first four characters decide."""
    text = text.replace("\n", "").replace("不是", "No").replace("是", "Yes").replace("否", "No")
    return official_mme(_CHINESE.sub("", text.lower().replace("true", "yes").replace("false", "no")))


_GOLD: dict[str, Verdict] = {
    **dict.fromkeys(("yes", "true", "1", "y"), "yes"),
    **dict.fromkeys(("no", "false", "0", "n"), "no"),
}


def gold(answer: str) -> Verdict | None:
    """The right verdict of a sample: `Yes`, `no.`, `True`, `0`, `n` …; None where it is neither."""
    return _GOLD.get(answer.strip().lower().replace(".", ""))


def _exact(text: str) -> Verdict | None:
    return "yes" if text == "yes" else "no" if text == "no" else None


def _only_one(yes: bool, no: bool) -> Verdict | None:
    if yes == no:
        return None
    return "yes" if yes else "no"


def _among_first_four(text: str) -> Verdict | None:
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else None
