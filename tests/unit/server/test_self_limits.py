import logging
import os

import pytest
from holdfast.errors import BootError
from holdfast.server.self_limits import apply_to_self


@pytest.fixture
def proc(tmp_path):
    """A proc root with our own oom_score_adj (0), no user namespace, and no cgroups mounted."""
    own = tmp_path / "proc" / str(os.getpid())
    own.mkdir(parents=True)
    (own / "oom_score_adj").write_text("0")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/uid_map").write_text("         0          0 4294967295\n")
    (tmp_path / "proc/thread-self").mkdir()
    (tmp_path / "proc/thread-self/mountinfo").write_text("")
    return tmp_path / "proc"


@pytest.fixture
def apply(proc, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    def applied(score=0, cgroup=""):
        apply_to_self(score, cgroup, proc_root=str(proc), cgroup_root=str(tmp_path / "cg"))
        adj = (proc / str(os.getpid()) / "oom_score_adj").read_text()
        return adj, [(r.levelname, r.getMessage(), str(r.fields.get("error", ""))) for r in caplog.records]

    return applied


def test_zero_leaves_the_score_alone_and_says_nothing(apply, proc):
    (proc / str(os.getpid()) / "oom_score_adj").write_text("77")
    assert apply(0) == ("77", [])


def test_a_score_is_announced_and_written(apply):
    assert apply(-999) == ("-999", [("DEBUG", "changing OOM score to -999", "")])


@pytest.mark.parametrize("score", [1001, -1001])
def test_out_of_range_is_an_error_in_the_log_and_the_boot_goes_on(apply, score):
    adj, lines = apply(score)
    assert adj == "0"
    assert lines[1:] == [
        (
            "ERROR",
            f"failed to change OOM score to {score}",
            f"value out of range ({score}): OOM score must be between -1000 and 1000",
        )
    ]


def refuse_writes(monkeypatch, error):
    real = os.write

    def write(descriptor, data):
        if data == b"-500":
            raise error
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("refusal", [PermissionError(13, "x"), PermissionError(1, "x")])
def test_root_that_may_not_is_told_so(apply, proc, monkeypatch, refusal):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    refuse_writes(monkeypatch, refusal)
    _, lines = apply(-500)
    why = os.strerror(refusal.errno).lower()
    path = f"{proc}/{os.getpid()}/oom_score_adj"
    assert lines[1:] == [("ERROR", "failed to change OOM score to -500", f"write {path}: {why}")]


def test_who_is_not_root_hears_no_error(apply, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    refuse_writes(monkeypatch, PermissionError(13, "x"))
    assert "ERROR" not in [level for level, _, _ in apply(-500)[1]]


@pytest.mark.parametrize("uid_map", ["0 1000 1\n", "0 0 65536\n"])
def test_root_of_a_user_namespace_hears_no_error(apply, proc, monkeypatch, uid_map):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (proc / "self/uid_map").write_text(uid_map)
    refuse_writes(monkeypatch, PermissionError(1, "x"))
    assert "ERROR" not in [level for level, _, _ in apply(-500)[1]]


def test_without_a_uid_map_there_is_no_user_namespace(apply, proc, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (proc / "self/uid_map").unlink()
    refuse_writes(monkeypatch, PermissionError(1, "x"))
    assert "ERROR" in [level for level, _, _ in apply(-500)[1]]


def test_another_errno_is_told_to_anybody(apply, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    refuse_writes(monkeypatch, OSError(22, "x"))
    assert "ERROR" in [level for level, _, _ in apply(-500)[1]]


def test_a_failing_open_is_told_to_anybody(apply, proc, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    path = proc / str(os.getpid()) / "oom_score_adj"
    real = os.open

    def refuse(name, *rest, **options):
        if name == str(path):
            raise PermissionError(13, "x")
        return real(name, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    _, lines = apply(-500)
    assert lines[1:] == [("ERROR", "failed to change OOM score to -500", f"open {path}: permission denied")]


def test_no_cgroup_path_asks_nothing_of_the_host(apply):
    assert apply(cgroup="") == ("0", [])


def test_a_host_without_cgroups_ends_the_boot(apply, tmp_path):
    with pytest.raises(BootError, match=f"^cgroup.path: /x: no cgroup file system is mounted at {tmp_path}/cg$"):
        apply(cgroup="x")


def test_a_path_that_leaves_the_tree_ends_the_boot(apply):
    with pytest.raises(BootError, match=r"^cgroup\.path: .*no group can be called"):
        apply(cgroup="/a/../../b")


def test_a_hosts_namespace_that_cannot_be_entered_is_said_and_the_boot_goes_on(apply, proc, tmp_path):
    (proc / "thread-self/mountinfo").write_text(f"30 1 0:30 /../.. {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    _, lines = apply(0)
    why = f"open {proc}/1/ns/cgroup: no such file or directory; hostPID, and the capabilities of pid 1"
    assert lines == [("WARNING", "the cgroups of other processes cannot be named", why)]
