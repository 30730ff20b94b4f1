"""Default directories and addresses: root's, or the user's own (the XDG base directories)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from holdfast.config.schema import CONFIG_FILE, SOCKET_NAME, Settings


class Defaults(Struct, frozen=True):
    """Default places of one user. ``config_files``: the first that exists is read."""

    root: str
    state: str
    address: str
    config_files: tuple[str, ...]

    def settings(self, base: Settings) -> Settings:
        """``base`` with these places."""
        grpc = msgspec.structs.replace(base.grpc, address=self.address)
        return msgspec.structs.replace(base, root=self.root, state=self.state, grpc=grpc)


def defaults_for(euid: int, environ: Mapping[str, str]) -> Defaults:
    """Default places of the user ``euid`` with this environment.

    Relative XDG paths are ignored, as https://specifications.freedesktop.org/basedir-spec/latest/ wants.
    """
    if euid == 0:
        settings = Settings()
        return Defaults(settings.root, settings.state, settings.grpc.address, (CONFIG_FILE,))
    home = environ.get("HOME", "")
    data = _base(environ, "XDG_STATE_HOME", home, ".local/state")
    config = _base(environ, "XDG_CONFIG_HOME", home, ".config")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    root = f"{data}/holdfast" if data else f"/var/tmp/holdfast-{euid}"  # noqa: S108 (the server makes it 0700)
    state = f"{runtime}/holdfast" if runtime.startswith("/") else f"/tmp/holdfast-{euid}"  # noqa: S108 (likewise)
    own = (f"{config}/holdfast/config.yaml",) if config else ()
    return Defaults(root, state, f"{state}/{SOCKET_NAME}", (*own, CONFIG_FILE))


def own_defaults() -> Defaults:
    """Default places of the user this process runs as; a client without ``-a`` uses them as well."""
    return defaults_for(os.geteuid(), os.environ)


def _base(environ: Mapping[str, str], name: str, home: str, below_home: str) -> str:
    if environ.get(name, "").startswith("/"):
        return environ[name]
    return str(Path(home, below_home)) if home.startswith("/") else ""
