"""The docstring of each package is a map: it names every file of the package, and no file that is not there."""

import ast
import re
from pathlib import Path

import pytest

HOLDFAST = Path(__file__).parents[3] / "service/holdfast"
PACKAGES = sorted(
    init.parent
    for init in HOLDFAST.glob("*/**/__init__.py")
    if init.relative_to(HOLDFAST).parts[0] != "api" and any(init.parent.glob("[!_]*.py"))
)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(HOLDFAST)))
def test_the_docstring_of_a_package_names_each_of_its_files_once(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    rows = re.findall(r"^- ((?:`\w+`(?:, )?)+):", text, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(named) == sorted(there - {"__init__", "__main__"})
