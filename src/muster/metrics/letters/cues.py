"""Words by which sentences show what they are: a conclusion, a comparison, a denial, a refusal. In English."""

from __future__ import annotations

import re


def _any(*alternatives: str, before: str = r"\b", after: str = r"\b") -> re.Pattern[str]:
    return re.compile(f"{before}(?:{'|'.join(alternatives)}){after}", re.IGNORECASE)


SENTENCE_ENDS = re.compile(r"(?<=[.!?])[\"'”’)*]*\s+(?=[\"'“(\[]?[A-Z0-9])|\n+|(?<=[。！？])")

_OPENS = (
    r"therefore|thus|hence|so\b|consequently|accordingly|overall|finally|ultimately|conclusion|answer\b|as a result",
    r"in (?:conclusion|summary|short)|to (?:conclude|summarize|sum up)|based on|considering|from (?:this|these)",
    r"given (?:this|these|that|the (?:analysis|information|above|context|observations?))",
    r"this (?:means|suggests|indicates)|for (?:these|this) reasons?",
    r"(?:however,? |but )?if (?:forced|pressed|(?:I|we|one|you) (?:must|had|have|were|are|consider))",
    r"the (?:correct|right|best|final|corresponding|matching|most)\b",
)
_IS = r"(?:is|would be|will be|must be|should be|might be|could be|seems?(?: to be)?|appears?(?: to be)?|remains)"
_BEST = r"(?:correct|right|best|most (?:likely|plausible|probable|appropriate|suitable|fitting|logical|reasonable))"
_NOUN = (
    r"(?:answer|choice|option|match|fit|candidate|guess|continuation|completion|point|image|picture|photo"
    r"|photograph|box)"
)
CONCLUDES = re.compile(
    rf"^\W*(?:(?:however|but|still|yet|nevertheless),? )?(?:{'|'.join(_OPENS)})"
    rf"|\b{_IS} (?:the|our|my) {_BEST} (?:\w+ )?{_NOUN}\b|\bguess {_IS}\b"
    r"|\b(?:I|we) (?:would|will|can|might|must|should|['’]d) ?\w* ?"
    r"(?:say|conclude|choose|select\w*|pick|go with|lean|suggest|guess)\b",
    re.IGNORECASE,
)
"""How a sentence begins that settles the matter."""
DECIDES = _any(
    r"answer(?:s|ed)?|correct|right choice|best|most|more|closest|closer|nearer|nearest|likely|appropriate|suitable",
    r"match(?:es|ed|ing)?|corresponds?|corresponding|same|similar|conclude|choose|select|fits?|should|must",
    r"continues?|completes?|accurate(?:ly)?|rather than|instead of|not\b.{1,40}\bbut|shares?|plausible|probable",
    r"darker|lighter|belongs?",
)
"""What a sentence has that prefers one thing to others."""
DENIES = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|except|without|less|unlikely|incorrect|wrong|fails?|lacks?"
    r"|different(?:ly)?|differs?)\b|n['’]t\b|\btoo (?:small|large|big|far|high|low)\b",
    re.IGNORECASE,
)
NOT = re.compile(r"\b(?:not|never|neither|none|incorrect|wrong)\b|n['’]t\b", re.IGNORECASE)
EITHER = _any(r"either|all (?:of|four|three|five|the)|any of")
"""What names options without choosing."""
TURNS = re.compile(
    r"[,;:—–]?\s(?:while|whereas|but|although|though|even though|unlike|compared (?:to|with)|as opposed to|instead of"
    r"|(?:rather|other|more|less|better) than|than|in contrast (?:to|with)|versus|vs\.?|and not|if|because|since|due to"
    r"|that (?:has|have|is|are|was|were|does|do))\s|,\s(?:not|as|\w+ing|which|and|making|with|but)\s"
    r"|\sas (?:it|they|both|evidenced|indicated)\s|;\s",
    re.IGNORECASE,
)
"""Where a sentence's main clause ends: what follows compares, explains or denies."""
BUTS = ("but", "rather", "")
"""Turns after which a denial may name what is right instead."""
YIELDS = re.compile(
    r"^\W*(?:(?:however|but|so),?\s)?(?:while|although|though|even though|whereas|unlike|compared (?:to|with)|if)\b"
    r"[^,]*,\s",
    re.IGNORECASE,
)
"""A clause in front that concedes or supposes something."""
REASONS = re.compile(
    r"^\W*(?:(?:however|but|so),?\s)?(?:given|considering|since|because|due to)\b[^,]*,\s", re.IGNORECASE
)
"""A clause in front that says why."""
ASIDE = re.compile(r",\s(?:while|though|although|on the other hand|however|unlike|like)\b[^,]*,")
CONTRASTS = re.compile(
    r"\b(?:on the other hand|in contrast|conversely|by contrast)\b"
    r"|^\W*(?:however|but)\b(?!,? (?:since|given|considering|based on)\b)|^\W*(?:if|whereas|in comparison)\b",
    re.IGNORECASE,
)
JUSTIFIES = re.compile(
    r"^\W*(?:this|that|it)\s(?:is|can be|was|could be)\s(?:evident|determined|because|indicated|seen|apparent|clear"
    r"|inferred|shown|due|based|evidenced)\b",
    re.IGNORECASE,
)
"""How a sentence begins that explains the one before it."""
BECAUSE = _any(r"because|since|as (?:it|evidenced|indicated|shown|seen)|due to")
REFUSES = re.compile(
    r"\b(?:not possible|impossible|unable) to\b|\b(?:difficult|challenging|hard) to (?:\w+ )?(?:determine|tell|say"
    r"|identify|judge|select|choose|make|decide|pick|know|provide|assess|give|distinguish|be)\b"
    r"|\b(?:can(?:not|['’]t| not)|could(?: not|n['’]t))\b[^.]{0,40}\b(?:determine|identify|tell|say|select|choose"
    r"|assist|provide|answer|see|be determined|process|make)\b"
    r"|\bI(?:['’]m| am) (?:sorry|unable|not able|not sure)\b"
    r"|\bI (?:apologi[sz]e|don['’]t know|do not know|can(?:not|['’]t))\b"
    r"|\b(?:none|neither) of the\b|\bnot enough\b|\binsufficient\b",
    re.IGNORECASE,
)
STILL = re.compile(
    r"\b(?:so|but|still),? (?:I|we|if)\b|\bbut,? (?:\S+ ){1,5}(?:appears?|seems?|looks?) (?:to be )?(?:the )?"
    r"(?:more|most|better|best|closer|closest|nearer|nearest|darker|lighter|correct|right)\b",
    re.IGNORECASE,
)
"""With which a refusal chooses all the same."""
