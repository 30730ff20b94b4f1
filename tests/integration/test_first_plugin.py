"""The project of docs/first-plugin.md: its files are those of the page, and the daemon serves it as the page says.

`tests/install/test_first_plugin.py` types the page's commands.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.cli.main import call

from tests.needs import BIN, peer
from tests.peers.daemon import ENVIRON, holdfast
from tests.running import PATIENCE_S

DOCUMENT = Path(__file__).parents[2] / "docs" / "first-plugin.md"
SERVICE = "example.load.v1.Load"


def blocks(language):
    """The document's code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The sources of the page's project, with a dist-info beside them as an installer writes it."""
    monkeypatch.chdir(tmp_path)
    (words,) = re.findall(r"^\$ holdfast (new-plugin .*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert call(words.split()) == 0
    project = tmp_path / words.split()[1]
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = project / "src" / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 0.1.0\n")
    points = described["entry-points"]["holdfast.plugins"]
    info.joinpath("entry_points.txt").write_text(
        "[holdfast.plugins]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    return project / "src"


@pytest.fixture
def started(installed, short_dir, free_port):
    """Starts the daemon with the plugin on its path and ``config`` as its file."""
    metrics = f"127.0.0.1:{free_port()}"

    def start(config=None):
        file = short_dir / "config.yaml"
        base = {
            "root": f"{short_dir}/root",
            "state": f"{short_dir}/state",
            "grpc": {"address": f"{short_dir}/s.sock"},
            "metrics": {"address": metrics},
            "web": {"address": ""},
        }
        file.write_text(json.dumps(base | (config or {})))  # JSON is YAML
        environ = {
            "PYTHONPATH": f"{ENVIRON['PYTHONPATH']}:{installed}",
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_BSP_SCHEDULE_DELAY": "10",
        }
        daemon = holdfast(short_dir, file, env=environ)
        daemon.metrics = f"http://{metrics}/metrics"
        return daemon

    return start


@pytest.fixture
def stub(installed, monkeypatch):
    """The generated client, imported from where the document made it."""
    monkeypatch.syspath_prepend(str(installed))
    yield lambda address: importlib.import_module("example_load.load_pb2_grpc").LoadStub(
        grpc.insecure_channel(f"unix:{address}")
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "example_load"]:
        del sys.modules[name]


def test_the_plugin_is_thirty_lines():
    plugin, _ = blocks("python")
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 30


def test_it_serves_and_everything_the_document_promises_comes_with_it(started, stub, capsys):
    with started() as daemon:
        address = daemon.ready().address
        averages = stub(address).Now(Empty(), timeout=PATIENCE_S)
        assert min(averages.one, averages.five, averages.fifteen) >= 0

        assert call(["plugins", "ls", "id==averages", "-a", address]) == 0
        assert call(["health", SERVICE, "-a", address]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[1].split() == ["io.example.load.v1", "averages", "-", "ok"]
        assert printed[2] == "SERVING"

        text = urllib.request.urlopen(daemon.metrics, timeout=PATIENCE_S).read().decode()
        labels = f'grpc_code="OK",grpc_method="Now",grpc_service="{SERVICE}",grpc_type="unary"'
        assert f"grpc_server_handled_total{{{labels}}} 1" in text.splitlines()

        assert f'"name": "{SERVICE}/Now"' in daemon.line(rf'"name": "{SERVICE}/Now"')
        assert SERVICE in reflected(address)
        assert daemon.stop() == 0


def test_the_code_of_the_page_is_the_projects(installed):
    (proto,), (plugin, test), (point,) = blocks("proto"), blocks("python"), blocks("toml")
    assert proto == (installed / "example_load" / "load.proto").read_text()
    assert plugin == (installed / "example_load" / "plugin.py").read_text()
    assert test == (installed.parent / "tests" / "test_plugin.py").read_text()
    assert point in (installed.parent / "pyproject.toml").read_text()


def test_its_test_passes(installed):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": f"{ENVIRON['PYTHONPATH']}:{installed}"}
    done = subprocess.run(command, cwd=installed.parent, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


@peer("grpcurl", "curl")
def test_the_commands_of_the_page_print_what_it_shows(started, tmp_path):
    """All of its last part, with this daemon's socket and port; only the load is another."""
    (shown,) = [text for text in blocks("console") if "grpcurl" in text]
    (tmp_path / "holdfast").write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast "$@"\n')
    (tmp_path / "holdfast").chmod(0o755)
    with started() as daemon:
        daemon.ready()
        environ = {**ENVIRON, "HOLDFAST_ADDRESS": daemon.address, "PATH": f"{tmp_path}:{BIN}:{os.environ['PATH']}"}
        port = daemon.metrics.removesuffix("/metrics").removeprefix("http://")
        shown = shown.replace("/run/holdfast/holdfast.sock", daemon.address).replace("127.0.0.1:9420", port)
        steps = [step.partition("\n") for step in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]]
        assert len(steps) == 4
        for command, _, expected in steps:
            done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, text=True, check=True)
            assert (unmeasured(done.stdout), done.stderr) == (unmeasured(expected), "")


def unmeasured(text):
    return re.sub(r"\d+\.\d+|(?<=: )\d+", "N", text)


def reflected(address):
    """The services the daemon's reflection lists."""
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(f"unix:{address}") as channel:
        return list(ProtoReflectionDescriptorDatabase(channel).get_services())


def test_its_config_section_is_its_own_and_checked(started):
    with started({"plugins": {"io.example.load.v1.averages": {"fle": "/x"}}}) as daemon:
        assert daemon.end() == 1
        (line,) = [line for line in daemon.err if line.startswith("holdfast: ")]
    assert "io.example.load.v1.averages" in line
    assert "fle" in line
    assert "file" in line  # the nearest key


def test_a_machine_without_the_file_skips_it_and_a_caller_hears_why(started, stub, capsys):
    with started({"plugins": {"io.example.load.v1.averages": {"file": "/nowhere"}}}) as daemon:
        address = daemon.ready().address
        assert call(["plugins", "ls", "id==averages", "-a", address]) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[-1] == "skip"
        with pytest.raises(grpc.RpcError) as refused:
            stub(address).Now(Empty(), timeout=PATIENCE_S)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "there is no /nowhere here" in refused.value.details()


def test_a_plugin_that_cannot_be_imported_is_listed_and_the_daemon_serves(started, installed, capsys):
    (installed / "example_load" / "plugin.py").write_text("import nothing_of_that_name")
    with started() as daemon:
        address = daemon.ready().address
        assert call(["plugins", "ls", "-d", "id==load", "-a", address]) == 0
        assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in capsys.readouterr().out
        assert call(["health", "-a", address]) == 0
