"""The daemon as a process: how it starts, ends, reloads, and leaves others alone."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.needs import peer
from tests.peers import daemon as daemons
from tests.peers.case import ctr, last_word
from tests.peers.daemon import write_config

pytestmark = peer("ctr")


@pytest.fixture
def boot(short_dir, start):
    """Starts holdfast without waiting for it; all runs of a test share one folder and one config.toml."""
    made = []

    def run(*arguments, top="", tables="", grpc="", config=None, **options):
        if config is None and not made:
            made.append(write_config(short_dir, top, tables, grpc))
        daemon = daemons.holdfast(short_dir, config or made[0], *arguments, **options)
        started.append(daemon)
        return daemon

    started = []
    yield run
    for daemon in reversed(started):
        daemon.__exit__(None, None, None)


def sockets(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if stat.S_ISSOCK(path.lstat().st_mode)}


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_with_0_and_its_sockets_are_gone(self, boot, short_dir, number):
        daemon = boot().ready()
        assert sockets(short_dir) == {"s.sock", "s.sock.ttrpc"}
        assert daemon.stop(number) == 0
        assert daemon.told("STOPPING=1")
        assert sockets(short_dir) == set()

    def test_a_signal_one_millisecond_after_the_start_ends_it_with_0(self, boot):
        for _ in range(3):
            daemon = boot()
            assert not daemon.ended(0.001)
            assert daemon.stop() in (0, -signal.SIGTERM)  # before exec and the first import, Python is not us yet

    @pytest.mark.parametrize("line", ["starting holdfast", "loading plugin", "serving", "booted"])
    def test_a_signal_at_any_step_of_the_boot_ends_it_with_0(self, boot, short_dir, line):
        daemon = boot("--log-level", "debug")
        daemon.line(line)
        assert daemon.stop() == 0
        assert sockets(short_dir) == set()
        assert [line for line in daemon.err if "Traceback" in line] == []

    def test_a_second_signal_does_not_make_it_an_error(self, boot):
        daemon = boot().ready()
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGTERM)
        assert daemon.end() == 0

    def test_an_open_stream_is_ended_and_does_not_hold_the_stop(self, ours, subscribed):
        daemon = ours()
        events = subscribed(daemon)
        assert daemon.stop() == 0
        assert events.end() == 1
        assert re.search("Unavailable|transport is closing|Canceled", events.said)

    def test_the_plugins_are_closed_in_reverse(self, boot):
        daemon = boot("--log-level", "debug").ready()
        assert daemon.stop() == 0
        log = "\n".join(daemon.err + daemon.out)
        opened = re.findall(r'loading plugin \\?"([^"\\]+)', log)
        closed = re.findall(r'msg="closed plugin" id=(\S+)', log)
        assert len(closed) >= 6
        assert closed == [uri for uri in reversed(opened) if uri in closed]


class TestNotify:
    def test_systemd_is_told_in_order(self, boot):
        daemon = boot().ready()
        daemon.stop()
        assert daemon.told("STOPPING=1")
        assert [state for state in daemon.states if not state.startswith("STATUS=")] == ["READY=1", "STOPPING=1"]

    def test_what_it_says_ready_about_answers_at_once(self, boot):
        daemon = boot().ready()
        assert ctr(daemon, "version").returncode == 0

    def test_a_reload_is_bracketed(self, boot):
        daemon = boot().ready()
        daemon.states.clear()
        daemon.send(signal.SIGHUP)
        assert daemon.told("READY=1")
        kinds = [state.partition("=")[0] for state in daemon.states if not state.startswith("STATUS=")]
        assert kinds == ["RELOADING", "MONOTONIC_USEC", "READY"]

    def test_the_watchdog_is_fed_when_it_is_asked_for(self, boot):
        daemon = boot(env={"WATCHDOG_USEC": "200000"}).ready()
        assert daemon.told("WATCHDOG=1")

    def test_a_notify_socket_nobody_reads_does_not_stop_the_boot(self, boot, short_dir):
        daemon = boot(env={"NOTIFY_SOCKET": str(short_dir / "nobody")})
        daemon.line("booted")
        assert ctr(daemon, "version").returncode == 0


class TestTwo:
    def test_a_second_daemon_on_the_same_root_names_the_pid_of_the_first(self, boot, short_dir):
        first = boot().ready()
        second = boot("--address", str(short_dir / "other.sock"))
        assert second.end() == 1
        assert last_word(second) == (
            f"root: @DIR@/root: in use by a running holdfast (pid {first.pid});"
            " stop it, or give this one its own --root"
        )
        assert ctr(first, "version").returncode == 0

    def test_a_live_daemons_socket_is_not_taken(self, boot, short_dir):
        first = boot().ready()
        second = boot("--root", str(short_dir / "root2"), "--state", str(short_dir / "state2"))
        assert second.end() == 1
        assert "@DIR@/s.sock" in last_word(second)
        assert "in use" in last_word(second)
        assert ctr(first, "version").returncode == 0
        assert first.stop() == 0

    def test_a_real_containerds_socket_is_not_taken_either(self, theirs, boot):
        real = theirs()
        second = boot("--address", real.address)
        assert second.end() == 1
        assert "in use" in last_word(second)
        assert ctr(real, "version").returncode == 0

    def test_the_lock_ends_with_its_holder_however_it_ends(self, boot):
        first = boot().ready()
        first.stop(signal.SIGKILL)
        assert sockets(first.dir) == {"s.sock", "s.sock.ttrpc"}  # stale now
        again = boot().ready()
        assert ctr(again, "version").returncode == 0

    def test_on_stop_only_its_own_socket_is_removed(self, boot, short_dir):
        first = boot().ready()
        os.unlink(first.address)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(first.address)
            assert first.stop() == 0
            assert sockets(short_dir) == {"s.sock"}


class TestSignals:
    def test_sighup_takes_over_a_new_log_level(self, boot, short_dir):
        daemon = boot(tables='[debug]\n  level = "info"').ready()
        assert not [line for line in daemon.err if "level=debug" in line]
        write_config(short_dir, tables='[debug]\n  level = "debug"')
        daemon.send(signal.SIGHUP)
        daemon.line("level=info.*reload")
        ctr(daemon, "events", "bad==")
        daemon.stop()
        assert [line for line in daemon.err if "level=debug" in line]

    def test_sighup_names_what_needs_a_restart(self, boot, short_dir):
        daemon = boot().ready()
        write_config(short_dir, top="oom_score = 5")
        daemon.send(signal.SIGHUP)
        daemon.line("needs a restart.*oom_score")

    def test_sighup_with_a_broken_file_keeps_what_was(self, boot, short_dir):
        daemon = boot().ready()
        (short_dir / "config.toml").write_text("version = [")
        daemon.send(signal.SIGHUP)
        assert "config.toml:1" in daemon.line("level=error")
        assert ctr(daemon, "version").returncode == 0

    def test_sigusr1_writes_every_stack_to_a_file_and_the_log(self, boot, short_dir):
        daemon = boot(env={"TMPDIR": str(short_dir)}).ready()
        daemon.send(signal.SIGUSR1)
        path = short_dir / f"holdfast.{daemon.pid}.stacks.log"
        assert str(path) in daemon.line("stack dump written")
        assert path.stat().st_mode & 0o777 == 0o600
        assert "MainThread" in path.read_text()
        assert "task " in path.read_text()
        assert ctr(daemon, "version").returncode == 0

    def test_sigpipe_is_swallowed(self, boot):
        daemon = boot().ready()
        daemon.send(signal.SIGPIPE)
        assert ctr(daemon, "version").returncode == 0
        assert daemon.stop() == 0


class TestCommandLine:
    @pytest.mark.parametrize("words", [("run", "bogus"), ("bogus",), ("run", "--bogus"), ("config", "bogus")])
    def test_a_stray_word_is_refused_with_2_and_nothing_starts(self, start, words):
        run = start(daemons.HOLDFAST + words, env=daemons.ENVIRON)
        assert run.end() == 2
        assert run.out == []
        assert "bogus" in run.said

    @pytest.mark.parametrize("words", [("-h",), ("--help",), ("run", "-h"), ("run", "--help"), ("config", "-h"), ()])
    def test_help_is_on_stdout_and_shows_what_there_is(self, start, words):
        run = start(daemons.HOLDFAST + words, env=daemons.ENVIRON)
        assert run.end() in ((0,) if words else (0, 2))
        assert "Usage: holdfast" in "\n".join(run.out + run.err)
        assert "--help" in "\n".join(run.out + run.err)

    def test_the_version_is_told_without_a_daemon(self, start):
        run = start((*daemons.HOLDFAST, "--version"), env=daemons.ENVIRON)
        assert run.end() == 0
        assert re.search(r"\d+\.\d+", run.out[0])


class TestLog:
    def test_each_line_is_logfmt_with_time_level_and_message(self, boot):
        daemon = boot().ready()
        daemon.stop()
        lines = [line for line in daemon.err + daemon.out if line]
        assert len(lines) > 5
        assert [line for line in lines if not re.match(r'time="[^"]+" level=\w+ msg=', line)] == []

    def test_json_is_one_object_a_line(self, boot):
        import json

        daemon = boot(tables='[debug]\n  format = "json"').ready()
        daemon.stop()
        lines = [json.loads(line) for line in daemon.err + daemon.out if line]
        assert {"time", "level", "msg"} <= set.intersection(*(set(line) for line in lines))

    def test_the_boot_is_reported_in_seconds_and_each_listener_by_address(self, boot):
        daemon = boot().ready()
        assert re.search(r"booted in \d+\.\d+s", daemon.line("booted"))
        served = [line for line in daemon.err + daemon.out if "serving..." in line]
        assert [address in line for address, line in zip((daemon.ttrpc_address, daemon.address), served, strict=True)]
