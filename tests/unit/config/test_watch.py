import asyncio
import os
from contextlib import aclosing, asynccontextmanager

from holdfast.config import watch
from holdfast.config.source import fingerprint
from holdfast.config.watch import Watcher, changes, directories

from tests.running import PATIENCE_S, descriptors

LONG_S = 3600.0  # a look that would only come after the test gave up


def publish(directory, version, text):
    """Update a ConfigMap's volume as the kubelet does, in its order."""
    target = directory / f"..2026_{version}"
    target.mkdir()
    (target / "config.yaml").write_text(text)
    os.symlink(target.name, directory / "..data_tmp")
    os.rename(directory / "..data_tmp", directory / "..data")
    if not os.path.lexists(directory / "config.yaml"):
        os.symlink("..data/config.yaml", directory / "config.yaml")
    old = directory / f"..2026_{version - 1}"
    if old.exists():
        (old / "config.yaml").unlink()
        old.rmdir()


@asynccontextmanager
async def watching(*patterns, since=None, poll_s=LONG_S):
    """A queue of changes counted from now, or from `since`."""
    patterns = [str(pattern) for pattern in patterns]
    since = since or fingerprint(patterns)
    seen = asyncio.Queue()

    async def run():
        async with aclosing(changes(patterns, since, poll_s=poll_s)) as found:
            async for _ in found:
                seen.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        yield seen
        task.cancel()


async def told(seen):
    async with asyncio.timeout(PATIENCE_S):
        return await seen.get()


async def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    """As an editor or `cat >` writes it: the first check finds it empty."""
    path = tmp_path / "config.yaml"
    path.write_text("dry_run: true")
    since = fingerprint([str(path)])
    path.write_text("")
    asyncio.get_running_loop().call_later(watch.QUIET_S / 2, path.write_text, "dry_run: false")
    async with aclosing(changes([str(path)], since, poll_s=LONG_S)) as found:
        await anext(found)
        assert path.read_text() == "dry_run: false"


async def test_every_swap_of_a_configmap_is_told_not_only_the_first(tmp_path):
    publish(tmp_path, 1, "a")
    async with watching(tmp_path / "config.yaml") as seen:
        for version in range(2, 5):
            publish(tmp_path, version, "b")
            await told(seen)
    assert seen.empty()


async def test_a_file_written_in_place_is_told(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a")
    async with watching(path) as seen:
        path.write_text("bb")
        await told(seen)


async def test_a_file_renamed_over_as_editors_do_is_told(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a")
    async with watching(path) as seen:
        for _ in range(2):
            (tmp_path / "c.yaml~").write_text("b")
            os.rename(tmp_path / "c.yaml~", path)
            await told(seen)


async def test_a_file_that_comes_and_goes_is_told(tmp_path):
    path = tmp_path / "c.yaml"
    async with watching(path) as seen:
        path.write_text("a")
        await told(seen)
        path.unlink()
        await told(seen)


async def test_a_new_drop_in_and_a_new_drop_in_directory_are_told(tmp_path):
    async with watching(tmp_path / "c.yaml", tmp_path / "conf.d" / "*.yaml") as seen:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "1.yaml").write_text("a")
        os.rename(tmp_path / "new", tmp_path / "conf.d")
        await told(seen)
        (tmp_path / "conf.d" / "2.yaml").write_text("b")
        await told(seen)


async def test_a_file_behind_a_link_is_told(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "c.yaml").write_text("a")
    os.symlink("real/c.yaml", tmp_path / "c.yaml")
    async with watching(tmp_path / "c.yaml") as seen:
        (tmp_path / "real" / "c.yaml").write_text("bb")
        await told(seen)


async def test_a_change_since_the_load_is_the_first_that_is_told(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a")
    since = fingerprint([str(path)])
    path.write_text("bb")
    async with watching(path, since=since) as seen:
        await told(seen)


async def test_what_a_reload_brings_is_watched_from_then_on(tmp_path):
    main, more = tmp_path / "c.yaml", tmp_path / "more" / "x.yaml"
    more.parent.mkdir()
    patterns = [str(main)]
    since = fingerprint(patterns)
    seen = asyncio.Queue()

    async def run():
        async with aclosing(changes(lambda: patterns, since, poll_s=LONG_S)) as found:
            async for _ in found:
                if str(more) not in patterns:
                    patterns.append(str(more))
                seen.put_nowait(more.exists())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        main.write_text("imports: [more/x.yaml]")
        assert await told(seen) is False
        assert await told(seen) is False  # the first look at what is new
        more.write_text("a")
        assert await told(seen) is True
        task.cancel()


async def test_a_burst_is_one_change(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("")
    async with watching(path) as seen:
        for number in range(50):
            path.write_text("x" * number)
        await told(seen)
        (tmp_path / "other").write_text("")
    assert seen.empty()


async def test_other_files_wake_nobody(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a")
    with Watcher([str(path)]) as watcher:
        (tmp_path / "other.yaml").write_text("b")
        path.write_text("bb")
        await watcher.wait(PATIENCE_S)
        (tmp_path / "other.yaml").write_text("c")
        watcher._drain()
        assert not watcher._touched.is_set()


async def test_without_inotify_a_look_in_between_tells(tmp_path, monkeypatch):
    class NoInotify:
        def __init__(self, *args, **kwargs):
            pass

        def inotify_init1(self, flags):
            return -1

    monkeypatch.setattr(watch.ctypes, "CDLL", NoInotify)
    path = tmp_path / "c.yaml"
    path.write_text("a")
    async with watching(path, poll_s=0.01) as seen:
        path.write_text("bb")
        await told(seen)


async def test_closing_gives_the_descriptor_back(tmp_path):
    before = descriptors("inotify")
    with Watcher([f"{tmp_path}/c.yaml"]):
        assert len(descriptors("inotify")) == len(before) + 1
    assert descriptors("inotify") == before


def test_only_directories_that_can_tell_are_watched(tmp_path):
    wanted = directories([f"{tmp_path}/c.yaml", f"{tmp_path}/conf.d/*.yaml"])
    assert wanted == {
        str(tmp_path): {"..data", "c.yaml", "conf.d"},
        f"{tmp_path}/conf.d": {"..data", "*.yaml"},
    }


def test_every_link_on_the_way_to_a_file_is_watched(tmp_path):
    for name in ("store-a", "store-b", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "store-a" / "config.yaml").touch()
    (tmp_path / "current").symlink_to(tmp_path / "store-a")
    (tmp_path / "etc" / "config.yaml").symlink_to("../current/config.yaml")
    wanted = directories([str(tmp_path / "etc" / "config.yaml")])
    assert "config.yaml" in wanted[f"{tmp_path}/etc"]
    assert "current" in wanted[f"{tmp_path}"]
    assert "config.yaml" in wanted[f"{tmp_path}/store-a"]


def test_a_loop_of_links_is_looked_at_and_left(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert {"a", "b"} <= directories([str(tmp_path / "a")])[str(tmp_path)]


async def test_a_switched_link_two_steps_away_is_told(tmp_path):
    for name in ("store-a", "store-b", "etc"):
        (tmp_path / name).mkdir()
    for name in ("store-a", "store-b"):  # an immutable store: the same size, and the same time
        (tmp_path / name / "config.yaml").touch()
        os.utime(tmp_path / name / "config.yaml", (1, 1))
    (tmp_path / "current").symlink_to(tmp_path / "store-a")
    (tmp_path / "etc" / "config.yaml").symlink_to(tmp_path / "current" / "config.yaml")
    async with watching(tmp_path / "etc" / "config.yaml") as seen:
        (tmp_path / "new").symlink_to(tmp_path / "store-b")
        os.rename(tmp_path / "new", tmp_path / "current")
        await told(seen)
