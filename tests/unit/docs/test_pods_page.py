"""The rules and tables on docs/pods.md can be used as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml
from holdfast.node.rule.schema import PlacementConfig
from holdfast.plugins.node.pods import PodsConfig

TEXT = (Path(__file__).parents[3] / "docs" / "pods.md").read_text("utf-8")
TYPES = {"io.holdfast.pods.v1.directory": PodsConfig, "io.holdfast.placement.v1.rules": PlacementConfig}
BLOCKS = [yaml.safe_load(block)["plugins"] for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


@pytest.mark.parametrize("plugins", BLOCKS)
def test_each_block_is_a_good_configuration(plugins):
    for uri, section in plugins.items():
        if "cri" in section:
            section["cri"].pop("relist")  # a duration is read by the daemon's own decoder
        msgspec.convert(section, TYPES[uri])


def test_the_page_has_what_it_says():
    assert [rule["name"] for rule in BLOCKS[1]["io.holdfast.placement.v1.rules"]["rules"]] == [
        "sidecars",
        "postgres-workers-one-by-one",
    ]
    assert re.findall(r"^\| `([a-z-]+)`(?: \(needs `builtin_namespaces`\))? \| ", TEXT, re.MULTILINE) == [
        "cloudnative-pg",
        "sidecars",
        "batch-pods",
        "single-process-oom-kill",
    ]
