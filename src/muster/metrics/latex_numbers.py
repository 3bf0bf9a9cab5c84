r"""What a formula without variables is worth: LaTeX arithmetic, read by a parser of our own. Nothing is run as code.

Reads what latex2sympy2 1.9 reads of it, as MathVision's reference uses that, and finds the same value: implicit
products bind more tightly than a fraction's slash (`4/3\pi` is 4/(3π)), a whole number before a fraction is a factor
(sic). Work is bounded: by the formula's length, its depth, and the size of powers and factorials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeAlias

Real: TypeAlias = Fraction | float

LONGEST = 500
"""Characters of a formula."""
_DEEPEST = 50
_LARGEST_BITS = 4096
_LARGEST_FACTORIAL = 170

_BLANKS = ("\\displaystyle", "\\quad", "\\qquad", "~", "\\,")
_STOPS = frozenset((*").}]&", "\\}", "\\right", "\\rbrace"))
"""What a formula may be followed by: the reference reads as far as it can, and ignores the rest of the text."""
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "\\sin": math.sin,
    "\\cos": math.cos,
    "\\tan": math.tan,
    "\\arcsin": math.asin,
    "\\arccos": math.acos,
    "\\arctan": math.atan,
    "\\sinh": math.sinh,
    "\\cosh": math.cosh,
    "\\tanh": math.tanh,
}
_NAMED = frozenset(("\\exp", "\\log", *_FUNCTIONS))
_COMMANDS = ("\\frac", "\\sqrt", "\\pi", "\\binom", "\\cdot", "\\times", "\\div", "\\right", *_NAMED)
_TOKEN = re.compile(
    "|".join(re.escape(command) for command in sorted(_COMMANDS, key=len, reverse=True))
    + r"|\\(?:[a-z]+|[{}])|(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:\\%)?|\*\*|[^\s$]"
)
"""Commands end where their names do: what is left of `\\pi e` without blanks is two tokens."""
_TIMES = frozenset({"*", "\\cdot", "\\times"})
_OVER = frozenset({"/", ":", "\\div"})
_BRACKETS = {"(": ")", "{": "}", "[": "]"}


class NoNumberError(ValueError):
    """The text is no formula, has variables, or is too large."""


class Value(NamedTuple):
    """What a formula is worth."""

    number: Real
    """Exact, where only fractions and whole powers are in it."""
    plain: bool
    """Whether it needs no function and no constant, only + - * / and powers."""


def value_of(formula: str) -> Value:
    """The value of the formula in small letters that a text begins with. Raises `NoNumberError`.

    After it there may be anything, from a period, a closing bracket and the like on.
    """
    if len(formula) > LONGEST:
        raise NoNumberError("too long")
    for blank in _BLANKS:
        formula = formula.replace(blank, " ")
    reader = _Reader(_TOKEN.findall(formula))
    try:
        number = reader.sum()
        if not reader.may_stop():
            raise NoNumberError(f"unexpected {reader.tokens[reader.position]}")
        return Value(number, reader.plain)
    except (ArithmeticError, ValueError) as error:
        raise NoNumberError(str(error)) from error


@dataclass(slots=True)
class _Reader:
    """Recursive descent, one method for each level of precedence."""

    tokens: list[str]
    position: int = 0
    depth: int = 0
    plain: bool = True
    _closers: list[str] = field(default_factory=list)
    _raised: int = -1
    """Where the last exponent ended."""

    def may_stop(self) -> bool:
        """Whether the reference would end the formula here; after an exponent it still expects an index."""
        following = self._peek()
        indexed = following == "_" and self._raised != self.position
        return indexed or not following or following in _STOPS

    def sum(self) -> Real:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise NoNumberError("too deep")
        total = self._product()
        while (sign := self._peek()) in ("+", "-"):
            self.position += 1
            term = self._product()
            total = _add(total, term if sign == "+" else -term)
        self.depth -= 1
        return total

    def _product(self) -> Real:
        result = self._signed()
        while (operator := self._peek()) in _TIMES | _OVER:
            self.position += 1
            factor = self._signed()
            result = _times(result, factor if operator in _TIMES else _inverse(factor))
        return result

    def _signed(self) -> Real:
        negative = False
        while (sign := self._peek()) in ("+", "-"):
            negative ^= sign == "-"
            self.position += 1
        result = self._power()
        while self._starts_factor():
            result = _times(result, self._power())
        return -result if negative else result

    def _starts_factor(self) -> bool:
        token = self._peek()
        if token in self._closers[-1:]:
            return False
        return token in _BRACKETS or _is_number(token) or self._is_command(token)

    @staticmethod
    def _is_command(token: str) -> bool:
        return token in _FUNCTIONS or token in (
            "\\exp",
            "\\frac",
            "\\dfrac",
            "\\tfrac",
            "\\sqrt",
            "\\pi",
            "\\log",
            "\\binom",
            "e",
        )

    def _power(self) -> Real:
        if self._peek() == "e" and self._peek(1) == "^":
            self.position += 2
            return self._exponential(self._exponent())
        base = self._factorial()
        if self._peek() in ("^", "**"):
            self.position += 1
            return _power(base, self._exponent())
        return base

    def _factorial(self) -> Real:
        result = self._atom()
        while self._peek() in ("!", "'"):  # a number's transpose is the number
            self.position += 1
            if self._peek(-1) == "'":
                continue
            self.plain = False
            whole = _whole(result)
            if not 0 <= whole <= _LARGEST_FACTORIAL:
                raise NoNumberError("too large a factorial")
            result = Fraction(math.factorial(whole))
        return result

    def _atom(self) -> Real:
        token = self._next()
        if _is_number(token):
            hundredths = token.endswith("\\%")
            number = Fraction(token.removesuffix("\\%").replace(",", ""))
            return number / 100 if hundredths else number
        if token in _BRACKETS:
            return self._until(_BRACKETS[token])
        match token:
            case "\\pi":
                self.plain = False
                return math.pi
            case "\\frac" | "\\dfrac" | "\\tfrac":
                return _times(self._braced(), _inverse(self._braced()))
            case "\\sqrt":
                return self._root()
            case "\\binom":
                return Fraction(math.comb(_small(self._braced()), _small(self._braced())))
            case "\\log":
                return self._logarithm()
            case "\\exp":
                return self._exponential(self._function_argument())
        if token in _FUNCTIONS:
            self.plain = False
            exponent = self._function_exponent()
            if exponent == -1 and (inverse := token.replace("\\", "\\arc", 1)) in _FUNCTIONS:
                token, exponent = inverse, Fraction(1)
            return _power(_FUNCTIONS[token](float(self._function_argument())), exponent)
        raise NoNumberError(f"unexpected {token}")

    def _root(self) -> Real:
        if self._peek() == "[":
            self.position += 1
            degree = self._until("]")
            return _power(self._braced(), _inverse(degree))
        self.plain = False
        return math.sqrt(self._braced())

    def _logarithm(self) -> Real:
        self.plain = False
        exponent = self._function_exponent()
        base: Real = Fraction(10)
        if self._peek() == "_":
            self.position += 1
            base = self._argument()
            exponent *= self._function_exponent()
        return _power(math.log(float(self._function_argument())) / math.log(float(base)), exponent)

    def _exponential(self, exponent: Real) -> Real:
        """Of any number but 1: the reference doesn't know the constant e, only its powers (sic)."""
        self.plain = False
        if exponent == 1:
            raise NoNumberError("the constant e")
        return math.exp(exponent)

    def _function_exponent(self) -> Real:
        r"""The 2 of `\sin^2 x`; 1 where there is none."""
        if self._peek() != "^":
            return Fraction(1)
        self.position += 1
        return self._argument()

    def _function_argument(self) -> Real:
        r"""What is in brackets, else the product that follows up to the next function: `\sin \pi/6`."""
        if self._peek() == "(":
            return self._atom()
        result = self._function_factors()
        while (operator := self._peek()) in _TIMES | _OVER:
            self.position += 1
            factor = self._function_factors()
            result = _times(result, factor if operator in _TIMES else _inverse(factor))
        return result

    def _function_factors(self) -> Real:
        if (sign := self._peek()) in ("+", "-"):
            self.position += 1
            factors = self._function_factors()
            return -factors if sign == "-" else factors
        result = self._power()
        while self._starts_factor() and self._peek() not in _NAMED:
            result = _times(result, self._power())
        return result

    def _exponent(self) -> Real:
        exponent = self._argument()
        self._raised = self.position
        return exponent

    def _argument(self) -> Real:
        """What follows `^` or `_`: braces, or one factor without a sign."""
        return self._braced() if self._peek() == "{" else self._atom()

    def _braced(self) -> Real:
        if self._next() != "{":
            raise NoNumberError("no brace")
        return self._until("}")

    def _until(self, closer: str) -> Real:
        self._closers.append(closer)
        inside = self.sum()
        if self._next() != closer:
            raise NoNumberError(f"no {closer}")
        self._closers.pop()
        return inside

    def _peek(self, ahead: int = 0) -> str:
        place = self.position + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise NoNumberError("it ends too early")
        self.position += 1
        return token


def _is_number(token: str) -> bool:
    return token[:1].isdigit() or (token[:1] == "." and len(token) > 1)


def _add(left: Real, right: Real) -> Real:
    return (
        left + right
        if isinstance(left, Fraction) and isinstance(right, Fraction)
        else float(left) + float(right)
    )


def _times(left: Real, right: Real) -> Real:
    return (
        left * right
        if isinstance(left, Fraction) and isinstance(right, Fraction)
        else float(left) * float(right)
    )


def _inverse(number: Real) -> Real:
    return 1 / number


def _power(base: Real, exponent: Real) -> Real:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(abs(base.numerator), base.denominator).bit_length() * abs(exponent.numerator)
        if bits > _LARGEST_BITS:
            raise NoNumberError("too large a power")
        return Fraction(base**exponent.numerator)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return float(base) ** exponent.numerator
    if base < 0:
        raise NoNumberError("a root of a negative number")
    return math.pow(base, exponent)


def _whole(number: Real) -> int:
    if not isinstance(number, Fraction) or number.denominator != 1:
        raise NoNumberError("not a whole number")
    return number.numerator


def _small(number: Real) -> int:
    if not 0 <= (whole := _whole(number)) <= _LARGEST_FACTORIAL:
        raise NoNumberError("too large")
    return whole
