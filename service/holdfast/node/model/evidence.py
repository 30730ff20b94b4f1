"""Evidence of a process's identity: facts, as opposed to the process's claims about itself.

A process chooses its comm, its command line and, by links, namespaces and set-user-id programs, more than it seems. A
key of a rule is a *fact* for a process when an unprivileged user cannot have made it match; `proc.evidence` describes
how each is established. Protection needs facts (`rule.protection`).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

NOT_READ = "it was not read"
EXECUTED = "it executed another program meanwhile"


class Evidence(Struct, frozen=True):
    """Reasons by key why it is a claim; empty: it is a fact.

    ``undecided`` are keys that cannot be decided now: they start no protection, and end none that they once
    established.
    """

    exe: str = NOT_READ
    cgroup: str = NOT_READ
    pod: str = NOT_READ
    undecided: Collection[str] = ()


NOTHING_READ = Evidence()
