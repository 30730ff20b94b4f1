"""Carries out orders that may wait in the kernel: on a thread of its own, or at once if they will not wait.

Theory
------
* The first move after some milliseconds without one waits 6 to 14 ms for an RCU grace period (`executor`). Exec events
  must be served meanwhile. All orders in the queue are one batch, and so wait once.
* While the lock is "warm" a move takes 5 µs, and handing it to another thread takes ten times that. So within
  `executor.WARM_S` of a move, a few more are made on the thread that ordered them, after it served every waiting event.
* The thread is woken last (`wake`), when the ordering thread is about to wait. If it were woken earlier it would wait
  for the interpreter, which costs two more thread switches for each move.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from holdfast import log
from holdfast.node.apply.action import Came, Carried, How, Order
from holdfast.node.apply.executor import Executor
from holdfast.node.model.decision import Field, Reason, Refusal
from holdfast.process import OpenProcess

LOG = log.named(__name__)
FEW = 8  # orders; some may be moves in a dozen hierarchies


class Mover:
    """Takes orders from the engine's thread and keeps results until they are fetched.

    Waking the engine's thread for each result would cost more.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._orders: deque[tuple[Order, OpenProcess] | threading.Event] = deque()
        self._results: deque[Carried] = deque()
        self._busy = 0
        self._stopping, self._asleep = False, False
        self._busy_since = 0.0  # monotonic; 0 while nothing is carried out
        self._working = threading.Lock()
        self._call = threading.Lock()  # held while there is no call for the thread
        self._call.acquire()
        self._thread = threading.Thread(target=self._run, name="holdfast-mover", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, order: Order, process: OpenProcess) -> None:
        """Queue an order until the next `kick` or `wake`. Its process is closed when the order is done."""
        if len(self._orders) >= FEW:  # it waits longer, and one of hundreds may keep one descriptor
            process.close_files()
        self._orders.append((order, process))

    def kick(self) -> None:
        """Carry out the queued orders now if that takes no time; otherwise they wait for `wake`."""
        is_quick = 0 < len(self._orders) <= FEW and self._executor.is_warm
        if is_quick and self._working.acquire(blocking=False):
            try:
                self._carry_out_waiting()
            finally:
                self._working.release()

    def wake(self) -> None:
        """Let the thread carry out the queued orders."""
        if self._orders:
            self._call_thread()

    def _call_thread(self) -> None:
        if self._asleep:
            self._asleep = False
            try:  # noqa: SIM105 - no object for each call
                self._call.release()
            except RuntimeError:
                pass  # another thread called it at the same moment

    @property
    def waiting(self) -> int:
        """Orders not carried out yet."""
        return len(self._orders) + self._busy

    @property
    def idle(self) -> bool:
        """Whether no order waits to be carried out and no result waits to be fetched."""
        return not (self._orders or self._busy or self._results)

    @property
    def busy_s(self) -> float:
        """Seconds that an order has been under way."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def results(self) -> list[Carried]:
        """Return the results since the last call."""
        taken = []
        while self._results:
            taken.append(self._results.popleft())
        return taken

    def drain(self) -> None:
        """Wait until everything submitted so far is carried out."""
        if not self._thread.is_alive():
            self._carry_out_waiting()
            return
        done = threading.Event()
        self._orders.append(done)
        self._call_thread()
        done.wait()

    def stop(self, within_s: float) -> bool:
        """Carry out the waiting orders, then end the thread; False: the thread hangs, and is left."""
        self._stopping = True
        if self._thread.is_alive():
            self._call_thread()
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._call.acquire(blocking=False)  # a call whose orders were carried out already
            self._asleep = True
            if not self._orders and not self._stopping:
                self._call.acquire()
            self._asleep = False
            if self._orders:
                with self._working:
                    self._carry_out_waiting()
            elif self._stopping:
                return

    def _carry_out_waiting(self) -> None:
        while self._orders:
            self._busy = 1
            one = self._orders.popleft()
            if isinstance(one, threading.Event):
                one.set()
            else:
                self._busy_since = time.monotonic()
                self._results.append(self._carried_out(*one))
        self._busy, self._busy_since = 0, 0.0

    def _carried_out(self, order: Order, process: OpenProcess) -> Carried:
        try:
            return self._executor.carry_out(order, process)
        except Exception as error:  # one broken order must not end all moves of the node
            LOG.error("a cgroup move failed", pid=order.pid, error=f"{type(error).__name__}: {error}")
            refusal = Refusal(Reason.KERNEL, Field.CGROUP, f"not moved: {error}")
            came = tuple(Came(step, How.REFUSED, refusal=refusal) for step in order.steps)
            return Carried(order, came, at_ns=time.monotonic_ns())
        finally:
            process.close()
