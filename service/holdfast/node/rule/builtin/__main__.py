"""``python -m holdfast.node.rule.builtin [--check]``: write ``rules.json`` from the YAML files, or check it."""

from __future__ import annotations

import sys

from holdfast.node.rule.builtin import COMPILED, compiled


def main() -> int:
    """Write ``rules.json``, or with ``--check`` compare it with the YAML files."""
    if "--check" not in sys.argv[1:]:
        with open(COMPILED, "wb") as file:
            file.write(compiled() + b"\n")
        return 0
    with open(COMPILED, "rb") as file:
        if file.read() == compiled() + b"\n":
            return 0
    print("built-in rules: rules.json is stale; run `make docs`", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
