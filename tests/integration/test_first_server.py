"""docs/first-server.md, followed to the letter: its servers run, its commands print what it shows."""

import json
import re
import socket
import stat
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
import yaml
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub
from holdfast.cli.main import call

from tests.needs import root
from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S, until

DOCUMENT = (Path(__file__).parents[2] / "docs" / "first-server.md").read_text()
AGENTS, READYZ, VSOCK = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
(CONFIGURED,) = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
URI = "io.containerd.server.v1.agents"


@pytest.fixture
def started(short_dir):
    """Start the daemon with one of the page's plugins, in its directory."""

    def start(name, text, plugins=None, **settings):
        (short_dir / f"{name}.py").write_text(text)
        file = short_dir / "config.yaml"
        base = {
            "root": f"{short_dir}/root",
            "state": f"{short_dir}/state",
            "grpc": {"address": f"{short_dir}/s.sock"},
            "metrics": {"address": ""},
            "web": {"address": ""},
            "plugins": plugins or {},
        }
        file.write_text(json.dumps(base | settings))  # JSON is YAML
        return holdfast(short_dir, file, "--plugin", f"{name}:{name}", cwd=short_dir)

    return start


def agents(short_dir):
    """The page's configuration, with a socket of this test."""
    return yaml.safe_load(CONFIGURED.replace("/run/holdfast", str(short_dir)))["plugins"]


def test_the_server_is_twenty_lines():
    assert len([line for line in AGENTS.splitlines() if line.strip()]) <= 20


@root
def test_the_group_reaches_the_chosen_services_and_no_others(started, short_dir, capsys):
    address = f"{short_dir}/agents.sock"
    with started("agents", AGENTS, agents(short_dir)) as daemon:
        daemon.ready()
        found = Path(address).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, 65534)
        assert call(["health", "-a", address]) == 0
        with grpc.insecure_channel(f"unix:{address}") as channel:
            assert VersionStub(channel).Version(Empty(), timeout=PATIENCE_S).version
        assert capsys.readouterr().out.startswith("SERVING\n")
        assert call(["plugins", "ls", "-a", address]) == 1
        (shown,) = re.findall(r"^holdfast: (unknown service .*)$", DOCUMENT, re.MULTILINE)
        assert shown in capsys.readouterr().err

        assert call(["plugins", "ls", "-q", "type==io.containerd.server.v1", "-a", daemon.address]) == 0
        assert "agents" in capsys.readouterr().out
        order = [line.split('listener="')[1] for line in daemon.err if "serving..." in line]
        assert [words.split(" endpoint")[0] for words in order] == ["agents", "main ttrpc", "main"]
        assert daemon.stop() == 0
    assert not Path(address).exists()


def test_it_is_skipped_without_an_address_and_can_be_required(started, short_dir):
    with started("agents", AGENTS) as daemon:
        assert "skip plugin" in daemon.ready().line(f'skip loading plugin \\\\"{URI}')
        assert daemon.stop() == 0
    with started("agents", AGENTS, required_plugins=[URI]) as daemon:
        assert daemon.end() == 1
        assert f"holdfast: load required plugin {URI}: skip plugin" in daemon.err


def test_an_address_in_use_ends_the_boot_before_any_plugin_starts(started, short_dir):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{short_dir}/agents.sock")
        other.listen()
        plugins = {URI: {"address": f"{short_dir}/agents.sock"}}
        with started("agents", AGENTS, plugins) as daemon:
            assert daemon.end() == 1
            assert not [line for line in daemon.err if "loading plugin" in line]
            (line,) = [line for line in daemon.err if line.startswith("holdfast: ")]
    assert line.startswith("holdfast: failed to get listener for agents endpoint: ")


def test_a_probe_over_http_is_answered(started, free_port):
    port = free_port()
    with started("readyz", READYZ.replace("7422", str(port))) as daemon:
        daemon.ready()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=PATIENCE_S)
        assert daemon.stop() == 0


def test_a_transport_of_its_own_is_served_and_closed(started, short_dir):
    address = f"{short_dir}/v.sock"
    with started("vsock", VSOCK.replace("vsock:4294967295:7420", f"unix:{address}")) as daemon:
        daemon.ready()
        assert call(["health", "-a", address]) == 0
        assert daemon.stop() == 0
    until(lambda: not Path(address).exists(), "gRPC removed its socket")


FAILING = VSOCK.replace('engine.add_insecure_port("vsock:4294967295:7420")', 'raise ValueError("no such device")')


def test_a_start_that_raises_is_that_plugins_failure(started, capsys):
    with started("vsock", FAILING) as daemon:
        address = daemon.ready().address
        assert "ValueError: no such device" in daemon.line("failed to start server io.containerd.server.v1.vsock")
        assert call(["plugins", "ls", "-d", "id==vsock", "-a", address]) == 0
        assert "no such device" in capsys.readouterr().out
        assert call(["health", "-a", address]) == 0
        assert daemon.stop() == 0


def test_a_start_that_raises_ends_the_boot_of_a_daemon_that_requires_it(started):
    with started("vsock", FAILING, required_plugins=["io.containerd.server.v1.vsock"]) as daemon:
        assert daemon.end() == 1
        assert daemon.err[-1].endswith("load required plugin io.containerd.server.v1.vsock: ValueError: no such device")
