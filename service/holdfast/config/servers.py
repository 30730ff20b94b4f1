"""The sections of containerd's server plugins, where configuration version 4 has what was at the top before. No I/O.

containerd moves the settings of a file of version 1 to 3 there (cmd/containerd/server/config, ``serviceMigrate``); we
move those of version 4 to our own short sections. Two rules of containerd's have consequences here:

* A section that an older file has already replaces all that would have been moved into it, key by key or not.
* In version 4 ttrpc's address no longer follows gRPC's: without its section it is the default one.

A ttrpc section with an empty address is a daemon without ttrpc in containerd; we disable the plugin, because an empty
address of ours follows gRPC's.
"""

from __future__ import annotations

from holdfast.config.document import Node, key_words
from holdfast.config.finding import Finding
from holdfast.config.schema import TTRPC_SUFFIX

SERVERS_SINCE = 4
GRPC, TCP, TTRPC = (f"io.containerd.server.v1.{name}" for name in ("grpc", "grpc-tcp", "ttrpc"))
_OWNED = {"address": "address", "uid": "uid", "gid": "gid"}
_SIZES = {"max_recv_message_size": "max_recv_message_size", "max_send_message_size": "max_send_message_size"}
#: Section of a plugin → our section, and its keys with ours.
SECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    GRPC: ("grpc", {**_OWNED, **_SIZES}),
    TCP: (
        "grpc",
        {"address": "tcp_address", "tls_ca": "tcp_tls_ca", "tls_cert": "tcp_tls_cert", "tls_key": "tcp_tls_key"},
    ),
    TTRPC: ("ttrpc", _OWNED),
    "io.containerd.server.v1.debug": ("debug", _OWNED),
    "io.containerd.server.v1.metrics": ("metrics", {"address": "address"}),
    "io.containerd.metrics.v1.grpc-prometheus": ("metrics", {"grpc_histogram": "grpc_histogram"}),
}


def with_servers(
    entries: dict[str, Node], version: int, default_address: str, warnings: list[Finding]
) -> dict[str, Node]:
    """Return the entries of a file with the servers' settings in our sections.

    ``default_address``: of the gRPC socket where no file says one; empty for a file that another one imports, which
    changes nothing that it does not name.
    """
    plugins = entries.get("plugins")
    sections = dict(plugins.mapping()) if plugins is not None else {}
    found = {uri: sections.pop(uri) for uri in SECTIONS if uri in sections}
    if version < SERVERS_SINCE and not found:
        return entries
    result = dict(entries)
    if plugins is not None and found:
        result["plugins"] = plugins.with_value(sections)
    before = dict(result)
    if version >= SERVERS_SINCE:
        _leave_out_old(result, warnings)
    for uri, section in found.items():
        _take(result, uri, section, warnings)
    if TTRPC in found:
        _leave_out_ttrpc(result, found[TTRPC].mapping().get("address"))
    if default_address and not _says_address(result.get("ttrpc")):
        _name_ttrpc(result, None if version >= SERVERS_SINCE else before.get("grpc"), GRPC in found, default_address)
    return result


def _leave_out_old(entries: dict[str, Node], warnings: list[Finding]) -> None:
    """Leave out the keys that version 4 has in plugins' sections: containerd reads them no more."""
    for uri, (name, keys) in SECTIONS.items():
        node = entries.get(name)
        old = {ours: node.mapping()[ours] for ours in keys.values() if ours in node.mapping()} if node else {}
        if node is None or not old:
            continue
        for key, one in old.items():
            words = f'{name}.{key}: ignored: version {SERVERS_SINCE} has it in plugins."{uri}"'
            warnings.append(Finding(one.where, words))
        entries[name] = node.with_value({key: one for key, one in node.mapping().items() if key not in old})


def _take(entries: dict[str, Node], uri: str, section: Node, warnings: list[Finding]) -> None:
    """Put a plugin's section in the place of its keys in ours."""
    name, keys = SECTIONS[uri]
    taken = {}
    for key, node in section.mapping().items():
        if key in keys:
            taken[keys[key]] = node
        elif node.value not in ("", [], {}) and not (uri == TCP and key in _SIZES):  # one limit for all of gRPC here
            warnings.append(Finding(node.where, f"{key_words(('plugins', uri, key))}: ignored: unknown key"))
    own = entries.get(name)
    rest = {key: node for key, node in own.mapping().items() if key not in keys.values()} if own is not None else {}
    entries[name] = (own or section).with_value({**rest, **taken})


def _leave_out_ttrpc(entries: dict[str, Node], address: Node | None) -> None:
    """Disable ttrpc's plugin where its section has an empty address."""
    if address is None or address.value != "":
        return
    disabled = entries.get("disabled_plugins", address.with_value([]))
    if isinstance(disabled.value, list):
        entries["disabled_plugins"] = disabled.with_value([*disabled.value, address.with_value(TTRPC)])


def _says_address(node: Node | None) -> bool:
    address = node.mapping().get("address") if node is not None else None
    return address is not None and address.value != ""


def _name_ttrpc(entries: dict[str, Node], old: Node | None, is_replaced: bool, default_address: str) -> None:
    """Say ttrpc's address where ours would follow from a gRPC address that containerd's does not follow."""
    followed = old.mapping() if old is not None else {}
    if old is not None and not is_replaced:
        return  # ours follows from the same address
    if old is None and "grpc" not in entries and "ttrpc" not in entries:
        return  # both are the default ones
    place = entries.get("ttrpc") or entries.get("grpc") or old
    assert place is not None
    said = followed.get("address")
    address = said.value if said is not None and isinstance(said.value, str) and said.value else default_address
    owner: dict[str, Node] = {key: followed[key] for key in ("uid", "gid") if key in followed}
    own = entries["ttrpc"].mapping() if "ttrpc" in entries else {}
    entries["ttrpc"] = place.with_value({**owner, **own, "address": place.with_value(f"{address}{TTRPC_SUFFIX}")})
