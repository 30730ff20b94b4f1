"""The Grafana dashboard, as a table of panels: what it shows, and its queries.

The first row is open and is one screen of at most eight panels; the other rows are collapsed. A threshold is where an
alert of ``holdfast/files/alerts.yaml`` begins, or where a count that should be zero is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ONE = '{job=~"$job",node=~"$node"}'
COLUMNS, HEIGHT = 24, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """``queries``: PromQL → legend. ``@`` stands for the selection by job and node, ``@{…}`` for one with more.

    ``steps``: colours from a value on, ascending; below the first the colour is green. ``names``: a stat shows the
    names of its series in place of their values.
    """

    title: str
    says: str
    queries: dict[str, str]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    stacked: bool = False
    steps: tuple[tuple[float, str], ...] = ()
    names: bool = False


NONE_IS_GOOD = ((1, "red"),)
SEEN = ((1, "orange"),)
ROWS: dict[str, list[Panel]] = {
    "Now": [
        Panel(
            "Nodes",
            "Daemons that answer, and placement engines that run. HoldfastDown and HoldfastEngineDown name the others.",
            {"sum(up@)": "up", "sum(holdfast_placement_engine_up@) or vector(0)": "engines"},
            width=4,
            kind="stat",
            steps=((0, "red"), (1, "green")),
        ),
        Panel(
            "Enforced",
            "Processes that have every value of their rule.",
            {'sum(holdfast_placement_processes@{state="held"}) or vector(0)': "enforced"},
            width=4,
            kind="stat",
        ),
        Panel(
            "OOM kills, 24 h",
            "`holdfast kills` on the node explains each.",
            {"sum(increase(holdfast_oom_kills_total@[24h])) or vector(0)": "kills"},
            width=4,
            kind="stat",
            steps=SEEN,
        ),
        Panel(
            "Configurations refused",
            "Daemons whose last reload was refused; the previous configuration stays in force.",
            {"count(holdfast_config_last_reload_successful@ == 0) or vector(0)": "refused"},
            width=4,
            kind="stat",
            steps=NONE_IS_GOOD,
        ),
        Panel(
            "Without process events",
            "Daemons that find processes only by rescans.",
            {"count(holdfast_placement_events_available@ == 0) or vector(0)": "rescans only"},
            width=4,
            kind="stat",
            steps=SEEN,
        ),
        Panel(
            "Versions",
            "",
            {"count by (version) (holdfast_build_info@)": "{{version}}"},
            width=4,
            kind="stat",
            names=True,
        ),
        Panel(
            "OOM kills by cgroup",
            "The group that was full; and kills of processes that a rule protects.",
            {
                "sum by (cgroup, node) (increase(holdfast_oom_kills_total@[$__rate_interval]))": "{{cgroup}} {{node}}",
                "sum by (rule, node) (increase(holdfast_oom_protected_kills_total@[$__rate_interval]))": (
                    "protected by {{rule}} {{node}}"
                ),
            },
            width=12,
        ),
        Panel(
            "Memory pressure",
            "Share of time in which some, or all, work waited for memory.",
            {
                'max by (node, kind) (rate(holdfast_pressure_waiting_seconds@{resource="memory"}[$__rate_interval]))': (
                    "{{kind}} {{node}}"
                )
            },
            "percentunit",
            width=12,
            steps=((0.1, "red"),),
        ),
    ],
    "Placement": [
        Panel(
            "Processes by rule",
            "Number of processes under each rule.",
            {"sum by (rule) (holdfast_placement_processes@)": "{{rule}}"},
            stacked=True,
        ),
        Panel(
            "Processes by state",
            "",
            {"sum by (state) (holdfast_placement_processes@)": "{{state}}"},
            stacked=True,
        ),
        Panel(
            "Drift",
            "Values that another program changed and that were written again: two writers.",
            {"sum by (rule, node) (rate(holdfast_placement_drift_total@[$__rate_interval]))": "{{rule}} {{node}}"},
            "cps",
        ),
        Panel(
            "Writes",
            "",
            {
                "sum by (field, result) (rate(holdfast_placement_writes_total@[$__rate_interval]))": (
                    "{{field}} {{result}}"
                )
            },
            "wps",
        ),
        Panel(
            "Refusals",
            "Processes for which a rule is refused something, by the reason that `holdfast preview` explains.",
            {"sum by (rule, reason) (holdfast_placement_refused_processes@)": "{{rule}} {{reason}}"},
        ),
        Panel(
            "Time from exec to enforced",
            "99th percentile.",
            {
                "histogram_quantile(0.99, sum by (field, le) "
                "(rate(holdfast_placement_exec_to_held_seconds_bucket@[$__rate_interval])))": "{{field}}"
            },
            "s",
            steps=((0.5, "red"),),
        ),
    ],
    "Pods and bundles": [
        Panel(
            "Pods known",
            "Sandboxes and containers that the runtime reported.",
            {"sum by (kind) (holdfast_pods_known@)": "{{kind}}"},
        ),
        Panel(
            "Processes of pods under a rule",
            "By container; enforced, pending and refused.",
            {
                "sum by (pod_namespace, pod_name, pod_container, rule) (holdfast_placement_pod_processes@)": (
                    "{{pod_namespace}}/{{pod_name}}/{{pod_container}} {{rule}}"
                )
            },
        ),
        Panel(
            "OOM kills in pods",
            "By container; kills by the limit of the container, of the pod or of the node.",
            {
                "sum by (pod_namespace, pod_name, pod_container) "
                '(increase(holdfast_oom_kills_total@{pod_name!=""}[$__rate_interval]))': (
                    "{{pod_namespace}}/{{pod_name}}/{{pod_container}}"
                )
            },
        ),
        Panel(
            "Nodes whose runtime does not answer",
            "Pods are known by their cgroups' names alone, or as last reported.",
            {"count(holdfast_pods_runtime_connected@ == 0) or vector(0)": "nodes"},
            steps=NONE_IS_GOOD,
        ),
        Panel(
            "Lists of pods",
            "By result; and the time that one takes of the daemon's loop, 99th percentile.",
            {
                "sum by (result) (rate(holdfast_pods_relists_total@[$__rate_interval]))": "{{result}}, per second",
                "histogram_quantile(0.99, sum by (le) "
                "(rate(holdfast_pods_relist_seconds_bucket@[$__rate_interval])))": "seconds of the loop",
            },
        ),
        Panel(
            "New containers",
            "Queries for a container that was not known yet, and the time to the answer (99th percentile).",
            {
                "sum(rate(holdfast_pods_missed_total@[$__rate_interval]))": "asked, per second",
                "histogram_quantile(0.99, sum by (le) "
                "(rate(holdfast_pods_answer_seconds_bucket@[$__rate_interval])))": "seconds to the answer",
            },
        ),
        Panel(
            "Pods left out, annotations refused",
            "Pods beyond the limit of the directory; annotations that the admission table refuses.",
            {
                "sum(increase(holdfast_pods_refused_total@[$__rate_interval]))": "beyond the bound",
                "sum by (key) (increase(holdfast_placement_annotations_refused_total@[$__rate_interval]))": (
                    "annotation {{key}}"
                ),
            },
        ),
        Panel(
            "Bundles",
            "Applied and rolled back, rules taken from them, and nodes whose named bundle is not in force.",
            {
                "sum by (change, result) (increase(holdfast_bundle_changes_total@[$__rate_interval]))": (
                    "{{change}} {{result}}"
                ),
                "sum by (result) (increase(holdfast_bundle_rules_total@[$__rate_interval]))": "rules {{result}}",
                "count(holdfast_bundle_rules_last_successful@ == 0) or vector(0)": "nodes not in force",
            },
        ),
    ],
    "NRI": [
        Panel(
            "Registered runtimes",
            "Nodes on which a runtime has holdfast as its NRI plugin; nodes where it is turned on and none has.",
            {
                "sum(holdfast_nri_connected@)": "connected",
                "count(holdfast_nri_connected@ == 0) or vector(0)": "waiting for a runtime",
            },
        ),
        Panel(
            "Registrations",
            "Number of registrations: one each time that either side starts.",
            {"sum by (node) (increase(holdfast_nri_connections_total@[$__rate_interval]))": "{{node}}"},
        ),
        Panel(
            "Reported at the last registration",
            "Pods and containers that were there then.",
            {"sum by (object) (holdfast_nri_synchronized@)": "{{object}}"},
        ),
        Panel(
            "Containers created",
            "By the answer to the runtime before it created them.",
            {"sum by (outcome) (rate(holdfast_nri_containers_total@[$__rate_interval]))": "{{outcome}}"},
            "cps",
            stacked=True,
        ),
        Panel(
            "Response time",
            "Time that a runtime waits for holdfast while a container starts, median and 99th percentile; at most 2 s.",
            {
                f"histogram_quantile({quantile}, sum by (method, le) "
                "(rate(holdfast_nri_handler_seconds_bucket@[$__rate_interval])))": f"{{{{method}}}} {name}"
                for name, quantile in (("p50", "0.5"), ("p99", "0.99"))
            },
            "s",
        ),
        Panel(
            "Failures",
            "Calls answered without a change, so a container starts with the kubelet's values; objects over a limit.",
            {
                "sum by (method) (increase(holdfast_nri_failures_total@[$__rate_interval]))": "{{method}}",
                "sum(increase(holdfast_nri_left_out_total@[$__rate_interval]))": "pods and containers left out",
            },
        ),
    ],
    "Feed": [
        Panel(
            "Process events",
            "Events that the kernel sends; a rescan follows each loss.",
            {
                "sum by (kind) (rate(holdfast_placement_events_total@[$__rate_interval]))": "{{kind}}",
                "sum(rate(holdfast_placement_events_lost_total@[$__rate_interval]))": "lost",
            },
            "cps",
        ),
        Panel(
            "Rescans",
            "Reads of all of /proc, by cause.",
            {"sum by (cause) (rate(holdfast_placement_sweeps_total@[$__rate_interval]))": "{{cause}}"},
            "cps",
        ),
        Panel(
            "Moves waiting",
            "Cgroup moves in the queue; each may wait for the kernel.",
            {"max by (node) (holdfast_placement_moves_waiting@)": "{{node}}"},
        ),
    ],
    "API": [
        Panel(
            "Calls",
            "Methods that were called; the others are counted, too, as nothing.",
            {"sum by (grpc_method) (rate(grpc_server_handled_total@[$__rate_interval])) > 0": "{{grpc_method}}"},
            "reqps",
        ),
        Panel(
            "Failures",
            "",
            {
                "sum by (grpc_method, grpc_code) "
                '(rate(grpc_server_handled_total@{grpc_code!="OK"}[$__rate_interval])) > 0': (
                    "{{grpc_method}} {{grpc_code}}"
                )
            },
            "reqps",
        ),
        Panel(
            "Events",
            "",
            {
                "sum by (origin) (rate(holdfast_events_total@[$__rate_interval]))": "{{origin}}",
                "sum by (limit) (increase(holdfast_events_subscribers_dropped_total@[$__rate_interval]))": (
                    "subscribers dropped, {{limit}}"
                ),
            },
        ),
    ],
    "The daemon and its node": [
        Panel("CPU", "", {"rate(process_cpu_seconds_total@[$__rate_interval])": "{{node}}"}, "percentunit"),
        Panel("Memory", "", {"process_resident_memory_bytes@": "{{node}}"}, "bytes"),
        Panel(
            "Reloads",
            "",
            {"sum by (result) (increase(holdfast_config_reloads_total@[$__rate_interval]))": "{{result}}"},
        ),
        Panel(
            "CPU and IO pressure",
            "Share of time in which some work waited.",
            {
                "max by (node, resource) "
                '(rate(holdfast_pressure_waiting_seconds@{resource!="memory",kind="some"}[$__rate_interval]))': (
                    "{{resource}} {{node}}"
                )
            },
            "percentunit",
        ),
    ],
}


def selected(query: str) -> str:
    """A query with the selection by job and node in place of ``@``."""
    return query.replace("@{", ONE[:-1] + ",").replace("@", ONE)


def rows() -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each row's header and panels, with the places that they have when every row is open."""
    number, y = 1, 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        header = {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place}
        number, y, x, panels = number + 1, y + 1, 0, []
        height = 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            height = 4 if panel.kind == "stat" else HEIGHT
            panels.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
            number, x = number + 1, x + panel.width
        y += height
        yield header, panels


def dashboard() -> str:
    """The dashboard as Grafana's JSON model: a collapsed row has its panels in itself."""
    (first, shown), *others = rows()
    collapsed = [{**header, "collapsed": True, "panels": panels} for header, panels in others]
    return json.dumps(_frame([first, *shown, *collapsed]), indent=1) + "\n"


def _panel(number: int, panel: Panel, where: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    colours = [{"color": colour, "value": value} for value, colour in panel.steps]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}, *colours]},
    }
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
        options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    else:
        defaults |= {"color": {"mode": "thresholds"}, "decimals": 0}
        options = {
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "name" if panel.names else "auto",
            "reduceOptions": {"calcs": ["lastNotNull"]},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": source,
        "gridPos": where,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": selected(query), "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries.items())
        ],
    }


def _frame(panels: list[dict[str, Any]]) -> dict[str, Any]:
    def variable(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",  # also where a scrape sets no such label
            "current": {"text": "All", "value": "$__all"},
        }

    return {
        "uid": "holdfast",
        "title": "holdfast",
        "tags": ["holdfast"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                variable("job", "label_values(holdfast_build_info, job)"),
                variable("node", 'label_values(holdfast_build_info{job=~"$job"}, node)'),
            ]
        },
        "panels": panels,
    }
