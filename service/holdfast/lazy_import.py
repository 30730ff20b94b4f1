"""Modules that our imports pull in and the daemon rarely uses: loaded at their first use.

asyncio imports ``ssl`` (and with it libcrypto, 4 MiB resident), protobuf its pure Python implementation, linecache a
tokenizer: none of it runs unless the daemon uses TLS on the loop, prints a message as text, or needs a source line.
Each stands in ``sys.modules`` as an empty module until one of its attributes is read, and is then the module itself,
unnoticed by its user. Only a module bound by ``import name`` can wait; ``from name import x`` reads an attribute.
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

#: Modules that may wait, and whose import brings each.
LAZY = frozenset(
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
    """Stand-in for ``ssl.SSLSocket`` in asyncio before ``ssl`` has run: a class that no socket is an instance of."""


class _NodeVisitor:
    """Stand-in for ``ast.NodeVisitor`` in inspect, which has a subclass of it for ``getsource`` of a class."""

    def visit(self, node: Any) -> Any:
        return sys.modules["ast"].NodeVisitor.visit(self, node)

    def generic_visit(self, node: Any) -> Any:
        return sys.modules["ast"].NodeVisitor.generic_visit(self, node)


#: Attributes that a library can have without loading another: (module, attribute) → the library that asks, the answer.
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


class LazyModule(ModuleType):
    """A module that has not run yet."""

    _running = False

    def __getattr__(self, name: str) -> Any:
        """Run the module at the first missing attribute, in the thread that reads it; other threads wait for it."""
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(name)
        who, answer = _ANSWERS.get((self.__name__, name), (None, None))
        if who is not None and sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == who:
            return answer
        with _LOCK:
            if type(self) is LazyModule:
                if self._running:  # its own code asks while it runs, as in any circular import
                    raise AttributeError(f"partially initialized module {self.__name__!r} has no attribute {name!r}")
                _run(self)
        return getattr(self, name)


class _Finder:
    """Finder of the modules in `LAZY`: it finds them as usual and delays running them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LAZY:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loader that delays the real one."""

    def __init__(self, loader: Any) -> None:
        self.real = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return LazyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing yet."""


def install() -> None:
    """Delay the modules of `LAZY` from now on; modules imported before are untouched."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Regex:
    """Expression that is compiled when one of its methods is first read, and keeps that method from then on."""

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
    """Return a regular expression that is compiled at its first use: ``re.compile`` takes half a
    millisecond at start.
    """
    return cast("re.Pattern[str]", _Regex(expression, flags))


def _run(module: LazyModule) -> None:
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
