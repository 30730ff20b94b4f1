"""Faults of a decoded placement configuration that has the right shape, each with its key. Checked once."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.config import Remark
from holdfast.errors import ConfigError, InvalidArgument
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.builtin import ALL, check
from holdfast.node.rule.compile import compile_rule
from holdfast.node.rule.pattern import compile_patterns
from holdfast.node.rule.protection import is_exact
from holdfast.node.rule.schema import Admission, PlacementConfig


def faults_of(config: PlacementConfig) -> Iterator[Remark]:
    """Yield every fault: an invalid rule, a name that is taken, an unknown built-in file, invalid namespaces."""
    yield from _rules(config)
    yield from _builtin(config)
    for at, entry in enumerate(config.annotations):
        if fault := _admission_fault(entry):
            yield Remark(("annotations", at, "namespaces"), fault, fatal=True)


def _admission_fault(entry: Admission) -> str:
    """Return why an entry's namespaces are refused (invalid patterns, patterns in place of names), else empty."""
    try:
        compile_patterns(entry.namespaces)
    except InvalidArgument as error:
        return error.message
    names = (entry.namespaces,) if isinstance(entry.namespaces, str) else entry.namespaces
    pattern = next((name for name in names if not is_exact(name)), None)
    if pattern is None or entry.oom_score_adj is None or entry.trust_claims:
        return ""
    return (
        f'"{pattern}" is not the exact name of a namespace: any user that may create one that fits '
        "would get these values; name each, or say trust_claims: true"
    )


def _rules(config: PlacementConfig) -> Iterator[Remark]:
    names: set[str] = set()
    for at, rule in enumerate(config.rules):
        try:
            compile_rule(rule)
        except ConfigError as error:
            yield Remark(("rules", at), str(error), fatal=True)
        where = ("rules", at, "name")
        if rule.name == BY_ANNOTATION:
            yield Remark(where, f"{rule.name} stands for what pods ask for by annotation; take another", fatal=True)
        if rule.name in names:
            yield Remark(where, f"there is a rule {rule.name} already", fatal=True)
        names.add(rule.name)


def _builtin(config: PlacementConfig) -> Iterator[Remark]:
    chosen = config.builtin_rules
    named = () if isinstance(chosen, str) else (name for name in chosen if name != ALL)
    try:
        check(*named)
    except ConfigError as error:
        yield Remark(("builtin_rules",), str(error), fatal=True)
    for name, namespaces in config.builtin_namespaces.items():
        where = ("builtin_namespaces", name)
        try:
            check(name)
        except ConfigError as error:
            yield Remark(where, str(error), fatal=True)
        if glob := next((one for one in namespaces if not one or not is_exact(one)), None):
            yield Remark(where, f'"{glob}" is not the exact name of a namespace', fatal=True)
