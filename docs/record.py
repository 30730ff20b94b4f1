"""Record the README's session again: ``HOLDFAST_V2_HOST=… python docs/record.py``.

``HOLDFAST_V2_HOST`` names a program that runs its arguments as root in a virtual machine with systemd and cgroup v2
that is thrown away afterwards (see CONTRIBUTING.md). There the daemon runs as its unit with the README's rules, beside
Debian's prometheus and an ``xz`` in a unit. The commands between the README's two marks are typed one after the other,
and their output replaces the output below them. Nothing else of the page changes.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
FROM, TO = "<!-- recorded by docs/record.py -->\n", "<!-- to here -->\n"
SESSION = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
NOTE = re.compile(r"^Recorded on .*?(?=\n\n)", re.MULTILINE | re.DOTALL)
#: The number in these commands is that of the process ``xz``, which is another one with each recording.
WITH_PID = re.compile(r"^(holdfast (?:explain|kills)) \d+")
PROMPT = "$ "
CONFIG, JOB, COMMAND = Path("/etc/holdfast/config.yaml"), Path("/usr/local/bin/import-job"), "/usr/local/bin/holdfast"
UNIT, DROP_IN = "/etc/systemd/system/holdfast.service", Path("/etc/systemd/system/holdfast.service.d/here.conf")
#: The daemon's Python may be below /root, and an emulated processor is too slow for the unit's times.
EMULATED = "ProtectHome=no\nTimeoutStartSec=infinity\nWatchdogSec=0\n"
PATIENCE_S = 900.0  # the processor may be emulated
#: The output that a command has once the daemon has noticed the one before it.
EXPECTED = {
    "holdfast preview": r"batch-first .*\n(?s:.)*metrics-db ",
    "holdfast ps": r"batch-first +held (?s:.)*metrics-db +held ",
    "holdfast kills": r"\bxz\b",
}
#: Fills the memory until the kernel has killed the process of its argument.
IMPORT_JOB = """#!{python}
import os
taken = []
while os.path.exists("/proc/{pid}"):
    taken.append(b"x" * (8 << 20))
"""


def main() -> int:
    """Run this file in the virtual machine, and write what it recorded into the page."""
    if FROM not in PAGE.read_text() or TO not in PAGE.read_text():
        raise SystemExit(f"docs/record.py: {PAGE.name} has no place for a recording")
    if "--inside" in sys.argv[1:]:
        json.dump(recorded(PAGE.read_text()), sys.stdout)
        return 0
    host = shlex.split(os.environ.get("HOLDFAST_V2_HOST", ""))
    if not host:
        raise SystemExit("docs/record.py: HOLDFAST_V2_HOST is not set (CONTRIBUTING.md)")
    done = subprocess.run([*host, sys.executable, __file__, "--inside"], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    PAGE.write_text(filled(PAGE.read_text(), json.loads(done.stdout)))
    return 0


def filled(page: str, record: dict[str, str | list[list[str]]]) -> str:
    """Return the page with another record: ``note``, and ``sessions`` with the lines of each block."""
    before, _, rest = page.partition(FROM)
    between, _, after = rest.partition(TO)
    sessions = iter(record["sessions"])
    between = SESSION.sub(lambda _: "".join(f"{line}\n" for line in next(sessions)), between)
    between = NOTE.sub(str(record["note"]), between)
    return before + FROM + between + TO + after


# -- in the virtual machine --------------------------------------------------------------------------------------------


def recorded(page: str) -> dict[str, str | list[list[str]]]:
    """Set the machine up, type the page's commands, and return what they print."""
    (rules,) = re.findall(r"^```yaml\n(# /etc/holdfast/config.yaml\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    pid = machine(rules)
    between = page.partition(FROM)[2].partition(TO)[0]
    sessions = []
    for session in SESSION.findall(between):
        commands = [line.removeprefix(PROMPT) for line in session.splitlines() if line.startswith(PROMPT)]
        sessions.append([line for command in commands for line in typed(WITH_PID.sub(rf"\1 {pid}", command))])
    return {"note": note(), "sessions": sessions}


def machine(rules: str) -> int:
    """Start the processes of the story and the daemon; the pid of ``xz``."""
    for path, text in (
        (CONFIG, rules),
        (Path(COMMAND), f'#!/bin/sh\nPYTHONPATH={ROOT}/service exec {sys.executable} -m holdfast "$@"\n'),
        (
            DROP_IN,
            f"[Service]\nExecStart=\nExecStart={COMMAND} run\n{EMULATED}",
        ),
        (Path("/etc/default/prometheus"), 'ARGS=""\n'),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    Path(COMMAND).chmod(0o755)
    Path(UNIT).write_text((ROOT / "deploy/systemd/holdfast.service").read_text())
    run("systemctl daemon-reload && systemctl start prometheus")
    run("systemd-run --quiet --unit backup sh -c 'exec xz -9 </dev/urandom >/dev/null'")
    run("systemctl start holdfast")
    while not (found := subprocess.run(["pidof", "xz"], capture_output=True, text=True, check=False).stdout.split()):
        time.sleep(0.1)
    JOB.write_text(IMPORT_JOB.format(python=sys.executable, pid=found[0]))
    JOB.chmod(0o755)
    return int(found[0])


def typed(command: str) -> Iterator[str]:
    """The command as the page shows it, and what it prints, once that is what the story needs."""
    name, _, _ = command.partition(" -")
    expected = next((EXPECTED[key] for key in EXPECTED if key == name or WITH_PID.sub(r"\1", command) == key), "")
    deadline = time.monotonic() + PATIENCE_S
    while not re.search(expected, said := run(command, check=not expected)):
        if time.monotonic() > deadline:
            raise SystemExit(f"docs/record.py: never {expected!r} from {command!r}:\n{said}")
        time.sleep(0.5)
    yield PROMPT + command
    yield from (line.rstrip() for line in said.splitlines())


def run(command: str, *, check: bool = True) -> str:
    """What a command line prints on stdout; raises CalledProcessError unless its failure is no matter."""
    patient = {**os.environ, "SYSTEMD_BUS_TIMEOUT": f"{PATIENCE_S:.0f}s"}
    return subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=check, env=patient).stdout


def note() -> str:
    """When and where it was recorded."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    systemd = run("systemctl --version").split()[1]
    return (
        f"Recorded on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} by `make recording` in a virtual machine with\n"
        f"{memory:.1f} GiB: {system}, Linux {platform.release()}, cgroup v2, systemd {systemd}."
    )


if __name__ == "__main__":
    sys.exit(main())
