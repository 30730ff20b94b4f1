"""The node's bundles as a plugin, and the API that applies them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable
from functools import partial
from typing import Annotated, Any

from google.protobuf.message import Message
from msgspec import Meta, Struct

from holdfast.api.bundle.v1 import bundle_pb2 as api
from holdfast.api.bundle.v1 import bundle_pb2_grpc as api_grpc
from holdfast.bundle import BundleDir, Bundles, Listed
from holdfast.bundle.bundles import NAMESPACE
from holdfast.bundle.links import Links
from holdfast.errors import InvalidArgument, SkipPlugin
from holdfast.events import Exchange
from holdfast.metrics import Counter
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.file import read_bundle
from holdfast.node.rule.schema import Interlock
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import API, BUNDLES, EVENTS, METADATA
from holdfast.plugins.message import timestamp

_SERVICE = "holdfast.bundle.v1.Bundles"
_KERNELS = frozenset({"proc", "sys", "dev"})  # directories of the root


class BundleConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on what bundles may do on this node."""

    targets: Annotated[
        tuple[Annotated[str, Meta(pattern="^/.")], ...],
        Meta(
            description="directories, with all below, in which a bundle's files may be linked; none by default: files "
            "stay below <root>/bundles",
            examples=[["/etc/modprobe.d"]],
            extra={"expected": "an absolute path"},
        ),
    ] = ()
    lifts: Annotated[
        tuple[Interlock, ...],
        Meta(
            description="interlocks that rules of a bundle may lift; none by default: a bundle with such a rule is "
            "refused, and the rule can stand in the node's own configuration",
            examples=[["leave_limits"]],
        ),
    ] = ()
    keep: Annotated[int, Meta(ge=1, le=100, description="earlier bundles kept for rollbacks")] = 3

    def __post_init__(self) -> None:
        """Refuse targets that are no plain paths, and directories of the kernel."""
        for target in self.targets:
            if os.path.normpath(target) != target or not target.isprintable():
                raise ValueError(f'targets: "{target}" is no plain path: write it without //, . and ..')
            if target.split("/")[1] in _KERNELS:
                raise ValueError(f'targets: "{target}" is the kernel\'s: no bundle has files there')


class BundlesServicer(api_grpc.BundlesServicer):
    """``holdfast.bundle.v1.Bundles``."""

    def __init__(self, bundles: Bundles, events: Exchange, changes: Counter) -> None:
        self._bundles, self._events, self._changes = bundles, events, changes

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_BundlesServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def List(self, request: api.ListRequest, call: Any) -> api.ListResponse:  # noqa: N802, D102
        return api.ListResponse(bundles=map(_message, await self._bundles.listed()))

    async def Apply(self, request: api.ApplyRequest, call: Any) -> api.ApplyResponse:  # noqa: N802, D102
        if not request.bundle:
            raise InvalidArgument("bundle: give a name or a digest")
        with self._counted("apply"):
            outcome = await self._bundles.apply(request.bundle)
        bundle = outcome.bundle
        event = api.BundleApplied(digest=bundle.digest, name=bundle.name, previous=outcome.previous)
        self._tell("/bundle/applied", event)
        return api.ApplyResponse(bundle=_message(bundle), previous=outcome.previous)

    async def Rollback(self, request: api.RollbackRequest, call: Any) -> api.RollbackResponse:  # noqa: N802, D102
        with self._counted("rollback"):
            outcome = await self._bundles.rollback()
        bundle = outcome.bundle
        event = api.BundleRolledBack(digest=bundle.digest, name=bundle.name, previous=outcome.previous)
        self._tell("/bundle/rolled-back", event)
        return api.RollbackResponse(bundle=_message(bundle), previous=outcome.previous)

    def _counted(self, change: str) -> _Counted:
        return _Counted(self._changes, change)

    def _tell(self, topic: str, event: Message) -> None:
        self._events.publish(topic, event, NAMESPACE)


class _Counted:
    """Counts how one change ended."""

    def __init__(self, counter: Counter, change: str) -> None:
        self._counter, self._change = counter, change

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._counter.inc(self._change, "done" if kind is None else "refused")


def check_rules(texts: Iterable[tuple[str, str]], lifts: Collection[str] = ()) -> None:
    """Refuse rules that could not be put in force, or lift an interlock that is not among ``lifts``.

    Raises:
        ConfigError: with file and line.
    """
    compile_rules(read_bundle(texts, lifts))


def _message(bundle: Listed) -> api.Bundle:
    made = api.Bundle(
        digest=bundle.digest,
        name=bundle.name,
        state=api.State.Name(bundle.state.value),
        applied_at=timestamp(bundle.at_ns),
    )
    for file in bundle.files:
        made.files.add(
            path=file.path, digest=file.digest, size=file.size, mode=file.mode, rules=file.rules, target=file.target
        )
    return made


@plugin(BUNDLES, "bundles", requires=(METADATA,), config=BundleConfig)
async def bundles(context: InitContext) -> AsyncIterator[Bundles]:
    """The bundles applied on this node, stored below ``<root>/bundles``."""
    if not any(state.registration.kind == METADATA for state in context.plugins):
        raise SkipPlugin("metadata is disabled, and with it the leases that keep bundles")
    root = context.places.root / "bundles"
    bundle_dir = BundleDir(root, Links(root, context.config.targets), context.config.keep)
    engine = Bundles(context.single(METADATA), bundle_dir, partial(check_rules, lifts=context.config.lifts))
    await engine.open()
    context.exports["root"] = str(root)
    yield engine


@plugin(API, "bundles", requires=(BUNDLES, EVENTS), services=(_SERVICE,))
async def service(context: InitContext) -> AsyncIterator[BundlesServicer]:
    """The API for clients."""
    changes = Counter("holdfast_bundle_changes_total", "Bundles applied and rolled back.", ["change", "result"])
    for change in ("apply", "rollback"):
        for result in ("done", "refused"):
            changes.labels(change, result)
    context.metrics.add(changes)
    yield BundlesServicer(context.single(BUNDLES), context.single(EVENTS), changes)
    context.metrics.remove(changes)
