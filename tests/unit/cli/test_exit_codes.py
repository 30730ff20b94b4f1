"""The exit code of every command: 0 done, 1 refused or not found, 2 wrong usage, 3 no daemon answers."""

import click
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from holdfast.api.bundle.v1 import bundle_pb2
from holdfast.api.config.v1 import config_pb2
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.group import cli
from holdfast.cli.main import call
from holdfast.errors import SHUTTING_DOWN

from tests.fakes.answering import answering

#: Arguments of every command that asks a daemon; those after ``|`` only for the case without one.
ASKS = {
    "config show": [],
    "version": [],
    "health": [],
    "plugins ls": [],
    "events": [],
    "publish": ["--topic", "/t"],
    "rules": [],
    "status": [],
    "ps": [],
    "explain": ["7"],
    "preview": [],
    "victims": [],
    "kills": ["7"],
    "top": ["--once"],
    "hold": ["7", "100"],
    "release": ["7"],
    "restore": [],
    "bundle apply": ["x"],
    "bundle rollback": [],
    "bundle ls": [],
}
#: Commands that ask no daemon, and `bundle pull`, which reads its source first (tests/peers/test_bundle.py).
OTHERS = {
    *("run", "options", "completion", "new-plugin", "bundle pull", "rules builtin", "rules import", "rules shipped"),
    *(f"config {name}" for name in ("default", "dump", "check", "migrate", "schema")),
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    address = f"{tmp_path_factory.mktemp('d')}/s"
    with answering(f"unix:{address}") as answers:
        answers.address = address
        yield answers


@pytest.fixture(autouse=True)
def reset(daemon):
    daemon.refusal = None
    daemon.by_method = {
        "Check": health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING),
        "Show": config_pb2.ShowResponse(config_json="{}", hash="0" * 64),
        "Kills": pb.KillsResponse(kills=[pb.Kill(pid=7, at=Timestamp(seconds=1))], page_bytes=4096),
        "Apply": bundle_pb2.ApplyResponse(),
    }


def leaves(group, path=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
            if not command.invoke_without_command:
                continue
        yield " ".join((*path, name))


def run(command, address, *more):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
        return call([*command.split(), *ASKS[command], "-a", address, *more])


def test_every_command_is_here():
    assert sorted(leaves(cli)) == sorted({*ASKS, *OTHERS})


@pytest.mark.parametrize("output", [None, "json", "yaml"])
@pytest.mark.parametrize("command", ASKS)
def test_done_is_0_in_every_form_of_output(command, output, daemon, capsys):
    if output == "yaml" and command == "config show":
        output = None
    assert run(command, daemon.address, *(["-o", output] if output else [])) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED])
@pytest.mark.parametrize("command", ASKS)
def test_refused_or_not_found_is_1_and_the_daemons_line(command, code, daemon, capsys):
    daemon.refusal = code, "as the daemon says"
    assert run(command, daemon.address) == 1
    said = capsys.readouterr()
    assert "as the daemon says" in (said.out if command == "status" else said.err)


def test_a_kill_that_is_not_known_is_not_found(daemon, capsys):
    assert call(["kills", "8", "-a", daemon.address]) == 1
    assert capsys.readouterr().err == "holdfast: OOM kill of process 8: not found\n"


@pytest.mark.parametrize("command", ASKS)
def test_no_daemon_is_3_and_one_line(command, tmp_path, capsys):
    assert run(command, f"{tmp_path}/none") == 3
    assert capsys.readouterr().err.startswith(f"holdfast: {tmp_path}/none: cannot connect: No such file or directory; ")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("command", ASKS)
def test_a_daemon_that_ends_or_does_not_answer_is_3(command, code, daemon, capsys):
    daemon.refusal = code, "gone"
    assert run(command, daemon.address) == 3
    assert capsys.readouterr().err.startswith(f"holdfast: {daemon.address}: ")


def test_a_part_of_the_daemon_that_does_not_work_now_is_1_and_a_daemon_that_stops_is_3(daemon, capsys):
    for code, words in (
        ("UNAVAILABLE", "hung for 3 s: unavailable"),
        ("DEADLINE_EXCEEDED", "x: context deadline exceeded"),
    ):
        daemon.refusal = grpc.StatusCode[code], words
        assert run("ps", daemon.address) == 1
        assert capsys.readouterr().err == f"holdfast: {words}\n"
    daemon.refusal = grpc.StatusCode.UNAVAILABLE, f"{SHUTTING_DOWN}: unavailable"
    assert run("ps", daemon.address) == 3


@pytest.mark.parametrize("command", sorted({*ASKS, *OTHERS} - {"rules shipped"}))
def test_wrong_usage_is_2(command, capsys):
    assert call([*command.split(), "--no-such-option"]) == 2
    assert "Usage: holdfast " in capsys.readouterr().err
