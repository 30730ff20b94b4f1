import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from holdfast.cli.group import cli
from holdfast.cli.main import call
from holdfast.client.connection import Target, Tls


def target(address):
    return Target(address, "default", 1, Tls())


@pytest.mark.parametrize(
    ("address", "path", "uri"),
    [
        ("/run/x.sock", "/run/x.sock", "unix:/run/x.sock"),
        ("unix:///run/x.sock", "/run/x.sock", "unix:/run/x.sock"),
        ("unix:/run/x.sock", "/run/x.sock", "unix:/run/x.sock"),
        ("unix:x.sock", "x.sock", "unix:x.sock"),
        ("x.sock", "x.sock", "unix:x.sock"),
        ("/run//x.sock", "/run//x.sock", "unix:/run//x.sock"),
        ("tcp://node:7420", "", "dns:///node:7420"),
        ("tcp://[::1]:7420", "", "dns:///[::1]:7420"),
    ],
)
def test_an_address_is_a_path_a_unix_uri_or_a_tcp_uri(address, path, uri):
    assert (target(address).socket_path, target(address).uri) == (path, uri)


def failed(capsys, *arguments, code=1):
    """The one line on stderr of a command that ends with an error."""
    assert call([*arguments]) == code
    return capsys.readouterr().err


def test_a_daemon_that_is_not_there_is_one_line_with_the_remedy(tmp_path, capsys):
    assert failed(capsys, "plugins", "ls", "-a", f"{tmp_path}/none.sock", code=3) == (
        f"holdfast: {tmp_path}/none.sock: cannot connect: No such file or directory; "
        "is the daemon running? -a or HOLDFAST_ADDRESS names another address\n"
    )


def test_a_file_that_is_no_socket_is_said_to_be_none(tmp_path, capsys):
    (tmp_path / "file").touch()
    line = failed(capsys, "health", "-a", f"{tmp_path}/file", code=3)
    assert line.startswith(f"holdfast: {tmp_path}/file: cannot connect: ")
    assert line.count("\n") == 1


def test_nobody_behind_a_tcp_address_is_one_line(capsys):
    with socket.socket() as held:  # bound, so that nobody else takes the port, and not listening
        held.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        line = failed(capsys, "events", "-a", address, code=3)
    assert line.startswith(f"holdfast: {address}: unavailable: ")
    assert line.count("\n") == 1


def test_tls_is_refused_on_a_unix_socket(tmp_path, capsys):
    (tmp_path / "ca").touch()
    line = failed(capsys, "health", "-a", "/x.sock", "--tls-ca", f"{tmp_path}/ca")
    assert line == "holdfast: /x.sock: TLS options are for tcp:// addresses\n"


def test_an_unreadable_tls_file_is_named(tmp_path, capsys):
    line = failed(capsys, "health", "-a", "tcp://x:1", "--tls-ca", f"{tmp_path}/none")
    assert line == f"holdfast: {tmp_path}/none: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["version", "stray"], ["version", "--timeout", "0"], ["publish"], ["health", "-o", "xml"]],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    assert call(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", ["version", "health", "plugins ls", "events", "publish", "completion"])
def test_help_is_there_for_every_command(command):
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {command} ")


def test_help_shows_a_commands_own_options_and_where_those_of_the_connection_are():
    output = CliRunner().invoke(cli, ["plugins", "ls", "--help"]).output
    assert 0 < output.index("--detailed") < output.index("--output") < output.index('"holdfast options" prints')
    assert "--address" not in output
    shared = CliRunner().invoke(cli, ["options"]).output
    assert all(option in shared for option in ("--address", "--namespace", "--timeout", "--tls-ca", "HOLDFAST_ADDRESS"))


def test_the_help_of_rules_has_its_subcommands_too():
    output = CliRunner().invoke(cli, ["rules", "--help"]).output
    assert output.index("--watch") < output.index("Commands:") < output.index("builtin")


def test_help_and_completion_import_neither_grpc_nor_protobuf():
    for words in ("plugins ls --help", "events --help", "completion bash", "--help"):
        script = (
            "import sys; from holdfast.cli.main import call; call(sys.argv[1:]); "
            "sys.exit(sum(name in sys.modules for name in ('grpc', 'google.protobuf', 'yaml', 'termios')))"
        )
        subprocess.run([sys.executable, "-c", script, *words.split()], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize(("shell", "word"), [("zsh", "compdef"), ("fish", "complete"), ("bash", "complete")])
def test_completion_prints_the_shells_script(shell, word):
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert word in result.output
    assert "_HOLDFAST_COMPLETE" in result.output


def test_the_script_completes_commands_and_options():
    runner = CliRunner()
    environment = {"_HOLDFAST_COMPLETE": "bash_complete", "COMP_WORDS": "holdfast plug", "COMP_CWORD": "1"}
    assert runner.invoke(cli, [], prog_name="holdfast", env=environment).output == "plain,plugins\n"
    environment |= {"COMP_WORDS": "holdfast plugins ls --det", "COMP_CWORD": "3"}
    assert runner.invoke(cli, [], prog_name="holdfast", env=environment).output == "plain,--detailed\n"
