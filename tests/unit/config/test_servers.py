"""The sections of containerd's server plugins; tests/peers/test_containerd_configs.py compares with containerd 2.3."""

from __future__ import annotations

from holdfast.config.document import Source
from holdfast.config.migrate import from_containerd
from holdfast.config.tomldoc import read_toml

SOURCE = Source("c.toml", lenient=True)
SERVER = "plugins.'io.containerd.server.v1."


def taken(text, inherited=0, default_address="/run/default.sock"):
    tree, _, warnings = from_containerd(read_toml(text, SOURCE), inherited, default_address)
    return tree, [str(warning) for warning in warnings]


def test_each_key_keeps_its_line():
    tree, warnings = taken(f"version = 4\n[{SERVER}grpc']\naddress = '/g'\n[{SERVER}grpc-tcp']\ntls_ca = '/ca'\n")
    assert warnings == []
    assert tree.at(("grpc", "address")).where == "c.toml:3"
    assert tree.at(("grpc", "tcp_tls_ca")).where == "c.toml:5"
    assert "plugins" not in tree.mapping() or tree.at(("plugins",)).plain() == {}


def test_what_version_4_reads_no_more_is_said_with_its_place():
    tree, warnings = taken("version = 4\n[grpc]\naddress = '/g'\n[debug]\nlevel = 'warn'\nuid = 3\n")
    assert warnings == [
        'c.toml:3: grpc.address: ignored: version 4 has it in plugins."io.containerd.server.v1.grpc"',
        'c.toml:6: debug.uid: ignored: version 4 has it in plugins."io.containerd.server.v1.debug"',
    ]
    assert tree.at(("debug",)).plain() == {"level": "warn"}


def test_a_key_that_we_do_not_have_is_a_warning_unless_it_is_empty():
    section = f"[{SERVER}grpc-tcp']\naddress = '127.0.0.1:1'\n"
    _, warnings = taken(f"version = 4\n{section}tls_common_name = ''\nmax_send_message_size = 5\n")
    assert warnings == []
    _, warnings = taken(f"version = 4\n{section}tls_common_name = 'x'\n")
    assert warnings == ['c.toml:4: plugins."io.containerd.server.v1.grpc-tcp".tls_common_name: ignored: unknown key']


def test_ttrpc_follows_grpc_before_version_4_and_the_default_since():
    tree, _ = taken(f"version = 4\n[{SERVER}grpc']\naddress = '/g'\n")
    assert tree.at(("ttrpc", "address")).plain() == "/run/default.sock.ttrpc"
    tree, _ = taken("version = 3\n[grpc]\naddress = '/g'\n")
    assert tree.at(("ttrpc", "address")) is None
    tree, _ = taken(f"version = 3\n[grpc]\naddress = '/g'\nuid = 7\n[{SERVER}grpc']\ngid = 5\n")
    assert tree.at(("grpc",)).plain() == {"gid": 5}
    assert tree.at(("ttrpc",)).plain() == {"uid": 7, "address": "/g.ttrpc"}


def test_ttrpc_with_an_empty_address_is_disabled_and_without_one_is_not():
    section = f"version = 4\ndisabled_plugins = ['a.b']\n[{SERVER}ttrpc']\nuid = 1\n"
    tree, _ = taken(f"{section}address = ''\n")
    assert tree.at(("disabled_plugins",)).plain() == ["a.b", "io.containerd.server.v1.ttrpc"]
    tree, _ = taken(section)
    assert tree.at(("disabled_plugins",)).plain() == ["a.b"]
    tree, _ = taken(section.replace("['a.b']", "5") + "address = ''\n")
    assert tree.at(("disabled_plugins",)).plain() == 5  # refused later


def test_an_imported_file_changes_nothing_that_it_does_not_name():
    tree, _ = taken(f"[{SERVER}grpc']\naddress = '/g'\n", inherited=4)
    assert tree.plain() == {"grpc": {"address": "/g"}, "plugins": {}}


def test_a_section_that_is_no_table_is_left_out():
    tree, _ = taken("version = 4\n[plugins]\n'io.containerd.server.v1.grpc' = 1\n")
    assert tree.at(("grpc",)).plain() == {}
