"""``holdfast top``: pressure, the next victims, what is enforced by rule and by pod, and events, as they change."""

from __future__ import annotations

import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.placement import stub
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb
    from holdfast.cli.view import Seen

_KEPT = 200
REDRAW_S = 0.25  # a new size of the terminal, and a new answer, are on the screen within this time


@click.command(cls=ClientCommand)
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.2), help="Seconds per update.")
@click.option("--once", is_flag=True, help="Print all lists once and end.")
@client_options
def top(client: DaemonClient, every: float, once: bool) -> None:
    """Watch pressure, the next victims, the processes by rule and by pod, and the last events.

    On a terminal, q ends it, 1 to 5 or Tab choose the list, s sorts by the next column, r reverses, / filters, p
    pauses, and the arrows scroll. Into a pipe, or on a dumb terminal, all lists are printed below each other at each
    update.
    """
    from holdfast.cli import terminal

    poll = Poll(client, every)
    poll.look()  # an unreachable daemon is one line, before the screen changes
    if once or not terminal.is_usable():
        _print_on(poll, once=once)
    else:
        _with_keys(poll)


class Poll:
    """The daemon's answers: asked for in a thread, so that a slow one delays no key."""

    def __init__(self, client: DaemonClient, every_s: float) -> None:
        self._client, self.every_s = client, every_s
        self._reports: deque[pb.Report] = deque(maxlen=_KEPT)
        self._failed: list[HoldfastError] = []
        self.ended = threading.Event()
        self.is_paused = False
        self.seen: Seen

    def look(self) -> None:
        """Query everything once.

        Raises:
            HoldfastError: as `DaemonClient.ask`.
        """
        from holdfast.api.placement.v1 import placement_pb2 as pb
        from holdfast.cli.view import Seen

        asked, client = stub(self._client), self._client
        self.seen = Seen(
            client.ask(asked.Status, pb.StatusRequest()),
            client.ask(asked.ListRules, pb.ListRulesRequest()),
            client.ask(asked.Victims, pb.VictimsRequest(limit=3)),
            client.ask(asked.ListPlacements, pb.ListPlacementsRequest()),
            tuple(self._reports),
        )

    def start(self) -> None:
        """Go on in threads, until the daemon ends."""
        for name, job in (("top watch", self._watch), ("top poll", self._poll)):
            threading.Thread(target=self._until_it_fails, args=(job,), name=name, daemon=True).start()

    def check(self) -> None:
        """Raise what ended a thread, if one has ended."""
        if self._failed:
            raise self._failed[0]

    def _until_it_fails(self, job: Callable[[], None]) -> None:
        try:
            job()
        except HoldfastError as error:
            self._failed.append(error)
        finally:
            self.ended.set()

    def _watch(self) -> None:
        from holdfast.api.placement.v1.placement_pb2 import WatchRequest

        for report in self._client.stream(stub(self._client).Watch, WatchRequest()):
            self._reports.append(report)

    def _poll(self) -> None:
        while not self.ended.wait(self.every_s):
            if not self.is_paused:
                self.look()


def _print_on(poll: Poll, *, once: bool) -> None:
    from holdfast.cli.view import printed

    width, lines = shutil.get_terminal_size() if sys.stdout.isatty() else (None, None)  # a pipe has room for all
    if not once:
        poll.start()
    while True:
        click.echo("\n".join(line[:width] for line in printed(poll.seen, lines)))
        if once:
            return
        if poll.ended.wait(poll.every_s):
            poll.check()
            return
        click.echo()


def _with_keys(poll: Poll) -> None:
    from holdfast.cli.terminal import Terminal
    from holdfast.cli.view import HEAD_AT, View

    view = View()
    poll.start()
    with Terminal() as terminal:
        while not poll.ended.is_set():
            terminal.draw(view.lines(poll.seen, *terminal.size()), HEAD_AT)
            for key in terminal.keys(REDRAW_S):
                if not view.press(key):
                    return
            poll.is_paused = view.is_paused
    poll.check()
