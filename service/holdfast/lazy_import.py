"""Modules that our imports pull in and the daemon rarely uses: loaded at their first use.

asyncio imports ``ssl`` (and with it libcrypto, 4 MiB resident), protobuf its pure Python implementation, linecache a
tokenizer: none of it runs before asyncio serves a connection, a message is printed as text, or a source line is needed.
Each stands in ``sys.modules`` as an empty module until one of its attributes is read, and is then the module itself,
unnoticed by its user. Only a module bound by ``import name`` can wait; ``from name import x`` reads an attribute.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

#: Modules that may wait, and whose import brings each.
LAZY = frozenset(
    {
        "ast",  # inspect, from Python 3.13 on
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
        "ssl",  # asyncio
        "textwrap",  # traceback
        "tokenize",  # inspect, linecache
        # and what our own modules name but use in rare moments
        "base64",
        "hashlib",
        "random",
        "shutil",
        "tempfile",
    }
)
_LOCK = threading.RLock()


class LazyModule(ModuleType):
    """A module that has not run yet."""

    _running = False

    def __getattr__(self, name: str) -> Any:
        """Run the module at the first missing attribute, in the thread that reads it; other threads wait for it."""
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(name)
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
