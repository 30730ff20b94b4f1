"""The modules of a start from one file: half of the cost of the imports is finding and opening 500 files.

`holdfast.freeze` writes the file where the package is installed; `install` reads it. It has the content of the ``.pyc``
files without most docstrings, and is valid where they would be: the interpreter is the same, the source has the time
and size it had (or, in an image, was declared not to change). Other modules are imported as usual, so an old file costs
time only.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER
from types import CodeType

#: Beside our own ``.pyc`` files; one for each interpreter.
PATH = os.path.join(os.path.dirname(__file__), "__pycache__", f"start.{sys.implementation.cache_tag}.frozen")
#: Entry of a module: its source, whether it is a package, the source's time (whole seconds, 32 bits, as in a
#: ``.pyc``) and size, and where in the file its code starts and ends. Time -1: not checked again.
Entry = tuple[str, bool, int, int, int, int]
UNCHECKED = -1
_HEAD = len(MAGIC_NUMBER) + 8  # and the index's length


class _Loader(SourceFileLoader):
    """The usual loader, with the code already loaded."""

    def __init__(self, name: str, path: str, code: bytes) -> None:
        super().__init__(name, path)
        self._code: bytes | None = code

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code: once from the file, later as usual."""
        code, self._code = self._code, None
        return super().get_code(fullname) if code is None else marshal.loads(code)  # noqa: S302 - ours, as a .pyc is


class Finder:
    """Finder of the modules in the file; all others are left to the next finders."""

    def __init__(self, file: int, start: int, index: dict[str, Entry]) -> None:
        self._file, self._start, self._index = file, start, index

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module in the file, if its source is still the one it was made from."""
        entry = self._index.get(name)
        if entry is None:
            return None
        source, package, time, size, begin, end = entry
        if time != UNCHECKED:
            try:
                now = os.stat(source)
            except OSError:
                return None
            if (int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF) != (time, size):
                return None
        code = os.pread(self._file, end - begin, self._start + begin)
        spec = ModuleSpec(name, _Loader(name, source, code), origin=source, is_package=package)
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(source))
        return spec


def install(path: str = PATH) -> bool:
    """Use the file if it was made for this interpreter and this search path; return whether it was."""
    if sys.flags.optimize:
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    head = os.pread(file, _HEAD, 0)
    if head[: len(MAGIC_NUMBER)] == MAGIC_NUMBER and len(head) == _HEAD:
        size = int.from_bytes(head[len(MAGIC_NUMBER) :], "little")
        roots, index = marshal.loads(os.pread(file, size, _HEAD))  # noqa: S302
        if _same_search(roots, index):
            sys.meta_path.insert(0, Finder(file, _HEAD + size, index))
            return True
    os.close(file)
    return False


def _same_search(roots: list[str], index: dict[str, Entry]) -> bool:
    """Whether the search path would find the same modules: those folders, and before them nothing of these names."""
    last = -1
    for root in roots:
        if root not in sys.path:
            return False
        last = max(last, sys.path.index(root))
    tops = {name for name in index if "." not in name}
    for folder in sys.path[:last]:
        if folder not in roots:
            try:
                names = {name.partition(".")[0] for name in os.listdir(folder or ".")}
            except OSError:
                continue
            if names & tops:
                return False
    return True
