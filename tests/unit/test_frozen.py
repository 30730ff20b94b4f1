"""The modules of a start out of one file: used where a .pyc would be, and else as if it were not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from holdfast import frozen
from holdfast.freeze import of_a_start, write

SERVICE = Path(frozen.__file__).parents[1]


@pytest.fixture
def lib(tmp_path):
    """A folder of the search path with a module and a package in it."""
    lib = tmp_path / "lib"
    (lib / "hf_pack").mkdir(parents=True)
    (lib / "hf_one.py").write_text(
        "'''One.'''\nvalue = 'first'\ndef fails():\n    '''Fails.'''\n    assert not value, value\n"
    )
    (lib / "hf_pack" / "__init__.py").write_text("from hf_pack import inner\n")
    (lib / "hf_pack" / "inner.py").write_text("value = __name__\n")
    return lib


@pytest.fixture
def kept(lib, tmp_path):
    """Its file."""
    path = str(tmp_path / "deep" / "kept.frozen")
    assert frozen_of(lib, path) == 3
    return path


def frozen_of(lib, path, fixed=None):
    names = [("hf_one", "hf_one.py"), ("hf_pack", "hf_pack/__init__.py"), ("hf_pack.inner", "hf_pack/inner.py")]
    modules = [(name, str(lib / source), source.endswith("__init__.py")) for name, source in names]
    return write(path, modules, [str(lib)], fixed)


def python(kept, script, lib, *flags, before=()):
    """What a fresh interpreter prints that has the file, and ``lib`` last in its search path."""
    place = [str(SERVICE), *map(str, before), str(lib)]
    words = f"from holdfast import frozen; had = frozen.install({kept!r})\n{script}"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(place), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *flags, "-c", words], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ONE = "import hf_one; print(had, type(hf_one.__spec__.loader).__name__, hf_one.value)"


def test_a_module_comes_out_of_the_file(kept, lib):
    assert python(kept, ONE, lib) == "True _Loader first"


def test_it_is_the_module_it_would_have_been_without_its_docstrings(kept, lib):
    script = """
import hf_one, hf_pack, inspect, importlib.util, traceback
print(hf_one.__file__, hf_one.__doc__, hf_pack.__path__, hf_pack.inner.value, hf_pack.__package__)
print(hf_one.__spec__.origin == hf_one.__file__, hf_one.__cached__ == importlib.util.cache_from_source(hf_one.__file__))
print(inspect.getsource(hf_one.fails).split()[1])
try:
    hf_one.fails()
except AssertionError as failure:
    print(hf_one.fails.__doc__, failure)
    print([line.strip() for line in traceback.format_exc().splitlines() if "value" in line][0])
"""
    place = f"{lib}/hf_one.py None ['{lib}/hf_pack'] hf_pack.inner hf_pack"
    assert python(kept, script, lib).splitlines() == [
        place,
        "True True",
        "fails():",
        "None first",
        "assert not value, value",
    ]


def test_a_source_that_changed_is_read(kept, lib):
    (lib / "hf_one.py").write_text("value = 'second, and longer'\n")
    assert python(kept, ONE, lib) == "True SourceFileLoader second, and longer"


def test_a_source_of_another_time_is_read(kept, lib):
    text = (lib / "hf_one.py").read_text().replace("first", "again")
    (lib / "hf_one.py").write_text(text)
    os.utime(lib / "hf_one.py", (1, 1))
    assert python(kept, ONE, lib) == "True SourceFileLoader again"


def test_a_source_that_is_gone_is_not_found(kept, lib):
    (lib / "hf_one.py").unlink()
    script = "import importlib.util; print(had, importlib.util.find_spec('hf_one'))"
    assert python(kept, script, lib) == "True None"


def test_what_was_said_not_to_change_is_not_looked_at(lib, tmp_path):
    kept = str(tmp_path / "fixed.frozen")
    frozen_of(lib, kept, fixed=str(lib))
    (lib / "hf_one.py").write_text("value = 'second, and longer'\n")
    assert python(kept, ONE, lib) == "True _Loader first"


@pytest.mark.parametrize("broken", [b"", b"\x00\x00\r\n" + bytes(8), None], ids=["empty", "another Python's", "none"])
def test_another_interpreter_s_file_and_no_file_are_as_nothing(kept, lib, broken):
    if broken is None:
        Path(kept).unlink()
    else:
        Path(kept).write_bytes(broken)
    assert python(kept, ONE, lib) == "False SourceFileLoader first"


def test_without_assertions_the_file_is_not_used(kept, lib):
    assert python(kept, ONE, lib, "-O") == "False SourceFileLoader first"


def test_a_folder_searched_earlier_with_a_module_of_that_name_puts_the_file_aside(kept, lib, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    assert python(kept, ONE, lib, before=[other]) == "True _Loader first"
    (other / "hf_one.py").write_text("value = 'shadow'\n")
    assert python(kept, ONE, lib, before=[other]) == "False SourceFileLoader shadow"


def test_a_file_made_for_another_search_path_is_put_aside(kept, lib, tmp_path):
    assert python(kept, "print(had)", tmp_path) == "False"


def test_a_start_finds_its_modules_there_and_opens_none_of_their_files(tmp_path):
    kept = str(tmp_path / "start.frozen")
    modules, search = of_a_start()
    number = write(kept, modules, search)
    assert number > 400
    script = """
import sys
opened = []
sys.addaudithook(lambda event, words: opened.append(words[0]) if event == "open" else None)
from holdfast.cli import main, start
from holdfast.server import daemon
from holdfast import plugins
plugins.shipped()
specs = {name: getattr(module, "__spec__", None) for name, module in sys.modules.items()}
names = {name for name, spec in specs.items() if spec and isinstance(spec.loader, frozen._Loader)}
print(len(names) > 300, {"asyncio", "grpc", "msgspec", "holdfast.rpc"} <= names)
also = "collections"  # Python 3.13 puts another module in the place of collections.abc
print([path for path in opened if str(path).endswith((".py", ".pyc")) and also not in str(path)])
"""
    assert python(kept, script, tmp_path).splitlines() == ["True True", "[]"]


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["config", "schema"]], ids=" ".join)
def test_what_commands_say_of_themselves_is_not_lost(tmp_path, command):
    kept = str(tmp_path / "kept.frozen")
    write(kept, *of_a_start())
    script = f"from holdfast.cli.main import call; call({command!r})"
    frozen_says, source_says = python(kept, script, tmp_path), python("", script, tmp_path)
    assert frozen_says == source_says
    assert len(frozen_says.splitlines()) > 10


def test_the_command_gives_the_same_bytes_twice(tmp_path):
    """In a copy of the package: this one's file is not a test's to write."""
    package = tmp_path / "holdfast"
    # Without caches: another process may write one meanwhile, under a name that is gone when it is whole.
    shutil.copytree(SERVICE / "holdfast", package, ignore=shutil.ignore_patterns("__pycache__"))
    kept = package / "__pycache__" / Path(frozen.PATH).name
    written = []
    for _ in range(2):
        command = [sys.executable, "-m", "holdfast.freeze", "--unchecked"]
        environ = os.environ | {"PYTHONPATH": str(tmp_path)}
        said = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
        assert said.stdout.endswith(f" modules in {kept}\n")
        written.append(kept.read_bytes())
    assert written[0] == written[1]
