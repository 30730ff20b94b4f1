"""The daemon with rules on this machine: dry run, preview, switched on, held, drift, rule removed, restored."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import pytest
import yaml
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

from bench import victims
from tests.fakes.layout import Layout
from tests.integration.node_kit import adj_of
from tests.peers.process import OFTEN
from tests.running import PATIENCE_S, until

pytestmark = pytest.mark.root
URI = "io.holdfast.placement.v1.rules"
SERVICE = Path(__file__).parents[2] / "service"
WAIT_S = PATIENCE_S


class Daemon:
    """A daemon of its own on a short path, whose configuration a test rewrites."""

    def __init__(self, folder, **section):
        self.folder = Path(folder)
        self.address = f"{folder}/s.sock"
        self.section = {"builtin_rules": "none", "rescan": "1s", **section}
        self.process = None

    def write(self, **section):
        """The configuration, replaced as an editor does it."""
        self.section |= section
        text = yaml.safe_dump(
            {
                "root": f"{self.folder}/root",
                "state": f"{self.folder}/state",
                "grpc": {"address": self.address},
                "metrics": {"address": ""},
                "web": {"address": ""},
                "plugins": {URI: self.section},
            }
        )
        (self.folder / "new").write_text(text)
        os.replace(self.folder / "new", self.folder / "config.yaml")

    def start(self):
        self.write()
        command = [sys.executable, "-m", "holdfast", "run", "-c", f"{self.folder}/config.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(SERVICE)}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.channel = grpc.insecure_channel(f"unix:{self.address}", OFTEN)
        grpc.channel_ready_future(self.channel).result(WAIT_S)
        self.stub = PlacementStub(self.channel)

    def watch(self):
        """Reports from now on: the call is known to have begun when its headers are here."""
        call = self.stub.Watch(pb.WatchRequest(), timeout=WAIT_S)
        call.initial_metadata()
        return call

    def command(self, *words, check=True):
        command = [sys.executable, "-m", "holdfast", *words, "-a", self.address]
        environment = {**os.environ, "PYTHONPATH": str(SERVICE)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=check)

    def stop(self, with_signal=signal.SIGTERM):
        self.channel.close()
        self.process.send_signal(with_signal)
        return self.process.wait(WAIT_S)


@pytest.fixture
def daemon(request):
    folder = tempfile.mkdtemp(prefix="hf")
    made = Daemon(folder)
    yield made
    if made.process is not None and made.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            made.process.kill()
        made.process.wait()
    if request.session.testsfailed:
        sys.stderr.write((made.folder / "log").read_text()[-4000:] if (made.folder / "log").exists() else "")
    shutil.rmtree(folder)


@pytest.fixture
def program(tmp_path):
    """A program with a name of its own, so that a rule of a test matches no other process."""
    name = f"hft-{os.getpid() % 100000}"
    path = tmp_path / name
    shutil.copy("/bin/sleep", path)
    return path


def wait_for(reports, happening, pid):
    return next(report for report in reports if (report.happening, report.pid) == (happening, pid))


def rule_of(program, **more):
    return {"name": "tested", "match": {"comm": program.name}, "oom_score_adj": 700, **more}


def test_from_dry_run_to_held_to_restored(daemon, program, sleeper, group, hierarchy):
    target = {"path": group, "settings": {"memory.max": "64Mi"}}
    daemon.section |= {"dry_run": True, "rules": [rule_of(program, cgroup=target)]}
    daemon.start()
    pid = sleeper(str(program), "600").pid
    (planned,) = daemon.stub.Preview(pb.PreviewRequest()).planned
    assert (planned.process.pid, planned.decision.rule, planned.decision.dry_run) == (pid, "tested", True)
    assert adj_of(pid) == 0

    reports = daemon.watch()
    daemon.write(dry_run=False)
    wait_for(reports, "held", pid)
    assert adj_of(pid) == 700

    reports = daemon.watch()
    Path(f"/proc/{pid}/oom_score_adj").write_text("695")
    assert wait_for(reports, "drifted", pid).rule == "tested"
    assert adj_of(pid) == 700

    reports = daemon.watch()
    daemon.write(rules=[])
    wait_for(reports, "released", pid)
    assert adj_of(pid) == 695, "another program's later choice is what is restored"
    assert daemon.stop() == 0


def test_a_process_started_later_is_held_by_its_exec_and_given_back_by_restore(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)], "rescan": "1h"}
    daemon.start()
    reports = daemon.watch()
    pid = sleeper(str(program), "600").pid
    wait_for(reports, "held", pid)
    assert adj_of(pid) == 700
    assert daemon.command("restore").stdout.startswith("1 restored, 0 left")
    assert adj_of(pid) == 0
    (rule,) = daemon.stub.ListRules(pb.ListRulesRequest()).rules
    assert rule.suspended


def test_a_killed_daemons_successor_knows_what_to_give_back(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)]}
    daemon.start()
    reports = daemon.watch()
    pid = sleeper(str(program), "600").pid
    wait_for(reports, "held", pid)
    daemon.stop(signal.SIGKILL)
    assert adj_of(pid) == 700
    daemon.start()
    answer = daemon.stub.Restore(pb.RestoreRequest(pid=pid))
    assert (answer.given_back, adj_of(pid)) == (1, 0)


def test_a_bad_file_keeps_the_rules_in_force(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)]}
    daemon.start()
    daemon.write(rules=[rule_of(program, match={"comm": "re:("})])
    daemon.process.send_signal(signal.SIGHUP)
    reports = daemon.watch()
    pid = sleeper(str(program), "600").pid
    assert wait_for(reports, "held", pid).rule == "tested"


def test_on_stop_everything_is_given_back_when_so_configured(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)], "on_stop": "restore"}
    daemon.start()
    reports = daemon.watch()
    pid = sleeper(str(program), "600").pid
    wait_for(reports, "held", pid)
    assert daemon.stop() == 0
    assert adj_of(pid) == 0


def test_a_hold_by_hand_stands_above_the_rules_until_it_is_released(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)]}
    daemon.start()
    reports = daemon.watch()
    pid = sleeper(str(program), "600").pid
    wait_for(reports, "held", pid)
    assert daemon.command("hold", str(pid), "900", "--for", "10m").stdout.startswith(f"{pid} ({program.name}) has 900")
    assert adj_of(pid) == 900
    assert "override       oom_score_adj 900 until" in daemon.command("explain", str(pid)).stdout
    assert daemon.command("release", str(pid)).stdout == f"{pid} is under rule tested\n"
    assert adj_of(pid) == 700
    refused = daemon.command("release", str(pid), check=False)
    assert (refused.returncode, refused.stderr) == (1, f"holdfast: override of process {pid}: not found\n")


def test_each_command_answers_a_reader_and_a_program(daemon, program, sleeper):
    daemon.section |= {"dry_run": True, "rules": [rule_of(program, reason="a test")]}
    daemon.start()
    reports = daemon.watch()
    pid = str(sleeper(str(program), "600").pid)
    wait_for(reports, "planned", int(pid))
    for words, expected in (
        (("rules",), "tested"),
        (("ps",), program.name),
        (("explain", pid), "would write    oom_score_adj 0 → 700"),
        (("preview",), "oom_score_adj 0 → 700"),
        (("victims", "-l", "2"), "the node"),
        (("kills",), ""),
        (("top", "--once"), "dry run: nothing is written"),
    ):
        assert expected in daemon.command(*words).stdout, words
        if words[0] != "top":
            json.loads(daemon.command(*words, "-o", "json").stdout)
    other = daemon.folder / "other.yaml"
    other.write_text(yaml.safe_dump([rule_of(program, oom_score_adj=9)]))
    assert "oom_score_adj 0 → 9" in daemon.command("preview", "--rules", str(other)).stdout
    other.write_text("- {name: x, match: {comm: 're:('}, oom_score_adj: 1}")
    refused = daemon.command("preview", "--rules", str(other), check=False)
    assert refused.stderr.startswith('holdfast: the rules sent:1: rules[0]: rule "x": match.comm: "re:("')


def log_of(daemon):
    return (daemon.folder / "log").read_text()


def test_a_change_that_is_taken_back_is_in_force_again_and_the_log_says_what_changed(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)]}
    daemon.start()
    pid = sleeper(str(program), "600").pid
    until(lambda: adj_of(pid) == 700)
    daemon.write(rules=[rule_of(program, oom_score_adj=600), rule_of(program, name="second")])
    until(lambda: adj_of(pid) == 600)
    daemon.write(rules=[rule_of(program)])
    until(lambda: adj_of(pid) == 700)
    daemon.write(dry_run=True)
    until(lambda: daemon.stub.ListRules(pb.ListRulesRequest()).rules[0].dry_run)
    daemon.write(dry_run=False)
    until(lambda: not daemon.stub.ListRules(pb.ListRulesRequest()).rules[0].dry_run)
    assert 'change="+1 ~1 −0"' in log_of(daemon)
    assert 'change="+0 ~1 −1"' in log_of(daemon)


def test_restored_rules_act_again_with_the_next_reload_of_an_unchanged_file(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)]}
    daemon.start()
    pid = sleeper(str(program), "600").pid
    until(lambda: adj_of(pid) == 700)
    for _ in range(2):
        assert daemon.stub.Restore(pb.RestoreRequest()).given_back == 1
        assert adj_of(pid) == 0
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: adj_of(pid) == 700)


def test_what_a_bundle_gave_stays_while_the_bundle_cannot_be_read_after_a_restart(daemon, program, sleeper):
    layout = Layout(daemon.folder / "layout")
    rules = yaml.safe_dump([rule_of(program, name="bundled")])
    layout.add("v1", {"rules.yaml": rules.encode()})
    daemon.section |= {"dry_run": False, "bundle": "current"}
    daemon.start()
    daemon.command("bundle", "pull", f"{daemon.folder}/layout:v1", "--apply")
    pid = sleeper(str(program), "600").pid
    until(lambda: adj_of(pid) == 700)
    assert daemon.stop() == 0
    for folder in (daemon.folder / "root").iterdir():
        if folder.is_dir() and folder.name != URI:
            shutil.rmtree(folder)  # its history, and what it points to
    daemon.start()
    for _ in range(2):
        looked_at = daemon.stub.Status(pb.StatusRequest()).last_sweep_cause
        daemon.write(kills_kept=100 if looked_at else 101)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.stub.Status(pb.StatusRequest()).last_sweep_cause in ("reload", "period"))
    assert "bundle rejected" in log_of(daemon)
    assert adj_of(pid) == 700
    (placed,) = daemon.stub.ListPlacements(pb.ListPlacementsRequest()).placements
    assert placed.rule == "bundled"
    assert daemon.stub.Restore(pb.RestoreRequest()).given_back == 1
    assert adj_of(pid) == 0


def test_what_a_process_has_now_is_what_ps_shows_and_who_ended_is_not_there(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)], "rescan": "1h"}
    daemon.start()
    first, second = sleeper(str(program), "600"), sleeper(str(program), "600")
    until(lambda: (adj_of(first.pid), adj_of(second.pid)) == (700, 700))
    Path(f"/proc/{first.pid}/oom_score_adj").write_text("705")
    second.kill()
    second.wait()
    (placed,) = daemon.stub.ListPlacements(pb.ListPlacementsRequest()).placements
    assert (placed.pid, placed.oom_score_adj) == (first.pid, 705)


def test_a_root_that_was_removed_is_made_anew_and_everything_can_be_given_back(daemon, program, sleeper):
    daemon.section |= {"dry_run": False, "rules": [rule_of(program)], "rescan": "1s"}
    daemon.start()
    pid = sleeper(str(program), "600").pid
    until(lambda: adj_of(pid) == 700)
    folder = daemon.folder / "root" / URI
    shutil.rmtree(folder)
    until(lambda: "written again from memory" in log_of(daemon))  # after it was
    assert (folder / "journal").exists()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    assert daemon.stub.Restore(pb.RestoreRequest()).given_back == 1
    assert adj_of(pid) == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", victims.KINDS)
def test_the_kernel_kills_whom_we_named(kind):
    result = victims.run(kind, trials=3, seed=os.getpid())
    assert result.verdicts["miss"] == 0, result.note
    assert result.verdicts["hit"] + result.verdicts["two"] + result.verdicts["tie"] == result.trials
