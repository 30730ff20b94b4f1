"""A thread for cgroup moves: what waits in the queue is one batch, and so waits for one grace period together.

Each move may block 6 to 14 ms in the kernel, in which time exec events go on being served by the engine's thread.
"""

from __future__ import annotations

import threading
from collections import deque

from holdfast import log
from holdfast.node.host import Host, Order, Outcome
from holdfast.node.snapshot import Field, Reason, Refusal

LOG = log.named(__name__)


class Mover:
    """Takes orders from the engine's thread and gives outcomes back, to be fetched: waking it for each costs more."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._orders: deque[Order] = deque()
        self._outcomes: deque[Outcome] = deque()
        lock = threading.Lock()
        self._some, self._idle = threading.Condition(lock), threading.Condition(lock)
        self._busy = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="holdfast-mover", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, order: Order) -> None:
        """Queue an order; its process is closed when it is done."""
        with self._some:
            self._orders.append(order)
            self._some.notify()

    @property
    def waiting(self) -> int:
        """Orders not carried out yet."""
        return len(self._orders) + self._busy

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be carried out, and nothing to be fetched."""
        return not (self._orders or self._busy or self._outcomes)

    def outcomes(self) -> list[Outcome]:
        """What was done since the last call."""
        taken = []
        while self._outcomes:
            taken.append(self._outcomes.popleft())
        return taken

    def drain(self) -> None:
        """Wait until everything submitted so far is carried out."""
        with self._idle:
            self._idle.wait_for(lambda: not self._orders and not self._busy)

    def stop(self) -> None:
        """Carry out what waits, then end the thread."""
        with self._some:
            self._stopping = True
            self._some.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._some:
                self._busy = 0
                self._idle.notify_all()
                while not self._orders and not self._stopping:
                    self._some.wait()
                batch = list(self._orders)
                self._orders.clear()
                self._busy = len(batch)
            if not batch:
                return
            try:
                self._outcomes.extend(self._host.carry_out(batch))
            except Exception as error:  # a broken batch must not end all moves of the node
                LOG.error("cgroup moves failed", moves=len(batch), error=f"{type(error).__name__}: {error}")
                refusal = Refusal(Reason.KERNEL, Field.CGROUP, f"not moved: {error}")
                self._outcomes.extend(Outcome(order, refused=[refusal]) for order in batch)
            finally:
                for order in batch:
                    order.process.close()
