"""Search with any regular expression in time linear in the text.

A filter comes from a client and runs on the daemon's loop, so backtracking (``(a+)+$``) is not an option. The tree of
an expression becomes a nondeterministic automaton (K. Thompson, "Regular Expression Search Algorithm", 1968) whose
sets of states become deterministic states when a text first needs them, and are kept. The result is only whether there
is a match, so nothing is captured and a lazy repetition is like a greedy one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import Struct

MAX_STATES = 2000
_MAX_KEPT = 50_000  # state numbers kept in deterministic steps; past that they are rebuilt
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_NOTHING = ""  # stands before the first and after the last character

CharacterTest: TypeAlias = Callable[[str], bool]
BorderTest: TypeAlias = Callable[[str, str], bool]


class One(Struct, frozen=True):
    """One character that passes a test."""

    test: CharacterTest


class Border(Struct, frozen=True):
    """A place between two characters that passes a test."""

    test: BorderTest


class Row(Struct, frozen=True):
    """Nodes one after the other; the empty row matches the empty text."""

    items: tuple[Node, ...]


class Alternation(Struct, frozen=True):
    """Any one of several nodes."""

    items: tuple[Node, ...]


class Repeat(Struct, frozen=True):
    """A node ``least`` to ``most`` times; None is unlimited."""

    item: Node
    least: int
    most: int | None


Node: TypeAlias = "One | Border | Row | Alternation | Repeat"


def _is_word(character: str) -> bool:
    return character in _WORD


#: The borders of RE2: tests of the character before and the one after.
TEXT_START: BorderTest = lambda before, _: before == _NOTHING  # noqa: E731 (a table of one-liners)
TEXT_END: BorderTest = lambda _, after: after == _NOTHING  # noqa: E731
LINE_START: BorderTest = lambda before, _: before in (_NOTHING, "\n")  # noqa: E731
LINE_END: BorderTest = lambda _, after: after in (_NOTHING, "\n")  # noqa: E731
WORD_BORDER: BorderTest = lambda before, after: _is_word(before) != _is_word(after)  # noqa: E731
NO_WORD_BORDER: BorderTest = lambda before, after: _is_word(before) == _is_word(after)  # noqa: E731


class TooLarge(Exception):
    """The automaton would have more than ``MAX_STATES`` states."""


class _State(Struct, frozen=True):
    """One state: the next states after passing ``step`` (a character) or ``border``; without either, both are free."""

    ways: tuple[int, ...]
    step: CharacterTest | None = None
    border: BorderTest | None = None


_FOUND = 0  # the end state of every expression


class Automaton:
    """A searcher for one tree; not shared between threads."""

    def __init__(self, tree: Node) -> None:
        self._states: list[_State] = [_State(())]
        self._additions = 0
        self._entry = self._add(tree, _FOUND)
        self._borders = any(state.border for state in self._states)
        self._kept_size = 0
        self._kept: dict[tuple[frozenset[int], str, str], frozenset[int] | None] = {}

    def search(self, text: str) -> bool:
        """Whether any part of ``text`` matches."""
        here, before = frozenset((self._entry,)), _NOTHING
        for character in text:
            following = self._step(here, before, character)
            if following is None:
                return True
            here, before = following, character if self._borders else _NOTHING
        return self._step(here, before, _NOTHING) is None

    def _step(self, states: frozenset[int], before: str, character: str) -> frozenset[int] | None:
        """Return the states after ``character``; None when a match ends before it."""
        key = (states, before, character)
        if key in self._kept:
            return self._kept[key]
        if self._kept_size > _MAX_KEPT:
            self._kept.clear()
            self._kept_size = 0
        following = self._kept[key] = self._made(states, before, character)
        self._kept_size += len(following or ()) + 1
        return following

    def _made(self, states: Iterable[int], before: str, character: str) -> frozenset[int] | None:
        reached, todo, following = set(states), list(states), {self._entry}  # a match may begin at every character
        while todo:
            number = todo.pop()
            if number == _FOUND:
                return None
            state = self._states[number]
            if state.step is not None:
                if character != _NOTHING and state.step(character):
                    following.update(state.ways)
            elif state.border is None or state.border(before, character):
                fresh = set(state.ways) - reached
                reached |= fresh
                todo += fresh
        return frozenset(following)

    def _add(self, tree: Node, then: int) -> int:
        """Add the states of ``tree``, continuing at ``then``; return the number of its first."""
        self._additions += 1
        if self._additions > 10 * MAX_STATES:  # ((){1000}){1000} adds no states but takes time
            raise TooLarge
        match tree:
            case One(test):
                return self._new(_State((then,), step=test))
            case Border(test):
                return self._new(_State((then,), border=test))
            case Row(items):
                for item in reversed(items):
                    then = self._add(item, then)
                return then
            case Alternation(items):
                return self._new(_State(tuple(self._add(item, then) for item in items)))
            case Repeat(item, least, most):
                return self._repeated(item, least, most, then)

    def _repeated(self, item: Node, least: int, most: int | None, then: int) -> int:
        if most is None:
            loop = self._new(_State((then,)))
            self._states[loop] = _State((self._add(item, loop), then))
            then = loop
        else:
            for _ in range(most - least):
                then = self._new(_State((self._add(item, then), then)))
        for _ in range(least):
            then = self._add(item, then)
        return then

    def _new(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise TooLarge
        self._states.append(state)
        return len(self._states) - 1
