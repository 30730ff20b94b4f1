"""Start of the daemon from the command line, without the command line's library.

`options` reads what units and charts write: every option in an unambiguous form. All other command lines (``--help``, a
mistake, two ways to say one thing) are left to ``holdfast.cli.run``, which is the definition and prints the messages; a
test checks that the two agree.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence

#: Options that take a value, by their names, and what `run` calls each.
VALUES: Mapping[str, str] = {
    "-c": "path",
    "--config": "path",
    "--root": "root",
    "--state": "state",
    "-a": "address",
    "--address": "address",
    "-l": "level",
    "--log-level": "level",
    "--plugin": "plugin",
}
FLAGS: Mapping[str, tuple[str, bool]] = {"--hints": ("hints", True), "--no-hints": ("hints", False)}
HINTS = (
    ("preview", "what the rules would change on this machine, and what stands in the way"),
    ("victims", "whom the OOM killer would take next, before and after the rules"),
    ("explain {pid}", "why a process is under the rule it is under"),
)
SETTLED_S = 1.0  # after the daemon serves
Options = dict[str, str | bool]


def options(words: Sequence[str]) -> Options | None:
    """Return the options by name; None where click has to read them."""
    found: Options = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in FLAGS:
            key, given = FLAGS[word]
            found[key] = given
            continue
        key = VALUES.get(name, "")
        if not key or key in found:
            return None
        if not equals:
            value = next(rest, "")
        if not value or value.startswith("-") or (equals and not name.startswith("--")):
            return None
        found[key] = value
    return found


def run(options: Mapping[str, str | bool | None]) -> None:
    """Start the daemon and serve until SIGTERM.

    Raises:
        HoldfastError: it cannot start; one line.
    """
    gc.disable()  # a start makes many objects and drops few; `_settle` ends it
    import asyncio
    from functools import partial

    from holdfast import plugins
    from holdfast.config import Overrides
    from holdfast.plugins.kinds import EVENTS
    from holdfast.server.daemon import serve

    text = {key: value for key, value in options.items() if isinstance(value, str)}
    hints = options.get("hints")
    wanted = sys.stderr.isatty() if hints is None else hints

    def ready(address: str) -> None:
        asyncio.get_running_loop().call_later(SETTLED_S, _settle)
        if wanted:
            _say_hints(address)

    serve(
        text.get("path"),
        Overrides(**{key: text.get(key) for key in ("root", "state", "address", "level")}),
        partial(plugins.registrations, named=text["plugin"].split(",")) if "plugin" in text else plugins.registrations,
        EVENTS,
        ready,
    )


def _settle() -> None:
    """Collect the garbage of the start once; the remaining objects stay, and no later collection looks at them again.

    A full collection would take 20 ms of the loop each time.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def _say_hints(address: str) -> None:
    from holdfast.config import own_defaults

    venv = os.path.relpath(os.path.join(sys.prefix, "bin", "holdfast"))
    command = venv if sys.prefix != sys.base_prefix and not venv.startswith("..") else "holdfast"
    option = "" if address == own_defaults().address else f" -a {address}"
    lines = [(f"{command} {words.format(pid=os.getppid())}{option}", why) for words, why in HINTS]
    width = max(len(line) for line, _ in lines)
    said = "".join(f"  {line:{width}}  {why}\n" for line, why in lines)
    sys.stderr.write(f"\nholdfast serves on {address}. In another shell try:\n{said}\n")
