import os

import pytest
from holdfast.config.source import Snapshot, SnapshotLost, fingerprint

from tests.running import descriptors


def publish(directory, version, files):
    target = directory / f"..{version}"
    for name, text in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    os.symlink(target.name, directory / "..tmp")
    os.rename(directory / "..tmp", directory / "..data")
    for name in {name.partition("/")[0] for name in files}:
        if not os.path.lexists(directory / name):
            os.symlink(f"..data/{name}", directory / name)


@pytest.fixture
def mount(tmp_path):
    publish(tmp_path, 1, {"a.yaml": "a1", "b.yaml": "b1", "conf.d/x.yaml": "x1"})
    return tmp_path


def test_all_files_come_from_the_version_the_first_one_came_from(mount):
    with Snapshot() as snapshot:
        assert snapshot.read(f"{mount}/a.yaml") == "a1"
        publish(mount, 2, {"a.yaml": "a2", "b.yaml": "b2", "conf.d/x.yaml": "x2", "conf.d/y.yaml": "y2"})
        assert snapshot.read(f"{mount}/b.yaml") == "b1"
        assert snapshot.glob(f"{mount}/conf.d/*.yaml") == [f"{mount}/conf.d/x.yaml"]
        assert snapshot.read(f"{mount}/conf.d/x.yaml") == "x1"
    with Snapshot() as snapshot:
        assert [snapshot.read(path) for path in snapshot.glob(f"{mount}/conf.d/*.yaml")] == ["x2", "y2"]


def test_a_version_that_is_being_deleted_is_lost_and_not_a_missing_file(mount):
    with Snapshot() as snapshot:
        snapshot.read(f"{mount}/a.yaml")
        publish(mount, 2, {"a.yaml": "a2", "b.yaml": "b2"})
        (mount / "..1" / "b.yaml").unlink()
        with pytest.raises(SnapshotLost):
            snapshot.read(f"{mount}/b.yaml")


def test_a_snapshot_knows_when_it_is_old(mount):
    patterns = [f"{mount}/a.yaml", f"{mount}/conf.d/*.yaml"]
    with Snapshot() as snapshot:
        snapshot.read(f"{mount}/a.yaml")
        snapshot.glob(patterns[1])
        assert snapshot.holds(fingerprint(patterns))
        publish(mount, 2, {"a.yaml": "a1", "conf.d/x.yaml": "x1"})
        assert not snapshot.holds(fingerprint(patterns))


def test_a_file_that_appeared_since_makes_a_snapshot_old(tmp_path):
    (tmp_path / "1.yaml").write_text("a")
    with Snapshot() as snapshot:
        for path in snapshot.glob(f"{tmp_path}/*.yaml"):
            snapshot.read(path)
        assert snapshot.holds(fingerprint([f"{tmp_path}/*.yaml"]))
        (tmp_path / "2.yaml").write_text("b")
        assert not snapshot.holds(fingerprint([f"{tmp_path}/*.yaml"]))


def test_no_descriptor_stays_open(mount):
    for _ in range(3):
        with Snapshot() as snapshot:
            snapshot.read(f"{mount}/a.yaml")
            snapshot.read(f"{mount}/conf.d/x.yaml")
            assert descriptors(str(mount)), "it holds the version that it reads"
    assert descriptors(str(mount)) == set()


def test_the_fingerprint_of_a_missing_file_is_empty_and_of_a_rewritten_one_another(tmp_path):
    path = f"{tmp_path}/c.yaml"
    assert fingerprint([path]) == ((path, ()),)
    (tmp_path / "c.yaml").write_text("a")
    first = fingerprint([path])
    (tmp_path / "new").write_text("a")
    os.rename(tmp_path / "new", path)
    assert first != fingerprint([path])


def test_relative_paths_are_read_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text("text")
    monkeypatch.chdir(tmp_path)
    with Snapshot() as snapshot:
        assert snapshot.read("c.yaml") == "text"
        assert list(snapshot.listed) == [f"{tmp_path}/c.yaml"]


def test_a_configmap_mounted_at_the_working_directory_is_pinned_too(mount, monkeypatch):
    monkeypatch.chdir(mount)
    with Snapshot() as snapshot:
        snapshot.read("a.yaml")
        publish(mount, 2, {"a.yaml": "a2", "b.yaml": "b2"})
        assert snapshot.read("b.yaml") == "b1"
