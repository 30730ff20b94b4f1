"""Modules that wait: empty until looked into, and then the real module for all importers."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from holdfast import lazy_import


def python(script: str) -> str:
    """Return what a fresh interpreter prints, in which `lazy_import` was installed before anything else."""
    words = f"from holdfast import lazy_import; lazy_import.install()\n{textwrap.dedent(script)}"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_asyncio_does_not_bring_ssl():
    script = "import asyncio, sys; print('_ssl' in sys.modules, type(sys.modules['ssl']).__name__)"
    assert python(script) == "False LazyModule"


def test_the_first_look_makes_it_the_module_itself_for_whoever_has_it_already():
    script = """
        import asyncio.base_events, ssl, types
        context = ssl.create_default_context()
        assert type(ssl) is types.ModuleType and asyncio.base_events.ssl is ssl
        assert isinstance(context, asyncio.base_events.ssl.SSLContext)
        print(ssl.__spec__.loader is ssl.__loader__, ssl.__file__.endswith("ssl.py"))
    """
    assert python(script) == "True True"


def test_names_can_be_imported_from_it():
    assert python("from ssl import SSLSocket; import socket; print(issubclass(SSLSocket, socket.socket))") == "True"


def test_an_attribute_that_the_module_does_not_have_is_missing_as_ever():
    script = """
        import tokenize
        try:
            tokenize.no_such_name
        except AttributeError as error:
            print(error)
    """
    assert python(script) == "module 'tokenize' has no attribute 'no_such_name'"


def test_threads_that_look_at_the_same_moment_all_see_the_whole_module():
    script = """
        import ssl, threading
        start, seen = threading.Barrier(8), []
        def look():
            start.wait()
            seen.append(ssl.SSLContext)
        threads = [threading.Thread(target=look) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(len(seen), len(set(seen)))
    """
    assert python(script) == "8 1"


def test_a_module_that_cannot_run_fails_at_the_look_each_time(tmp_path):
    script = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        lazy_import.LAZY |= {{"broken"}}
        import broken
        for _ in range(2):
            try:
                broken.anything
            except ValueError as error:
                print(error, end=" ")
    """
    (tmp_path / "broken.py").write_text("raise ValueError('no')\n")
    assert python(script) == "no no"


@pytest.mark.parametrize("name", sorted(lazy_import.LAZY))
def test_every_name_in_the_table_is_a_module(name):
    script = f"import importlib; m = importlib.import_module({name!r}); lazy_import._run(m); print(m.__file__)"
    assert python(script).endswith((".py", ".so"))
