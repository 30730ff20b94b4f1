"""Each value of values.yaml null, empty, and of a wrong type: rendered as the page says, or refused by its name."""

from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest
import yaml

from tests.chart.kit import CHART, KUBERNETES, NAMESPACE, objects
from tests.needs import peer

# A helm for each value: dozens in some tests.
pytestmark = [peer("helm3", "helm4"), pytest.mark.timeout(600)]
#: Every feature on, so that every value is rendered somewhere.
BASE = {
    "metrics": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "web": {"enabled": True},
    "pods": {"nri": {"enabled": True}, "kubernetesEvents": {"enabled": True}},
    "tcp": {"enabled": True, "tls": {"source": "certManager", "certManager": {"issuerRef": {"name": "x"}}}},
    "uninstall": {"restore": True},
    "openshift": {"securityContextConstraints": {"enabled": True}},
    "privileges": {"mode": "capabilities"},
}
#: What Go's templates and YAML's parser say of a value they do not understand.
INTERNAL = re.compile(
    r"nil pointer|reflect|wrong type|interface|untyped nil|YAML|no entry for key|unmarshal|cannot iterate|incompatible"
)
WRONG = ("x", 7, True, [7], {"x": 7})
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PLAIN = yaml.safe_load((CHART / "values.yaml").read_text())


def paths(entries, above=()):
    """Every value and section with what stands for it in defaults.json."""
    for key, entry in entries.items():
        yield (*above, key), entry
        yield from paths(entry.get("keys", {}), (*above, key))


PATHS = dict(paths(json.loads((CHART / "files" / "defaults.json").read_text())))
TOP = sorted({path[0] for path in PATHS})


def below(top):
    return [path for path in PATHS if path[0] == top]


def without(tree, path):
    """The tree without what is at the path."""
    copy = deepcopy(tree)
    parent = copy
    for step in path[:-1]:
        parent = parent.get(step, {})
    parent.pop(path[-1], None)
    return copy


def having(tree, path, value):
    """The tree with the value at the path."""
    copy = deepcopy(tree)
    parent = copy
    for step in path[:-1]:
        parent = parent.setdefault(step, {})
    parent[path[-1]] = value
    return copy


@pytest.fixture
def render(helm, tmp_path):
    """Renders values by a helm: the exit code, the objects as text, what it said on its stderr."""

    def run(tree, by=helm):
        file = tmp_path / "values.yaml"
        file.write_text(json.dumps(tree))
        words = (
            "template",
            "holdfast",
            CHART,
            "--namespace",
            NAMESPACE,
            "--kube-version",
            KUBERNETES,
            "--values",
            file,
        )
        return by.attempt(*words)

    return run


def schema_of(path):
    node = SCHEMA
    for step in path:
        node = node["properties"][step]
    return SCHEMA["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def kinds(schema):
    """The JSON types a schema allows; empty where it says nothing of them."""
    if "enum" in schema:
        return {"string"}
    if "anyOf" in schema:
        return set().union(*(kinds(one) for one in schema["anyOf"]))
    return {schema["type"]} if "type" in schema else set()


def kind_of(value):
    names = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    return names[type(value)]


def nothing_in(found):
    """Whether a null is anywhere in rendered objects."""
    if isinstance(found, dict):
        return any(nothing_in(one) for one in found.values())
    return any(nothing_in(one) for one in found) if isinstance(found, list) else found is None


def refused_by_name(path, said):
    """A line with the value's name, in the operator's words."""
    words = said.replace("Use --debug flag to render out invalid YAML", "")
    return path[-1] in words and not INTERNAL.search(words)


def is_kubernetes_own(path):
    """A map or list at the top, which null takes away."""
    return len(path) == 1 and "keys" not in PATHS[path] and isinstance(PLAIN[path[0]], dict | list)


@pytest.mark.parametrize("top", [top for top in TOP if not is_kubernetes_own((top,))])
def test_null_is_the_default(render, top):
    usual = render(BASE)
    for path in below(top):
        expected = without(BASE, path)
        plain = usual if expected == BASE else render(expected)
        done = render(having(BASE, path, None))
        assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout), (path, done.stderr)


@pytest.mark.parametrize("top", [top for top in TOP if is_kubernetes_own((top,))])
def test_null_takes_a_map_or_list_at_the_top_away(render, top):
    done = render(having(BASE, (top,), None))
    assert done.returncode == 0, done.stderr
    assert not nothing_in(objects(done.stdout))


def test_both_helms_take_null_for_a_section_as_its_default(render, each_helm):
    """A section whose keys are all commented out."""
    for path in (path for path, entry in PATHS.items() if "keys" in entry):
        done, plain = render(having({}, path, None), each_helm), render({}, each_helm)
        assert (done.returncode, done.stdout) == (0, plain.stdout), (path, done.stderr)


@pytest.mark.parametrize("top", TOP)
def test_an_empty_value_is_rendered_or_refused_by_name(render, top):
    for path in below(top):
        for empty in ("", [], {}):
            if kind_of(empty) in kinds(schema_of(path)):
                done = render(having(BASE, path, empty))
                if done.returncode:
                    assert refused_by_name(path, done.stderr), (path, empty, done.stderr)
                else:
                    assert not nothing_in(objects(done.stdout)), (path, empty)


@pytest.mark.parametrize("top", TOP)
def test_a_value_of_a_wrong_type_is_refused_by_name(render, top):
    for path in below(top):  # the schema refuses, and Helm names the path; the last of each section is tried
        assert kinds(schema_of(path)), f"{path}: the schema says nothing of its type"
    wrong = next(value for value in WRONG if kind_of(value) not in kinds(schema_of(path)))
    done = render(having(BASE, path, wrong))
    assert done.returncode, (path, wrong)
    assert refused_by_name(path, done.stderr), (path, wrong, done.stderr)


def test_a_null_within_a_map_of_kubernetes_own_is_left_out(render):
    done = render({"resources": {"limits": {"cpu": None}}, "affinity": {"x": {"y": None}}})
    assert (done.returncode, nothing_in(objects(done.stdout))) == (0, False)


COLLIDE = {
    "metrics.port": {"metrics": {"port": 7421}},
    "tcp.port": {"tcp": {"enabled": True, "port": 9420, "tls": {"source": "none"}}},
    "web.port": {"web": {"enabled": True, "port": 9420}},
    "hostPaths.state": {"hostPaths": {"state": "/var/lib/holdfast"}},
    "pods.cri.directories": {"pods": {"cri": {"directories": ["/run/holdfast/"]}}},
}


@pytest.mark.parametrize("name", COLLIDE)
def test_values_that_cannot_both_hold_are_refused_by_name(render, name):
    done = render(COLLIDE[name])
    assert done.returncode
    assert f"{name}: " in done.stderr
