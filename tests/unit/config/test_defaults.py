import pytest
from holdfast.config.defaults import defaults_for, own_defaults
from holdfast.config.schema import Settings


def test_root_has_the_places_the_documentation_names():
    found = defaults_for(0, {"HOME": "/root", "XDG_RUNTIME_DIR": "/run/user/0"})
    assert found.settings(Settings()) == Settings()
    assert found.config_files == ("/etc/holdfast/config.yaml",)


@pytest.mark.parametrize(
    ("environ", "root", "state"),
    [
        (
            {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"},
            "/home/u/.local/state/holdfast",
            "/run/user/7/holdfast",
        ),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, "/s/holdfast", "/tmp/holdfast-7"),
        (
            {"HOME": "/home/u", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "r"},
            "/home/u/.local/state/holdfast",
            "/tmp/holdfast-7",
        ),
        ({}, "/var/tmp/holdfast-7", "/tmp/holdfast-7"),
    ],
)
def test_anybody_else_has_places_of_their_own(environ, root, state):
    found = defaults_for(7, environ)
    assert (found.root, found.state, found.address) == (root, state, f"{state}/holdfast.sock")


def test_a_users_own_file_comes_before_the_machines():
    files = defaults_for(7, {"HOME": "/home/u"}).config_files
    assert files == ("/home/u/.config/holdfast/config.yaml", "/etc/holdfast/config.yaml")
    assert defaults_for(7, {}).config_files == ("/etc/holdfast/config.yaml",)


def test_a_client_asks_where_a_daemon_of_the_same_user_listens(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 9)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/9")
    assert own_defaults().address == "/run/user/9/holdfast/holdfast.sock"
