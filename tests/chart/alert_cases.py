"""Cases of the alerts, as series in promtool's notation: situations in which each fires, and in which it must not.

Series of the daemon's have the labels that its page has, and those that a scrape adds; `tests/integration` holds that
against a real daemon.
"""

from __future__ import annotations

from dataclasses import dataclass

NODE = 'job="holdfast",node="n1",instance="10.0.0.1:9420"'
OTHER_NODE = 'job="holdfast",node="n2",instance="10.0.0.2:9420"'
#: What a scrape adds to every series.
SCRAPED = frozenset({"job", "node", "instance"})
#: Families of others: Prometheus's own, kube-state-metrics'.
FOREIGN = ("up", "kube_")


@dataclass(frozen=True, slots=True)
class Case:
    """``firing``: how many alerts there are after so many ``minutes`` of these ``series``."""

    says: str
    series: dict[str, str]
    minutes: int
    firing: int

    def __str__(self) -> str:
        return self.says


def fires(says: str, minutes: int, series: dict[str, str], firing: int = 1) -> Case:
    """A situation the alert is for."""
    return Case(says, series, minutes, firing)


def silent(says: str, minutes: int, series: dict[str, str]) -> Case:
    """A situation in which it must not fire."""
    return Case(says, series, minutes, 0)


def _refused(rule: str, reason: str) -> str:
    return f'holdfast_placement_refused_processes{{{NODE},rule="{rule}",reason="{reason}"}}'


def _killed(**labels: str) -> str:
    known = {"cgroup": "/a", "pod_namespace": "", "pod_name": "", "pod_container": ""} | labels
    words = ",".join(f'{name}="{value}"' for name, value in known.items())
    return f"holdfast_oom_kills_total{{{NODE},{words}}}"


def _calls(code: str) -> str:
    method = 'grpc_type="unary",grpc_service="s",grpc_method="m"'
    return f'grpc_server_handled_total{{{NODE},{method},grpc_code="{code}"}}'


def _desired_and_ready(desired: str, ready: str) -> dict[str, str]:
    where = 'namespace="holdfast",daemonset="holdfast"'
    return {
        f"kube_daemonset_status_desired_number_scheduled{{{where}}}": desired,
        f"kube_daemonset_status_number_ready{{{where}}}": ready,
    }


UP, ENGINE = f"up{{{NODE}}}", f"holdfast_placement_engine_up{{{NODE}}}"
OTHER_UP, OTHER_ENGINE = f"up{{{OTHER_NODE}}}", f"holdfast_placement_engine_up{{{OTHER_NODE}}}"
START = f"process_start_time_seconds{{{NODE}}}"
RELOADED = f"holdfast_config_last_reload_successful{{{NODE}}}"
LAST_GOOD = f"holdfast_config_last_good_in_use{{{NODE}}}"
EVENTS = f"holdfast_placement_events_available{{{NODE}}}"
LOST = f"holdfast_placement_events_lost_total{{{NODE}}}"
MOVES = f"holdfast_placement_moves_waiting{{{NODE}}}"
RUNTIME = f"holdfast_pods_runtime_connected{{{NODE}}}"
PODS_REFUSED = f"holdfast_pods_refused_total{{{NODE}}}"
NRI = f"holdfast_nri_connected{{{NODE}}}"
BUNDLE = f"holdfast_bundle_rules_last_successful{{{NODE}}}"
DRIFT = f'holdfast_placement_drift_total{{{NODE},rule="a"}}'
PROTECTED = f'holdfast_oom_protected_kills_total{{{NODE},rule="a"}}'
PRESSURE = f'holdfast_pressure_waiting_seconds{{{NODE},resource="memory",kind="full"}}'
DROPPED = f'holdfast_events_subscribers_dropped_total{{{NODE},limit="events"}}'
JOB = f'holdfast_background_job_up{{{NODE},name="io.holdfast.pods.v1.directory/cri"}}'
HASH = f'holdfast_config_info{{{NODE},hash="aa"}}'
HELD_LATE = f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le='

CASES: dict[str, list[Case]] = {
    "HoldfastDown": [
        fires("no answer", 6, {UP: "0x20"}),
        silent("it answers", 6, {UP: "1x20"}),
    ],
    "HoldfastNotOnEveryNode": [
        fires("one of five is not ready", 16, _desired_and_ready("5x40", "4x40")),
        silent("all are ready", 16, _desired_and_ready("5x40", "5x40")),
        silent("a rollout", 16, _desired_and_ready("5x40", "4x10 5x30")),
    ],
    "HoldfastEngineDown": [
        fires("it ended", 6, {UP: "1x20", ENGINE: "0x20"}),
        fires("one daemon has none", 6, {UP: "1x20", OTHER_UP: "1x20", OTHER_ENGINE: "1x20"}),
        fires("no daemon is reached", 6, {UP: "0x20"}),
        fires(
            "no daemon is looked for", 6, {'up{job="other"}': "1x20"}
        ),  # no PodMonitor: there is no series of its job
        silent("it runs", 6, {UP: "1x20", ENGINE: "1x20"}),
        silent("it was started anew", 8, {UP: "1x20", ENGINE: "0x3 1x20"}),
        silent("one node is down", 6, {UP: "0x20", OTHER_UP: "1x20", OTHER_ENGINE: "1x20"}),  # HoldfastDown's
    ],
    "HoldfastJobDown": [
        fires("a job ended", 14, {JOB: "1x2 0x40"}),
        silent("it runs", 11, {JOB: "1x40"}),
        silent("it was started anew", 15, {JOB: "1 0 0 1x40"}),
    ],
    "HoldfastRestarting": [
        fires("a start every minute", 60, {START: "0+10x60"}),
        silent("one start", 60, {START: "100x60"}),
    ],
    "HoldfastConfigRejected": [
        fires("refused", 6, {RELOADED: "0x20"}),
        silent("taken", 6, {RELOADED: "1x20"}),
        silent("the last good one is in use", 6, {RELOADED: "0x20", LAST_GOOD: "1x20"}),  # HoldfastLastGoodConfig's
        fires("refused by a daemon that started well", 6, {RELOADED: "0x20", LAST_GOOD: "0x20"}),
    ],
    "HoldfastLastGoodConfig": [
        fires("a start with a broken file", 6, {RELOADED: "0x20", LAST_GOOD: "1x20"}),
        silent("a reload of a broken file", 6, {RELOADED: "0x20", LAST_GOOD: "0x20"}),
        silent("mended", 6, {RELOADED: "0x3 1x20", LAST_GOOD: "1x3 0x20"}),
    ],
    "HoldfastConfigDiffers": [
        fires(
            "two nodes, two configurations",
            31,
            {HASH: "1x60", f'holdfast_config_info{{{OTHER_NODE},hash="bb"}}': "1x60"},
        ),
        silent(
            "two nodes, one configuration",
            31,
            {HASH: "1x60", f'holdfast_config_info{{{OTHER_NODE},hash="aa"}}': "1x60"},
        ),
        silent(
            "a change that arrives",
            45,
            {
                HASH: "1x60",
                f'holdfast_config_info{{{OTHER_NODE},hash="bb"}}': "1x10 _x50",
                f'holdfast_config_info{{{OTHER_NODE},hash="aa"}}': "_x11 1x50",
            },
        ),
    ],
    "HoldfastWritesRefused": [
        fires(
            "CAP_SYS_RESOURCE is missing, decided beforehand and counted once",
            16,
            {_refused("a", "capability"): "3x40"},
        ),
        fires("the kernel refused once, and the process stays as it is", 16, {_refused("a", "kernel"): "1x40"}),
        silent("a refusal that is over", 16, {_refused("a", "kernel"): "1x10 _x40"}),
        silent("another reason", 16, {_refused("a", "cpuset"): "1x40"}),
    ],
    "HoldfastRulesRefused": [
        fires("refused as long as the processes live", 61, {_refused("a", "cpuset"): "2x90"}),
        silent("refused as the rule says", 61, {_refused("a", "set_by_itself"): "2x90", _refused("b", "self"): "1x90"}),
        silent("HoldfastWritesRefused's", 61, {_refused("a", "capability"): "2x90"}),
    ],
    "HoldfastDrift": [
        fires("a value changed every minute", 60, {DRIFT: "0+1x90"}),
        silent("no change any more", 60, {DRIFT: "3x90"}),
    ],
    "HoldfastSweepingOnly": [
        fires("no events", 16, {EVENTS: "0x40"}),
        silent("events", 16, {EVENTS: "1x40"}),
    ],
    "HoldfastEventsLost": [
        fires("losses go on", 60, {LOST: "0+1x90"}),
        silent("losses are over", 60, {LOST: "2x90"}),
    ],
    "HoldfastHeldLate": [
        fires(
            "after 100 ms",
            62,
            {f'{HELD_LATE}"0.1"}}': "0x90", f'{HELD_LATE}"1"}}': "0+5x90", f'{HELD_LATE}"+Inf"}}': "0+5x90"},
        ),
        silent("within 100 ms", 62, {f'{HELD_LATE}"0.1"}}': "0+5x90", f'{HELD_LATE}"+Inf"}}': "0+5x90"}),
    ],
    "HoldfastMovesStuck": [
        fires("two moves wait on", 25, {MOVES: "2x40"}),
        silent("moves come and go", 25, {MOVES: "2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0"}),
    ],
    "HoldfastProtectedProcessKilled": [
        fires("the first of its rule", 20, {PROTECTED: "_x12 1x20"}),
        fires("another one", 20, {PROTECTED: "1x18 2x20"}),
        silent("one of long ago", 60, {PROTECTED: "_x12 1x60"}),
        silent("a daemon that starts anew after a kill", 60, {PROTECTED: "_x12 1x30 _x30"}),
    ],
    "HoldfastOomKill": [
        fires(
            "the first of its cgroup",
            15,
            {_killed(pod_namespace="db", pod_name="pg-0", pod_container="c"): "_x12 1x20"},
        ),
        fires("another one, in no pod", 15, {_killed(): "1x12 2x20"}),
        silent("one of long ago", 15, {_killed(): "1x30"}),
    ],
    "HoldfastMemoryPressure": [
        fires("a fifth of the time", 20, {PRESSURE: "0+12x40"}),
        silent("a sixtieth of the time", 20, {PRESSURE: "0+1x40"}),
    ],
    "HoldfastPodsUnknown": [
        fires("the runtime answers no more", 25, {RUNTIME: "1x5 0x40"}),
        silent("there never was one", 25, {RUNTIME: "0x40"}),
    ],
    "HoldfastPodsTooMany": [
        fires("more and more", 60, {PODS_REFUSED: "0+1x90"}),
        silent("no more than there were", 60, {PODS_REFUSED: "3x90"}),
    ],
    "HoldfastNriNotConnected": [
        fires("no runtime any more", 18, {NRI: "1x5 0x40"}),
        silent("a runtime that was away", 18, {NRI: "1x5 0x8 1x30"}),
    ],
    "HoldfastBundleRejected": [
        fires("not in force", 20, {BUNDLE: "0x40"}),
        silent("in force", 20, {BUNDLE: "1x40"}),
    ],
    "HoldfastSubscribersDropped": [
        fires("one was", 4, {DROPPED: "0 0 1x20"}),
        silent("one was, long ago", 4, {DROPPED: "1x20"}),
    ],
    "HoldfastRpcErrors": [
        fires("bugs", 30, {_calls("Internal"): "0+1x60"}),
        silent("answers", 30, {_calls("OK"): "0+1x60"}),
    ],
}
