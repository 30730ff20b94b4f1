"""Sets of characters by RE2's names, and the case variants of a character."""

from __future__ import annotations

import unicodedata

from holdfast.filters.automaton import CharacterTest

Range = tuple[str, str]
_DIGIT: tuple[Range, ...] = (("0", "9"),)
_ALPHA: tuple[Range, ...] = (("A", "Z"), ("a", "z"))
_WORD: tuple[Range, ...] = (*_DIGIT, *_ALPHA, ("_", "_"))
PERL: dict[str, tuple[Range, ...]] = {
    "d": _DIGIT,
    "s": (("\t", "\n"), ("\f", "\r"), (" ", " ")),  # RE2's \s has no vertical tab
    "w": _WORD,
}
POSIX: dict[str, tuple[Range, ...]] = {
    "alnum": (*_DIGIT, *_ALPHA),
    "alpha": _ALPHA,
    "ascii": (("\0", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": _DIGIT,
    "graph": (("!", "~"),),
    "lower": (("a", "z"),),
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": (("A", "Z"),),
    "word": _WORD,
    "xdigit": (*_DIGIT, ("A", "F"), ("a", "f")),
}


#: General categories (https://www.unicode.org/reports/tr44/), and their first letters, which are groups of them.
CATEGORIES = frozenset("LMNPSZC") | {
    major + minor
    for major, minors in {
        "L": "ultmo",
        "M": "nce",
        "N": "dlo",
        "P": "cdseifo",
        "S": "mcko",
        "Z": "slp",
        "C": "cfos",
    }.items()
    for minor in minors
}
# Letters that are neither the lower nor the upper case of their fold: long s, final sigma, the Kelvin sign, …
_OTHER_CASES = (
    "\xb5\u017f\u01c5\u01c8\u01cb\u01f2\u0345\u03c2\u03d0\u03d1\u03d5\u03d6\u03f0\u03f1\u03f4\u03f5"
    "\u1c80\u1c81\u1c82\u1c83\u1c84\u1c85\u1c86\u1c87\u1c88\u1e9b\u1e9e\u1f88\u1f89\u1f8a\u1f8b\u1f8c"
    "\u1f8d\u1f8e\u1f8f\u1f98\u1f99\u1f9a\u1f9b\u1f9c\u1f9d\u1f9e\u1f9f\u1fa8\u1fa9\u1faa\u1fab\u1fac"
    "\u1fad\u1fae\u1faf\u1fbc\u1fbe\u1fcc\u1ffc\u2126\u212a\u212b"
)


def _folded(character: str) -> str:
    if character == "ı":  # Unicode folds it to itself; Python's upper() would make it an i
        return character
    upper = character.upper()
    lower = (upper if len(upper) == 1 else character).lower()
    return lower if len(lower) == 1 else character


def _cases(character: str) -> str:
    """Return all case variants of ``character``."""
    folded = _folded(character)
    upper = folded.upper() if folded != "ı" else folded
    return folded + _THIRD_CASES.get(folded, "") + (upper if len(upper) == 1 else "")


_THIRD_CASES: dict[str, str] = {}
for _letter in _OTHER_CASES:
    _THIRD_CASES[_folded(_letter)] = _THIRD_CASES.get(_folded(_letter), "") + _letter


def one_of(ranges: tuple[Range, ...], negated: bool = False) -> CharacterTest:
    """Return a test for characters in any of the ranges, both ends included; with ``negated`` for all others."""
    return lambda character: any(low <= character <= high for low, high in ranges) is not negated


def in_category(name: str) -> CharacterTest:
    """Return a test for characters of one general category, or a group of categories."""
    return lambda character: unicodedata.category(character).startswith(name)


def any_case(test: CharacterTest) -> CharacterTest:
    """Return a test for characters with a case variant that passes ``test``."""
    return lambda character: any(map(test, _cases(character)))
