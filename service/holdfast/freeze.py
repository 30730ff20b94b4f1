"""``python -m holdfast.freeze [--unchecked]``: write what `holdfast.frozen` reads, for the interpreter that runs this.

It is run at the installation of an image or a virtual environment. ``--unchecked`` declares that what is installed in
the environment will not change, as ``compileall --invalidation-mode unchecked-hash`` does; the interpreter's own
library, which some bases ship without ``.pyc`` files, is checked at every start all the same. Two runs give the same
bytes. Docstrings of modules and functions are left out: a daemon shows no help, and they are a megabyte of every node's
memory.
"""

from __future__ import annotations

import ast
import json
import marshal
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import MAGIC_NUMBER

from holdfast.frozen import PATH, UNCHECKED, Entry

#: A module of a start: its name, its source, whether it is a package.
Module = tuple[str, str, bool]
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
#: Run by an interpreter of its own: the modules of a start that come from source, and where modules are looked for.
_LOOK = """
import json, sys
from importlib.machinery import SourceFileLoader
from holdfast import plugins
from holdfast.cli import main, start
from holdfast.server import daemon
plugins.shipped()
import sqlite3, tomllib, yaml
specs = {name: getattr(module, "__spec__", None) for name, module in sorted(sys.modules.items())}
found = [
    (name, spec.origin, spec.submodule_search_locations is not None)
    for name, spec in specs.items()
    if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.name == name
]
print(json.dumps([found, sys.path]))
"""


def of_a_start() -> tuple[list[Module], list[str]]:
    """The modules that a start imports, and the search path without the entry that a script's place adds to it."""
    looked = subprocess.run([sys.executable, "-P", "-c", _LOOK], stdout=subprocess.PIPE, check=True)
    found, search = json.loads(looked.stdout)
    return [(name, source, package) for name, source, package in found], search


def write(path: str, modules: Iterable[Module], search: list[str], fixed: str | None = None) -> int:
    """Write the file, whole or not at all; return how many modules are in it. Sources below ``fixed`` will not change.

    Raises:
        OSError: a source cannot be read or the file not written.
        SyntaxError: a module's source is not this interpreter's.
    """
    roots: set[str] = set()
    index: dict[str, Entry] = {}
    codes = bytearray()
    for name, source, package in modules:
        root = _root(name, source, package)
        if root not in search:
            continue
        roots.add(root)
        with open(source, "rb") as file:
            text, was = file.read(), os.fstat(file.fileno())
        begin = len(codes)
        codes += marshal.dumps(compile(_undocumented(text, source), source, "exec", dont_inherit=True, optimize=0))
        unchecked = fixed is not None and source.startswith(fixed + os.sep)
        time = UNCHECKED if unchecked else int(was.st_mtime) & 0xFFFFFFFF
        index[name] = (source, package, time, len(text), begin, len(codes))
    head = marshal.dumps(([root for root in search if root in roots], index))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(MAGIC_NUMBER + len(head).to_bytes(8, "little") + head + codes)
    os.replace(path + ".new", path)
    return len(index)


def _undocumented(text: bytes, source: str) -> ast.Module:
    """A module without docstrings, except those of classes, which schemas have. ``-OO`` would remove
    asserts as well.
    """
    module = ast.parse(text, source)
    for node in ast.walk(module):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            words = node.body.pop(0)
            if not node.body:
                node.body.append(ast.copy_location(ast.Pass(), words))
    return module


def _root(name: str, source: str, package: bool) -> str:
    """The folder of the search path that this module was found in."""
    for _ in range(name.count(".") + 1 + package):
        source = os.path.dirname(source)
    return source


def main() -> None:
    """Run the command."""
    if sys.flags.hash_randomization:  # sets of strings are stored in hash order
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606
    fixed = sys.prefix if "--unchecked" in sys.argv[1:] else None
    sys.stdout.write(f"{write(PATH, *of_a_start(), fixed)} modules in {PATH}\n")


if __name__ == "__main__":
    main()
