"""Conversion of containerd's TOML, versions 1 to 4, to the shape of our own files. No I/O.

Most keys are ours as well. A key without a counterpart is dropped with a warning; a value that has another meaning in
containerd is translated. `migrated` goes further, for ``holdfast config migrate``: version 1's short ids become the
URIs they stood for, and sections of plugins that do not exist here are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec import inspect as mi

from holdfast.config.decode import shown
from holdfast.config.describe import alternatives, bare, fields_of, info_of, step_into
from holdfast.config.document import Node, Path, Source, key_words, node_of
from holdfast.config.finding import Finding
from holdfast.config.schema import OOM_RANGE, Grpc, Settings
from holdfast.config.servers import with_servers
from holdfast.errors import ConfigError, UnusableConfigType
from holdfast.failure import sentence

NEWEST = 4  # containerd 2.3

#: A plugin's own migration: from the version of an older file and its section to the section as it is today.
ConfigMigration = Callable[[int, dict[str, Any]], Mapping[str, Any]]

#: Top-level keys we have no use for, and why.
DROPPED = {
    "plugin_dir": "plugins are Python entry points (group holdfast.plugins)",
    "stream_processors": "there are no stream processors",
}
_OWN_PLACES: tuple[Path, ...] = (("root",), ("state",), ("grpc", "address"))
_PROXY_TYPES = {
    "io.containerd.snapshotter.v1": "snapshot",
    "io.containerd.content.v1": "content",
    "io.containerd.differ.v1": "diff",
    "io.containerd.sandbox.controller.v1": "sandbox",
}
_SIZES = ("max_recv_message_size", "max_send_message_size")
_LARGEST = 2**31 - 1  # gRPC's core takes no larger limit

#: containerd's own table from version 1 ids to URIs, for the plugins that it had when version 1 was current.
SHORT_IDS: dict[str, str] = {
    "cri": "io.containerd.grpc.v1.cri",
    "cgroups": "io.containerd.monitor.v1.cgroups",
    "linux": "io.containerd.runtime.v1.linux",
    "scheduler": "io.containerd.gc.v1.scheduler",
    "bolt": "io.containerd.metadata.v1.bolt",
    "task": "io.containerd.runtime.v2.task",
    "opt": "io.containerd.internal.v1.opt",
    "restart": "io.containerd.internal.v1.restart",
    "tracing": "io.containerd.internal.v1.tracing",
    "otlp": "io.containerd.tracing.processor.v1.otlp",
    **{
        name: f"io.containerd.snapshotter.v1.{name}"
        for name in ("aufs", "btrfs", "devmapper", "native", "overlayfs", "zfs")
    },
}


def from_containerd(
    tree: Node, inherited: int = 0, default_address: str = Grpc().address
) -> tuple[Node, int, list[Finding]]:
    """Return a TOML file in our shape, its version, and warnings. ``inherited``: the version of the file that imports
    it. ``default_address``: of the gRPC socket, for what follows from it.

    Raises:
        ConfigError: a version we cannot read.
    """
    version = _version(tree, inherited)
    short_ids = version == 1 or "version" not in tree.mapping()
    source = Source(tree.source.path, lenient=True, short_ids=short_ids, version=version)
    if inherited:
        tree = _without_empty_places(tree)
    warnings: list[Finding] = []
    entries: dict[str, Node] = {}
    moved = with_servers(tree.mapping(), version, "" if inherited else default_address, warnings)
    for key, node in moved.items():
        if key == "version":
            continue
        if key in DROPPED:
            if node.value not in ("", [], {}):
                warnings.append(Finding(node.where, f"{key}: ignored: {DROPPED[key]}"))
            continue
        entries[key] = _TRANSLATED[key](node, warnings) if key in _TRANSLATED else node
    return _relabelled(tree.with_value(entries), source), version, warnings


def _version(tree: Node, inherited: int) -> int:
    """The version of a file; 0 and below count as 1, as in containerd. 2 and 3 do not differ in the keys
    that we have.
    """
    node = tree.mapping().get("version")
    if node is None:
        return max(inherited, 1)
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        raise ConfigError(f"{node.where}: version: expected an integer between 1 and {NEWEST}, got {shown(node.value)}")
    if node.value > NEWEST:
        words = f"containerd's configuration version {node.value} is not supported; write version {NEWEST} or YAML"
        raise ConfigError(f"{node.where}: version: {words}")
    return max(node.value, 1)


def _without_empty_places(tree: Node) -> Node:
    """An imported file without its empty places: containerd keeps the importing file's places there."""
    entries = {key: node for key, node in tree.mapping().items() if node.value != "" or (key,) not in _OWN_PLACES}
    grpc = entries.get("grpc")
    address = grpc.mapping().get("address") if grpc is not None else None
    if grpc is not None and address is not None and address.value == "":
        entries["grpc"] = grpc.with_value({key: node for key, node in grpc.mapping().items() if key != "address"})
    return tree.with_value(entries)


def _grpc(node: Node, warnings: list[Finding]) -> Node:
    """Translate message sizes: a negative size means gRPC's own limit, which is 0 here; the largest here is 2 GiB."""
    entries = dict(node.mapping())
    for key in _SIZES:
        size = entries.get(key)
        if size is not None and isinstance(size.value, int) and size.value < 0:
            words = f"grpc.{key}: {size.value} means gRPC's own limit, as 0 does here"
            warnings.append(Finding(size.where, words))
            entries[key] = size.with_value(0)
        elif size is not None and isinstance(size.value, int) and size.value > _LARGEST:
            warnings.append(Finding(size.where, f"grpc.{key}: {size.value} is taken as {_LARGEST}, gRPC's largest"))
            entries[key] = size.with_value(_LARGEST)
    return node.with_value(entries) if isinstance(node.value, dict) else node


def _proxies(node: Node, warnings: list[Finding]) -> Node:
    """Translate a proxy's type that is a whole URI; drop a proxy without an address, which in containerd fails when
    used.
    """
    entries = {}
    for name, proxy in node.mapping().items():
        address = proxy.mapping().get("address")
        if isinstance(proxy.value, dict) and (address is None or address.value == ""):
            warnings.append(Finding(proxy.where, f"{key_words(('proxy_plugins', name))}: ignored: it has no address"))
            continue
        kind = proxy.mapping().get("type")
        if kind is not None and isinstance(kind.value, str) and kind.value in _PROXY_TYPES:
            proxy = proxy.with_value({**proxy.mapping(), "type": kind.with_value(_PROXY_TYPES[kind.value])})  # noqa: PLW2901
        entries[name] = proxy
    return node.with_value(entries) if isinstance(node.value, dict) else node


def _timeouts(node: Node, warnings: list[Finding]) -> Node:
    """Drop negative timeouts with a warning: such a time is over before it begins."""
    entries = {}
    for name, timeout in node.mapping().items():
        if isinstance(timeout.value, str) and timeout.value.strip().startswith("-"):
            words = f"{key_words(('timeouts', name))}: ignored: {shown(timeout.value)} is negative"
            warnings.append(Finding(timeout.where, words))
        else:
            entries[name] = timeout
    return node.with_value(entries) if isinstance(node.value, dict) else node


_TRANSLATED: dict[str, Callable[[Node, list[Finding]], Node]] = {
    "grpc": _grpc,
    "proxy_plugins": _proxies,
    "timeouts": _timeouts,
}


def _relabelled(node: Node, source: Source) -> Node:
    """Return the nodes under another source (the version is known only after the file was read)."""
    if isinstance(node.value, dict):
        return Node({key: _relabelled(one, source) for key, one in node.value.items()}, source, node.line)
    if isinstance(node.value, list):
        return Node([_relabelled(one, source) for one in node.value], source, node.line)
    return Node(node.value, source, node.line)


class Migration(Struct, frozen=True):
    """A file in our shape, and a note on each key that was dropped or changed."""

    tree: Node
    notes: list[str] = []


def migrated(
    tree: Node, known: Mapping[str, type[Struct] | None], migrations: Mapping[str, ConfigMigration | None]
) -> Migration:
    """Return a file of `from_containerd` for printing as YAML: whole URIs, only keys that are read here.

    ``known`` are the plugins that exist, each with its config type; ``migrations`` has their own migrations.
    """
    notes: list[str] = []
    entries: dict[str, Node] = {}
    for key, node in without_unknown(tree, Settings, (), notes).mapping().items():
        if key == "plugins":
            entries[key] = node.with_value(dict(_sections(node, known, migrations, notes)))
        elif key == "oom_score" and isinstance(node.value, int) and not OOM_RANGE[0] <= node.value <= OOM_RANGE[1]:
            notes.append(f"line {node.line}: oom_score: dropped: {node.value} is out of range, and was never applied")
        elif key in ("disabled_plugins", "required_plugins") and isinstance(node.value, list):
            entries[key] = node.with_value(list(_names(node, key, known, notes)))
        elif key == "imports" and isinstance(node.value, list):
            entries[key] = node.with_value(list(_imports(node, notes)))
        else:
            entries[key] = node
    if any(_is_containerds(entries, path) for path in _OWN_PLACES):
        notes.append("root, state or grpc.address are containerd's own; change them if it runs on this machine too")
    return Migration(tree.with_value({key: node for key, node in entries.items() if node.value not in ([], {})}), notes)


def meanings(name: str, known: Iterable[str]) -> list[str]:
    """The URIs that a version 1 id means: every plugin here that has the id, else containerd's URI for it."""
    mine = sorted(uri for uri in known if uri.rpartition(".")[2] == name)
    kind = "service" if name.endswith("-service") else "grpc"
    return mine or [SHORT_IDS.get(name, name if "." in name else f"io.containerd.{kind}.v1.{name}")]


def without_unknown(node: Node, type_: type[Struct], above: Path, notes: list[str]) -> Node:
    """``node`` without the keys its type does not have; each of these gets a note."""
    return _known_only(node, info_of(type_), above, notes)


def _known_only(node: Node, info: mi.Type | None, path: Path, notes: list[str]) -> Node:
    if info is None:
        return node
    if isinstance(node.value, list):
        return node.with_value(
            [_known_only(one, step_into(info, i), (*path, i), notes) for i, one in enumerate(node.value)]
        )
    structs = [kind for kind, _, _ in map(bare, alternatives(info)) if isinstance(kind, mi.StructType)]
    kept: dict[str, Node] = {}
    for key, one in node.mapping().items():
        if len(structs) == 1 and structs[0].forbid_unknown_fields and key not in fields_of(structs[0]):
            notes.append(f"line {one.line}: {key_words((*path, key))}: dropped: unknown key")
        else:
            kept[key] = _known_only(one, step_into(info, key), (*path, key), notes)
    return node.with_value(kept) if isinstance(node.value, dict) else node


def _is_containerds(entries: dict[str, Node], path: Path) -> bool:
    node = Node(dict(entries), Source("")).at(path)
    return node is not None and isinstance(node.value, str) and "/containerd" in node.value


def of_older_version(uri: str, section: Node, migration: ConfigMigration | None) -> Node:
    """A plugin's section as its own migration makes it of a file of an older version; values that stay keep their line.

    Raises:
        ConfigError: the migration refuses the section.
        UnusableConfigType: the migration fails; it is the plugin author's mistake.
    """
    versions = [one.source.version for one in (section, *section.mapping().values()) if one.source.version]
    if migration is None or not versions or min(versions) >= NEWEST:
        return section
    try:
        return _renewed(section, dict(migration(min(versions), section.plain())))
    except ConfigError as error:
        raise ConfigError(f"{section.where}: {key_words(('plugins', uri))}: {error}") from error
    except (Exception, SystemExit) as error:  # an author's code may raise anything
        raise UnusableConfigType(f"its config_migration failed: {sentence(error)}") from error


def _renewed(before: Node, value: object) -> Node:
    if before.plain() == value and type(before.plain()) is type(value):
        return before
    if isinstance(value, dict):
        entries = before.mapping()
        unset = before.with_value(None)
        return before.with_value({str(key): _renewed(entries.get(key, unset), one) for key, one in value.items()})
    return node_of(value, before.source, before.line)


def _sections(
    node: Node,
    known: Mapping[str, type[Struct] | None],
    migrations: Mapping[str, ConfigMigration | None],
    notes: list[str],
) -> Iterator[tuple[str, Node]]:
    for name, section in node.mapping().items():
        uris = meanings(name, known) if section.source.short_ids else [name]
        readers = [(uri, type_) for uri in uris if (type_ := known.get(uri)) is not None]
        if not readers:
            notes.append(f'line {section.line}: plugins."{name}": dropped: no plugin here reads it')
        for uri, type_ in readers:
            own = of_older_version(uri, section, migrations.get(uri))
            if own is not section:
                notes.append(f'line {section.line}: plugins."{uri}": migrated by its plugin')
            yield uri, without_unknown(own, type_, ("plugins", uri), notes)


def _imports(node: Node, notes: list[str]) -> Iterator[Node]:
    """Yield the imports that a YAML file reads as TOML by their name; it would read the others as YAML."""
    for _, one in node.children():
        if str(one.value).endswith(".toml"):
            notes.append(f"line {one.line}: imports: {one.value}: read as TOML; migrate it too")
            yield one
        else:
            notes.append(f"line {one.line}: imports: {one.value}: dropped: migrate it and import the result")


def _names(node: Node, key: str, known: Iterable[str], notes: list[str]) -> Iterator[Node]:
    for _, one in node.children():
        for uri in meanings(str(one.value), known) if one.source.short_ids else [str(one.value)]:
            if uri in known:
                yield one.with_value(uri)
            elif key == "required_plugins":
                notes.append(f"line {one.line}: {key}: {uri} is not here, so the daemon will refuse to start")
                yield one.with_value(uri)
            else:
                notes.append(f"line {one.line}: {key}: {one.value}: dropped: no such plugin here")
