"""The distribution's name, and that its lower bounds are true."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = "holdfastd"
OTHERS = OWN.removesuffix("d")  # on PyPI another project's
_BOUND = re.compile(r"([A-Za-z0-9-]+)>=([0-9.b]+)")

#: Ways to name a distribution of PyPI, with ``{}`` for the name.
INSTALLS = (
    r"(?:pip|pipx|uv|uvx)\b[^\n]*\b(?:install|add|download|wheel|versions|run)\b[^\n]*[\s\"']{}(?![\w./-])",
    r"[\"'\s]{}\[[a-z]+[\],]",
    r"dependencies\s*=\s*\[[^\]]*[\"']{}[\"'\s<>=~!;\[]",
    r"\b(?:version|distribution|requires|metadata)\([\"']{}[\"']\)",
    r"pypi\.org/[a-z]+/{}\b",
)
FOLDERS = (".ci", ".github", "bench", "deploy", "docs", "helm", "protos", "requirements", "service", "tests")


def wrong_names(text):
    return [found[0] for way in INSTALLS for found in re.finditer(way.format(OTHERS), text)]


def pages():
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        yield from (
            path for path in (ROOT / folder).rglob("*") if path.is_file() and not {"bin", "__pycache__"} & {*path.parts}
        )


def test_the_distribution_has_a_name_that_is_ours():
    assert PROJECT["name"] == OWN
    assert set(PROJECT["scripts"]) > {"holdfast"}


def test_nothing_tells_anyone_to_install_the_other_project():
    found = {}
    for path in pages():
        try:
            if wrong := wrong_names(path.read_text()):
                found[str(path.relative_to(ROOT))] = wrong
        except (UnicodeDecodeError, FileNotFoundError):  # a file of a test that runs meanwhile
            continue
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "pip install {}",
        "pip install '{}[otlp]'",
        "python -m pip install --user {}==1.0",
        "uv add {}",
        'dependencies = ["{}"]',
        'dependencies = [\n  "msgspec",\n  "{}>=1",\n]',
        'version("{}")',
        " {}[uvloop]",
        "https://pypi.org/project/{}/",
    ],
)
def test_the_wrong_name_is_found_and_the_right_one_is_not(text):
    assert wrong_names(text.format(OTHERS))
    assert not wrong_names(text.format(OWN))


def test_every_lower_bound_is_the_version_that_the_lowest_environment_has():
    locked = dict(
        re.findall(r"^([A-Za-z0-9-]+)==([^ ;]+)", (ROOT / "requirements/lowest.lock").read_text(), re.MULTILINE)
    )
    wanted = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    bounds = dict(_BOUND.match(one).groups() for one in wanted if _BOUND.match(one))
    wrong = {
        name: (bound, locked.get(name.lower()))
        for name, bound in bounds.items()
        if not same(bound, locked.get(name.lower(), ""))
    }
    assert wrong == {}


def same(bound, locked):
    return locked.removeprefix(bound).strip(".0") == "" and locked.startswith(bound)


def test_generated_code_runs_with_the_lower_bounds():
    bounds = dict(_BOUND.match(one).groups() for one in PROJECT["dependencies"] if _BOUND.match(one))
    generated = [path.read_text() for path in (ROOT / "service/holdfast/api").rglob("*_pb2*.py")]
    grpc = {found for text in generated for found in re.findall(r"GRPC_GENERATED_VERSION = '(.+)'", text)}
    protobuf = {found for text in generated for found in re.findall(r"# Protobuf Python Version: (.+)", text)}
    assert all(same(bounds["grpcio"], version) for version in grpc), grpc
    assert protobuf == {bounds["protobuf"]}
