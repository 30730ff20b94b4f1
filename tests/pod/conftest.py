"""The chart's pod on this machine, from this checkout's own files: `tests/image` has it from the image."""

from __future__ import annotations

import sys

import pytest
import yaml

from tests.chart.kit import Helm, config_text, pod
from tests.pod.bundle import machine_root
from tests.pod.node import MARK, Node, rule


@pytest.fixture
def victim(start):
    """A process of the host's."""
    found = start([sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()", MARK])
    found.line("up")
    return found.pid


@pytest.fixture
def node_with(short_dir, free_port, start, tmp_path_factory):
    """Makes the node with a pod of the chart with these values."""
    made = []

    def make(values=None, root=None):
        ports = {"probes.port": free_port(), "metrics.port": free_port()}
        found = Helm("helm4").template({**ports, **(values or {})})
        root = root or machine_root(tmp_path_factory.mktemp("root"))
        made.append(Node("runc", root, short_dir, pod(found), yaml.safe_load(config_text(found)), start))
        made[-1].configure(rule(700))
        return made[-1]

    yield make
    for node in made:
        node.clear()


@pytest.fixture
def node(node_with):
    """With the chart's defaults."""
    return node_with()
