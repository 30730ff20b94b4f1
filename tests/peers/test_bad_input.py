"""Broken input, from the configuration to a plugin, gets one clear line; the daemon lives, or does not start."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from tests.needs import path_of, peer
from tests.peers.case import ctr, last_word
from tests.peers.daemon import AS_NOBODY, holdfast, write_config
from tests.peers.hostile import install
from tests.running import PATIENCE_S, until

pytestmark = peer("containerd", "ctr")

#: Of every plugin: only for a plugin that does not start, or close.
INIT_LIMIT = """\
[timeouts]
  "io.holdfast.timeout.plugin.init" = "300ms"
"""
#: For calls in flight; a stop that is not over 15 s after it is given up.
GRACE = """\
[timeouts]
  "io.holdfast.timeout.shutdown.grace" = "300ms"
"""
HOSTILE = "io.hostile.x.v1"


def refused(directory, words, name="config.yaml", **options):
    """The one line with which the daemon refuses a file with these words."""
    path = directory / name
    if isinstance(words, bytes):
        path.write_bytes(words)
    elif words is not None:
        path.write_text(words)
    with holdfast(directory, path, **options) as daemon:
        assert daemon.end() == 1
        assert (len(daemon.err), daemon.out) == (1, [])
        assert daemon.err[0].startswith("holdfast: ")
        return last_word(daemon)


class TestFiles:
    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ("grpc: {adress: /x}", '@DIR@/config.yaml:1: grpc.adress: unknown key; did you mean "address"?'),
            ("root: /x\nroot: /y", "@DIR@/config.yaml:2"),
            (
                "grpc:\n  uid: high",
                '@DIR@/config.yaml:2: grpc.uid: expected an integer between -1 and 4294967294, got "high"',
            ),
            ("oom_score: 1001", "@DIR@/config.yaml:1: oom_score: expected an integer between -1000 and 1000, got 1001"),
            ("grpc: {address: [", "@DIR@/config.yaml:2: not YAML: "),
            ("- a\n- b", "@DIR@/config.yaml:1: expected keys with values, got a list"),
            ("&a [*a]", "@DIR@/config.yaml:1"),
            ("root: !!python/object/apply:os.system [id]", "@DIR@/config.yaml:1"),
            ("", "@DIR@/config.yaml: the file is empty; for the defaults leave it out, or write {}"),
            (b"root: /x\nstate: \xff\xfe", "@DIR@/config.yaml:2: not UTF-8"),
            (b"\0" * 100, "@DIR@/config.yaml:1"),
        ],
        ids=["unknown key", "twice", "type", "range", "half", "list", "loop", "object", "empty", "bytes", "zeros"],
    )
    def test_a_yaml_file_that_cannot_be_is_refused_with_its_place(self, short_dir, words, line):
        assert refused(short_dir, words).startswith(line)

    def test_aliases_do_not_multiply_into_a_bomb(self, short_dir):
        levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
        assert "@DIR@/config.yaml" in refused(short_dir, "a0: &a0 [x]\n" + "\n".join(levels))

    def test_a_file_that_is_not_there(self, short_dir):
        line = "failed to load TOML: @DIR@/none.toml: open @DIR@/none.toml: no such file or directory"
        assert refused(short_dir, None, name="none.toml") == line

    def test_a_directory_for_a_file(self, short_dir):
        (short_dir / "config.yaml").mkdir()
        assert "is a directory" in refused(short_dir, None)

    @pytest.mark.root
    @peer("setpriv")
    def test_a_file_it_may_not_read(self, short_dir):
        path = short_dir / "config.yaml"
        path.write_text("{}")
        path.chmod(0)
        without = [word.replace(",+dac_read_search", "") for word in AS_NOBODY]
        words = refused_or_unreadable(short_dir, path, without)
        assert words is None or words.endswith("config.yaml: permission denied")


def refused_or_unreadable(directory, path, prefix):
    """None where that user cannot even read our interpreter, which is then what is refused."""
    with holdfast(directory, path, prefix=prefix) as daemon:
        assert daemon.end() != 0
        return last_word(daemon) if any(line.startswith("holdfast: ") for line in daemon.err) else None


class TestListeners:
    @pytest.mark.root
    def test_a_boot_that_fails_at_its_last_listener_leaves_nothing_half_open(self, short_dir):
        """All others are open by then: debug, metrics, ttrpc, TCP. The last one cannot be given its owner."""
        os.chown(short_dir, 65534, 65534)
        tables = '[debug]\n  address = "@DIR@/d.sock"\n[metrics]\n  address = "127.0.0.1:0"'
        ttrpc = '\n[ttrpc]\n  address = "@DIR@/t.sock"'
        config = write_config(short_dir, grpc='  tcp_address = "127.0.0.1:0"\n  uid = 1', tables=tables + ttrpc)
        with holdfast(short_dir, config, prefix=AS_NOBODY) as daemon:
            assert daemon.end() == 1
            assert last_word(daemon).startswith("failed to get listener for main endpoint: @DIR@/s.sock: chown to 1:")
            assert len([line for line in daemon.err if "serving..." in line]) == 4
        assert [path.name for path in short_dir.iterdir() if path.is_socket()] == []
        config = write_config(short_dir, grpc='  tcp_address = "127.0.0.1:0"', tables=tables)
        with holdfast(short_dir, config, prefix=AS_NOBODY) as again:  # nor is its root still locked
            assert again.ready().stop() == 0

    def test_a_listener_whose_path_is_no_socket_is_refused_before_any_other_opens(self, short_dir):
        (short_dir / "s.sock").mkdir()
        config = write_config(short_dir, tables='[debug]\n  address = "@DIR@/d.sock"')
        with holdfast(short_dir, config) as daemon:
            assert daemon.end() == 1
            assert last_word(daemon) == "failed to get listener for main endpoint: @DIR@/s.sock: is a directory"
            assert not [line for line in daemon.err if "serving..." in line or "loading plugin" in line]

    def test_a_socket_path_that_is_too_long_says_how_long_it_may_be(self, short_dir):
        words = refused(short_dir, f"grpc: {{address: /{'x' * 104}}}")
        assert words == (f'@DIR@/config.yaml:1: grpc.address: "/{"x" * 104}.ttrpc": unix socket path too long (> 104)')

    def test_an_unknown_kind_of_proxy_plugin_is_refused_with_the_known_ones(self, short_dir):
        words = refused(short_dir, "proxy_plugins:\n  foo: {type: nonsense, address: /x}")
        assert words.startswith("@DIR@/config.yaml:2: proxy_plugins.foo.type: expected ")
        assert '"content"' in words

    def test_clients_that_vanish_in_the_middle_of_a_stream_are_forgotten(self, ours, subscribed):
        """Killed, they say no farewell; no connection of theirs stays open all the same."""
        daemon = ours()
        vanished = [subscribed(daemon) for _ in range(3)]
        until(lambda: connections(daemon) >= 3, "the kernel lists them")  # its list may leave out some while it changes
        for client in vanished:
            client.stop(signal.SIGKILL)
        while connections(daemon):
            assert not daemon.ended(0.05), daemon.said
        assert daemon.stop() == 0
        assert not [line for line in daemon.err if "Traceback" in line]


CONNECTED = "03"  # "00000000305f96c3: 00000003 00000000 00000000 0001 03 365887 /proc/self/fd/39/.hf-ec344c72"


def connections(daemon):
    """Return the connections of its listening sockets, by the kernel's list: they bear the name that was bound."""
    links = []
    for number in os.listdir(f"/proc/{daemon.pid}/fd"):
        with suppress(FileNotFoundError):  # the daemon closed it since it was listed
            links.append(os.readlink(f"/proc/{daemon.pid}/fd/{number}"))
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return len([row for row in rows if row[5] == CONNECTED and f"socket:[{row[6]}]" in links and len(row) > 7])


class TestPlugins:
    @pytest.fixture
    def boot(self, short_dir):
        """Starts a daemon with these hostile plugins, and does not wait."""
        started = []

        def run(*names, top="", tables=""):
            config = write_config(short_dir, top=top, tables=tables)
            started.append(holdfast(short_dir, config, env=install(short_dir, *names)))
            return started[-1]

        yield run
        for daemon in started:
            daemon.__exit__(None, None, None)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("raises", "the disk is"),
            ("hangs", "init did not end within 0.3s: context deadline exceeded"),
            ("never_yields", "generator didn't yield"),
            ("exits", "it asked the process to exit with 7"),
        ],
    )
    def test_one_that_does_not_start_is_reported_and_the_rest_serve(self, boot, name, words):
        daemon = boot(name, tables=INIT_LIMIT if name == "hangs" else "").ready()
        uri = f"{HOSTILE}.{name.replace('_', '-')}"
        assert words in daemon.line(f"failed to load plugin {uri}")
        rows = ctr(daemon, "plugins", "ls", f"type=={HOSTILE}").stdout.splitlines()[1:]
        assert [row.split()[-1] for row in rows] == ["error"]
        assert ctr(daemon, "version").returncode == 0
        assert daemon.stop() == 0

    def test_one_that_is_required_ends_the_boot_in_one_line(self, boot):
        daemon = boot("hangs", top=f'required_plugins = ["{HOSTILE}.hangs"]', tables=INIT_LIMIT)
        assert daemon.end() == 1
        assert last_word(daemon) == (
            f"load required plugin {HOSTILE}.hangs: init did not end within 0.3s: context deadline exceeded"
        )

    def test_an_error_of_several_lines_is_still_one_line(self, boot):
        daemon = boot("raises", top=f'required_plugins = ["{HOSTILE}.raises"]')
        assert daemon.end() == 1
        assert last_word(daemon) == f"load required plugin {HOSTILE}.raises: ValueError: the disk is on fire"

    def test_what_is_no_plugin_and_what_cannot_be_imported_are_failed_plugins(self, boot):
        daemon = boot("not_a_plugin", "nosuch").ready()
        assert "is a int, not a plugin" in daemon.line("not_a_plugin.*not a plugin")
        assert "AttributeError" in daemon.line("nosuch.*AttributeError")
        assert daemon.stop() == 0

    @pytest.mark.parametrize("name", ["raises_on_close", "hangs_on_close", "yields_twice"])
    def test_one_that_does_not_close_is_reported_and_the_stop_goes_on(self, boot, name):
        daemon = boot(name, tables=INIT_LIMIT if name == "hangs_on_close" else "").ready()
        assert daemon.stop() == 0
        assert f"{HOSTILE}.{name.replace('_', '-')}" in daemon.line("failed to close plugin")

    def test_one_that_blocks_the_loop_does_not_make_the_daemon_unkillable(self, boot):
        daemon = boot("blocks", tables=GRACE)
        daemon.line("blocking")
        assert daemon.stop() == 1
        assert daemon.err[-1].startswith("holdfast: ")

    def test_a_broken_background_job_is_reported_and_its_service_not_serving(self, boot):
        daemon = boot("broken_job").ready()
        daemon.line("background job failed.*lost")
        assert health(daemon, "hostile.v1.Job") == "NOT_SERVING"
        assert health(daemon, "") == "SERVING"

    @pytest.mark.parametrize(
        ("method", "code"), [("Raise", "UNKNOWN"), ("Missing", "NOT_FOUND"), ("NoAnswer", "INTERNAL")]
    )
    def test_a_handler_that_raises_is_a_status_and_the_daemon_lives(self, boot, method, code):
        daemon = boot("handlers").ready()
        answered, words = call(daemon, f"/hostile.v1.Handlers/{method}")
        assert answered == code
        assert "Traceback" not in words
        assert ctr(daemon, "version").returncode == 0

    def test_a_flood_of_events_drops_who_does_not_keep_up_and_stops_nobody(self, boot, free_port, start):
        port = free_port()
        daemon = boot("floods", tables=f'[metrics]\n  address = "127.0.0.1:{port}"\n').ready()
        slow = start([path_of("ctr"), "--address", daemon.address, "events"])
        assert slow.end() == 1
        assert "code = ResourceExhausted desc = subscriber is too slow: " in slow.err[-1]
        assert ctr(daemon, "version").returncode == 0
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
        assert re.search(r"^holdfast_events_subscribers_dropped_total(\{.*\})? 1$", page, re.M)
        assert daemon.stop() == 0


def call(daemon, method, payload=b""):
    with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
        try:
            return "OK", channel.unary_unary(method)(payload, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code().name, error.details()


def health(daemon, service):
    from grpc_health.v1 import health_pb2

    payload = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    code, answer = call(daemon, "/grpc.health.v1.Health/Check", payload)
    assert code == "OK", answer
    return health_pb2.HealthCheckResponse.ServingStatus.Name(health_pb2.HealthCheckResponse.FromString(answer).status)
