"""``holdfast new-plugin``: a project for a plugin, with code, a test and a package.

The files below ``project/`` are those of the project ``example-load``, and ``docs/first-plugin.md`` prints them. For
another name only the names in them are replaced.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

import holdfast
from holdfast.cli.table import show
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*\Z")  # a distribution's name, and a protobuf package's with dots
#: File below ``project/`` → its path in the project.
_FILES = {
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "init.py.in": "src/example_load/__init__.py",
    "load.proto.in": "src/example_load/load.proto",
    "plugin.py.in": "src/example_load/plugin.py",
    "pyproject.toml.in": "pyproject.toml",
    "test_plugin.py.in": "tests/test_plugin.py",
}
_PROTOC = "-m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src --grpc_python_out=src"


@click.command()
@click.argument("name")
def new_plugin(name: str) -> None:
    """Make a project for a plugin in the directory NAME: code, a test that passes, and a package.

    NAME is the package's name, of lower-case words with hyphens between them. The plugin serves the node's load
    averages; replace them with your service. It needs grpcio-tools: pip install 'holdfastd[plugin]'.
    """
    _check(name)
    with tempfile.TemporaryDirectory(prefix=".new-plugin-", dir=".") as scratch:
        made = Path(scratch, name)
        _write(made, name)
        _generate(made, name)
        _require(made)
        made.rename(name)
    show([f"{name}: a project with a plugin and its test; to go on:", f"cd {name} && pip install --editable ."])


def _check(name: str) -> None:
    module = name.replace("-", "_")
    if not _NAME.match(name):
        raise InvalidArgument(f'"{name}": use lower-case words of letters and digits with hyphens between them')
    if keyword.iskeyword(module) or find_spec(module):
        raise InvalidArgument(f'"{name}": Python has a keyword or another module of this name')
    if Path(name).exists():
        raise AlreadyExists(f"directory {name}")
    try:
        version("grpcio-tools")
    except PackageNotFoundError:
        raise FailedPrecondition("grpcio-tools is not installed; run pip install 'holdfastd[plugin]'") from None


def _write(project: Path, name: str) -> None:
    for source, path in _FILES.items():
        text = files("holdfast.cli").joinpath("project", source).read_text("utf-8")
        target = project / _named(path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_named(text, name), "utf-8")
    (project / "src" / _named("example_load", name) / "py.typed").touch()


def _named(text: str, name: str) -> str:
    for example, own in (("example-load", name), ("example_load", name.replace("-", "_"))):
        text = text.replace(example, own)
    return text.replace("example.load", name.replace("-", "."))


def _generate(project: Path, name: str) -> None:
    """Generate the code of the service.

    Raises:
        FailedPrecondition: the generator refused it.
    """
    command = [sys.executable, *_PROTOC.split(), _named("src/example_load/load.proto", name)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedPrecondition(f"grpc_tools.protoc: {done.stderr}")


def _require(project: Path) -> None:
    """Have the package require the versions that the generated code runs with, and this minor version of holdfast."""
    (code,) = project.glob("src/*/load_pb2.py")
    found = re.search(r"^# Protobuf Python Version: (\S+)$", code.read_text("utf-8"), re.MULTILINE)
    major, minor = holdfast.__version__.split(".")[:2]
    bounds = {
        "holdfastd>=0.1,<0.2": f"holdfastd>={major}.{minor},<{major}.{int(minor) + 1}",
        "grpcio>=1.75.0": f"grpcio>={version('grpcio-tools')}",
        "protobuf>=6.31.1": f"protobuf>={found[1] if found else version('protobuf')}",
    }
    file = project / "pyproject.toml"
    text = file.read_text("utf-8")
    for example, bound in bounds.items():
        text = text.replace(example, bound)
    file.write_text(text, "utf-8")
