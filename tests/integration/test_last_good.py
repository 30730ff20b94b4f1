"""A configuration that is broken when the daemon starts: it runs on the last one that was taken into force."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
import urllib.request

import pytest
from holdfast.server.last_good import NAME

from tests.integration.node_kit import adj_of
from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast
from tests.running import PATIENCE_S, until

RULES = "io.holdfast.placement.v1.rules"
SERVICE = "holdfast.placement.v1.Placement"
USED = "configuration rejected; starting with the last good one"


def rule(adj, comm="hf-nobody"):
    return {"name": "one", "match": {"comm": comm}, "oom_score_adj": adj}


class Node:
    """One machine's daemon: its files, and as many starts as a test makes."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.config, self.kept = folder / "config.yaml", folder / "root" / NAME

    def settings(self, adj=100, comm="hf-nobody", **more):
        placement = {"builtin_rules": "none", "rules": [rule(adj, comm)], **more.pop("placement", {})}
        own = {
            "root": f"{self.folder}/root",
            "state": f"{self.folder}/state",
            "grpc": {"address": f"{self.folder}/s.sock"},
            "metrics": {"address": f"127.0.0.1:{self.port}"},
            "web": {"address": ""},
            "debug": {"level": "debug"},
        }
        return {**own, "plugins": {RULES: placement}, **more}

    def write(self, text=None, **more):
        """Another file of the name, as editors and the kubelet do it."""
        fresh = self.folder / "fresh"
        fresh.write_text(text if text is not None else json.dumps(self.settings(**more), indent=1))
        os.replace(fresh, self.config)

    def run(self, *arguments, config=None, **options):
        return holdfast(self.folder, config or self.config, *arguments, **options)

    def ran_well(self, **more):
        """A run with a good file, until it is kept."""
        self.write(**more)
        with self.run() as daemon:
            daemon.ready()
            daemon.line("last good configuration kept")
            assert daemon.stop() == 0

    def metrics(self):
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S).read().decode()
        return dict(re.findall(r"^(holdfast_config_\S+) (\S+)$", page, re.MULTILINE))

    def ask(self, *words):
        command = [*HOLDFAST, *words, "-a", f"{self.folder}/s.sock"]
        return subprocess.run(command, env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=False)

    def shown(self):
        asked = self.ask("config", "show", "-o", "json")
        answer = json.loads(asked.stdout)
        return asked.returncode, {**answer, "config": json.loads(answer["config_json"])}

    def adj(self):
        return self.shown()[1]["config"]["plugins"][RULES]["rules"][0]["oom_score_adj"]

    def health(self):
        return {name: self.ask("health", name).stdout.strip() for name in ("", SERVICE, "grpc.health.v1.Health")}


READY = {"": "SERVING", SERVICE: "SERVING", "grpc.health.v1.Health": "SERVING"}
NOT_READY = {**READY, "": "NOT_SERVING", SERVICE: "NOT_SERVING"}


@pytest.fixture
def node(short_dir, free_port):
    return Node(short_dir, free_port())


def breakages(node):
    """Each kind of mistake, and what the line about it has."""
    good = node.settings()
    bad_rule = {**good, "plugins": {RULES: {"rules": [{"name": "one", "oom_score_adj": -1000, "match": {}}]}}}

    def broken(**more):
        return json.dumps({**good, **more})

    return {
        "no YAML": (f"root: {node.folder}/root\ngrpc: [\n", r"config\.yaml:\d+: not YAML"),
        "unknown key": (broken(grcp={}), r"config\.yaml:1: grcp: unknown key; did you mean .*grpc"),
        "bad rule": (json.dumps(bad_rule), r"config\.yaml:1: plugins\..*rule .*one"),
        "a plugin's section": (broken(plugins={RULES: {"rescan": "x"}}), r"config\.yaml:1: plugins\..*rescan"),
        "no such plugin": (broken(plugins={"io.x.y.v1.z": {}}), r"config\.yaml:1: plugins\.\S*io\.x\.y"),
        "import gone": (broken(imports=["gone.yaml"]), r"config\.yaml:1: imports: .*gone\.yaml.*no such file"),
        "bad import": (broken(imports=["bad.yaml"]), r"bad\.yaml:\d: not YAML"),
    }


KINDS = ["no YAML", "unknown key", "bad rule", "a plugin's section", "no such plugin", "import gone", "bad import"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_and_a_restart_is_the_last_good_one_until_it_is_mended(node, kind):
    node.ran_well(adj=100)
    (node.folder / "bad.yaml").write_text("a: 1\nb: [\n")
    text, words = breakages(node)[kind]
    node.write(text)
    with node.run() as daemon:
        daemon.ready()
        line = daemon.line(USED)
        assert re.search(words, line)
        assert re.search(r" age=\d+s ", line)
        before = re.search(r"hash=([0-9a-f]{12})", line)[1]
        assert node.health() == NOT_READY
        assert (
            node.metrics()
            | {
                f'holdfast_config_info{{hash="{before}"}}': "1",
                "holdfast_config_last_good_in_use": "1",
                "holdfast_config_last_reload_successful": "0",
            }
            == node.metrics()
        )
        code, shown = node.shown()
        assert (code, shown["is_last_good"], shown["hash"][:12]) == (1, True, before)
        assert re.search(words, shown["refused"])
        assert node.adj() == 100

        node.write(adj=200)
        daemon.line("configuration reloaded")
        assert node.health() == READY
        assert node.metrics()["holdfast_config_last_good_in_use"] == "0"
        assert node.metrics()["holdfast_config_last_reload_successful"] == "1"
        code, shown = node.shown()
        assert (code, shown["refused"], shown["is_last_good"]) == (0, "", False)
        assert node.adj() == 200
        assert len([one for one in daemon.err if "configuration reloaded" in one]) == 1
        assert daemon.stop() == 0


def test_config_check_fails_all_the_same(node):
    node.ran_well()
    node.write("grpc: [")
    asked = subprocess.run(
        [*HOLDFAST, "config", "check", node.config],
        env={**os.environ, **ENVIRON},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert re.search(r"config\.yaml:\d: not YAML", asked.stderr)


def test_the_same_good_file_back_is_mended_too_also_by_sighup(node):
    node.ran_well(adj=100)
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run() as daemon:
        daemon.ready()
        daemon.send(signal.SIGHUP)
        assert "not YAML" in daemon.line("configuration rejected; the previous one stays in force")
        assert node.health() == NOT_READY
        assert node.metrics()["holdfast_config_last_good_in_use"] == "1"
        node.write(adj=100)
        daemon.send(signal.SIGHUP)
        assert "applied=nothing" in daemon.line("configuration reloaded")
        assert node.health() == READY


def test_what_comes_back_is_the_last_that_was_taken_into_force_and_no_older_one(node):
    node.ran_well(adj=100)
    with node.run() as daemon:
        daemon.ready()
        daemon.line("last good configuration kept")
        node.write(adj=200)
        daemon.line("configuration reloaded")
        daemon.line("last good configuration kept", after=1)
        node.write(placement={"rules": [{"name": "one"}]})
        daemon.line("configuration rejected")
        assert daemon.stop() == 0
    for _ in range(2):  # also when it ran on the last good one itself
        with node.run() as daemon:
            daemon.ready()
            daemon.line(USED)
            assert node.adj() == 200
            assert daemon.stop() == 0


def test_it_is_for_the_daemons_user_alone_and_has_when_and_whose_it_is(node):
    node.ran_well()
    about = node.kept.lstat()
    assert (about.st_mode & 0o7777, about.st_uid) == (0o600, os.geteuid())
    kept = json.loads(node.kept.read_text())
    assert kept["format"] == 1
    assert kept["source"] == str(node.config)
    assert kept["tree"] == node.settings()
    assert [path.name for path in node.kept.parent.glob(f"{NAME}*")] == [NAME]


def test_a_restart_with_the_same_file_leaves_its_age(node):
    node.ran_well()
    before = node.kept.read_bytes()
    node.ran_well()
    assert node.kept.read_bytes() == before


def test_a_first_start_with_a_broken_file_fails(node):
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run() as daemon:
        assert daemon.end() == 1
        assert re.fullmatch(r"holdfast: \S+config\.yaml:\d+: not YAML: .*", daemon.err[-1])


def test_another_file_has_no_last_good_one(node):
    node.ran_well()
    other = node.folder / "other.yaml"
    other.write_text(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run(config=other) as daemon:
        assert daemon.end() == 1
        assert "other.yaml:3: not YAML" in daemon.err[-1]


def test_a_file_that_is_gone_is_broken_too(node):
    node.ran_well()
    node.config.unlink()
    with node.run("--root", f"{node.folder}/root") as daemon:
        daemon.ready()
        assert "no such file" in daemon.line(USED)
        node.write(adj=300)
        daemon.line("configuration reloaded")
        assert node.adj() == 300


def test_the_command_line_holds_over_the_last_good_one(node):
    node.ran_well()
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run("--log-level", "warn", "--state", f"{node.folder}/state2") as daemon:
        daemon.ready()
        shown = node.shown()[1]["config"]
        assert (shown["debug"]["level"], shown["state"]) == ("warn", f"{node.folder}/state2")


def test_without_a_root_that_can_be_read_the_flag_says_it(node):
    node.ran_well()
    node.write("{")
    with node.run() as daemon:
        assert daemon.end() == 1
    with node.run("--root", f"{node.folder}/root") as daemon:
        daemon.ready()
        daemon.line(USED)


def test_all_of_the_last_good_one_holds_at_a_start_also_what_a_reload_cannot_change(node, free_port):
    node.ran_well()
    moved = free_port()
    with node.run() as daemon:
        daemon.ready()
        daemon.line("last good configuration kept")
        node.write(metrics={"address": f"127.0.0.1:{moved}"})
        daemon.line("changed setting needs a restart")
        daemon.line("last good configuration kept", after=1)
        assert node.shown()[1]["needs_restart"] == ["metrics.address"]
        assert node.shown()[1]["config"]["metrics"]["address"] == f"127.0.0.1:{node.port}"
        assert daemon.stop() == 0
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    node.port = moved
    with node.run() as daemon:
        daemon.ready()
        assert node.metrics()["holdfast_config_last_good_in_use"] == "1"


# -- what must not be believed -----------------------------------------------------------------------------------------


def loosen(path):
    path.chmod(0o640)


def link(path):
    shutil.copy(path, path.with_name("elsewhere"))
    path.unlink()
    path.symlink_to("elsewhere")


def grow(path):
    path.write_bytes(path.read_bytes() + b" " * (8 << 20))


def change(path):
    path.write_text(path.read_text().replace('"oom_score_adj":100', '"oom_score_adj":900'))


def tear(path):
    path.write_bytes(path.read_bytes()[:-10])


def renew(path):
    path.write_text(path.read_text().replace('"format":1', '"format":2'))


def give_away(path):
    os.chown(path, 65534, 65534)


def fifo(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "how",
    [loosen, link, grow, change, tear, renew, pytest.param(give_away, marks=pytest.mark.root), fifo],
    ids=lambda how: how.__name__,
)
def test_a_kept_file_that_another_may_have_made_or_damaged_is_not_used(node, how):
    node.ran_well()
    how(node.kept)
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run() as daemon:
        assert daemon.end() == 1
        assert "not YAML" in daemon.err[-1]
        assert NAME in daemon.line("the last good configuration cannot be used")


def test_a_root_that_others_may_write_to_has_none(node):
    node.ran_well()
    node.kept.parent.chmod(0o777)
    node.write(f"root: {node.folder}/root\ngrpc: [\n")
    with node.run() as daemon:
        assert daemon.end() == 1


def test_a_root_that_cannot_be_written_to_is_told_and_serves(node):
    node.write()
    node.kept.parent.mkdir(mode=0o700)
    node.kept.mkdir()
    with node.run() as daemon:
        daemon.ready()
        daemon.line("the last good configuration is not kept for a restart")
        assert node.health() == READY


# -- plugins -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def picky(tmp_path):
    """An installed plugin that refuses a configuration only when it starts, or at a reload."""
    (tmp_path / "picky.py").write_text(
        textwrap.dedent("""
        from typing import Annotated
        import msgspec
        from holdfast.errors import ConfigError
        from holdfast.plugin import Kind, plugin
        class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
            word: str = "good"
            password: Annotated[str, msgspec.Meta(extra={"secret": True})] = ""
        def check(config):
            if config.word == "bad":
                raise ConfigError("picky: word: not this one")
        @plugin(Kind("io.zeta.picky.v1"), "one", config=Config)
        async def picky(context):
            check(context.config)
            context.on_reload(check)
            yield object()
        """)
    )
    info = tmp_path / "picky-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: picky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[holdfast.plugins]\npicky = picky:picky\n")
    return {"PYTHONPATH": f"{ENVIRON['PYTHONPATH']}:{tmp_path}"}


PICKY = "io.zeta.picky.v1.one"


def with_picky(node, word, adj):
    node.write(json.dumps({**(made := node.settings(adj)), "plugins": {**made["plugins"], PICKY: {"word": word}}}))


def test_a_plugin_that_refuses_when_it_starts_is_the_same_kind_of_mistake(node, picky):
    with_picky(node, "good", 100)
    with node.run(env=picky) as daemon:
        daemon.ready()
        daemon.line("last good configuration kept")
        assert daemon.stop() == 0
    with_picky(node, "bad", 200)
    with node.run(env=picky) as daemon:
        daemon.ready()
        assert "picky: word: not this one" in daemon.line(USED)
        assert node.adj() == 100
        assert node.health() == NOT_READY
        with_picky(node, "fine", 300)
        daemon.line("configuration reloaded")
        assert node.adj() == 300
        assert node.health() == READY


def test_a_configuration_that_keeps_a_plugin_from_starting_is_never_the_last_good_one(node, picky):
    with_picky(node, "bad", 100)
    with node.run(env=picky) as daemon:
        daemon.ready()  # as without: the plugin failed, the others serve
        assert daemon.stop() == 0
    assert not node.kept.exists()


def test_one_plugin_that_refuses_a_reload_takes_all_back_also_after_restore(node, picky):
    with_picky(node, "good", 100)
    with node.run(env=picky) as daemon:
        daemon.ready()
        assert node.ask("restore").returncode == 0
        for adj in (200, 300):
            with_picky(node, "bad", adj)
            assert "picky: word" in daemon.line("configuration rejected", after=(adj - 200) // 100)
            assert node.adj() == 100
            rules = json.loads(node.ask("rules", "-o", "json").stdout)["rules"]
            assert [(one["suspended"], "100" in one["yaml"]) for one in rules] == [(True, True)]
        with_picky(node, "good", 100)
        daemon.send(signal.SIGHUP)
        daemon.line("configuration reloaded")
        rules = json.loads(node.ask("rules", "-o", "json").stdout)["rules"]
        assert [(one["suspended"], "100" in one["yaml"]) for one in rules] == [(False, True)]


def test_secrets_are_hidden(node, picky):
    made = node.settings()
    made["plugins"][PICKY] = {"password": "hunter2"}
    made["debug"] = {"address": f"{node.folder}/debug.sock"}
    node.write(json.dumps(made))
    with node.run(env=picky) as daemon:
        daemon.ready()
        assert node.shown()[1]["config"]["plugins"][PICKY] == {"word": "good", "password": "<hidden>"}
        assert "hunter2" not in node.ask("config", "show").stdout
        page = subprocess.run(
            ["curl", "-s", "--unix-socket", f"{node.folder}/debug.sock", "http://d/debug/config"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert json.loads(page) == node.shown()[1]["config"]


# -- what it is for ----------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_processes_keep_what_their_rules_gave_them(node, sleeper, program):
    comm = os.path.basename(program)
    process = sleeper(program, "600")
    node.write(adj=321, comm=comm, placement={"dry_run": False})
    with node.run() as daemon:
        daemon.ready()
        daemon.line("last good configuration kept")
        until(lambda: adj_of(process.pid) == 321)
        assert daemon.stop() == 0
    node.write(f"root: {node.folder}/root\nplugins: [\n")
    late = sleeper(program, "600")
    with node.run() as daemon:
        daemon.ready()
        until(lambda: adj_of(late.pid) == 321)
        placed = json.loads(node.ask("ps", "-o", "json").stdout)["placements"]
        assert {one["pid"]: one["rule"] for one in placed} == {process.pid: "one", late.pid: "one"}
        assert adj_of(process.pid) == 321
        assert daemon.stop() == 0
