"""How captions are cut into tokens: raw, by Muster's own rule, or by Stanford CoreNLP's Penn Treebank tokeniser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from muster.core import ConfigurationError, MissingExtraError, RunError

Tokeniser = Literal["words", "raw", "ptb"]

_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_JAR = "stanford-corenlp-3.4.1.jar"
_CLASS = "edu.stanford.nlp.process.PTBTokenizer"
_DROPPED = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)
"""The punctuation that pycocoevalcap drops. Brackets stay, since the tokeniser writes them in lower case (sic)."""
_LINE_ENDS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def tokenise(texts: Sequence[str], tokeniser: Tokeniser) -> list[list[str]]:
    """Each text's tokens.

    `raw` splits at blanks. `words` makes lower case and keeps runs of letters and digits with inner apostrophes,
    hyphens and periods. `ptb` is pycocoevalcap's: Stanford's tokeniser, lower case, punctuation dropped; it runs Java
    once for all texts, with pipes and without temporary files, and raises `ConfigurationError` where there is none.
    """
    if tokeniser == "raw":
        return [text.split() for text in texts]
    if tokeniser == "words":
        return [_WORD.findall(text.lower()) for text in texts]
    return _treebank(texts)


WITHOUT_JAVA = "choose the variant muster, which needs none"
"""What to do about a scoring variant that needs Java."""


def check_java(what: str, instead: str) -> str:
    """The path of Java. Raises `ConfigurationError` where there is none: `what` needs it, and what to do `instead`."""
    if find_spec("pycocoevalcap") is None:
        raise MissingExtraError(what, "captions")
    java = shutil.which("java")
    if java is None:
        raise ConfigurationError(
            f"{what} needs Java, and there is no `java` on the PATH: install a Java runtime (8 or newer, e.g. Debian's "
            f"default-jre-headless), or {instead}."
        )
    return java


def _treebank(texts: Sequence[str]) -> list[list[str]]:
    java = check_java("the Penn Treebank tokeniser", WITHOUT_JAVA)
    import pycocoevalcap.tokenizer.ptbtokenizer as package

    jar = Path(package.__file__).with_name(_JAR)
    lines = [_LINE_ENDS.sub(" ", text).encode(errors="replace").decode() for text in texts]
    # The locale must not decide how Java reads and writes characters.
    command = [java, "-Dfile.encoding=UTF-8", "-cp", str(jar), _CLASS, "-preserveLines", "-lowerCase"]
    sent = "".join(f"{line}\n" for line in lines).encode()
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    received = done.stdout.decode().split("\n")[: len(lines)]
    if done.returncode != 0 or len(received) != len(lines):
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise RunError(
            f"the Penn Treebank tokeniser gave {len(received)} lines for {len(lines)} captions, exit status "
            f"{done.returncode}: {said}. Check `java -version`; the answers are kept."
        )
    return [[word for word in line.rstrip().split(" ") if word not in _DROPPED] for line in received]
