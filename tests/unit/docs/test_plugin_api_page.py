"""docs/plugin-api.md lists the public names as the code has them, and its example is accepted by the chart's schema."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
import yaml
from holdfast import errors
from holdfast.plugin import Kind
from holdfast.plugins import kinds

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/plugin-api.md").read_text()
ROWS = dict(re.findall(r"^\| `(holdfast[a-z.]*)` \| (.*) \|$", PAGE, re.MULTILINE))


def names(module):
    return re.findall(r"`(\w+)`", ROWS[module].partition(";")[0])


@pytest.mark.parametrize("module", ["holdfast.plugin", "holdfast.metrics", "holdfast.testing"])
def test_a_package_has_the_names_of_its_face(module):
    assert names(module) == sorted(importlib.import_module(module).__all__)


def test_each_kind_is_named():
    assert names("holdfast.plugins.kinds") == sorted(name for name, one in vars(kinds).items() if isinstance(one, Kind))


@pytest.mark.parametrize("module", ["holdfast.namespaces", "holdfast.log"])
def test_a_module_of_which_some_names_are_public_has_them(module):
    assert [name for name in names(module) if not callable(getattr(importlib.import_module(module), name))] == []


def test_every_row_is_a_module_and_its_errors_have_codes():
    assert all(importlib.import_module(module) for module in ROWS)
    found = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.HoldfastError)]
    assert all(isinstance(one.code, errors.Code) for one in found)


def test_the_chart_takes_the_values_of_the_page():
    (values,) = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    schema = json.loads((ROOT / "helm/holdfast/values.schema.json").read_text())
    assert values["image"].keys() <= schema["properties"]["image"]["properties"].keys()
    plugins = schema["definitions"]["Config"]["properties"]["plugins"]
    assert plugins["additionalProperties"] == {"type": "object"}
    assert all(isinstance(section, dict) for section in values["config"]["plugins"].values())
