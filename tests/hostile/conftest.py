"""Fixtures of the attacks: a daemon run as root with every listener open, and attackers that run as uid 65534.

Each attack is observed for two seconds; ``HOLDFAST_HOSTILE_SECONDS=60`` (or ``make hostile``) makes them long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hostile import kit
from tests.running import SLOW


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout((120 + 4 * kit.SECONDS) * SLOW))


@pytest.fixture
def target(short_dir: Path) -> Iterator[kit.Target]:
    """A daemon under attack, see `kit.Target`."""
    with kit.target(short_dir) as made:
        yield made


@pytest.fixture
def attack() -> Iterator[object]:
    """Starts an attack of ``tests/hostile/attacks`` by its name and arguments; it ends with the test."""
    with ExitStack() as stack:
        yield lambda name, *arguments: stack.enter_context(kit.attacking(name, *arguments))
