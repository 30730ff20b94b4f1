"""Make what the chart takes from elsewhere: ``python helm/generate.py [--check]``.

``values.schema.json`` from values.yaml and the daemon's own configuration schema; ``README.md`` from values.yaml and
README.in.md; ``files/defaults.json`` from values.yaml; ``files/dashboard.json`` from dashboard.py; what
deploy/components/prometheus shares with the chart.
``--check`` writes nothing and exits with 1 when one is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from holdfast.config.jsonschema import json_schema
from holdfast.node.rule import builtin
from holdfast.plugins import shipped

CHART = Path(__file__).parent / "holdfast"
PLACEMENT = "io.holdfast.placement.v1.rules"
MARK = "<!-- from here on: helm/generate.py -->\n"
# Draft 7: Helm before 3.18 knows nothing later.
DRAFT = "http://json-schema.org/draft-07/schema#"


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml. ``words`` is empty for a group; ``given`` is what its @schema line says."""

    path: tuple[str, ...]
    node: yaml.Node
    words: str
    given: dict[str, Any]

    @property
    def is_group(self) -> bool:
        """Whether its keys are values of their own."""
        return isinstance(self.node, yaml.MappingNode) and bool(self.node.value) and not self.words


def values_of(text: str) -> Iterator[Value]:
    """Every key, groups before what is in them."""
    lines = text.splitlines()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _values(root, lines, ())


def _values(mapping: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, node in mapping.value:
        words, given = "", {}
        line = key.start_mark.line - 1
        while line >= 0 and lines[line].lstrip().startswith("#"):
            comment = lines[line].lstrip().removeprefix("#").strip()
            if comment.startswith("@schema "):
                given = json.loads(comment.removeprefix("@schema "))
            elif comment.startswith("-- "):
                words = comment.removeprefix("-- ")
            line -= 1
        value = Value((*above, key.value), node, words, given)
        yield value
        if value.is_group:
            yield from _values(node, lines, value.path)
        elif not words:
            where = f"helm/holdfast/values.yaml:{key.start_mark.line + 1}"
            raise SystemExit(f"{where}: {key.value}: no `# --` line over it")


def schema(text: str) -> dict[str, Any]:
    """The values' schema. Strict: a misspelt value is refused; `global` and `enabled` are declared values."""
    root: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for value in values_of(text):
        *above, name = value.path
        parent = root
        for step in above:
            parent = parent["properties"][step]
        parent["properties"][name] = _one(value)
    return {"$schema": DRAFT, "title": "Values of the holdfast chart", **root, "definitions": definitions()}


def _one(value: Value) -> dict[str, Any]:
    if value.is_group:
        return {"type": "object", "additionalProperties": False, "properties": {}}
    if "$ref" in value.given:
        return {"description": value.words, **value.given}
    kinds = {"bool": "boolean", "int": "integer", "str": "string", "map": "object", "seq": "array"}
    kind = kinds[value.node.tag.rpartition(":")[2]]
    return {"description": value.words, "type": kind, **value.given}


def defaults(text: str) -> dict[str, Any]:
    """The values that the templates put in place of a null: a section is ``{"keys": …}``, a value ``{"default": …}``.

    A map or list at the top is Kubernetes' own (``tolerations``): as anywhere with Helm, null takes it away.
    """
    root: dict[str, Any] = {}
    for value in values_of(text):
        *above, name = value.path
        parent = root
        for step in above:
            parent = parent[step]["keys"]
        plain = yaml.safe_load(yaml.serialize(value.node))
        empty = type(plain)() if not above and isinstance(plain, dict | list) else plain
        parent[name] = {"keys": {}} if value.is_group else {"default": empty}
    return root


def definitions() -> dict[str, Any]:
    """The daemon's configuration and the placement rules, as `holdfast config schema` has them."""
    full = json_schema({plugin.uri: plugin.config for plugin in shipped()})
    found: dict[str, Any] = _older(full["$defs"])
    found["Config"] = found.pop("Settings")
    # A section may also belong to a plugin that a user added to the image.
    found["Config"]["properties"]["plugins"]["additionalProperties"] = {"type": "object"}
    found["Rules"] = found["PlacementConfig"]["properties"]["rules"]
    names = {"type": "array", "items": {"enum": [builtin.ALL, *sorted(builtin.known())]}}
    # Empty, or a name that Kubernetes' objects can have.
    found["Name"] = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
    found["BuiltinRules"] = {"anyOf": [{"enum": ["all", "none", "preview"]}, names]}
    # A namespace is a DNS label: a pattern is none.
    exact = {
        "type": "array",
        "items": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
    }
    found["BuiltinNamespaces"] = {
        "type": "object",
        "properties": dict.fromkeys(sorted(builtin.known()), exact),
        "additionalProperties": False,
    }
    return dict(sorted(found.items()))


def _older(part: Any) -> Any:
    """Draft 2020-12 as draft 7, without what only an editor reads."""
    if isinstance(part, list):
        return [_older(one) for one in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("$ref"), str):
        return {"$ref": part["$ref"].replace("#/$defs/", "#/definitions/")}
    # Under "properties" the keys are names, and one of them may be "title".
    return {
        key: {name: _older(one) for name, one in inner.items()} if key == "properties" else _older(inner)
        for key, inner in part.items()
        if key not in {"default", "title", "examples"}
    }


def readme(introduction: str, text: str) -> str:
    """The chart's page: what a person wrote, then each value."""
    lines = [introduction.rstrip(), "", MARK, "## Values", "", "| value | default | meaning |", "|---|---|---|"]
    for value in values_of(text):
        if value.words:
            lines.append(f"| `{'.'.join(value.path)}` | {_default(value.node)} | {_cell(value.words)} |")
    return "\n".join(lines) + "\n"


def _default(node: yaml.Node) -> str:
    written = json.dumps(yaml.safe_load(yaml.serialize(node)))
    return "see values.yaml" if len(written) > 80 else f"`{_cell(written)}`"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def prometheus_rule(alerts: str) -> str:
    """The alerts as the Prometheus Operator's object, for the names deploy/ has."""
    groups = alerts.partition("groups:\n")[2]
    for mark in ("@JOB@", "@NAMESPACE@", "@DAEMONSET@"):
        groups = groups.replace(mark, "holdfast")
    indented = "".join(f"  {line}" for line in groups.splitlines(keepends=True))
    head = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: holdfast\nspec:\n  groups:\n"
    return f"# Made by helm/generate.py from helm/holdfast/files/alerts.yaml.\n{head}{indented}"


def outputs() -> dict[Path, str]:
    """Each generated file's text."""
    sys.path.insert(0, str(Path(__file__).parent))
    from dashboard import dashboard

    values = (CHART / "values.yaml").read_text()
    alerts = (CHART / "files" / "alerts.yaml").read_text()
    prometheus = CHART.parents[1] / "deploy" / "components" / "prometheus"
    return {
        CHART / "values.schema.json": json.dumps(schema(values), indent=2, ensure_ascii=False) + "\n",
        CHART / "files" / "defaults.json": json.dumps(defaults(values), indent=1, ensure_ascii=False) + "\n",
        CHART / "README.md": readme((CHART / "README.in.md").read_text(), values),
        CHART / "files" / "dashboard.json": dashboard(),
        prometheus / "dashboard.json": dashboard(),
        prometheus / "prometheusrule.yaml": prometheus_rule(alerts),
    }


def main() -> int:
    """Write or compare; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for path, text in outputs().items():
        if path.exists() and path.read_text() == text:
            continue
        if check:
            sys.stderr.write(f"{path.relative_to(CHART.parents[1])} is stale: run `make chart`\n")
            stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
