"""containerd's TOML, versions 1 to 3, in the shape of our own files. Thinks, no I/O.

Most keys are ours as well. What has no counterpart is dropped with a line that says so; what containerd takes to
mean something else than we would is translated. `migrated` goes further, for ``holdfast config migrate``: version 1's
short ids become the URIs they stood for, and what plugins of ours do not exist is set aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct

from holdfast.config.node import Node, Source
from holdfast.errors import ConfigError

#: What became of a key: its line, and words.
Notes: TypeAlias = list[tuple[int, str]]

NEWEST = 3  # containerd 2.0–2.2; version 4 moved the servers into plugin sections

#: Top-level keys we have no use for, and why.
DROPPED = {
    "plugin_dir": "plugins are Python entry points (group holdfast.plugins)",
    "stream_processors": "there are no stream processors",
}
_SIZES = ("max_recv_message_size", "max_send_message_size")

#: containerd's own table from version 1 ids to URIs, for plugins it shipped when version 1 was current.
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


def from_containerd(tree: Node, inherited: int = 0) -> tuple[Node, int, list[str]]:
    """A TOML file in our shape, its version, and warnings. ``inherited``: the version of the file that imports it.

    Raises:
        ConfigError: a version we cannot read.
    """
    version = _version(tree, inherited)
    source = Source(tree.source.path, lenient=True, short_ids=version == 1)
    warnings = []
    entries: dict[str, Node] = {}
    for key, node in tree.mapping().items():
        if key == "version":
            continue
        if key in DROPPED:
            if node.value not in ("", [], {}):
                warnings.append(f"{node.where}: {key}: ignored: {DROPPED[key]}")
            continue
        entries[key] = _grpc(node, warnings) if key == "grpc" else node
    return _relabelled(tree.with_value(entries), source), version, warnings


def _version(tree: Node, inherited: int) -> int:
    """1 also for 0 and below, as containerd has it. 2 and 3 differ in nothing that we have."""
    node = tree.mapping().get("version")
    if node is None:
        return max(inherited, 1)
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        raise ConfigError(f"{node.where}: version: expected an integer between 1 and {NEWEST}, got {node.value!r}")
    if node.value > NEWEST:
        words = f"expected containerd config version equal to or less than `{NEWEST}`, got `{node.value}`"
        raise ConfigError(f"{node.where}: version: {words}")
    return max(node.value, 1)


def _grpc(node: Node, warnings: list[str]) -> Node:
    """A negative message size is containerd's way to ask for gRPC's own limit; ours is 0."""
    entries = dict(node.mapping())
    for key in _SIZES:
        size = entries.get(key)
        if size is not None and isinstance(size.value, int) and size.value < 0:
            warnings.append(f"{size.where}: grpc.{key}: {size.value} means gRPC's own limit, as 0 does here")
            entries[key] = size.with_value(0)
    return node.with_value(entries) if isinstance(node.value, dict) else node


def _relabelled(node: Node, source: Source) -> Node:
    """The same nodes under another source (the version is known only after the file was read)."""
    if isinstance(node.value, dict):
        return Node({key: _relabelled(one, source) for key, one in node.value.items()}, source, node.line)
    if isinstance(node.value, list):
        return Node([_relabelled(one, source) for one in node.value], source, node.line)
    return Node(node.value, source, node.line)


class Migration(Struct, frozen=True):
    """A file in our shape, and notes on what became of the rest: (line in the old file, words)."""

    tree: Node
    notes: Notes = []


def migrated(tree: Node, known: Iterable[str], configurable: Iterable[str]) -> Migration:
    """A file of `from_containerd`'s for printing as YAML: whole URIs, only sections that somebody here reads.

    ``known`` are the URIs of the plugins that exist, ``configurable`` of those that take a configuration.
    """
    notes: Notes = []
    uris, readers = sorted(known), set(configurable)
    entries: dict[str, Node] = {}
    for key, node in tree.mapping().items():
        if key == "plugins" and isinstance(node.value, dict):
            sections = dict(_sections(node, uris, readers, notes))
            if sections:
                entries[key] = node.with_value(sections)
        elif key in ("disabled_plugins", "required_plugins") and isinstance(node.value, list):
            entries[key] = node.with_value(list(_names(node, key, uris, notes)))
        elif key == "imports" and isinstance(node.value, list):
            entries[key] = node.with_value(list(_imports(node, notes)))
        else:
            entries[key] = node
    return Migration(tree.with_value({key: node for key, node in entries.items() if node.value != []}), notes)


def _meanings(name: str, node: Node, known: list[str]) -> list[str]:
    """The URIs a plugin's name stands for; in version 1 every plugin with that id."""
    if not node.source.short_ids:
        return [name]
    mine = [uri for uri in known if uri.rpartition(".")[2] == name]
    if mine:
        return mine
    kind = "service" if name.endswith("-service") else "grpc"
    return [SHORT_IDS.get(name, f"io.containerd.{kind}.v1.{name}")]


def _sections(node: Node, known: list[str], readers: set[str], notes: Notes) -> Iterator[tuple[str, Node]]:
    for name, section in node.mapping().items():
        kept = [uri for uri in _meanings(name, section, known) if uri in readers]
        if not kept:
            notes.append((section.line, f'plugins."{name}": dropped: no plugin here reads it'))
        yield from ((uri, section) for uri in kept)


def _names(node: Node, key: str, known: list[str], notes: Notes) -> Iterator[Node]:
    for _, one in node.children():
        for uri in _meanings(str(one.value), one, known):
            if uri in known:
                yield one.with_value(uri)
            elif key == "required_plugins":
                notes.append((one.line, f"{key}: {uri} is not here, so the daemon will refuse to start"))
                yield one.with_value(uri)
            else:
                notes.append((one.line, f"{key}: {one.value}: dropped: no such plugin here"))


def _imports(node: Node, notes: Notes) -> Iterator[Node]:
    for _, one in node.children():
        notes.append((one.line, f"imports: {one.value}: still read as TOML; migrate it as well"))
        yield one
