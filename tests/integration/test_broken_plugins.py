"""Every way in which a plugin is broken, in a daemon of its own beside two good ones: they serve, and the log names it.

The plugins are in tests/plugins_broken, a file for each kind; ``# HERE`` marks the line that the log has to name.
"""

import asyncio
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from holdfast import __version__
from holdfast.api.services.introspection.v1.introspection_pb2 import PluginsRequest
from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub
from holdfast.errors import HoldfastError
from holdfast.ttrpc import Client

from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast
from tests.running import PATIENCE_S, until

FOLDER = Path(__file__).parents[1] / "plugins_broken"
#: By entry point: plugins are registered in the order of these names, the broken one third.
GOOD = {"a": "first", "b": "second", "c": "dependant"}
IMPORT, PLUGIN = "io.holdfast.entry-point.v1.broken", "io.broken.v1.plugin"
SERVICE, DEPENDANT = "broken.v1.Service", "good.v1.Dependant"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
#: No part of the kit: what they cost at each start is saved.
HEAVY = ("io.holdfast.placement.v1.rules", "io.holdfast.pods.v1.directory", "io.holdfast.nri.v1.plugin")

#: For each plugin, the good ones too, which create a database on a disk that may be busy.
SHORT = "2s"


class Broken:
    """One daemon with the good plugins and a broken one, and a connection to it."""

    def __init__(self, directory, kind, points, config):
        self.kind = kind
        info = directory / "site" / "example-1.0.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
        named = {point: f"good:{name}" for point, name in GOOD.items()} | {name: f"{kind}:{name}" for name in points}
        lines = "".join(f"{name} = {value}\n" for name, value in named.items())
        info.joinpath("entry_points.txt").write_text(f"[holdfast.plugins]\n{lines}")
        file = directory / "config.yaml"
        base = {
            "root": f"{directory}/root",
            "state": f"{directory}/state",
            "grpc": {"address": f"{directory}/s.sock"},
            "metrics": {"address": ""},
            "web": {"address": ""},
            "disabled_plugins": list(HEAVY),
        }
        file.write_text(json.dumps(base | config))
        paths = (ENVIRON["PYTHONPATH"], str(info.parent), str(FOLDER))
        environ = {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        self.daemon = holdfast(directory, file, env=environ)
        self.channel = grpc.insecure_channel(f"unix:{self.daemon.address}")

    def described(self, *filters):
        return IntrospectionStub(self.channel).Plugins(PluginsRequest(filters=filters), timeout=PATIENCE_S).plugins

    def plugins(self):
        """Each plugin's error by URI, None for one that has none."""
        found = {f"{one.type}.{one.id}": one for one in self.described()}
        return {uri: one.init_err.message if one.HasField("init_err") else None for uri, one in found.items()}

    def health(self, service=""):
        return HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S).status

    def call(self, method):
        """The code and words of one call with an empty message."""
        try:
            self.channel.unary_unary(f"/{method}")(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def ttrpc_call(self, service, method):
        async def ask():
            async with Client(self.daemon.ttrpc_address) as client:
                try:
                    await client.unary(service, method, Empty, Empty)(Empty(), timeout=PATIENCE_S)
                except HoldfastError as error:
                    return error.code.name, str(error)
                return "OK", ""

        return asyncio.run(ask())

    @property
    def place(self):
        """``/…/kind.py:7``, by the mark in the file."""
        path = FOLDER / f"{self.kind}.py"
        (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# HERE")]
        return f"{path}:{number}"

    def told(self, event, words, place=True, traceback=True):
        """Wait for the one line about it, and check what it has. There may be others: of a daemon that is only slow."""
        line = self.daemon.line(f'msg="{event}.*{re.escape(words)}')
        if place:
            assert f'at="{self.place}"' in line, line
        if traceback:
            assert "traceback=" in line, line
        return line

    def good_ones_work(self):
        assert self.health() == SERVING
        for name in ("First", "Second"):
            assert self.call(f"good.v1.{name}/Call") == ("OK", "")
            assert self.ttrpc_call(f"good.v1.{name}", "Call") == ("OK", "")
            assert self.health(f"good.v1.{name}") == SERVING

    def stops(self, status=0):
        assert self.daemon.stop() == status, self.daemon.said
        assert not [line for line in self.daemon.err if not line.startswith(("time=", "holdfast: "))], self.daemon.said


@pytest.fixture
def broken(short_dir):
    """Starts a daemon with a kind of broken plugin, and waits until it serves."""
    started = []

    def start(kind, points=("broken",), *, ready=True, **config):
        one = Broken(short_dir, kind, points, config)
        started.append(one)
        if ready:
            one.daemon.ready()
        return one

    yield start
    for one in started:
        one.channel.close()
        one.daemon.__exit__(None, None, None)


def timeout(**limits):
    return {f"io.holdfast.timeout.{name.replace('_', '.')}": limit for name, limit in limits.items()}


@pytest.mark.parametrize(
    ("kind", "words", "placed"),
    [
        ("import_raises", "ValueError: torn", True),
        ("import_missing_module", "No module named 'nosuch_module'", True),
        ("import_missing_name", "cannot import name 'Nosuch'", True),
        ("import_syntax_error", "SyntaxError: invalid syntax", True),
        ("import_exits", "SystemExit: no licence", True),
        ("import_keyboard_interrupt", "KeyboardInterrupt", True),
        ("import_base_exception", "Odd: at import", True),
        ("import_cancelled", "something that it awaited was cancelled", True),
        ("import_not_a_plugin", "import_not_a_plugin:broken is a function, not a plugin", False),
        ("import_no_such_file", "No module named 'import_no_such_file'", False),
        ("registration_no_yield", "must be an async generator that yields the instance", True),
        ("registration_kind_is_a_string", "its kind must be a Kind, not 'io.broken.v1'", True),
        ("registration_id_is_a_number", "its id must be a string, not 5", True),
        ("registration_requires_strings", "requires must name kinds (holdfast.plugin.Kind), not 'io.good", True),
        ("registration_requires_a_string", "requires must be a list of kinds, not 'io.good.first.v1'", True),
        ("registration_requires_a_kind", "requires must be a list of kinds, not Kind(uri='io.good.first.v1')", True),
        ("registration_requires_itself", "a plugin cannot require its own type", True),
        ("registration_services_is_a_string", "services must be a list of names, not 'broken.v1.Service'", True),
        ("registration_config_no_struct", "config must be a msgspec.Struct, not <class 'dict'>", True),
        ("registration_config_an_instance", "config must be a msgspec.Struct, not Config(number=1)", True),
        ("registration_without_decorator", "requires must name kinds (holdfast.plugin.Kind), not 'io.good", False),
        ("registration_id_twice", "io.good.first.v1.plugin: plugin: id already registered (by good.first, ", False),
    ],
)
def test_one_that_cannot_be_imported_or_registered(broken, kind, words, placed):
    one = broken(kind)
    assert f"broken = {kind}:broken: " in one.told(f"failed to load plugin {IMPORT}", words, place=placed)
    assert words in one.plugins()[IMPORT]
    one.good_ones_work()
    one.stops()


def test_an_installed_plugin_is_listed_with_its_package(broken):
    (first,) = broken("import_prints").described("id==plugin,type==io.good.first.v1")
    assert dict(first.exports) == {"distribution": "example 1.0"}


def test_a_plugin_of_our_own_is_listed_with_our_package(broken):
    (version,) = broken("import_prints").described("id==version")
    assert dict(version.exports) == {"distribution": f"holdfast {__version__}"}


def test_two_entry_points_of_one_name_that_both_fail(broken, short_dir):
    other = short_dir / "site" / "other-1.0.dist-info"
    other.mkdir(parents=True)
    other.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    other.joinpath("entry_points.txt").write_text("[holdfast.plugins]\nbroken = import_exits:broken\n")
    one = broken("import_raises")
    assert len([uri for uri, error in one.plugins().items() if error and "entry-point" in uri]) == 2
    one.good_ones_work()


@pytest.mark.parametrize(
    ("disabled", "point"), [("io.holdfast.entry-point.v1.broken", "broken"), ("io.broken.v1.plugin",) * 2]
)
def test_a_disabled_one_is_not_imported(broken, disabled, point, short_dir):
    site = short_dir / "site" / "other-1.0.dist-info"
    site.mkdir(parents=True)
    site.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    site.joinpath("entry_points.txt").write_text(f"[holdfast.plugins]\n{point} = import_prints:broken\n")
    section = {"io.broken.v1.plugin": {"number": 1}} if point == PLUGIN else {}
    one = broken("good", (), disabled_plugins=[*HEAVY, disabled], plugins=section)
    assert not [uri for uri in one.plugins() if "broken" in uri]
    one.good_ones_work()
    one.stops()
    assert one.daemon.out == []
    assert "broken" not in one.daemon.said


@pytest.mark.parametrize(
    ("kind", "words", "placed"),
    [
        ("registration_unknown_requires", "no plugins registered for io.nobody.v1: not found", True),
        ("config_bad_annotation", "its config type cannot be used: NameError: name 'Nosuch' is not defined", False),
        ("config_impossible_type", "its config type cannot be used: TypeError: Type unions", False),
        ("config_required_field", "is missing; expected an integer", False),
        ("config_default_raises", "OSError: no default here", True),
        ("init_raises", "KeyError: 'torn'", True),
        ("init_raises_in_a_library", "JSONDecodeError: Expecting property name", True),
        ("init_raises_group", "(1 sub-exception): ValueError: torn", True),
        ("init_raises_base_group", "several (2 sub-exceptions): KeyboardInterrupt; ValueError: torn", True),
        ("init_cancelled", "something that it awaited was cancelled", True),
        ("init_base_exception", "Odd: in init", True),
        ("init_exits", "it asked the process to exit with 7", True),
        ("init_keyboard_interrupt", "KeyboardInterrupt", True),
        ("init_never_returns", "init did not end within 2s: context deadline exceeded", True),
        ("init_ignores_cancellation", "init did not end within 2s, and ignored its cancellation: context", True),
        ("init_ignores_everything", "init did not end within 2s, and ignored its cancellation: context", False),
        ("init_takes_nothing", "TypeError: broken() takes 0 positional arguments but 1 was given", False),
        ("init_never_yields", "RuntimeError: generator didn't yield", False),
        ("init_recursion", "RecursionError: maximum recursion depth exceeded", True),
        ("init_metric_twice", "ValueError: broken_total: a metric of that name is registered already", True),
        ("job_was_called_already", "background job sample: pass the function, not the coroutine", True),
    ],
)
def test_one_that_does_not_start(broken, kind, words, placed):
    one = broken(kind, timeouts=timeout(plugin_init=SHORT) if "did not end" in words else {})
    one.told(f"failed to load plugin {PLUGIN}", words, place=placed)
    assert words in one.plugins()[PLUGIN]
    assert one.health(SERVICE) == NOT_SERVING
    code, why = one.call(f"{SERVICE}/Call")
    assert code == "UNIMPLEMENTED"
    assert f"unknown service {SERVICE} (plugin {PLUGIN} failed: " in why
    assert words in why
    one.good_ones_work()
    one.stops()


def test_a_loop_of_two_fails_the_one_that_was_registered_last(broken):
    one = broken("registration_circular", ("another", "broken"))
    chain = f"circular plugin dependency: io.other.v1.plugin -> {PLUGIN} -> io.other.v1.plugin"
    assert chain in one.told(f"failed to load plugin {PLUGIN}", chain, place=False)
    assert one.plugins()["io.other.v1.plugin"] is None
    assert one.health(SERVICE) == NOT_SERVING
    one.good_ones_work()


def test_a_loop_over_plugins_of_ours_fails_the_third_partys(broken):
    one = broken("registration_circular_with_ours")
    one.told("failed to load plugin io.containerd.content.v1.broken", "circular plugin dependency", place=False)
    assert one.plugins()["io.containerd.metadata.v1.bolt"] is None
    one.good_ones_work()


@pytest.mark.parametrize(
    ("kind", "words", "placed"),
    [
        ("job_raises", "ValueError: torn", True),
        ("job_returns", "it ended, and should not", False),
        ("job_cancelled_inside", "something that it awaited was cancelled", True),
        ("job_base_exception", "Odd: in a job", True),
        ("job_keyboard_interrupt", "KeyboardInterrupt", True),
        ("job_exits", "SystemExit: 3", True),
        ("job_group", "(1 sub-exception): ValueError: torn", True),
        ("job_is_no_coroutine", "TypeError", False),
    ],
)
def test_a_job_that_ends(broken, kind, words, placed):
    one = broken(kind)
    line = one.told("background job failed", words, place=placed, traceback=kind != "job_returns")
    assert f"owner={PLUGIN}" in line
    assert "job=sample" in line
    assert words in one.plugins()[PLUGIN]
    assert (one.health(SERVICE), one.health(DEPENDANT)) == (NOT_SERVING, NOT_SERVING)
    one.good_ones_work()
    one.stops()


def test_the_status_for_systemd_follows(broken, short_dir):
    one = broken("job_raises")
    serving = f"STATUS=serving on {one.daemon.address}"
    assert one.daemon.told(f"{serving}; not serving: {SERVICE}, {DEPENDANT}")
    file = short_dir / "config.yaml"
    file.write_text("nosuch: 1\n" + file.read_text())
    one.daemon.send(signal.SIGHUP)
    refused = re.escape(f"{serving}; the configuration is refused: ")

    def said():
        one.daemon.told("READY=1")  # reads what has come
        return [state for state in one.daemon.states if re.match(refused, state)]

    until(said, "the status")
    one.stops()
    assert one.daemon.told("STATUS=draining")


@pytest.mark.parametrize(
    ("kind", "words", "placed"),
    [
        ("register_raises", "ValueError: torn", True),
        ("register_exits", "it asked the process to exit with no", True),
        ("register_is_async", "Broken.register_grpc must not be async", False),
        ("register_sync_handler", "/broken.v1.Service/Call: call must be an `async def`", False),
        ("register_twice", "service good.v1.First: already exists (by plugin io.good.first.v1.plugin)", False),
    ],
)
def test_one_that_cannot_register_its_services(broken, kind, words, placed):
    one = broken(kind)
    one.told(f"failed to register services of plugin {PLUGIN}", words, place=placed)
    assert words in one.plugins()[PLUGIN]
    assert (one.health(SERVICE), one.health(DEPENDANT)) == (NOT_SERVING, NOT_SERVING)
    assert one.call(f"{SERVICE}/Call")[0] == "UNIMPLEMENTED"
    assert one.ttrpc_call(SERVICE, "Call")[0] == "UNIMPLEMENTED"
    one.good_ones_work()
    one.stops()


@pytest.mark.parametrize("kind", ["register_never", "register_another_name"])
def test_one_that_declares_a_service_and_does_not_register_it(broken, kind):
    one = broken(kind)
    words = f"it declares service {SERVICE} and did not register it"
    one.told("plugin does not offer what it declares", SERVICE, place=False, traceback=False)
    assert words in one.plugins()[PLUGIN]
    assert (one.health(SERVICE), one.health(DEPENDANT)) == (NOT_SERVING, NOT_SERVING)
    assert one.call(f"{SERVICE}/Call") == ("UNIMPLEMENTED", f"unknown service {SERVICE} (plugin {PLUGIN}: {words})")
    one.good_ones_work()


def test_one_that_fails_after_it_asked_the_boot_to_wait_ends_the_boot(broken):
    one = broken("init_fails_after_readiness", ready=False)
    assert one.daemon.end() == 1
    one.told(f"failed to load plugin {PLUGIN}", "ValueError: torn")
    assert one.daemon.err[-1] == f"holdfast: plugin failed after registering readiness {PLUGIN}: ValueError: torn"


def test_one_that_is_never_ready(broken):
    one = broken("init_readiness_never_given", timeouts=timeout(plugin_ready=SHORT))
    one.told("plugin not ready in time; serving without it", "first sync", place=False, traceback=False)
    assert "not ready within 2s (first sync)" in one.plugins()[PLUGIN]
    assert (one.health(SERVICE), one.health(DEPENDANT)) == (NOT_SERVING, NOT_SERVING)
    one.good_ones_work()
    one.stops()


def test_an_init_that_blocks_the_daemon_is_named(broken):
    one = broken("init_blocks")
    line = one.told("plugin blocks the daemon in its init", PLUGIN)
    assert one.plugins()[PLUGIN] is None
    one.good_ones_work()
    assert line.index("traceback")


#: Method, code, words over gRPC; over ttrpc without the error's class, as Go's servers do.
HANDLERS = [
    ("Raises", "UNKNOWN", "ValueError: torn"),
    ("Exits", "INTERNAL", "it asked the process to exit with a handler"),
    ("Interrupted", "INTERNAL", "KeyboardInterrupt"),
    ("Odd", "INTERNAL", "Odd: in a handler"),
    ("Cancelled", "INTERNAL", "something that it awaited was cancelled"),
    ("Refused", "INTERNAL", "PermissionError: [Errno 13] Permission denied: '/secret'"),
    ("Group", "UNKNOWN", "ExceptionGroup: several (2 sub-exceptions): ValueError: torn; KeyError: 'lost'"),
]


def test_handlers_that_fail_are_answered_and_logged_with_their_place(broken):
    one = broken("handlers", debug={"level": "debug"})
    for method, code, words in HANDLERS:
        assert one.call(f"{SERVICE}/{method}") == (code, words), method
        answered, shorter = one.ttrpc_call(SERVICE, method)
        assert answered == code, method
        assert shorter in words
        for after in (0, 1):  # over gRPC and over ttrpc
            line = one.daemon.line(f'msg="handler failed".*method=.?/{SERVICE}/{method}', after)
            assert re.search(rf'at="{FOLDER}/handlers.py:\d+"', line)
            assert "traceback=" in line
    assert one.call(f"{SERVICE}/WrongType")[0] == "INTERNAL"
    assert one.ttrpc_call(SERVICE, "WrongType")[0] == "INTERNAL"
    one.good_ones_work()
    one.stops()


@pytest.mark.parametrize("transport", ["grpc", "ttrpc"])
def test_a_handler_that_blocks_the_daemon_is_named(broken, short_dir, transport):
    one = broken("handler_blocks")
    call = one.call if transport == "grpc" else lambda method: one.ttrpc_call(*method.split("/"))
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(call, f"{SERVICE}/Blocks")
        try:
            line = one.told("the daemon is blocked", f"method=/{SERVICE}/Blocks", place=False)
        finally:
            (short_dir / "root" / PLUGIN / "go-on").touch()
        assert answer.result()[0] == "OK"
    assert f'at="{FOLDER}/handler_blocks.py:' in line
    one.good_ones_work()
    one.stops()


def test_one_that_prints_when_it_is_imported(broken):
    one = broken("import_prints")
    assert one.plugins()[PLUGIN] is None
    one.good_ones_work()
    one.stops()


@pytest.mark.parametrize("kind", ["import_signal_handlers", "init_signal_handlers"])
def test_signal_handlers_stay_the_daemons(broken, kind):
    one = broken(kind)
    if kind.startswith("init"):
        line = one.daemon.line("plugin replaced the daemon's signal handlers")
        assert PLUGIN in line
        assert 'signals="SIGHUP SIGTERM"' in line
    one.good_ones_work()
    one.daemon.send(signal.SIGHUP)
    one.daemon.line("configuration reloaded")
    one.stops()


def test_a_thread_that_dies_is_one_line(broken):
    one = broken("import_thread_dies")
    assert "thread=its-thread" in one.told("thread failed", "ValueError: torn in a thread")
    one.good_ones_work()
    one.stops()


@pytest.mark.parametrize(
    ("kind", "words"), [("init_bare_task_exits", "SystemExit: a task of its own"), ("init_stops_the_loop", "stopped")]
)
def test_one_that_ends_the_loop_does_not_end_the_daemon(broken, kind, words):
    one = broken(kind)
    assert words in one.daemon.line("a plugin tried to end the daemon")
    one.good_ones_work()
    one.stops()


def test_exports_that_are_no_text_do_not_break_the_listing(broken):
    one = broken("exports_no_text")
    assert one.plugins()[PLUGIN] is None
    one.good_ones_work()


def test_remarks_that_exit_are_a_warning(broken):
    one = broken("config_remarks_exit")
    assert "SystemExit: no remark" in one.daemon.line("the plugin's own check failed")
    one.good_ones_work()


@pytest.mark.parametrize(
    ("kind", "words", "placed"),
    [
        ("close_raises", "ValueError: torn", True),
        ("close_hangs", "close did not end within 2s", True),
        ("close_ignores_cancellation", "close did not end within 2s, and ignored its cancellation", True),
        ("close_exits", "it asked the process to exit with 9", True),
        ("close_cancelled", "something that it awaited was cancelled", True),
        ("close_base_exception", "Odd: at its close", True),
        ("close_yields_again", "RuntimeError: generator didn't stop", False),
    ],
)
def test_one_that_does_not_close(broken, kind, words, placed):
    one = broken(kind, timeouts=timeout(plugin_init=SHORT) if "did not end" in words else {})
    one.good_ones_work()
    one.stops()
    assert f"id={PLUGIN}" in one.told("failed to close plugin", words, place=placed)


def test_a_job_that_ignores_its_cancellation_is_named_and_left_behind(broken):
    one = broken("job_ignores_cancellation", timeouts=timeout(plugin_init=SHORT))
    one.good_ones_work()
    one.stops()
    line = one.daemon.line("background job ignored its cancellation")
    assert f"job=sample owner={PLUGIN}" in line


def test_a_close_that_is_slow_is_named_before_the_stop_is_given_up(broken):
    one = broken("close_hangs")
    one.daemon.send(signal.SIGTERM)
    line = one.daemon.line("plugin is still in its close")
    assert f"id={PLUGIN}" in line
    assert f'at="{one.place}"' in line
    one.daemon.send(signal.SIGALRM)  # the limit of the stop, which is 25 s
    assert one.daemon.end() == 1


def test_a_close_that_blocks_the_daemon_is_given_up_and_named(broken, monkeypatch):
    one = broken("close_blocks", timeouts=timeout(shutdown_grace=SHORT))
    one.daemon.send(signal.SIGTERM)
    one.daemon.line("plugin blocks the daemon in its close")
    one.daemon.send(signal.SIGALRM)  # the limit of the stop, which is 15 s
    assert one.daemon.end() == 1
    assert one.place in one.daemon.err[-1]


def test_a_plugin_of_the_working_directory_needs_no_package(short_dir, start):
    words = [*HOLDFAST, "run", "--plugin", "good:first,import_raises:broken"]
    places = ["--root", f"{short_dir}/root", "--state", f"{short_dir}/state", "-a", f"{short_dir}/s.sock"]
    file = short_dir / "config.yaml"
    file.write_text(json.dumps({"metrics": {"address": ""}, "web": {"address": ""}, "disabled_plugins": list(HEAVY)}))
    daemon = start([*words, *places, "-c", str(file)], cwd=FOLDER, env={**ENVIRON, "PYTHONDONTWRITEBYTECODE": "1"})
    assert "ValueError: torn" in daemon.line("failed to load plugin io.holdfast.entry-point.v1.import_raises:broken")
    daemon.line("holdfast successfully booted")
    with grpc.insecure_channel(f"unix:{short_dir}/s.sock") as channel:
        assert channel.unary_unary("/good.v1.First/Call")(b"", timeout=PATIENCE_S) == b""
    assert daemon.stop() == 0


def test_every_kind_is_tested():
    source = Path(__file__).read_text()
    assert [path.stem for path in sorted(FOLDER.glob("*.py")) if f'"{path.stem}"' not in source] == []
