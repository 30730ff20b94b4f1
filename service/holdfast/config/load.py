"""Loading of settings: find the files, read them, bring each to our shape, join them, decode, check.

Order of joining, later over earlier: defaults, the main file, its imports, ``conf.d/*.yaml`` beside it, then the files
that those import in turn (breadth first, each file once), and the command line over all.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct

from holdfast.config.check import checked
from holdfast.config.decode import decode, shown
from holdfast.config.defaults import Defaults, defaults_for
from holdfast.config.digest import sha256_hex
from holdfast.config.document import Node, Source, node_of
from holdfast.config.finding import Finding
from holdfast.config.merge import filled, merged, overridden
from holdfast.config.migrate import ConfigMigration, from_containerd
from holdfast.config.schema import Grpc, Settings, default_timeouts
from holdfast.config.section import Section
from holdfast.config.source import Fingerprint, Snapshot, SnapshotLost, absolute, fingerprint, is_stream
from holdfast.errors import ConfigError

DROP_INS = "conf.d/*.yaml"
MAX_FILES = 1000
HASH_DIGITS = 12
_YAML_SUFFIXES = (".yaml", ".yml", ".json")  # all else that a TOML file imports is TOML; containerd requires no suffix
_ATTEMPTS = 5
PLACEMENT = "io.holdfast.placement.v1.rules"  # the plugin that `Overrides.dry_run` is for
_COMMAND_LINE = Source("command line")
_DEFAULTS = Source("defaults")
_ROOT_LINE = re.compile(r"""^["']?root["']?\s*[:=]\s*["']?(/[^"'#\n]*[^"'#\s])""", re.MULTILINE)


class Overrides(Struct, frozen=True):
    """Options of the command line; None, empty or False if not given."""

    root: str | None = None
    state: str | None = None
    address: str | None = None
    level: str | None = None
    dry_run: bool = False

    def tree(self) -> Node:
        """Return them as a configuration of its own."""
        flags = {"root": self.root, "state": self.state}
        data: dict[str, object] = {key: value for key, value in flags.items() if value}
        if self.address:
            data["grpc"] = {"address": self.address}
        if self.level:
            data["debug"] = {"level": self.level}
        if self.dry_run:
            data["plugins"] = {PLACEMENT: {"force_dry_run": True}}
        return node_of(data, _COMMAND_LINE)


NO_OVERRIDES = Overrides()


class Loaded(Struct, frozen=True):
    """Settings and where they came from.

    ``sources``: the files read, in order of joining. ``patterns``: files and globs whose change matters, for `watch`.
    ``warnings``: lines for the log. ``short_ids``: a version 1 file was among them, so plugin names may be ids alone,
    each standing for every plugin that has it (``plugin.graph.expand_short_ids``). ``fingerprint``: the versions of the
    files that were read. ``given``: the joined content of the files, without defaults and command line.
    """

    settings: Settings
    sources: tuple[Path, ...] = ()
    patterns: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()
    short_ids: bool = False
    fingerprint: Fingerprint = ()
    tree: Node = Node({}, _DEFAULTS)
    given: Node = Node({}, _DEFAULTS)

    @property
    def content_hash(self) -> str:
        """SHA-256 in hex of the effective settings: equal on two nodes exactly if their configurations are."""
        return sha256_hex(msgspec.json.encode(self.settings, order="deterministic"))

    @property
    def short_hash(self) -> str:
        """The first digits of the hash: as many as people compare."""
        return self.content_hash[:HASH_DIGITS]

    def where(self, key: str) -> str:
        """``config.yaml:12`` for a dotted key such as ``grpc.tcp_address``; empty when it is a default."""
        node = self.tree.at(tuple(key.split(".")))
        return node.where if node is not None and node.source is not _DEFAULTS else ""


class RefusedConfig(Struct, frozen=True):
    """Files that are not a valid configuration, and why. ``patterns`` and ``fingerprint`` as in `Loaded`, as far as was
    read.

    ``roots``: the directories that may be the daemon's root, most likely first; the files may no longer name it.
    """

    error: ConfigError
    patterns: tuple[str, ...]
    fingerprint: Fingerprint
    roots: tuple[str, ...]


class Environment(Struct, frozen=True):
    """The state of the process that the result depends on."""

    euid: int
    environ: Mapping[str, str]
    cwd: str

    @classmethod
    def own(cls) -> Environment:
        """Return that of this process."""
        return cls(os.geteuid(), os.environ, os.getcwd())


def load(
    path: str | os.PathLike[str] | None = None,
    overrides: Overrides = NO_OVERRIDES,
    surroundings: Environment | None = None,
) -> Loaded:
    """Load the settings of one daemon. Without ``path`` the default file is read if there is one.

    Raises:
        ConfigError: one line with file, line, key, what was expected.
    """
    found = attempt(path, overrides, surroundings)
    if isinstance(found, RefusedConfig):
        raise found.error
    return found


def attempt(
    path: str | os.PathLike[str] | None = None,
    overrides: Overrides = NO_OVERRIDES,
    surroundings: Environment | None = None,
) -> Loaded | RefusedConfig:
    """Load as `load` does, but return an error as a value."""
    around = surroundings or Environment.own()
    defaults = defaults_for(around.euid, around.environ)
    files = _Files(Snapshot(), defaults.address)
    for _ in range(_ATTEMPTS):
        with Snapshot() as snapshot:
            files = _Files(snapshot, defaults.address)
            error = None
            try:
                files.collect(_main_file(path, defaults), must_exist=path is not None)
            except SnapshotLost:  # the ConfigMap changed under us: read the new one
                continue
            except ConfigError as raised:
                error = raised
            seen = fingerprint(files.absolute_patterns())
            if not (snapshot.holds(seen) if error is None else snapshot.still(seen)):
                continue  # changed between reading and checking: what we have is half old
        try:
            if error is not None:
                raise error
            return _settled(merged(files.trees), files, defaults, overrides, around.cwd, seen)
        except ConfigError as raised:
            return RefusedConfig(
                raised, files.absolute_patterns(), seen, _roots(files, overrides, defaults, around.cwd)
            )
    error = ConfigError(f"{path}: changes faster than it can be read")
    return RefusedConfig(error, files.absolute_patterns(), (), _roots(files, overrides, defaults, around.cwd))


def revived(
    data: object, source: Source, overrides: Overrides = NO_OVERRIDES, surroundings: Environment | None = None
) -> Loaded:
    """Return the settings of a `Loaded.given` kept as plain ``data``, under this command line; no file is read.

    Raises:
        ConfigError: this version no longer accepts them.
    """
    around = surroundings or Environment.own()
    tree = node_of(data, source)
    return _settled(tree, None, defaults_for(around.euid, around.environ), overrides, around.cwd, ())


def main_file(path: str | os.PathLike[str] | None, surroundings: Environment | None = None) -> str:
    """The absolute path of the file that `load` begins with; empty for an open descriptor, which has none.

    Raises:
        ConfigError: it is not a possible path.
    """
    around = surroundings or Environment.own()
    main = _main_file(path, defaults_for(around.euid, around.environ))
    return "" if is_stream(main) else os.path.normpath(os.path.join(around.cwd, main))


def read_file(
    path: str, snapshot: Snapshot, version: int = 0, *, is_toml: bool = False, default_address: str = Grpc().address
) -> tuple[Node, int, list[Finding]]:
    """Read one file into our shape; return it, its version, and warnings.

    ``version`` is that of a TOML file that has none. ``is_toml``: read it as TOML also if its name does not end in
    ``.toml``. ``default_address``: of the gRPC socket where no file says one.

    Raises:
        ConfigError, SnapshotLost.
    """
    text = snapshot.read(path)
    source = Source(path, lenient=is_toml or path.endswith(".toml"))
    if source.lenient:
        from holdfast.config.tomldoc import read_toml

        return from_containerd(read_toml(text, source), version, default_address)
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; for the defaults leave it out, or write {{}}")
    from holdfast.config.yamldoc import read_yaml

    node = read_yaml(text, source)
    if node is None or node.value is None:
        node = Node({}, source, 1)
    if not isinstance(node.value, dict):
        hint = "; the name of containerd's TOML ends in .toml" if isinstance(node.value, str) else ""
        raise ConfigError(f"{node.where}: expected keys with values, got {shown(node.value)}{hint}")
    return node, 2, []


def migrated_file(
    path: str,
    known: Mapping[str, type[Struct] | None],
    migrations: Mapping[str, ConfigMigration | None] = MappingProxyType({}),
) -> str:
    """Return containerd's TOML file as the text of a YAML file; comments at its top say what was not taken over.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has values we would refuse.
    """
    from holdfast.config.migrate import migrated
    from holdfast.config.render import migrated_text

    if path.endswith(_YAML_SUFFIXES):
        raise ConfigError(f"{path}: not containerd's TOML; what is YAML needs no migration")
    with Snapshot() as snapshot:
        tree, _, warnings = read_file(path, snapshot, is_toml=True)
    migration = migrated(tree, known, migrations)
    settings = decode(migration.tree, Settings)
    for uri, section in (migration.tree.mapping().get("plugins") or Node({}, tree.source)).mapping().items():
        type_ = known[uri]
        assert type_ is not None  # sections that no plugin reads are gone
        decode(section, type_, ("plugins", uri))
    checked(settings, migration.tree, "/", warnings)
    notes = [f"line {str(warning).removeprefix(f'{path}:')}" for warning in warnings]
    return migrated_text(migration.tree.plain(), [*notes, *migration.notes], path)


class _Wanted(Struct, frozen=True):
    """A file to read: its path, its version if the file has none, and whether it is TOML whatever its name."""

    path: str
    version: int = 0
    is_toml: bool = False


class _Files:
    """Reader of the main file and all its imports."""

    def __init__(self, snapshot: Snapshot, default_address: str) -> None:
        self._snapshot, self._default_address = snapshot, default_address
        self.trees: list[Node] = []
        self.paths: list[str] = []
        self.patterns: list[str] = []
        self.warnings: list[Finding] = []
        self.unparsed = ""  # the main file's text, where it is not understood

    def absolute_patterns(self) -> tuple[str, ...]:
        """The paths and globs that were looked for, made absolute."""
        return tuple(dict.fromkeys(absolute(pattern) for pattern in self.patterns))

    def collect(self, main: str, *, must_exist: bool) -> None:
        """Read the files breadth first; a file reached twice is read once, so that a cycle is harmless."""
        self.patterns.append(main)
        queue: deque[_Wanted] = deque()
        if must_exist or os.path.lexists(main):
            queue.append(_Wanted(main))
        else:
            queue.extend(_Wanted(path, 2) for path in self._drop_ins(main))
        seen: set[str] = set()
        while queue:
            wanted = queue.popleft()
            identity = os.path.realpath(wanted.path)
            if identity in seen:
                continue
            seen.add(identity)
            if len(seen) > MAX_FILES:
                raise ConfigError(f"{wanted.path}: more than {MAX_FILES} files are imported")
            queue.extend(self._read(wanted, is_main=not self.trees and wanted.path == main))

    def _read(self, wanted: _Wanted, *, is_main: bool) -> list[_Wanted]:
        path = wanted.path
        try:
            tree, version, warnings = read_file(
                path,
                self._snapshot,
                wanted.version,
                is_toml=wanted.is_toml,
                default_address=self._default_address,
            )
        except ConfigError:
            with suppress(ConfigError):
                self.unparsed = self._snapshot.read(path) if is_main and not is_stream(path) else ""
            raise
        self.trees.append(tree)
        self.paths.append(path)
        self.warnings += warnings
        lenient = tree.source.lenient
        found = [
            _Wanted(one, version, lenient and not one.endswith(_YAML_SUFFIXES)) for one in self._imports(path, tree)
        ]
        return found + [_Wanted(one, version) for one in self._drop_ins(path)] if is_main else found

    def _imports(self, path: str, tree: Node) -> list[str]:
        found: list[str] = []
        imports = tree.mapping().get("imports")
        for _, node in imports.children() if imports is not None else ():
            if not isinstance(node.value, str) or not node.value:
                continue  # decoding reports the type
            beside = "." if is_stream(path) else os.path.dirname(path)
            target = os.path.normpath(os.path.join(beside, node.value))
            self.patterns.append(target)
            found += self._matches(target, node)
        return found

    def _matches(self, target: str, node: Node) -> list[str]:
        if any(mark in target for mark in "*?["):
            return self._snapshot.glob(target)
        if not os.path.lexists(target):
            words = f"failed to load {'TOML' if target.endswith('.toml') else 'YAML'}: {target}: open {target}"
            raise ConfigError(f"{node.where}: imports: {words}: no such file or directory")
        return [target]

    def _drop_ins(self, main: str) -> list[str]:
        if is_stream(main):
            return []
        pattern = os.path.join(glob_literal(os.path.dirname(main)), DROP_INS)
        self.patterns.append(pattern)
        return self._snapshot.glob(pattern)


def glob_literal(path: str) -> str:
    """``path`` as a glob pattern that means itself."""
    from glob import escape

    return escape(path)


def _main_file(path: str | os.PathLike[str] | None, defaults: Defaults) -> str:
    if path is not None:
        given = os.fspath(path)
        if "\0" in given:
            raise ConfigError(f"open {given!r}: a NUL character")
        return given
    return next((one for one in defaults.config_files if os.path.lexists(one)), defaults.config_files[0])


def _settled(
    tree: Node | None, files: _Files | None, defaults: Defaults, overrides: Overrides, cwd: str, seen: Fingerprint
) -> Loaded:
    own = tree or Node({}, _DEFAULTS)
    given = overridden(own, overrides.tree())
    timeouts = {name: f"{seconds:g}s" for name, seconds in default_timeouts().items()}
    places = {"root": defaults.root, "state": defaults.state, "grpc": {"address": defaults.address}}
    tree = filled(given, node_of(places | {"timeouts": timeouts}, _DEFAULTS))
    warnings = list(files.warnings) if files is not None else []
    settings = decode(tree, Settings, (), warnings)
    settings = checked(settings, tree, cwd, warnings)
    sections = tree.mapping().get("plugins")
    if sections is not None:
        entries = {name: Section(node) for name, node in sections.mapping().items() if node.value is not None}
        settings = msgspec.structs.replace(settings, plugins=entries)
    return Loaded(
        settings,
        tuple(Path(path) for path in files.paths) if files is not None else (),
        files.absolute_patterns() if files is not None else (),
        tuple(warnings),
        any(one.source.short_ids for one in files.trees) if files is not None else own.source.short_ids,
        seen,
        tree,
        own,
    )


def _roots(files: _Files, overrides: Overrides, defaults: Defaults, cwd: str) -> tuple[str, ...]:
    """Directories that may be the root of a daemon whose files are refused: from the parsed files, or by a
    line's look.
    """
    if overrides.root:
        return (os.path.join(cwd, overrides.root),)
    node = (merged(files.trees) or Node({}, _DEFAULTS)).mapping().get("root")
    said = [node.value] if node is not None and isinstance(node.value, str) else _ROOT_LINE.findall(files.unparsed)
    return tuple(dict.fromkeys(os.path.join(cwd, root) for root in (*said, defaults.root) if root))
