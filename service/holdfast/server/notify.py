"""State notifications to systemd, or to another program that set ``NOTIFY_SOCKET``: sd_notify(3), datagrams of
``KEY=value``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from holdfast import log
from holdfast.identifiers import whole_number

LOG = log.named(__name__)
SEND_S = 0.2  # the queue of a socket that is not read is full after ten states, and the loop must not wait for it


class Notifier:
    """Sender of states to the notify socket; without a socket every call does nothing."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_usec = environ.get("WATCHDOG_USEC", "")
        self._watchdog_pid = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_interval_s(self) -> float | None:
        """Half of the watchdog's timeout, in seconds, as sd_watchdog_enabled(3) advises; None without a watchdog."""
        if whole_number(self._watchdog_usec) is None or self._watchdog_pid not in ("", str(os.getpid())):
            return None
        return int(self._watchdog_usec) / 2_000_000

    def ready(self) -> None:
        """Report that everything listens and the wait for plugins is over; also that a reload has ended."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the drain begins."""
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it. The time lets systemd order the two
        (``Type=notify-reload``).
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def status(self, text: str) -> None:
        """Send one line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, states: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(SEND_S)
                sock.sendto(states.encode(), address)
        except OSError as error:  # the socket no longer has a reader: the daemon goes on
            LOG.warning("notify failed", socket=self._path, states=states, error=error)
        else:
            LOG.debug("sd notification", notified=True, state=states)
