"""Rules from a bundle: which are in force, and what is logged when they cannot be."""

from concurrent.futures import Future

import msgspec
import pytest
from holdfast.errors import ConfigError, FailedPrecondition, NotFound
from holdfast.metrics import Registry
from holdfast.node.rule.file import read_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import PlacementConfig, Rule
from holdfast.plugins.node.placement.active_rules import ActiveRules
from holdfast.plugins.node.placement.bundled import BundledRules

from tests.fakes.layout import rule


class Node:
    """The node's bundles, as far as rules are concerned."""

    def __init__(self):
        self.here, self.current, self.watcher, self.pinned = {}, "", None, None

    def rules(self, reference):
        digest = self.current if reference == "current" else reference
        if digest not in self.here:
            raise NotFound(f"bundle {digest}")
        if self.here[digest] is None:
            raise FailedPrecondition("damaged")
        return digest, [("rules.yaml", self.here[digest].decode())]

    def watch(self, watcher):
        self.watcher = watcher

    def pin(self, wanted):
        self.pinned = wanted

    def apply(self, digest, text):
        self.here[digest], self.current = text, digest
        self.watcher()


class Engine:
    """Keeps what it is given."""

    def __init__(self):
        self.rules = Rules()

    def set_rules(self, rules):
        self.rules = rules
        done = Future()
        done.set_result(None)
        return done


ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Daemon:
    """The placement plugin's part: a configuration in force, and rules that follow."""

    def __init__(self, **config):
        self.node, self.engine, self.told = Node(), Engine(), []
        self.bundled = BundledRules(lambda: self.node, self.told.append)
        self.active_rules = ActiveRules(self.engine, self.bundled)
        self.config = PlacementConfig(builtin_rules="none", **config)
        self.active_rules.apply(self.config)
        self.bundled.follow(lambda: self.config, self.active_rules.apply)

    def reload(self, **config):
        fresh = PlacementConfig(builtin_rules="none", **config)
        self.active_rules.apply(fresh)
        self.config = fresh

    @property
    def names(self):
        return self.engine.rules.names

    def sample(self, name):
        registry = Registry()
        registry.add(*self.bundled.families)
        found = [line for line in registry.text().decode().splitlines() if line.startswith(name)]
        return float(found[0].split()[-1])


@pytest.fixture
def daemon():
    return Daemon(bundle="current")


def test_before_any_bundle_there_are_no_rules_of_one_and_it_is_told_once(daemon):
    assert daemon.names == ()
    assert daemon.told == ["bundle current: bundle : not found"]
    daemon.active_rules.apply(daemon.config)
    assert len(daemon.told) == 1


def test_another_current_bundle_is_in_force_at_once(daemon):
    daemon.node.apply(ONE, rule("one"))
    assert daemon.names == ("one",)
    daemon.node.apply(TWO, rule("two"))
    assert daemon.names == ("two",)
    assert len(daemon.told) == 1


@pytest.mark.parametrize("text", [None, b"- name: x\n", b"{dry_run: false, rules: []}"])
def test_a_bundle_that_is_damaged_or_bad_leaves_the_rules_before_it(daemon, text):
    daemon.node.apply(ONE, rule("one"))
    daemon.node.apply(TWO, text)
    assert daemon.names == ("one",)
    assert len(daemon.told) == 2
    daemon.node.watcher()
    assert len(daemon.told) == 2
    daemon.node.apply(TWO, rule("two"))
    assert daemon.names == ("two",)


def test_a_digest_is_followed_when_it_comes_and_not_left_for_the_current_one():
    daemon = Daemon(bundle=TWO)
    daemon.node.apply(ONE, rule("one"))
    assert daemon.names == ()
    daemon.node.apply(TWO, rule("two"))
    assert daemon.names == ("two",)
    daemon.node.apply(ONE, rule("one"))
    assert daemon.names == ("two",)
    assert daemon.node.pinned() == TWO


def test_a_reload_that_names_a_missing_bundle_keeps_the_rules_of_the_one_before(daemon):
    daemon.node.apply(ONE, rule("one"))
    daemon.reload(bundle=TWO)
    assert daemon.names == ("one",)
    assert TWO in daemon.told[-1]
    daemon.node.apply(TWO, rule("two"))
    assert daemon.names == ("two",)
    daemon.reload(bundle="")
    assert daemon.names == ()


def test_the_nodes_own_rules_come_first_and_replace_the_bundles_of_their_name(daemon):
    mine = read_rules(rule("one", adj=7).decode(), "mine").rules
    daemon.reload(bundle="current", rules=mine)
    daemon.node.apply(ONE, rule("one") + rule("two"))
    assert daemon.names == ("one", "two")
    assert daemon.engine.rules.named("one").adjustment.value == 7


def test_without_bundles_in_the_daemon_the_nodes_own_rules_are_in_force():
    def absent():
        raise NotFound("no plugins registered for io.holdfast.bundle.v1")

    told = []
    bundled = BundledRules(absent, told.append)
    active_rules = ActiveRules(Engine(), bundled)
    active_rules.apply(PlacementConfig(builtin_rules="none", bundle="current"))
    bundled.follow(PlacementConfig, active_rules.apply)
    assert told == ["bundle current: no plugins registered for io.holdfast.bundle.v1: not found"]


def test_a_forced_dry_run_is_one_for_every_rule_whatever_the_rule_and_its_source_say():
    own = msgspec.convert({"name": "own", "match": {"comm": "x"}, "oom_score_adj": 1, "dry_run": False}, Rule)
    for force_dry_run in (False, True):
        daemon = Daemon(bundle="current", rules=(own,), dry_run=False, force_dry_run=force_dry_run)
        daemon.node.apply(ONE, rule("one"))
        assert daemon.names == ("own", "one")
        assert [each.dry_run for each in daemon.engine.rules.rules] == [force_dry_run] * 2


@pytest.mark.parametrize("reference", ["latest", "sha256:abc", "sha512:" + "1" * 128, "../x"])
def test_a_bundle_is_named_by_digest_or_is_current(reference):
    with pytest.raises(ConfigError, match="bundle"):
        read_rules(f"{{bundle: '{reference}'}}", "x")


def test_counts_say_how_often_rules_came_and_were_refused(daemon):
    daemon.node.apply(ONE, rule("one"))
    assert daemon.sample('holdfast_bundle_rules_total{result="applied"}') == 1
    assert daemon.sample("holdfast_bundle_rules_last_successful") == 1
    daemon.node.apply(TWO, None)
    assert daemon.sample('holdfast_bundle_rules_total{result="rejected"}') == 2
    assert daemon.sample("holdfast_bundle_rules_last_successful") == 0
