#!/usr/bin/env bash
# MathVision's authors score open answers by reading both sides with latex2sympy2 and comparing the values.
#
# One would guess: a text that isn't a formula to its end raises an error.
# What happens (latex2sympy2 1.9.1, sympy 1.14.0): the longest beginning that is a formula is read and the rest dropped, so
# that "3. b" equals 3 and "12_x" equals 12; "3,4" is a list, "12 5" a product.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check latex2sympy2==1.9.1 sympy==1.14.0

cat > seen.py <<'PYTHON'
from latex2sympy2 import latex2sympy

for text in r"\frac{1}{4}$. the answer is: 7", "3. b", "12_x", "3,4", "12 5", r"\sin 1/4":
    print(f"{text!r} is read as {latex2sympy(text)}")
PYTHON

cat > expected.txt <<'TEXT'
'\\frac{1}{4}$. the answer is: 7' is read as 1/4
'3. b' is read as 3
'12_x' is read as 12
'3,4' is read as [3, 4]
'12 5' is read as 12*5
'\\sin 1/4' is read as sin(1/4)
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
