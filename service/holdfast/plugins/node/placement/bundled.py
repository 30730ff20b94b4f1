"""Rules from the bundle that the configuration names, or the last good ones while that one has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.metrics import Counter, Gauge
from holdfast.node.rule.file import read_bundle
from holdfast.node.rule.schema import PlacementConfig, Rule

LOG = log.named(__name__)


class BundleSource(Protocol):
    """The part of the node's bundles that is used here."""

    def rules(self, reference: str) -> tuple[str, Iterable[tuple[str, str]]]:
        """Return the digest that ``reference`` means, and the path and text of its rules files."""

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after each change."""

    def pin(self, wanted: Callable[[], str]) -> None:
        """Keep the bundle whose digest ``wanted`` returns."""


class _Taken(Struct, frozen=True):
    """Rules, and the digest of the bundle they came from."""

    digest: str = ""
    rules: tuple[Rule, ...] = ()


_NOTHING = _Taken()


class BundledRules:
    """Gives the rules of a configuration's ``bundle``. ``source`` may raise: then the bundle counts as missing.

    A bundle that is missing or bad is reported once: a log line, a count, and ``tell`` for an event.
    """

    def __init__(self, source: Callable[[], BundleSource], tell: Callable[[str], None]) -> None:
        self._source, self._tell = source, tell
        self._in_force = self._given = _NOTHING
        self._why = ""  # why the rules asked for last are not in force; empty: they are
        self._reads = Counter("holdfast_bundle_rules_total", "Times rules were taken from a bundle.", ["result"])
        self._last = Gauge("holdfast_bundle_rules_last_successful", "Whether the bundle named has its rules in force.")
        for result in ("applied", "rejected"):
            self._reads.labels(result)
        self._last.set(1)
        self.families = (self._reads, self._last)

    def rules(self, reference: str) -> tuple[Rule, ...]:
        """Return the rules of the bundle ``reference``, else those in force; none for an empty one. Never raises."""
        self._given = _NOTHING
        if reference:
            try:
                digest, texts = self._source().rules(reference)
                self._given = _Taken(digest, read_bundle(texts))
            except Exception as error:  # also any error that kept the bundles' plugin from starting
                self._given = self._in_force
                self._reject(reference, str(error))
                return self._given.rules
        self._accept()
        return self._given.rules

    @property
    def is_unread(self) -> bool:
        """Whether a bundle is named, and none of its rules were read since the start."""
        return bool(self._why) and self._given is _NOTHING

    def confirm(self) -> None:
        """Record that the rules `rules` returned last are in force."""
        if self._given.digest and self._given != self._in_force:
            self._reads.inc("applied")
            LOG.info("rules of a bundle in force", bundle=self._given.digest, rules=len(self._given.rules))
        self._in_force = self._given

    def follow(self, config: Callable[[], PlacementConfig], apply: Callable[[PlacementConfig], None]) -> None:
        """Call ``apply`` with the configuration in force whenever the bundle that it names has other rules."""

        def changed() -> None:
            reference = config().bundle
            if not reference:
                return
            self.rules(reference)
            if self._given == self._in_force:
                return  # another bundle came, or none that can be read: rules in force, or values restored, stay so
            try:
                apply(config())
            except HoldfastError as error:
                self._reject(reference, str(error))

        try:
            source = self._source()
        except Exception:  # no bundles in this daemon, for any reason: nothing will change
            return
        source.pin(lambda: config().bundle)
        source.watch(changed)

    def _accept(self) -> None:
        self._last.set(1)
        self._why = ""

    def _reject(self, reference: str, why: str) -> None:
        self._last.set(0)
        if self._why == why:
            return
        self._why = why
        self._reads.inc("rejected")
        LOG.error("bundle rejected; the previous rules stay in force", bundle=reference, error=why)
        self._tell(f"bundle {reference}: {why}")
