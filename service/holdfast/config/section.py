"""The sections of ``plugins``: raw until the plugin that owns one decodes it with its own type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from holdfast.config.decode import decode, suggestion
from holdfast.config.document import Node, Path, Source
from holdfast.config.finding import Finding, Remark
from holdfast.config.merge import over
from holdfast.config.migrate import ConfigMigration, of_older_version
from holdfast.config.schema import Settings
from holdfast.config.servers import SECTIONS
from holdfast.errors import ConfigError, UnusableConfigType
from holdfast.failure import sentence

T = TypeVar("T", bound=msgspec.Struct)

_NOWHERE = Source("the configuration")
_SHOWN = 3  # names in one warning; a dump of containerd's own configuration has thirty


class Section(dict[str, Any]):
    """One plugin's section as plain data, with the node it was read from."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        super().__init__(node.plain())
        self.node = node


def decode_section(
    settings: Settings,
    uri: str,
    type_: type[T],
    warnings: list[Finding] | None = None,
    migration: ConfigMigration | None = None,
) -> T:
    """The section of the plugin ``uri`` as its config type; its defaults where there is none.

    A version 1 file names a section by the plugin's id alone; a section under the whole URI goes over it. Unknown keys
    of a TOML file are added to ``warnings``. ``migration``: the plugin's own, for a section of an older version.

    Raises:
        ConfigError: with file, line and key.
        UnusableConfigType: no file has anything to do with it; it is the plugin author's mistake.
    """
    section = of_older_version(uri, _whole(settings, uri), migration)
    try:
        return decode(section, type_, ("plugins", uri), warnings)
    except ConfigError as error:
        if any(_names(settings, uri)):
            raise
        words = error.message.removeprefix(f"{_NOWHERE.path}: ")
        raise UnusableConfigType(f"it needs a section in the configuration: {words}") from error
    except Exception as error:  # an author's annotations, defaults and hooks may raise anything
        raise UnusableConfigType(f"its config type cannot be used: {sentence(error)}") from error


def placed(settings: Settings, uri: str, remarks: Iterable[Remark]) -> list[Finding]:
    """Findings of the remarks of the plugin ``uri`` on its own section, with file and line.

    Raises:
        ConfigError: the first remark that is fatal.
    """
    return placed_in(_whole(settings, uri), ("plugins", uri), remarks)


def placed_in(section: Node, above: Path, remarks: Iterable[Remark]) -> list[Finding]:
    """Findings of ``remarks`` on a section that was read by itself; ``above`` is its path, for messages."""
    findings = []
    for remark in remarks:
        finding = remark.placed(section, above)
        if remark.fatal:
            raise ConfigError(str(finding))
        findings.append(finding)
    return findings


def check_sections(settings: Settings, known: Mapping[str, type[msgspec.Struct] | None]) -> list[Finding]:
    """Warnings about plugins that do not exist here: sections of TOML files, and disabled ones.

    ``known`` has every plugin's URI with its config type, None for a plugin that takes no configuration.

    Raises:
        ConfigError: a YAML file has a section for an unknown plugin, or one that takes no configuration.
    """
    warnings: list[Finding] = []
    foreign: dict[str, list[tuple[str, Node]]] = {}
    proxies = {f".{name}" for name in settings.proxy_plugins}
    for name in settings.plugins:
        node = _node(settings, name)
        owners = _owners(name, node, known)
        if any(known[uri] is not None for uri in owners) or any(name.endswith(proxy) for proxy in proxies):
            continue
        if not node.source.lenient:
            raise ConfigError(_refusal(name, node, known))
        foreign.setdefault(node.source.path, []).append((name, node))
    warnings.extend(_foreign_words(sections) for sections in foreign.values())
    warnings.extend(_unknown_disabled(settings, known, proxies))
    return warnings


def is_disabled(settings: Settings, uri: str, *, short_ids: bool) -> bool:
    """Whether ``disabled_plugins`` names a plugin; in version 1 files an id names every plugin that has it."""
    return uri in settings.disabled_plugins or (short_ids and uri.rpartition(".")[2] in settings.disabled_plugins)


def _whole(settings: Settings, uri: str) -> Node:
    """The section of ``uri`` under all its names; empty where there is none."""
    node: Node | None = None
    for name in _names(settings, uri):
        found = _node(settings, name)
        node = found if node is None else over(node, found)
    return Node({}, _NOWHERE) if node is None else node


def _names(settings: Settings, uri: str) -> Iterator[str]:
    """The section names that mean ``uri``, the weakest first."""
    short = uri.rpartition(".")[2]
    section = settings.plugins.get(short)
    if short != uri and isinstance(section, Section) and section.node.source.short_ids:
        yield short
    if uri in settings.plugins:
        yield uri


def _node(settings: Settings, name: str) -> Node:
    section = settings.plugins[name]
    if isinstance(section, Section):
        return section.node
    from holdfast.config.document import node_of  # settings made by hand, without a file

    return node_of(section, _NOWHERE)


def _owners(name: str, node: Node, known: Mapping[str, Any]) -> list[str]:
    if node.source.short_ids and name not in known:
        return [uri for uri in known if uri.rpartition(".")[2] == name]
    return [name] if name in known else []


def _refusal(name: str, node: Node, known: Mapping[str, Any]) -> str:
    head = f'{node.where}: plugins."{name}"'
    if name in SECTIONS:
        return f"{head}: its settings are in {SECTIONS[name][0]}"
    if name in known:
        return f"{head}: this plugin takes no configuration"
    configurable = [uri for uri, type_ in known.items() if type_ is not None]
    return f"{head}: there is no such plugin{suggestion(name, configurable)}"


def _foreign_words(sections: list[tuple[str, Node]]) -> Finding:
    names = ", ".join(name for name, _ in sections[:_SHOWN])
    more = f" and {len(sections) - _SHOWN} more" if len(sections) > _SHOWN else ""
    words = f"plugins: ignoring the sections of plugins that are not here: {names}{more}"
    return Finding(sections[0][1].where, words)


def _unknown_disabled(settings: Settings, known: Mapping[str, Any], proxies: set[str]) -> Iterator[Finding]:
    ids = {uri.rpartition(".")[2] for uri in known}
    for name in settings.disabled_plugins:
        if name not in known and name not in ids and not any(name.endswith(proxy) for proxy in proxies):
            yield Finding("", f"disabled_plugins: there is no plugin {name}{suggestion(name, known)}")
