"""The least a Python process can do to move by exec events: ``python -m bench._bare_mover NAME ROW_FILE CGROUP_PROCS``.

No rules, plan, identity check, record, metrics or restore: read the name, append a row, write the number to the group.
What it costs is the floor that `bench.placement` holds against cgrulesengd's CPU; it is nobody's product.
"""

from __future__ import annotations

import os
import select
import sys

from holdfast.node.proc.connector import ProcessEvents


def main(name: str, row_file: str, cgroup_procs: str) -> None:
    """Move whoever execs under that name, for ever."""
    wanted = name.encode() + b"\n"
    rows = os.open(row_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    procs = os.open(cgroup_procs, os.O_WRONLY)
    events = ProcessEvents("/proc")
    poll = select.poll()
    poll.register(events, select.POLLIN)
    print("ready", flush=True)
    while True:
        poll.poll()
        for event in events.read():
            try:
                comm = os.open(f"/proc/{event.pid}/comm", os.O_RDONLY)
                said = os.read(comm, 16)
                os.close(comm)
                if said == wanted:
                    number = b"%d\n" % event.pid
                    os.write(rows, number)
                    os.write(procs, number)
            except OSError:  # it is gone
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
