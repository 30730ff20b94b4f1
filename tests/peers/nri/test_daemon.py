"""The daemon as a runtime's NRI plugin: rules in its configuration, the runtime's side in Go's NRI package."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from holdfast.plugins.node.nri.message import ANNOTATION

from tests.needs import peer
from tests.peers import daemon

pytestmark = peer("nripeer")

CONFIG = """\
root: {dir}/root
state: {dir}/state
grpc: {{address: {dir}/s.sock}}
metrics: {{address: ""}}
web: {{address: ""}}
plugins:
  io.holdfast.nri.v1.plugin: {{enabled: {enabled}, socket_path: {socket}, budget: 2s}}
  io.holdfast.placement.v1.rules:
    dry_run: false
    builtin_rules: none
    rescan: 1h
    rules:
      - {{name: dry, match: {{pod: {{namespace: hf-dry}}}}, oom_score_adj: 1, dry_run: true}}
      - {{name: databases, match: {{pod: {{namespace: hf-db, labels: app=pg}}}}, oom_score_adj: {{at_most: -500}}}}
      - {{name: by-name, match: {{comm: hf-no-such-name, pod: {{namespace: hf-db}}}}, oom_score_adj: 3}}
      - {{name: after, match: {{pod: {{namespace: hf-db}}}}, oom_score_adj: 4}}
"""

DB = {"Namespace": "hf-db", "Labels": {"app": "pg"}}


def write_config(directory: Path, runtime: str, *, enabled: bool = True) -> Path:
    path = directory / "config.yaml"
    path.write_text(CONFIG.format(dir=directory, socket=runtime, enabled=str(enabled).lower()))
    return path


def health(address: str) -> str:
    command = [*daemon.HOLDFAST, "health", "nri.pkg.api.v1alpha1.Plugin", "-a", address]
    environ = {**daemon.ENVIRON, "PATH": "/usr/bin"}
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def test_a_runtimes_socket_that_another_user_could_exchange_is_not_connected_to(short_dir):
    (short_dir / "open").mkdir()
    (short_dir / "open").chmod(0o777)
    path = short_dir / "open" / "nri.sock"
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.bind(str(path))
        runtime.listen()
        with daemon.holdfast(short_dir, write_config(short_dir, str(path))) as ours:
            line = ours.line("not registered with a runtime")
            assert f"every user may write to {path.parent}; chmod o-w it" in line
        runtime.setblocking(False)
        with pytest.raises(BlockingIOError):
            runtime.accept()


async def test_the_rules_of_the_configuration_decide_what_containers_are_created_with(runtime, short_dir):
    with daemon.holdfast(short_dir, write_config(short_dir, runtime.socket)) as ours:
        ours.ready()
        await runtime.well("start", Version="v2.3")
        await runtime.well("wait", Plugins=1)
        said = await runtime.create(**DB)
        assert (said["adj"], said["annotations"]) == (
            -500,
            {ANNOTATION: "rule=databases oom_score_adj=-500 asked=985"},
        )
        assert "adj" not in await runtime.create("dry", Namespace="hf-dry")
        assert "adj" not in await runtime.create("other", Namespace="hf-db")  # by-name might hold: the engine's
        ours.line("nri: registered.*runtime=.?nripeer v2.3")
        ours.line("a rule for a container about to be created.*outcome=adjusted.*pod=hf-db/pg-0.*rule=databases")
        ours.line("a rule for a container about to be created.*outcome=dry_run.*rule=dry")


async def test_health_says_whether_a_runtime_has_us(runtime, short_dir):
    with daemon.holdfast(short_dir, write_config(short_dir, runtime.socket)) as ours:
        ours.ready()
        line = ours.line("nri: not registered with a runtime")
        assert f"{runtime.socket}: No such file or directory; is NRI on in the runtime's configuration?" in line
        assert "not serving" in health(ours.address).lower().replace("_", " ")
        await runtime.well("start")
        await runtime.well("wait", Plugins=1)
        assert health(ours.address).lower().endswith("serving")
        assert "not" not in health(ours.address).lower()


async def test_it_is_off_unless_it_is_turned_on(runtime, short_dir):
    with daemon.holdfast(short_dir, write_config(short_dir, runtime.socket, enabled=False)) as ours:
        ours.ready()
        ours.line("skip loading plugin.*io.holdfast.nri.v1.plugin.*off: it is trusted with every container")
        assert not Path(runtime.socket).exists()


PREINSTALLED = """\
#!/bin/sh
export {environ} PATH=/usr/bin:/bin
exec {python} -m holdfast run -c {config} 2>{dir}/log
"""


async def test_a_runtime_that_starts_us_itself_has_us_on_the_socket_it_left_open(runtime, short_dir):
    config = write_config(short_dir, "/nowhere", enabled=False)
    plugins = Path(f"{runtime.socket}.plugins")
    plugins.mkdir()
    environ = " ".join(f"{name}={value}" for name, value in daemon.ENVIRON.items())
    script = PREINSTALLED.format(environ=environ, python=sys.executable, config=config, dir=short_dir)
    (plugins / "07-holdfast").write_text(script)
    (plugins / "07-holdfast").chmod(0o755)
    await runtime.well("start", Version="v1")  # returns when it is registered, or was not in time
    said = await runtime.create(**DB)
    assert said.get("adj") == -500, (short_dir / "log").read_text()
    assert "07-holdfast CreateContainer" in (await runtime.well("calls"))["calls"]
    await runtime.well("stop")
    assert "SIGTERM" not in (short_dir / "log").read_text()  # it is killed, as every pre-installed plugin is


@pytest.mark.parametrize("socket", ["no number", "999"])
async def test_a_socket_that_is_none_is_told_by_name(short_dir, socket):
    config = write_config(short_dir, "/nowhere")
    with daemon.holdfast(short_dir, config, env={"NRI_PLUGIN_SOCKET": socket}) as ours:
        ours.ready()
        line = ours.line("failed to load plugin io.holdfast.nri.v1.plugin")
        assert f'NRI_PLUGIN_SOCKET: \\"{socket}\\" is no open descriptor' in line
        assert json.dumps(socket) in line.replace("\\", "")
