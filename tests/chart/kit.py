"""The chart rendered by real helm, as objects."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.needs import path_of
from tests.running import SLOW

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "holdfast"
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))
#: What Helm is told it installs on; a helm that was built from source alone believes in 1.20.
KUBERNETES = "1.34"
NAMESPACE = "holdfast"
#: For a program that computes and then ends, in seconds on a machine that others keep busy: only a hang takes longer.
COMPUTES_S = 300.0 * SLOW

Object = dict[str, Any]


def ran(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, however it ends."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=COMPUTES_S, check=False)


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm: ``helm3`` or ``helm4``."""

    program: str

    def run(self, *words: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it; ``ok`` says how it must end."""
        done = self.attempt(*words)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    def attempt(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it, however it ends."""
        return ran(path_of(self.program), *words)

    def template(self, values: Mapping[str, Any] | Path | None = None, chart: Path = CHART) -> list[Object]:
        """The objects of a release called holdfast."""
        return objects(self.run(*self._words(values, chart)).stdout)

    def refusal(self, values: Mapping[str, Any], chart: Path = CHART) -> str:
        """Return the error for values that must be refused."""
        return self.run(*self._words(values, chart), ok=False).stderr

    def _words(self, values: Mapping[str, Any] | Path | None, chart: Path) -> Sequence[str | Path]:
        given: list[str | Path] = []
        if isinstance(values, Path):
            given = ["--values", values]
        elif values:
            given = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
        return ["template", "holdfast", chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *given]


def objects(text: str) -> list[Object]:
    """Every object of a stream, in a fixed order."""
    return sorted(
        (one for one in yaml.safe_load_all(text) if one), key=lambda one: (one["kind"], one["metadata"]["name"])
    )


def one(found: list[Object], kind: str, name: str | None = None) -> Object:
    """The only object of its kind (and name)."""
    (only,) = [it for it in found if it["kind"] == kind and name in (None, it["metadata"]["name"])]
    return only


def config_text(found: list[Object]) -> str:
    """The daemon's configuration file."""
    return str(one(found, "ConfigMap", "holdfast")["data"]["config.yaml"])


def pod(found: list[Object]) -> Object:
    """The DaemonSet's pod template."""
    return one(found, "DaemonSet")["spec"]["template"]  # type: ignore[no-any-return]
