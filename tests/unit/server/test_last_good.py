"""The kept configuration, and what is left when it cannot be kept."""

from __future__ import annotations

import json
import resource

import pytest
from holdfast import config
from holdfast.errors import ConfigError
from holdfast.server import last_good


@pytest.fixture
def accepted(tmp_path):
    """Has a configuration accepted."""

    def accept(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return config.load(path)

    return accept


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    made.mkdir(mode=0o700)
    return made


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_what_is_kept_comes_back(accepted, root):
    last_good.keep(str(root), "/c", accepted(json.dumps({"debug": {"level": "warn"}})), 7)
    found = last_good.kept(str(root), "/c")
    assert (found.taken_unix_ns, found.loaded(config.Overrides()).settings.debug.level) == (7, "warn")
    assert names(root) == [last_good.NAME]


def test_one_that_cannot_be_written_leaves_no_older_one(accepted, root):
    last_good.keep(str(root), "/c", accepted("debug: {level: warn}"), 7)
    (root / f"{last_good.NAME}.new").mkdir()  # in its way
    with pytest.raises(OSError, match=r"irectory|not permitted"):
        last_good.keep(str(root), "/c", accepted("debug: {level: info}"), 8)
    assert last_good.kept(str(root), "/c") is None


def test_one_that_json_cannot_say_leaves_no_older_one(accepted, root):
    last_good.keep(str(root), "/c", accepted("debug: {level: warn}"), 7)
    with pytest.raises(ConfigError, match="JSON"):
        last_good.keep(str(root), "/c", accepted("plugins: {io.x.y.v1.z: {word: .inf}}"), 8)
    assert names(root) == []


def test_half_a_file_is_removed(accepted, root):
    last_good.keep(str(root), "/c", accepted("debug: {level: warn}"), 7)
    loaded = accepted("debug: {level: info}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))  # as on a disk with so much room
    try:
        with pytest.raises(OSError, match="File too large"):
            last_good.keep(str(root), "/c", loaded, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(root) == []
