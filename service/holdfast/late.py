"""Modules of others that our imports pull in and the daemon hardly ever looks into: loaded at the first look.

asyncio imports ``ssl`` (and with it libcrypto, 4 MiB resident), protobuf its pure Python implementation, linecache a
tokenizer: none of it runs unless somebody uses TLS on the loop, prints a message as text, asks for a source line. Each
stands in ``sys.modules`` as an empty module until an attribute of it is asked for, and is then the module itself: who
uses it notices nothing. Only what is bound by ``import name`` can wait; ``from name import x`` is a look.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import typing
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

#: What may wait, and whose import brings it.
LATE = frozenset(
    {
        "ast",  # inspect
        "asyncio.sslproto",  # asyncio
        "calendar",  # protobuf
        "google.protobuf.descriptor_database",  # protobuf, for its pure Python implementation
        "google.protobuf.internal.python_edition_defaults",
        "google.protobuf.internal.python_message",
        "google.protobuf.text_encoding",
        "google.protobuf.text_format",
        "ipaddress",  # urllib.parse
        "locale",  # subprocess
        "pkgutil",  # grpc
        "platform",  # uuid
        "ssl",  # asyncio
        "textwrap",  # traceback
        "tokenize",  # inspect, linecache
        "typing_extensions",  # msgspec, grpc
        # and what our own modules name but use in rare moments
        "base64",
        "hashlib",
        "random",
        "shutil",
        "tempfile",
    }
)
_LOCK = threading.RLock()


class _NoSocket:
    """What ``ssl.SSLSocket`` is to asyncio before ``ssl`` has run: a class that no socket is of."""


class _NodeVisitor:
    """What ``ast.NodeVisitor`` is to inspect, which has a class of that kind for ``getsource`` of a class."""

    def visit(self, node: Any) -> Any:
        return sys.modules["ast"].NodeVisitor.visit(self, node)

    def generic_visit(self, node: Any) -> Any:
        return sys.modules["ast"].NodeVisitor.generic_visit(self, node)


#: What a library wants of another and can have without it: (whose attribute, which), who asks, the answer.
_ANSWERS: dict[tuple[str, str], tuple[str, Any]] = {
    ("ast", "NodeVisitor"): ("inspect", _NodeVisitor),
    ("platform", "system"): ("uuid", lambda: os.uname().sysname),
    # it refuses those, on every listener and every connection
    ("ssl", "SSLSocket"): ("asyncio", _NoSocket),
    # the same from Python 3.11 on
    ("typing_extensions", "NotRequired"): ("msgspec", typing.NotRequired),
    ("typing_extensions", "Required"): ("msgspec", typing.Required),
    ("typing_extensions", "Self"): ("grpc", typing.Self),
    ("typing_extensions", "get_type_hints"): ("msgspec", typing.get_type_hints),
}


class Late(ModuleType):
    """A module that has not run yet."""

    _running = False

    def __getattr__(self, name: str) -> Any:
        """The first attribute that is not there: run the module, in the thread that asks; others wait for it."""
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(name)
        who, answer = _ANSWERS.get((self.__name__, name), (None, None))
        if who is not None and sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == who:
            return answer
        with _LOCK:
            if type(self) is Late:
                if self._running:  # asked by itself while it runs, as any module that imports in a circle
                    raise AttributeError(f"partially initialized module {self.__name__!r} has no attribute {name!r}")
                _run(self)
        return getattr(self, name)


class _Finder:
    """Finds what may wait where everybody finds it, and puts off running it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LATE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Stands before the real loader."""

    def __init__(self, loader: Any) -> None:
        self.real = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Late(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


def install() -> None:
    """From now on; what was imported before is untouched."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Regex:
    """Compiles its expression when a method of it is first asked for, and has that method from then on."""

    def __init__(self, expression: str, flags: int) -> None:
        self.pattern, self.flags = expression, flags

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Regex) and (self.pattern, self.flags) == (other.pattern, other.flags)

    def __hash__(self) -> int:
        return hash((self.pattern, self.flags))

    def __getattr__(self, name: str) -> Any:
        method = self.__dict__[name] = getattr(re.compile(self.pattern, self.flags), name)
        return method


def regex(expression: str, flags: int = 0) -> re.Pattern[str]:
    """A regular expression that is one, compiled at its first use: ``re.compile`` takes half a millisecond at start."""
    return cast("re.Pattern[str]", _Regex(expression, flags))


def _run(module: Late) -> None:
    spec = module.__spec__
    assert spec is not None
    loader: Any = spec.loader
    module.__dict__["_running"] = True
    try:
        spec.loader = module.__loader__ = loader.real
        loader.real.exec_module(module)
    except BaseException:
        spec.loader = module.__loader__ = loader
        raise
    finally:
        del module.__dict__["_running"]
    module.__class__ = ModuleType  # type: ignore[assignment]
