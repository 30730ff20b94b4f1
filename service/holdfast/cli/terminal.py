"""The terminal of a command with keys: its size, its keys by name, and frames of lines.

Nothing but `Terminal` touches the terminal; `keys_of` decodes what it sends.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

ESCAPE = "escape"
#: Sequences of xterm, the Linux console and what imitates them; longer ones first where one begins like another.
_SEQUENCES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page up", b"\x1b[6~": "page down",
    b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home",
    b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace", b"\t": "tab",
}  # fmt: skip
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the other screen, without a cursor
_HEAD, _PLAIN = "\x1b[7m", "\x1b[0m"
_ESC = 0x1B


def is_usable() -> bool:
    """Whether keys can be read and a screen can be drawn: both ends are a terminal, and not a dumb one."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def keys_of(data: bytes) -> Iterator[str]:
    """The keys in what a terminal sent: names for those without a character, else the character. Others are dropped."""
    text = codecs.getincrementaldecoder("utf-8")("ignore")
    while data:
        known = next((sequence for sequence in _SEQUENCES if data.startswith(sequence)), None)
        if known is not None:
            yield _SEQUENCES[known]
            data = data[len(known) :]
        elif data[0] == _ESC:
            if len(data) == 1:
                yield ESCAPE
                return
            data = _after_unknown(data)
        else:
            yield from filter(str.isprintable, text.decode(data[:1]))
            data = data[1:]


def _after_unknown(data: bytes) -> bytes:
    """The bytes after a sequence that has no name here: ESC [ parameters, and a letter or ``~``."""
    at = 2 if data[1:2] in (b"[", b"O") else 1
    while at < len(data) and not 0x40 <= data[at] <= 0x7E:
        at += 1
    return data[at + 1 :]


def _exit(number: int, _: object) -> None:
    sys.exit(128 + number)


class Terminal:
    """The terminal while a command has it: keys come at once and are not shown, and the screen is another one.

    Ctrl-C still ends the command. Ctrl-Z does nothing: the shell would get a terminal in this state.
    """

    def __init__(self) -> None:
        self._input, self._before = sys.stdin.fileno(), list[Any]()

    def __enter__(self) -> Terminal:
        self._before = termios.tcgetattr(self._input)
        tty.setcbreak(self._input)
        changed = termios.tcgetattr(self._input)
        changed[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(self._input, termios.TCSANOW, changed)
        signal.signal(signal.SIGTERM, _exit)  # so that the terminal is left as it was
        self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_LEAVE)
        termios.tcsetattr(self._input, termios.TCSANOW, self._before)

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 and 24 if the terminal does not know them."""
        found = os.get_terminal_size(sys.stdout.fileno())
        return found.columns or 80, found.lines or 24

    def draw(self, lines: Sequence[str], head: int) -> None:
        """Show lines that fit; the one at ``head`` in reverse."""
        shown = [f"{_HEAD}{line}{_PLAIN}" if at == head else line for at, line in enumerate(lines)]
        self._write("\x1b[H" + "\x1b[K\n".join(shown) + "\x1b[K\x1b[J")

    def keys(self, within_s: float) -> Iterator[str]:
        """The keys that come within a time; none if the time runs out. At the end of the input it is ``q``."""
        if not select.select([self._input], [], [], within_s)[0]:
            return
        data = os.read(self._input, 4096)
        yield from keys_of(data) if data else ("q",)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
