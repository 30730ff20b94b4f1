"""Required, disabled, depending and proxied plugins."""

from __future__ import annotations

from tests.peers.case import Case, Seen, ctr, refused
from tests.peers.cases.words import (
    CONTENT,
    EVENTS,
    EXCHANGE,
    INTROSPECTION,
    NEED_CONTENT,
    NEED_EXCHANGE,
    VERSION,
    disabled,
    required,
    version,
    without,
)

PLUGINS = (
    Case("base", Seen()),
    Case(
        "required_missing",
        refused("required plugin [io.containerd.grpc.v1.nosuch] not included"),
        top=required("io.containerd.grpc.v1.nosuch"),
    ),
    Case(
        "required_two_missing",
        refused("required plugin [io.containerd.grpc.v1.nosuch] not included"),
        top=required("io.containerd.grpc.v1.nosuch", VERSION),
    ),
    Case("required_present", Seen(), top=required(VERSION, EVENTS)),
    Case(
        "required_disabled",
        refused(f"required plugin [{VERSION}] not included"),
        top=f"{disabled(VERSION)}\n{required(VERSION)}",
    ),
    Case(
        "required_failed",
        refused(f"load required plugin {EVENTS}: no plugins registered for io.containerd.event.v1: not found"),
        top=f"{disabled(EXCHANGE)}\n{required(EVENTS)}",
    ),
    Case(
        "required_skipped",
        refused(
            "load required plugin io.containerd.snapshotter.v1.aufs: aufs is not supported (modprobe …): skip plugin"
        ),
        top=required("io.containerd.snapshotter.v1.aufs"),
    ),
    Case(
        "disabled",
        Seen(
            plugins=without(VERSION),
            look="1 Client: ctr: rpc error: code = Unimplemented desc = "
            "unknown service containerd.services.version.v1.Version",
        ),
        top=disabled(VERSION),
        look=version,
    ),
    Case(
        "disabled_dependency",
        Seen(
            plugins=without(EXCHANGE, failed=NEED_EXCHANGE),
            look="0 Client: Server:",
            line='error="no plugins registered for io.containerd.event.v1: not found',
        ),
        top=disabled(EXCHANGE),
        look=version,
        says=r'error="no plugins registered for io.containerd.event[^"]*',
    ),
    Case(
        "disabled_store",
        Seen(plugins=without(CONTENT, failed=NEED_CONTENT), look="0 Client: Server:"),
        top=disabled(CONTENT),
        look=version,
    ),
    Case(
        "disabled_introspection",
        Seen(
            plugins="ctr: unknown service containerd.services.introspection.v1.Introspection: not implemented",
            look="1 Client: Server: ctr: unknown service containerd.services.introspection.v1.Introspection: "
            "not implemented",
        ),
        top=disabled(INTROSPECTION),
        look=version,
    ),
    Case("disabled_unknown", Seen(), top=disabled("io.containerd.grpc.v1.nosuch"), says=r"level=\w+ msg=.*nosuch.*"),
    Case("v1_disabled_short_id", Seen(plugins=without(VERSION)), version="1", top=disabled("version")),
    Case(
        "v1_disabled_short_id_of_two",
        Seen(plugins=without(CONTENT, "io.containerd.grpc.v1.content", failed=NEED_CONTENT)),
        version="1",
        top=disabled("content"),
    ),
    Case("v1_required_short_id", Seen(), version="1", top=required("version")),
    Case("v1_disabled_uri", Seen(), version="1", top=disabled(VERSION)),
    Case("v1_required_uri", refused(f"required plugin [{VERSION}] not included"), version="1", top=required(VERSION)),
    Case(
        "proxy_ok",
        Seen(look="io.containerd.content.v1 foo - ok"),
        tables='[proxy_plugins.foo]\n type = "content"\n address = "/nobody/listens.sock"',
        look=lambda daemon: " ".join(ctr(daemon, "plugins", "ls", "id==foo").stdout.splitlines()[-1].split()),
    ),
    Case(
        "proxy_unknown",
        refused("panic: plugin: no type", 2),
        tables='[proxy_plugins.foo]\n type = "nonsense"\n address = "/x"',
    ),
    Case(
        "proxy_duplicate",
        refused("panic: io.containerd.content.v1.content: plugin: id already registered", 2),
        tables='[proxy_plugins.content]\n type = "content"\n address = "/x"',
    ),
)
