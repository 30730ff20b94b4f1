"""The bundles' API over a real store: messages, events, counts, and what is served to which client."""

from functools import partial

import msgspec
import pytest
from holdfast.api.bundle.v1 import bundle_pb2 as api
from holdfast.bundle import BundleDir, Bundles
from holdfast.bundle.links import Links
from holdfast.config.schema import Grant
from holdfast.errors import ConfigError, FailedPrecondition, InvalidArgument, PermissionDenied
from holdfast.events import Exchange
from holdfast.metrics import Counter
from holdfast.plugins.node.bundle import BundleConfig, BundlesServicer, check_rules
from holdfast.rpc.auth import policy
from holdfast.store import LocalStore, MetadataStore

from tests.fakes.bundles import pull
from tests.fakes.layout import rule


@pytest.fixture
async def metadata(tmp_path):
    local = LocalStore(tmp_path / "content")
    await local.open()
    store = MetadataStore(tmp_path / "meta.sqlite", local)
    await store.open()
    yield store
    await store.close()
    await local.close()


@pytest.fixture
async def service(tmp_path, metadata):
    bundle_dir = BundleDir(tmp_path / "bundles", Links(tmp_path / "bundles"))
    bundles = Bundles(metadata, bundle_dir, check_rules)
    await bundles.open()
    service = BundlesServicer(bundles, Exchange(), Counter("changes_total", "", ["change", "result"]))
    service.told = []
    service._events.publish = lambda topic, event, namespace: service.told.append((topic, event, namespace))
    return service


async def test_applying_and_rolling_back_is_told_in_events_with_what_was_before(service, metadata):
    one = await pull(metadata, "one", {"rules.yaml": rule("a")})
    two = await pull(metadata, "two", {"rules.yaml": rule("b"), "x": b"1"})
    await service.Apply(api.ApplyRequest(bundle="one"), None)
    answer = await service.Apply(api.ApplyRequest(bundle=two), None)
    assert (answer.bundle.name, answer.bundle.state, answer.previous) == ("two", api.STATE_CURRENT, one)
    assert [(file.path, file.rules, file.size) for file in answer.bundle.files] == [
        ("rules.yaml", True, len(rule("b"))),
        ("x", False, 1),
    ]
    assert answer.bundle.applied_at.seconds > 0
    back = await service.Rollback(api.RollbackRequest(), None)
    assert (back.bundle.digest, back.previous) == (one, two)
    assert service.told == [
        ("/bundle/applied", api.BundleApplied(digest=one, name="one"), "holdfast"),
        ("/bundle/applied", api.BundleApplied(digest=two, name="two", previous=one), "holdfast"),
        ("/bundle/rolled-back", api.BundleRolledBack(digest=one, name="one", previous=two), "holdfast"),
    ]


async def test_all_bundles_are_listed_with_what_became_of_them(service, metadata):
    for name in ("one", "two", "three"):
        await pull(metadata, name, {"rules.yaml": rule(name)})
    for name in ("one", "two"):
        await service.Apply(api.ApplyRequest(bundle=name), None)
    listed = (await service.List(api.ListRequest(), None)).bundles
    assert [(one.name, one.state, one.HasField("applied_at")) for one in listed] == [
        ("two", api.STATE_CURRENT, True),
        ("one", api.STATE_EARLIER, True),
        ("three", api.STATE_PULLED, False),
    ]
    await service.Rollback(api.RollbackRequest(), None)
    listed = (await service.List(api.ListRequest(), None)).bundles
    assert [one.state for one in listed] == [api.STATE_CURRENT, api.STATE_ROLLED_BACK, api.STATE_PULLED]


async def test_what_is_refused_is_counted_and_told_nobody(service, metadata):
    await pull(metadata, "bad", {"rules.yaml": b"- name: x\n  match: {user: no-such-user-here}\n"})
    with pytest.raises(ConfigError, match=r"rules\.yaml:1: "):
        await service.Apply(api.ApplyRequest(bundle="bad"), None)
    with pytest.raises(InvalidArgument, match="give a name or a digest"):
        await service.Apply(api.ApplyRequest(), None)
    with pytest.raises(FailedPrecondition):
        await service.Rollback(api.RollbackRequest(), None)
    assert service.told == []
    assert dict(service._changes.values()) == {("apply", "refused"): 1, ("rollback", "refused"): 1}


async def test_a_bundle_that_lifts_an_interlock_is_refused_and_one_applied_before_is_not_used_any_more(
    tmp_path, metadata, service
):
    lifting = b"- {name: a, match: {exe: /usr/bin/x, user: 0}, cgroup: {path: /a}, leave_limits: true}\n"
    await pull(metadata, "lifting", {"rules.yaml": lifting})
    with pytest.raises(ConfigError, match="leave_limits: this node does not let a bundle lift it"):
        await service.Apply(api.ApplyRequest(bundle="lifting"), None)
    bundle_dir = BundleDir(tmp_path / "bundles", Links(tmp_path / "bundles"))
    allowing = Bundles(metadata, bundle_dir, partial(check_rules, lifts=["leave_limits"]))
    await allowing.open()
    await allowing.apply("lifting")
    assert allowing.rules("current")[1] == [("rules.yaml", lifting.decode())]
    strict = Bundles(metadata, bundle_dir, check_rules)
    await strict.open()
    with pytest.raises(ConfigError, match="leave_limits"):
        strict.rules("current")


@pytest.mark.parametrize(
    "target", ["/", "/.", "/etc/..", "/etc//x", "/etc/./x", "/etc/", "/proc/sys", "/sys", "/dev/shm"]
)
def test_a_target_is_a_plain_directory_that_is_not_the_kernels(target):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"targets": [target]}, BundleConfig)
    msgspec.convert({"targets": ["/etc/modprobe.d", "/etc"]}, BundleConfig)


class Caller:
    def auth_context(self):
        return {"x509_common_name": [b"ops"]}


def test_over_tcp_bundles_are_listed_and_applied_only_with_a_grant():
    service = "/holdfast.bundle.v1.Bundles"
    grants = [Grant(identities=("CN=ops",), methods=(f"{service}/*",))]
    assert policy([])(f"{service}/List") is None
    for method in ("Apply", "Rollback"):
        with pytest.raises(PermissionDenied):
            policy([])(f"{service}/{method}")(Caller())
        policy(grants)(f"{service}/{method}")(Caller())
