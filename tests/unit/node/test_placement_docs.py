"""docs/placement.md names everything there is: files that are translated or not, reasons, keys."""

from pathlib import Path

import msgspec
import pytest
from holdfast.node.model.decision import Reason
from holdfast.node.plan.cgroup_versions import ONLY_V1, ONLY_V2, TO_V1, TO_V2
from holdfast.node.rule.schema import Match, PlacementConfig, PodMatch, Rule
from holdfast.node.rule.setting import SETTINGS

TEXT = (Path(__file__).parents[3] / "docs" / "placement.md").read_text("utf-8")
STRUCTS = (Match, PodMatch, Rule, PlacementConfig)
KEYS = {field.encode_name for struct in STRUCTS for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("file", sorted({*TO_V1, *TO_V2, *ONLY_V1, *ONLY_V2}))
def test_each_file_that_only_one_version_has_is_listed(file):
    assert f"`{file}`" in TEXT


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.file)
def test_each_file_that_a_rule_may_write_is_listed_with_its_versions_and_values(row):
    versions = ", ".join(name for name, has in (("v1", row.v1), ("v2", row.v2)) if has)
    assert f"| `{row.file}` | {versions} | {row.kind.words} |" in TEXT


@pytest.mark.parametrize("reason", sorted(Reason))
def test_each_reason_of_a_refusal_is_listed(reason):
    assert f"`{reason}`" in TEXT


@pytest.mark.parametrize("key", sorted(KEYS - {"rules"}))
def test_each_key_is_told(key):
    assert any(f"{before}{key}" in TEXT for before in ("`", "\n    ", "      - ", "        ", "{"))
