"""``python -m tests.cluster up|down|shell|exec``: a cluster on this machine for a developer. `make cluster` uses it."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.cluster import images
from tests.cluster.cluster import Cluster, stop
from tests.cluster.programs import HELM
from tests.cluster.state import State
from tests.cluster.supervisor import serve

NAME = os.environ.get("HOLDFAST_CLUSTER", "dev")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    acts = parser.add_subparsers(dest="act", required=True)
    up = acts.add_parser("up", help="start a cluster, import the images, install the chart")
    up.add_argument("--nodes", type=int, default=1, choices=(1, 2, 3))
    up.add_argument("--bare", action="store_true", help="do not install the chart")
    acts.add_parser("down", help="end it, or clean up after a run that was killed")
    acts.add_parser("shell", help="a shell in its network, with KUBECONFIG")
    execute = acts.add_parser("exec", help="run a command there")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    serving = acts.add_parser("serve", help="what `up` starts")
    serving.add_argument("name")
    serving.add_argument("nodes", type=int)
    serving.add_argument("--until-eof", action="store_true")
    given = parser.parse_args()
    if given.act == "serve":
        serve(State.of(given.name), given.nodes, given.until_eof)
    elif given.act == "up":
        bring_up(given.nodes, given.bare)
    elif given.act == "down":
        stop(State.of(NAME))
    else:
        enter(given.command if given.act == "exec" else [os.environ.get("SHELL", "/bin/bash")])


def bring_up(nodes: int, bare: bool) -> None:
    """Start the developer's cluster; the one before is ended."""
    started = time.monotonic()
    stop(State.of(NAME))
    cluster = Cluster(State.of(NAME), nodes)
    cluster.start()
    images.archives()  # meanwhile
    cluster.wait_ready()
    say(f"{nodes} node(s) Ready after {time.monotonic() - started:.1f} s")
    cluster.load_images()
    if not bare:
        cluster.kubectl("create", "namespace", "holdfast")
        cluster.kubectl("label", "namespace", "holdfast", "pod-security.kubernetes.io/enforce=privileged")
        where = ["--namespace", "holdfast", "--wait", "--timeout", "3m"]
        cluster.run([HELM, "install", "holdfast", "helm/holdfast", *where])
    say(f"all there after {time.monotonic() - started:.1f} s; `make cluster-down` ends it")


def enter(command: list[str]) -> None:
    """Become a command in the cluster's network."""
    cluster = Cluster(State.of(NAME))
    words = [str(word) for word in [*cluster.inside(), *command]]
    os.execve(words[0], words, {**os.environ, **cluster.environment()})


def say(line: str) -> None:
    """Print for the user that waits."""
    print(f"holdfast: cluster: {line}", file=sys.stderr, flush=True)  # noqa: T201


main()
