"""Names that an ordinary user chooses: of programs, processes and groups that were delegated to it."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED

from tests.hostile.node_kit import Daemon, Stranger, daemon
from tests.integration.conftest import group, hierarchy  # noqa: F401 (fixtures)
from tests.integration.node_kit import adj_of
from tests.running import until

pytestmark = pytest.mark.root
#: What Python's text functions take for the end of a line, and the kernel does not; and what is no UTF-8.
CUTS = [b"\r", b"\v", b"\f", b"\x1c", b"\x1d", b"\x1e", "\x85".encode(), "\u2028".encode(), b"\xff\xfe"]
PLACE = b"system.slice/containerd.service"
RULE = {"name": "runtime", "match": {"comm": "containerd", "cgroup": "/" + PLACE.decode()}, "oom_score_adj": 500}


@pytest.fixture
def folder(short_dir):
    os.chmod(short_dir, 0o755)  # another user runs programs of it
    return short_dir


@pytest.fixture
def stranger(folder, hierarchy, group):  # noqa: F811
    with ExitStack() as stack:
        yield Stranger(folder, hierarchy.trees.get(UNIFIED) or next(iter(hierarchy.trees.values())), group, stack)


def test_no_name_of_a_group_makes_it_another_group(folder, stranger):
    with daemon(folder, RULE) as target:
        program = stranger.program(b"containerd")
        posers = [stranger.start(program, within=b"a" + cut + b"0::/" + PLACE) for cut in CUTS]
        posers += [stranger.start(program, within=b"a" + cut + b"b") for cut in CUTS]
        stranger.witnessed()
        assert [adj_of(poser.pid) for poser in posers] == [0] * len(posers)
        said = target.answers(posers[0].pid)
        explained = said[f"explain {posers[0].pid}"]
        assert r"/a\r0::/system.slice/containerd.service" in explained
        assert "no rule, nothing is done" in explained
        target.is_well()


def test_a_daemon_boots_and_goes_on_while_such_groups_are_there(folder, stranger):
    program = stranger.program(b"containerd")
    posers = [stranger.start(program, within=b"a" + cut + b"b") for cut in CUTS]
    with daemon(folder, RULE) as target:
        stranger.witnessed()
        target.answers(posers[-1].pid)
        target.is_well()


#: Names of programs, which are names of processes and, in quotes of their own making, anything a reader may see.
NAMES = [
    b"odd\x1b]0;a\x07",
    b"odd\xff\xfe", b"odd\x1b[2J\x1b[31m", b"odd\nHELD 1", b"odd[bold]", b"odd:skull:", b"odd) R 1 1 (",
    b"odd\xe2\x80\xae", b"odd\x9b31m", b"odd{}\"'%s", "odd\u2028".encode(), b"odd\t\r\x7f",
]  # fmt: skip


def test_no_name_of_a_program_takes_an_answer_away_or_drives_a_terminal(folder, stranger):
    rule = {"name": "odd", "match": {"comm": "odd*"}, "oom_score_adj": 444}
    with daemon(folder, rule) as target:
        started = [stranger.start(stranger.program(name)) for name in NAMES]
        stranger.witnessed()
        until(lambda: all(adj_of(some.pid) == 444 for some in started))
        said = target.answers(*(some.pid for some in started))
        for words, text in said.items():
            assert all(character == "\n" or character.isprintable() for character in text), words
            assert not any(line.startswith("HELD 1") for line in text.split("\n")), words
        assert r"odd\xff\xfe" in said["ps"]
        assert "odd[bold]" in said["ps"]
        target.is_well()
        log = "\n".join(target.running.err)
        assert all(character == "\n" or character.isprintable() for character in log)


def test_no_name_of_a_program_or_a_group_drives_the_terminal_of_any_command(folder, stranger):
    names = [name.replace(b"\n", b"\r") for name in NAMES]  # no group has the kernel's own
    rule = {"name": "odd", "match": {"comm": "odd*"}, "oom_score_adj": {"at_least": 444}}
    with daemon(folder, rule) as target:
        started = [stranger.start(stranger.program(name), within=name) for name in names]
        stranger.witnessed()
        until(lambda: all(adj_of(some.pid) == 444 for some in started))
        first = str(started[0].pid)
        commands = [["status"], ["ps"], ["preview"], ["victims"], ["top", "--once"], ["explain", first], ["rules"],
                    ["kills"], ["hold", first, "500"], ["ps"], ["release", first], ["plugins", "ls"]]  # fmt: skip
        for words in commands:
            text = target.on_terminal(*words)
            assert all(character == "\n" or character.isprintable() for character in text), words
            if words[0] in ("ps", "explain", "hold"):
                assert r"odd\x1b" in text, words
        target.is_well()


def test_a_process_of_a_group_of_any_bytes_is_moved_and_put_back_where_it_was(folder, hierarchy, group):  # noqa: F811
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    rule = {
        "name": "odd",
        "match": {"comm": "odd-move"},
        "oom_score_adj": 444,
        "cgroup": {"path": f"{group}/target", "controllers": ["pids"]},
    }
    with ExitStack() as stack, daemon(folder, rule) as target:
        stranger = Stranger(folder, tree, group, stack)
        moved = stranger.start(stranger.program(b"odd-move"), within=b"x\xff\x1c\xfe")
        until(lambda: groups(moved.pid)[tree.name] == f"{group}/target".encode())
        target.answers(moved.pid)
        target.client(["restore", "--rule", "odd"])
        assert groups(moved.pid) == groups("self") | {tree.name: group.encode() + b"/x\xff\x1c\xfe"}
        assert adj_of(moved.pid) == 0
        target.is_well()


def groups(pid):
    with open(f"/proc/{pid}/cgroup", "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    return {line.split(b":", 2)[1].decode(): line.split(b":", 2)[2] for line in lines}


def test_a_domain_whose_name_is_no_text_is_asked_for_by_its_bytes_or_by_what_is_shown(folder, hierarchy, group):  # noqa: F811
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    with ExitStack() as stack, daemon(folder) as target:
        stranger = Stranger(folder, tree, group, stack)
        started = stranger.start(stranger.program(b"odd"), within=b"x\xff")
        limit = "memory.max" if tree.name == UNIFIED else "memory.limit_in_bytes"
        if tree.name == UNIFIED:
            tree.create(f"{group}/x\udcff", ["memory"])
        tree.write(f"{group}/x\udcff", limit, str(1 << 30))
        said = target.client(*(["victims", "--cgroup", path] for path in (f"{group}/x\udcff", group + r"/x\xff")))
        for text in said.values():
            assert text.startswith(group + r"/x\xff: 1024.0 MiB")
            assert str(started.pid) in text


def test_a_path_longer_than_a_page_is_read_to_its_end(folder, stranger, hierarchy):  # noqa: F811
    rule = {"name": "deep", "match": {"cgroup": f"{stranger.group}/**/bottom"}, "oom_score_adj": 444}
    with daemon(folder, rule) as target:
        room = 4080 - len(os.fsencode(stranger.tree.at(stranger.group)))  # PATH_MAX, for who makes them
        deep = b"/".join([b"d" * 200] * (room // 201 - 1) + [b"d" * (room % 201 + 180), b"bottom"])
        started = stranger.start(stranger.program(b"deep"), within=deep)
        until(lambda: adj_of(started.pid) == 444)
        if (
            stranger.tree.name != UNIFIED or len(hierarchy.trees) > 1
        ):  # the other hierarchies' lines are before this one
            assert len(Path(f"/proc/{started.pid}/cgroup").read_bytes()) > 4096
        target.answers(started.pid)
        target.is_well()


def test_a_daemon_among_all_of_these_ends_when_it_is_told_to(folder, stranger):
    with daemon(folder, RULE) as target:
        for name in NAMES:
            stranger.start(stranger.program(name), within=b"a\r" + name.replace(b"\n", b"_").replace(b"/", b"_"))
        stranger.witnessed()
        assert isinstance(target, Daemon)
        assert target.running.stop(signal.SIGTERM) == 0
