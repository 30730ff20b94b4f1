"""Every parser of a process's and the machine's files, over any bytes: a value, or one of our errors."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile

import pytest
from holdfast import kernel_text
from holdfast.cgroups import Hierarchy, parse_groups
from holdfast.cgroups.hierarchy import mounts
from holdfast.errors import HoldfastError, UnknownKernelText
from holdfast.metrics.process import fields_of
from holdfast.node.oom.watch import _counted
from holdfast.node.plan.setting import is_in_force
from holdfast.node.proc.children import children_of
from holdfast.node.proc.connector import _EVENT, ProcessEvent, parse_event
from holdfast.node.proc.host import _effective, _limit, parse_meminfo, read_host
from holdfast.node.proc.parse import name_and_parent, parse_stat, parse_status, printed
from holdfast.node.proc.pressure import parse_pressure
from holdfast.node.proc.privileges import read_vantage
from holdfast.node.proc.reader import EVERYTHING, IgnoredNames, ProcReader
from holdfast.process import ProcRoot, start_ticks_of
from holdfast.process.oomscore import parsed
from hypothesis import example, given, settings
from hypothesis import strategies as st

ANYTHING = st.binary(max_size=300)
NUMBERS = st.integers(0, 2**32)
#: A name of a process: any byte but NUL, 15 at most. Of a cgroup: any but NUL, `/` and a newline.
COMM = st.binary(min_size=1, max_size=15).map(lambda raw: raw.replace(b"\0", b"_"))
NAME = st.binary(min_size=1, max_size=40).map(lambda raw: raw.translate(bytes.maketrans(b"\0/\n", b"___")))
PATH = st.lists(NAME, max_size=4).map(lambda names: b"/" + b"/".join(names))
STAT = b"%d (%s) S %d 1 1 0 -1 %d 1 0 0 0 7 8 0 0 20 0 %d 0 %d 9999 %d 18446744073709551615 1 1 0\n"
#: What looks like the real thing and is not, beside bytes that hardly ever do.
STAT_LIKE = st.one_of(ANYTHING, st.builds(lambda a, b: STAT % (1, a, 1, 0, 1, 1, 1) + b, ANYTHING, ANYTHING))
MOUNT = b"35 31 0:32 %s %s rw,relatime shared:9 - %s %s rw,%s\n"

PARSERS = {
    "stat": lambda raw: parse_stat(7, raw),
    "stat, the name and the parent": name_and_parent,
    "stat, the start": start_ticks_of,
    "stat, our own": fields_of,
    "status": parse_status,
    "status, our own": _effective,
    "oom_score_adj": parsed,
    "cgroup": parse_groups,
    "mountinfo": lambda raw: list(mounts(kernel_text.lines(raw), "/sys/fs/cgroup")),
    "meminfo": parse_meminfo,
    "pressure": lambda raw: parse_pressure("memory", raw),
    "a group's limit": lambda raw: _limit(raw.decode(errors="surrogateescape")),
    "a group's events": lambda raw: _counted(raw.decode(errors="surrogateescape")),
    "a process event": parse_event,
}


@pytest.mark.parametrize("name", PARSERS)
@given(raw=STAT_LIKE)
@example(raw=b"")
@example(raw=b"\n")
@example(raw=b"Uid:\t1\n\nUid:\tx")
@example(raw=b"MemTotal: \xb2 kB")
@example(raw="٣".encode())
def test_any_bytes_are_a_value_or_an_error_of_ours(name, raw):
    with contextlib.suppress(HoldfastError):
        PARSERS[name](raw)


@given(COMM, NUMBERS, NUMBERS, NUMBERS)
def test_whatever_its_name_the_fields_of_a_process_are_the_kernels(comm, ppid, ticks, pages):
    stat = STAT % (7, comm, ppid, 0, 3, ticks, pages)
    stat_line = parse_stat(7, stat)
    assert (stat_line.ppid, stat_line.start_ticks, stat_line.rss_pages) == (ppid, ticks, pages)
    assert stat_line.comm.encode(errors="surrogateescape") == comm
    assert printed(stat_line.comm) == (comm + b"\n")[:16]
    assert name_and_parent(stat) == ((comm + b"\n")[:16], ppid)
    assert start_ticks_of(stat) == ticks


@given(st.dictionaries(st.sampled_from([b"", b"memory", b"cpu,cpuacct", b"name=systemd"]), PATH))
@example({b"": b"/user.slice/a\r0::/system.slice/containerd.service"})
@example({b"": b"/user.slice/a\x0c1:memory:/b"})
@example({b"memory": "/a\u2028/b\x85/c\x1c".encode()})
def test_a_path_of_any_bytes_is_that_path(groups):
    text = b"".join(b"%d:%s:%s\n" % (at, name, path) for at, (name, path) in enumerate(groups.items()))
    found = parse_groups(text)
    assert {name.encode(): path.encode(errors="surrogateescape") for name, path in found.items()} == groups


@pytest.mark.parametrize("line", [b"", b"0", b"0:", b"x::/a", b":memory:/a", b"0:/a"])
def test_a_line_that_is_no_group_is_an_error_of_that_process(line):
    with pytest.raises(UnknownKernelText, match="cgroup of a process"):
        parse_groups(b"1:memory:/a\n" + line + b"\n")


def escaped(raw):
    """As the kernel prints a path there (seq_path: blank, tab, newline, backslash)."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes((byte,)) for byte in raw)


@given(NAME, PATH, NAME)
def test_a_mount_of_any_name_is_found_and_no_other_line_is_taken_for_one(name, root, source):
    point = b"/sys/fs/cgroup/" + name
    text = MOUNT % (escaped(root), escaped(point), b"cgroup", escaped(source), b"memory")
    text += MOUNT % (escaped(root), escaped(point), b"9p", source, b"aname=c;path=C:\\a b - cgroup2 x y,z")
    (found,) = mounts(kernel_text.lines(text), "/sys/fs/cgroup")
    assert (found.point.encode(errors="surrogateescape"), found.root.encode(errors="surrogateescape")) == (point, root)
    assert (found.name, found.writable) == ("memory", True)


@given(ANYTHING, st.integers(0, 2**40))
def test_memory_is_found_among_any_lines(noise, kib):
    lines = noise.replace(b"MemTotal", b"")
    assert parse_meminfo(lines + b"\nMemTotal: %14d kB\n" % kib)["MemTotal"] == kib


@given(COMM, st.integers(0, 2**32 - 1))
def test_no_name_of_a_process_changes_its_user(comm, uid):
    # the kernel escapes newlines and backslashes of the name in this file (proc_task_name)
    name = comm.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    status = b"Name:\t%s\nUid:\t0\t%d\t0\t0\nVmRSS:\t    5104 kB\n" % (name, uid)
    assert parse_status(status)[:2] == ((0, uid, 0), 1276)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (2, ProcessEvent(2, 4242, 0, 99)),
        (1, ProcessEvent(1, 4243, 4242, 99)),
        (0x200, ProcessEvent(0x200, 4242, 0, 99)),
        (0x80000000, None),
    ],
)
def test_an_event_is_read_from_its_first_words(what, expected):
    raw = bytearray(_EVENT.size)
    struct.pack_into("=IIQ4I", raw, 36, what, 0, 99, 1, 4242, 2, 4243)
    assert parse_event(bytes(raw)) == expected
    assert parse_event(bytes(raw[:-1])) is None


FILES = ("stat", "status", "comm", "cgroup", "cmdline", "oom_score_adj", "mountinfo", "uid_map", "children")


@contextlib.contextmanager
def proc_of(files, exe):
    """A proc file system of one process, 7, which is ``self`` and its own thread, too."""
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(f"{root}/7/task/7")
        for name in ("self", "thread-self"):
            os.symlink("7", f"{root}/{name}")
        os.makedirs(f"{root}/sys/kernel/random")
        for name, raw in files.items():
            at = {"children": "7/task/7/children", "meminfo": "meminfo", "boot_id": "sys/kernel/random/boot_id"}
            with open(f"{root}/{at.get(name, f'7/{name}')}", "wb") as file:
                file.write(raw)
        os.symlink(exe, os.fsencode(root) + b"/7/exe")
        yield root


SYMLINK = st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\0", b"_"))
PROC = st.fixed_dictionaries(
    {name: st.one_of(STAT_LIKE, ANYTHING) for name in FILES} | {"meminfo": ANYTHING, "boot_id": ANYTHING}
)


@settings(max_examples=60)
@given(PROC, SYMLINK)
def test_a_process_of_any_bytes_is_facts_or_one_error_and_troubles_nobody_else(files, exe):
    with proc_of(files, exe) as root, ProcRoot(root) as proc:
        reader = ProcReader(proc)
        for followed in ((), (1,)):
            for asks_groups in (False, True):
                assert (
                    len(list(reader.iter_candidates([b"7"], IgnoredNames(set(), set(), asks_groups), (), followed)))
                    == 1
                )
        with contextlib.suppress(HoldfastError):
            found = reader.facts(reader.stat_line(7), EVERYTHING)
            assert found.exe.encode(errors="surrogateescape") == exe.removesuffix(b" (deleted)")
            assert " ".join(found.cmdline).encode(errors="surrogateescape") == files["cmdline"].rstrip(b"\0").replace(
                b"\0", b" "
            )
        assert list(children_of(root, 7)) is not None
        with contextlib.suppress(HoldfastError):
            read_vantage(root, NoPods(), without_cgroups="", cgroups_writable=True)
        with contextlib.suppress(HoldfastError):
            read_host(root, Hierarchy({}))


class NoPods:
    def pod_of(self, groups):
        return None


@given(st.sampled_from(["memory.max", "cpu.weight", "io.max", "cpu.max"]), st.text(max_size=40), st.text(max_size=40))
def test_what_a_groups_file_says_is_in_force_or_not(file, wanted, now):
    with contextlib.suppress(HoldfastError):
        assert is_in_force(file, wanted, now, 4096) in (True, False)


@pytest.mark.parametrize(
    ("state", "threads", "ended"), [(b"S", 2, False), (b"Z", 1, True), (b"X", 1, True), (b"Z", 2, False)]
)
def test_a_process_whose_first_thread_ended_runs_as_long_as_others_do(state, threads, ended):
    text = (STAT % (7, b"a) Z 1", 1, 0, threads, 100, 0)).replace(b") S ", b") %s " % state)
    assert parse_stat(7, text).ended is ended
