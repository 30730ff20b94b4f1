"""Rules that ship: one YAML file each, named after what they hold, with the source of every value beside it.

``rules.json`` is all of them as a start reads them; ``python -m holdfast.node.shipped`` writes it anew.
"""

from __future__ import annotations

import os

import msgspec

from holdfast.errors import ConfigError
from holdfast.node.schema import PlacementConfig, Rule

_FOLDER = os.path.dirname(__file__)  # importlib.resources would bring 14 modules
_SUFFIX = ".yaml"
COMPILED = os.path.join(_FOLDER, "rules.json")


def names() -> tuple[str, ...]:
    """The shipped rule files, in the order they are used."""
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in os.listdir(_FOLDER) if _is_rules(name)))


def text(name: str) -> str:
    """One shipped file as it is, with its comments.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(f'shipped: there are no shipped rules "{name}"; there are {", ".join(names())}')
    with open(os.path.join(_FOLDER, name + _SUFFIX), encoding="utf-8") as file:
        return file.read()


def load(name: str) -> tuple[Rule, ...]:
    """The rules of one shipped file.

    Raises:
        ConfigError: there is none of that name.
    """
    text(name)
    return _compiled()[name]


def compiled() -> bytes:
    """What ``rules.json`` has to hold: every file's rules, so that a start reads no YAML (15 ms) for them."""
    import yaml

    return msgspec.json.format(msgspec.json.encode({name: yaml.safe_load(text(name)) for name in names()}), indent=1)


def _compiled() -> dict[str, tuple[Rule, ...]]:
    with open(COMPILED, "rb") as file:
        return msgspec.json.decode(file.read(), type=dict[str, tuple[Rule, ...]])


def with_shipped(config: PlacementConfig) -> tuple[Rule, ...]:
    """The operator's rules, then the shipped ones asked for that none of them replaces by name.

    What a pod is admitted to by annotation stands between them.

    Raises:
        ConfigError: ``shipped`` names what does not ship.
    """
    wanted = _FILES[config.shipped]() if isinstance(config.shipped, str) else config.shipped
    own = {rule.name for rule in config.rules}
    ours: list[Rule] = []
    if wanted:
        ready = _compiled()
        for name in wanted:
            ours += (rule for rule in (ready[name] if name in ready else load(name)) if rule.name not in own)
    ours = [msgspec.structs.replace(rule, yields_to_annotations=True) for rule in ours]
    if config.shipped == "preview":
        ours = [msgspec.structs.replace(rule, dry_run=True) for rule in ours]
    return (*config.rules, *ours)


_FILES = {"preview": names, "all": names, "none": tuple[str, ...]}


def _is_rules(name: str) -> bool:
    return name.endswith(_SUFFIX)
