"""The built-in rules: one YAML file per subject, with the source of every value beside it.

Files in the folder ``optional`` change behaviour that some sites rely on and must be named.
"""

from __future__ import annotations

import os

import msgspec

from holdfast.errors import ConfigError
from holdfast.node.rule.schema import PlacementConfig, PodMatch, Rule

_FOLDER = os.path.dirname(__file__)  # importlib.resources would bring 14 modules
_OPTIONAL = os.path.join(_FOLDER, "optional")
_SUFFIX = ".yaml"
ALL = "all"  # among names: every file that is not optional
#: Placeholder for the file's namespaces of `PlacementConfig.builtin_namespaces`, or of `TRUSTED`.
NAMESPACES = "$namespaces"
#: Namespaces where only a cluster's administrator may create pods, by file. Other files' rules for them are off.
TRUSTED = {"kubelet": ("kube-system",), "node-daemons": ("kube-system",)}


def names() -> tuple[str, ...]:
    """Return the built-in rule files that every node may have, in the order they are used."""
    return _files_in(_FOLDER)


def optional() -> tuple[str, ...]:
    """Return the built-in rule files that are used only where they are named; they are narrower, and come first."""
    return _files_in(_OPTIONAL)


def known() -> tuple[str, ...]:
    """Return all built-in rule files, in the order they are used."""
    return (*optional(), *names())


def text(name: str) -> str:
    """Return one built-in rule file as it is, with its comments.

    Raises:
        ConfigError: there is none of that name.
    """
    check(name)
    folder = _OPTIONAL if name in optional() else _FOLDER
    with open(os.path.join(folder, name + _SUFFIX), encoding="utf-8") as file:
        return file.read()


def check(*wanted: str) -> None:
    """Refuse names of built-in rule files that do not exist.

    Raises:
        ConfigError: there is none of a name.
    """
    for name in wanted:
        if name not in known():
            every = f"{', '.join(names())}; and on request {', '.join(optional())}"
            raise ConfigError(f'there are no built-in rules "{name}"; there are {every}')


def load(name: str) -> tuple[Rule, ...]:
    """Return the rules of one built-in file.

    Raises:
        ConfigError: there is none of that name.
    """
    return msgspec.yaml.decode(text(name), type=tuple[Rule, ...])


def with_builtin(config: PlacementConfig) -> tuple[Rule, ...]:
    """Return the operator's rules, then the built-in ones in use that none of them replaces by name.

    The rule of a pod's annotations comes between them.

    Raises:
        ConfigError: ``builtin_rules`` names a file that does not exist.
    """
    wanted = (
        _FILES[config.builtin_rules]() if isinstance(config.builtin_rules, str) else _in_order(config.builtin_rules)
    )
    own = {rule.name for rule in config.rules}
    ours: list[Rule | None] = []
    for name in wanted:
        namespaces = config.builtin_namespaces.get(name, TRUSTED.get(name, ()))
        ours += (_in_namespaces(rule, namespaces) for rule in load(name) if rule.name not in own)
    changes = {"yields_to_annotations": True} | ({"dry_run": True} if config.builtin_rules == "preview" else {})
    return (*config.rules, *(msgspec.structs.replace(rule, **changes) for rule in ours if rule is not None))


def _in_namespaces(rule: Rule, namespaces: tuple[str, ...]) -> Rule | None:
    """The rule for pods of these namespaces; None where it needs namespaces and there are none."""
    pod = rule.match.pod
    if not isinstance(pod, PodMatch) or pod.namespace != NAMESPACES:
        return rule
    if not namespaces:
        return None
    replace = msgspec.structs.replace
    return replace(rule, match=replace(rule.match, pod=replace(pod, namespace=namespaces)))


_FILES = {"preview": names, ALL: names, "none": tuple[str, ...]}


def _in_order(wanted: tuple[str, ...]) -> list[str]:
    """The named files in the order of use: an optional rule after the general one that it refines never decides."""
    check(*(name for name in wanted if name != ALL))
    chosen = {*wanted, *(names() if ALL in wanted else ())}
    return [name for name in known() if name in chosen]


def _files_in(folder: str) -> tuple[str, ...]:
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in os.listdir(folder) if name.endswith(_SUFFIX)))
