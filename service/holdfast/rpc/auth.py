"""Authorization of TCP clients: methods that read are open, and a granted client certificate opens more.

A method reads if its .proto says ``option idempotency_level = NO_SIDE_EFFECTS`` (descriptor.proto). So a third party
declares at the method itself what its service allows over TCP, and the default is no. Five kinds of reading need a
grant all the same: what clients keep here (a container's spec has the passwords of its environment, a blob is a
program), the command line of a process, the events of all namespaces, the daemon's configuration (it has the
grants), and what a plugin of any author says of itself. The unix socket requires nothing beyond its file mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool

from holdfast.config.schema import Grant
from holdfast.errors import PermissionDenied
from holdfast.expression import Expression, literal
from holdfast.rpc.layer import Authorize
from holdfast.rpc.registrar import Policy

_OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
_STORED = "/containerd.services."  # what clients keep here: reading it is more than reading the daemon's state
_ABOUT_US = tuple(f"{_STORED}{name}.v1." for name in ("version", "introspection", "events"))
#: Reading methods that need a grant, and what they give away.
_REVEALS = {
    "/holdfast.placement.v1.Placement/Explain": "reads the command lines of processes",
    "/holdfast.config.v1.Config/Show": "reads the daemon's configuration",
    "/containerd.services.events.v1.Events/Subscribe": "reads the events of all namespaces",
    "/containerd.services.introspection.v1.Introspection/PluginInfo": "reads what a plugin says of itself",
}
_NO_SIDE_EFFECTS = 1  # MethodOptions.IdempotencyLevel of descriptor.proto, which takes a millisecond to import


def policy(grants: Iterable[Grant]) -> Policy:
    """Return a function for `Registrar`: from a method's full name to its check of a TCP caller, None for no check."""
    rules = [(_pattern(grant.methods), _pattern(grant.identities)) for grant in grants]

    def of_method(full_method: str) -> Authorize | None:
        why = needs_grant(full_method)
        if why is None:
            return None
        allowed = [identities for methods, identities in rules if methods.fits(full_method)]

        def authorize(context: Any) -> None:
            names = identities_of(context)
            if not any(pattern.fits(name) for pattern in allowed for name in names):
                who = names[0] if names else "a client without a certificate"
                raise PermissionDenied(
                    f"{full_method} {why} and is not granted to {who} over TCP;"
                    " call it on the node's unix socket, or add a grant to grpc.grants"
                )

        return authorize

    return of_method


def reads(full_method: str) -> bool:
    """Whether the method's .proto says that it has no side effects."""
    service, _, method = full_method.removeprefix("/").rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return False
    return bool(found.GetOptions().idempotency_level == _NO_SIDE_EFFECTS)


def needs_grant(full_method: str) -> str | None:
    """Return why a method needs a grant over TCP, as a part of a sentence; None if it needs none."""
    if full_method.startswith(_OPEN):
        return None
    if not reads(full_method):
        return "changes the node"
    if full_method.startswith(_STORED) and not full_method.startswith(_ABOUT_US):
        return "reads what is kept for the node's own clients"
    return _REVEALS.get(full_method)


def identities_of(context: Any) -> list[str]:
    """The names in a verified client certificate: subject alternative names, then ``CN=<common name>``."""
    properties = context.auth_context()
    names = [value.decode(errors="replace") for value in properties.get("x509_subject_alternative_name", ())]
    common = [f"CN={value.decode(errors='replace')}" for value in properties.get("x509_common_name", ())]
    return [name for name in names if not name.startswith("CN=")] + common  # no name poses as a common name


def _pattern(globs: Iterable[str]) -> Expression:
    """An expression for any of ``globs``, where ``*`` is any text. RE2, because the bearer chooses the name."""
    return Expression("|".join(f"(?:{'.*'.join(map(literal, glob.split('*')))})" for glob in globs))
