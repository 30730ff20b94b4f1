"""There and back: every reload is compared with what is in force, by whatever way it comes, and after whatever came."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from holdfast.cli.main import call

from tests.fakes.layout import Layout, rule
from tests.integration.node_kit import NAME, adj_of
from tests.peers.daemon import ENVIRON, HOLDFAST, Daemon
from tests.pod.configmap import ConfigMap
from tests.running import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
RULES = "io.holdfast.placement.v1.rules"
REJECTED = "configuration rejected"


def rules(*adjs):
    """A rule for the test's program with the first value, and more that match nothing."""
    names = itertools.count()
    return [
        {"name": f"r{next(names)}", "match": {"comm": NAME if at == 0 else "hf-none"}, "oom_score_adj": adj}
        for at, adj in enumerate(adjs)
    ]


class Node:
    """A daemon whose configuration a test changes by one of the ways there are."""

    def __init__(self, folder, how="file", before="", **environ):
        self.folder, self.how, self.reloads, self.refusals = folder, how, 0, 0
        self.map = ConfigMap(folder / "map") if how == "..data" else None
        self.config = folder / ("map/config.yaml" if self.map else "config.yaml")
        self.before, self.environ = before, environ
        self.address = f"{folder}/s.sock"

    def settings(self, *adjs, **more):
        placement = {"dry_run": False, "builtin_rules": "none", "rescan": "1h", "rules": rules(*adjs)}
        own = {"root": f"{self.folder}/root", "state": f"{self.folder}/state", "grpc": {"address": self.address}}
        sections = {RULES: {**placement, **more.pop("placement", {})}, **more.pop("plugins", {})}
        return json.dumps({**own, "metrics": {"address": ""}, "web": {"address": ""}, "plugins": sections, **more})

    def write(self, text):
        if self.map:
            self.map.update(text)
        else:
            fresh = self.folder / "fresh"
            fresh.write_text(text)
            os.replace(fresh, self.config)
        if self.how == "SIGHUP":
            self.daemon.send(signal.SIGHUP)

    def start(self, text):
        if self.map:
            self.map.update(text)
        else:
            self.config.write_text(text)
        code = textwrap.dedent(self.before) + "\nfrom holdfast.__main__ import main\nmain()\n"
        command = [sys.executable, "-c", code] if self.before else list(HOLDFAST)
        self.daemon = Daemon([*command, "run", "-c", self.config], self.folder, env={**ENVIRON, **self.environ})
        return self.daemon.ready()

    def reload(self, text):
        """Have a text reloaded; the line about it."""
        self.write(text)
        return self.reloaded()

    def reloaded(self):
        while True:
            self.reloads += 1
            line = self.daemon.line("configuration reloaded", after=self.reloads - 1)
            if self.how != "SIGHUP" or "applied=nothing" not in line:  # the daemon may have seen the file first
                return line

    def refused(self, text):
        self.write(text)
        self.refusals += 1
        return self.daemon.line(REJECTED, after=self.refusals - 1)

    def ask(self, *words):
        asked = subprocess.run(
            [*HOLDFAST, *words, "-a", self.address],
            env={**os.environ, **ENVIRON},
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode in (0, 1), asked.stderr
        return asked.stdout

    def shown(self):
        return json.loads(json.loads(self.ask("config", "show", "-o", "json"))["config_json"])


@pytest.fixture
def started(short_dir):
    """Starts the one node of a test."""
    made = []

    def start(text_of, how="file", **options):
        node = Node(short_dir, how, **options)
        made.append(node)
        node.start(text_of(node))
        return node

    yield start
    for node in made:
        node.daemon.__exit__(None, None, None)


@pytest.mark.parametrize("how", ["file", "..data", "SIGHUP"])
def test_rules_there_and_back_after_a_refusal_and_after_restore(started, sleeper, program, how):
    """The way back to what the boot read is a helm rollback's."""
    process = sleeper(program, "600")
    node = started(lambda node: node.settings(300), how)

    def is_at(adj):
        until(lambda: adj_of(process.pid) == adj)

    is_at(300)
    first, second, bad = node.settings(300), node.settings(600), node.settings(2000)
    for text, adj in ((second, 600), (first, 300), (second, 600)):
        assert f"applied=plugins.{RULES}" in node.reload(text)
        is_at(adj)
    assert "expected" in node.refused(bad)
    assert adj_of(process.pid) == 600
    assert f"applied=plugins.{RULES}" in node.reload(first)
    is_at(300)
    assert node.ask("restore").startswith("1 restored")
    is_at(0)
    node.refused(bad)
    assert json.loads(node.ask("rules", "-o", "json"))["rules"][0]["suspended"], "a refused reload gives nothing back"
    assert adj_of(process.pid) == 0
    assert f"applied=plugins.{RULES}" in node.reload(first)
    is_at(300)


def test_restored_rules_act_again_with_an_unchanged_file_by_sighup_and_only_those_of_the_restored_one(
    started, sleeper, program
):
    process = sleeper(program, "600")
    node = started(lambda node: node.settings(300, 400))
    until(lambda: adj_of(process.pid) == 300)
    node.ask("restore", "--rule", "r0")
    until(lambda: adj_of(process.pid) == 0)
    node.daemon.send(signal.SIGHUP)
    node.reloaded()
    until(lambda: adj_of(process.pid) == 300)
    node.ask("restore", "--pid", str(process.pid))
    until(lambda: adj_of(process.pid) == 0)
    node.daemon.send(signal.SIGHUP)
    node.reloaded()
    until(lambda: adj_of(process.pid) == 300)
    node.ask("restore")
    until(lambda: adj_of(process.pid) == 0)
    assert node.daemon.stop() == 0
    node.start(node.settings(300, 400))
    until(lambda: adj_of(process.pid) == 300)


def test_dry_run_there_and_back(started, sleeper, program):
    node = started(lambda node: node.settings(300))
    for dry in (True, False, True, False):
        node.reload(node.settings(300, placement={"dry_run": dry}))
        process = sleeper(program, "600")
        state = "planned" if dry else "held"
        until(lambda pid=process.pid, state=state: states(node).get(pid) == state)
        assert adj_of(process.pid) == (0 if dry else 300)


def states(node):
    return {one["pid"]: one["state"] for one in json.loads(node.ask("ps", "-o", "json"))["placements"]}


ONE_OTHER = {"namespaces": "jobs", "oom_score_adj": {"min": 0, "max": 500}}


@pytest.mark.parametrize(
    ("key", "path", "there", "back"),
    [
        (f"plugins.{RULES}", ("plugins", RULES, "builtin_rules"), ["logins"], "none"),
        (f"plugins.{RULES}", ("plugins", RULES, "annotations"), [ONE_OTHER], []),
        ("debug.level", ("debug", "level"), "debug", "info"),
        ("tracing.ratio", ("tracing", "ratio"), 0.5, 0.25),
        ("tracing.parent_based", ("tracing", "parent_based"), False, True),
    ],
    ids=["builtin_rules", "annotations", "level", "ratio", "parent_based"],
)
def test_there_and_back(started, key, path, there, back):
    def text(node, value):
        made = json.loads(node.settings(300))
        at = made
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = value
        return json.dumps(made)

    def found(node):
        at = node.shown()
        for step in path:
            at = at[step]
        return at

    node = started(lambda node: text(node, back), OTEL_TRACES_EXPORTER="console")
    first = found(node)
    for value in (there, back, there):
        assert f"applied={key} " in node.reload(text(node, value))
        assert (found(node) == first) == (value == back)


def test_a_level_set_over_the_debug_endpoint_ends_with_the_next_reload(started, short_dir):
    node = started(lambda node: node.settings(300, debug={"level": "info", "address": f"{short_dir}/d.sock"}))
    curl = ["curl", "-sS", "--unix-socket", f"{short_dir}/d.sock", "http://d/debug/loglevel"]
    assert subprocess.run([*curl, "-X", "PUT", "-d", "debug"], capture_output=True, check=True).stdout == b"debug\n"
    node.daemon.send(signal.SIGHUP)
    assert "applied=debug.level " in node.reloaded()
    assert subprocess.run(curl, capture_output=True, check=True).stdout == b"info\n"


def test_the_log_says_what_changed_and_for_how_many(started, sleeper, program):
    for _ in range(3):
        sleeper(program, "600")
    node = started(lambda node: node.settings(placement={"rules": []}))
    before = 'msg="placement rules in force"'
    node.reload(node.settings(300))
    assert 'change="+1 ~0 \u22120"' in node.daemon.line(before, after=1)
    assert "newly=3 no_more=0" in node.daemon.line("all processes were rescanned under these rules")
    node.reload(node.settings(400, 500, 600))
    assert 'change="+2 ~1 \u22120"' in node.daemon.line(before, after=2)
    assert "newly=0 no_more=0" in node.daemon.line("all processes were rescanned under these rules", after=1)
    node.reload(node.settings(placement={"rules": []}))
    assert 'change="+0 ~0 \u22123"' in node.daemon.line(before, after=3)
    assert "newly=0 no_more=3" in node.daemon.line("all processes were rescanned under these rules", after=2)


SLOW_BOOT = """
    import asyncio, os
    from holdfast.server import build
    begin = build.Daemon._start_plugins
    async def start(self, *given):
        print("boots", flush=True)
        await asyncio.to_thread(lambda: open({fifo!r}).read())
        await begin(self, *given)
    build.Daemon._start_plugins = start
"""


def test_a_sighup_while_the_boot_goes_on_is_a_reload_after_it(short_dir):
    fifo = short_dir / "fifo"
    os.mkfifo(fifo)
    node = Node(short_dir, before=SLOW_BOOT.format(fifo=str(fifo)))
    node.config.write_text(node.settings(300))
    code = textwrap.dedent(node.before) + "\nfrom holdfast.__main__ import main\nmain()\n"
    with Daemon([sys.executable, "-c", code, "run", "-c", node.config], short_dir, env=ENVIRON) as node.daemon:
        node.daemon.line("boots")
        node.write(node.settings(600))
        node.daemon.send(signal.SIGHUP)
        node.daemon.send(signal.SIGUSR1)
        node.daemon.line("stack dump written")  # signals are taken in order: the reload was asked for
        fifo.write_text("go on")
        node.daemon.ready()
        assert f"applied=plugins.{RULES} " in node.reloaded()
        assert node.shown()["plugins"][RULES]["rules"][0]["oom_score_adj"] == 600


# -- an engine that does not answer ------------------------------------------------------------------------------------

HUNG = """
    import os
    from holdfast.node.engine import engine, loop
    from holdfast.plugins.node.placement import active_rules
    active_rules.SET_S = 2.0
    take = loop.Loop._turn
    def turn(self):
        if os.path.exists({fifo!r}):
            print("hangs", flush=True)
            open({fifo!r}).read()
        take(self)
    loop.Loop._turn = turn
"""


def test_a_reload_over_an_engine_that_does_not_take_the_rules_is_refused_and_leaves_those_before(
    started, sleeper, program, short_dir
):
    process = sleeper(program, "600")
    fifo = short_dir / "fifo"
    node = started(lambda node: node.settings(300), before=HUNG.format(fifo=str(fifo)))
    until(lambda: adj_of(process.pid) == 300)
    os.mkfifo(fifo)
    node.daemon.line("^hangs")
    assert "the placement engine has not taken the rules within" in node.refused(node.settings(600))
    with open(fifo, "w"):
        fifo.unlink()
    node.ask("release", "1")  # answered after all that waited
    late = sleeper(program, "600")
    until(lambda: adj_of(late.pid) != 0)
    assert (adj_of(late.pid), adj_of(process.pid)) == (300, 300)
    node.daemon.send(signal.SIGHUP)
    assert f"applied=plugins.{RULES} " in node.reloaded()
    until(lambda: adj_of(process.pid) == 600)


# -- bundles -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "node")


def bundle(node, *words):
    assert call(["bundle", *words, "-a", node.address]) == 0


def test_restored_rules_act_again_with_another_bundle_and_not_with_one_that_cannot_be_read(
    started, sleeper, program, layout, short_dir
):
    process = sleeper(program, "600")
    one = layout.add("v1", {"rules.yaml": rule("r1", NAME, 555)})
    two = layout.add("v2", {"rules.yaml": rule("r1", NAME, 666)})
    node = started(lambda node: node.settings(placement={"rules": [], "bundle": one}))

    def is_suspended():
        return [rule["suspended"] for rule in json.loads(node.ask("rules", "-o", "json"))["rules"]] == [True]

    bundle(node, "pull", f"{layout.path}@{one}", "--apply")
    until(lambda: adj_of(process.pid) == 555)
    node.ask("restore")
    until(lambda: adj_of(process.pid) == 0)
    bundle(node, "pull", f"{layout.path}@{two}", "--apply")  # another than the one that is named
    assert is_suspended()
    whole = rules_file(short_dir / "root", one).read_bytes()
    rules_file(short_dir / "root", one).write_bytes(b"torn")
    bundle(node, "apply", two)
    node.daemon.line("bundle rejected; the previous rules stay in force", after=1)
    assert is_suspended()
    rules_file(short_dir / "root", one).write_bytes(whole)
    node.reload(node.settings(placement={"rules": [], "bundle": "current"}))
    until(lambda: adj_of(process.pid) == 666)
    node.ask("restore")
    until(lambda: adj_of(process.pid) == 0)
    bundle(node, "apply", one)
    until(lambda: adj_of(process.pid) == 555)


def rules_file(root, digest):
    return root / "bundles" / digest.replace(":", "-") / "files" / "rules.yaml"


def damage_rules(root, digest):
    rules_file(root, digest).write_bytes(rule("r9", NAME, 9))


def damage_manifest(root, digest):
    (root / "bundles" / digest.replace(":", "-") / "manifest.json").write_text("{}")


def damage_history(root, digest):
    (root / "bundles" / "history.json").write_text("{")


def remove_history(root, digest):
    (root / "bundles" / "history.json").unlink()


def damage_database(root, digest):
    (root / "io.containerd.metadata.v1.bolt" / "meta.sqlite").write_bytes(b"no database" * 1000)


def remove_bundle(root, digest):
    rules_file(root, digest).unlink()


@pytest.mark.parametrize(
    "damage",
    [damage_rules, damage_manifest, damage_history, remove_history, damage_database, remove_bundle],
    ids=lambda damage: damage.__name__,
)
def test_what_a_bundle_gave_stays_while_it_cannot_be_read_also_over_a_restart(
    started, sleeper, program, layout, short_dir, damage
):
    """One damaged file and a restart; then the configuration no longer names a bundle, and all of it is restored."""
    process = sleeper(program, "600")
    one = layout.add("v1", {"rules.yaml": rule("r1", NAME, 555)})
    node = started(lambda node: node.settings(placement={"rules": [], "bundle": "current"}))
    text = node.settings(placement={"rules": [], "bundle": "current"})
    bundle(node, "pull", f"{layout.path}@{one}", "--apply")
    until(lambda: adj_of(process.pid) == 555)
    assert node.daemon.stop() == 0
    damage(short_dir / "root", one)
    node.start(text)
    node.ask("restore", "--pid", "1")  # so that an unchanged file sets rules again, and the whole node is looked at
    node.daemon.send(signal.SIGHUP)
    node.reloaded()
    node.daemon.line("all processes were rescanned under these rules")
    assert adj_of(process.pid) == 555
    node.daemon.line("bundle rejected; the previous rules stay in force")
    assert json.loads(node.ask("rules", "-o", "json")).get("rules", []) == []
    (placed,) = json.loads(node.ask("ps", "-o", "json"))["placements"]
    assert (placed["pid"], placed["rule"]) == (process.pid, "r1")
    node.reload(node.settings(placement={"rules": []}))
    until(lambda: adj_of(process.pid) == 0)
