"""Bundles over a real store: applied, rolled back, kept, released."""

import os

import pytest
from holdfast.bundle.bundles import NAMESPACE, BundleState
from holdfast.errors import (
    ConfigError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from holdfast.store.objects.leases import CONTENT, Resource

from tests.fakes.layout import digest, layer, manifest, rule


def files(number):
    return {"rules.yaml": rule(f"r{number}"), "etc/x.conf": f"x={number}\n".encode()}


def states(listed):
    return [(one.name, one.state) for one in listed]


async def test_a_bundle_is_applied_by_name_and_by_digest(node):
    name = await node.pull("one", files(1))
    outcome = await node.bundles.apply("one")
    assert (outcome.bundle.digest, outcome.bundle.state, outcome.previous) == (name, BundleState.CURRENT, "")
    assert node.current("etc/x.conf") == b"x=1\n"
    assert node.bundles.rules("current") == (name, [("rules.yaml", rule("r1").decode())])
    other = await node.pull("two", files(2))
    outcome = await node.bundles.apply(other)
    assert (outcome.bundle.name, outcome.previous) == ("two", name)
    assert node.current("etc/x.conf") == b"x=2\n"
    assert node.bundles.rules(name)[0] == name


async def test_a_rollback_returns_to_the_one_before_and_then_to_the_one_before_that(node):
    for number in (1, 2, 3):
        await node.pull(str(number), files(number))
        await node.bundles.apply(str(number))
    outcome = await node.bundles.rollback()
    assert outcome.bundle.name == "2"
    assert states(await node.bundles.listed()) == [
        ("2", BundleState.CURRENT),
        ("1", BundleState.EARLIER),
        ("3", BundleState.ROLLED_BACK),
    ]
    assert (await node.bundles.rollback()).bundle.name == "1"
    assert node.current("etc/x.conf") == b"x=1\n"
    with pytest.raises(FailedPrecondition, match="no bundle before"):
        await node.bundles.rollback()
    assert (await node.bundles.apply("2")).bundle.name == "2"


async def test_what_is_applied_again_is_as_it_was(node):
    await node.pull("one", files(1))
    first = (await node.bundles.apply("one")).bundle
    inode = os.stat(node.root / "bundles" / "current" / "files" / "rules.yaml").st_ino
    second = await node.bundles.apply("one")
    assert second.previous == first.digest
    assert inode == os.stat(node.root / "bundles" / "current" / "files" / "rules.yaml").st_ino
    assert len(await node.bundles.listed()) == 1


async def test_content_is_held_while_a_rollback_can_reach_it_and_collected_after(node):
    """``keep`` is 2: the current one and two before it."""
    digests = []
    for number in range(1, 5):
        digests.append(await node.pull(str(number), files(number)))
        await node.bundles.apply(str(number))
        found = await node.content()
        assert [one in found for one in digests] == [at >= number - 3 for at in range(number)]
    assert digest(b"x=1\n") not in found
    assert digest(b"x=2\n") in found
    assert not (node.root / "bundles" / digests[0].replace(":", "-")).exists()
    leases = await node.metadata.leases.matching(NAMESPACE)
    assert not [lease for lease in leases if digests[0].partition(":")[2] in lease.id]
    assert [one.name for one in await node.metadata.images.matching(NAMESPACE)] == ["2", "3", "4"]


async def test_an_applied_bundle_outlives_what_pulled_it(node):
    name = await node.pull("one", files(1))
    await node.bundles.apply("one")
    await node.metadata.images.delete(NAMESPACE, "one")
    await node.metadata.leases.delete(NAMESPACE, "pull-" + name.partition(":")[2])
    assert {name, digest(b"x=1\n"), digest(rule("r1"))} <= await node.content()
    await node.pull("two", files(2))
    await node.bundles.apply("two")
    assert (await node.bundles.apply("one")).bundle.name == "one"


async def test_a_pinned_bundle_keeps_its_directory(make_node):
    node = await make_node(keep=1)
    pinned = await node.pull("pinned", files(0))
    node.bundles.pin(lambda: pinned)
    await node.bundles.apply("pinned")
    for number in (1, 2, 3):
        await node.pull(str(number), files(number))
        await node.bundles.apply(str(number))
    assert node.bundles.rules(pinned)[0] == pinned
    assert pinned in await node.content()


async def test_what_was_not_pulled_is_not_found(node):
    for reference in ("nothing", "sha256:" + "0" * 64):
        with pytest.raises(NotFound, match="pull it first"):
            await node.bundles.apply(reference)
    with pytest.raises(NotFound, match="none was applied yet"):
        node.bundles.rules("current")
    with pytest.raises(NotFound):
        node.bundles.rules("sha256:" + "0" * 64)
    with pytest.raises(NotFound):
        node.bundles.rules("../../etc")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"rules.yaml": b"- name: x\n  match: {com: y}\n"}, ConfigError),
        ({"rules.yaml": b"{dry_run: false, rules: []}"}, ConfigError),
        ({"a.yaml": rule("same"), "b.yaml": rule("same")}, ConfigError),
        ({"../x": b"x"}, InvalidArgument),
    ],
)
async def test_what_is_refused_changes_nothing(node, bad, error):
    await node.pull("good", files(1))
    await node.bundles.apply("good")
    await node.pull("bad", bad)
    with pytest.raises(error):
        await node.bundles.apply("bad")
    assert node.current("etc/x.conf") == b"x=1\n"
    assert len(list((node.root / "bundles").glob("sha256-*"))) == 1
    assert not [lease for lease in await node.metadata.leases.matching(NAMESPACE) if lease.id.startswith("bundle-")][1:]


async def test_bad_rules_are_told_with_file_and_line(node):
    await node.pull("bad", {"rules.d/a.yaml": rule("fine"), "rules.d/b.yaml": b"- name: x\n  match: {com: y}\n"})
    with pytest.raises(ConfigError, match=r"rules\.d/b\.yaml:2: rules\[0\]\.match\.com: unknown key"):
        await node.bundles.apply("bad")


async def test_a_blob_of_another_size_than_the_manifest_says_is_refused(node):
    data = b"x" * 100
    text = manifest({**layer("x", data), "size": 10})
    await node.pull("honest", {"x": data})
    await node.put(text, {"containerd.io/gc.root": "1"})
    with pytest.raises(ResourceExhausted, match="100 bytes are more than 10"):
        await node.bundles.apply(digest(text))
    text = manifest({**layer("x", data), "size": 1000})
    await node.put(text, {"containerd.io/gc.root": "1"})
    with pytest.raises(FailedPrecondition, match="is not what"):
        await node.bundles.apply(digest(text))
    with pytest.raises(NotFound):
        node.bundles.rules("current")


async def test_any_manifest_that_is_no_bundle_is_refused(node):
    text = b'{"schemaVersion": 2, "config": {"mediaType": "a", "digest": "b", "size": 1}}'
    await node.put(text, {"containerd.io/gc.root": "1"})
    with pytest.raises(InvalidArgument, match="artifactType"):
        await node.bundles.apply(digest(text))


async def test_a_damaged_directory_is_written_again(node):
    name = await node.pull("one", files(1))
    await node.bundles.apply("one")
    path = node.root / "bundles" / "current" / "files" / "rules.yaml"
    path.write_bytes(rule("evil"))
    with pytest.raises(FailedPrecondition, match="apply the bundle again"):
        node.bundles.rules(name)
    await node.bundles.apply("one")
    assert node.bundles.rules(name)[1] == [("rules.yaml", rule("r1").decode())]


async def test_a_damaged_bundle_is_not_rolled_back_to(node):
    for number in (1, 2):
        digest_ = await node.pull(str(number), files(number))
        await node.bundles.apply(str(number))
        if number == 1:
            first = digest_
    (node.root / "bundles" / first.replace(":", "-") / "files" / "etc" / "x.conf").chmod(0o666)
    with pytest.raises(FailedPrecondition, match="mode 0666"):
        await node.bundles.rollback()
    assert node.current("etc/x.conf") == b"x=2\n"


async def test_watchers_are_told_after_each_change_and_see_the_new_one(node):
    seen = []
    node.bundles.watch(lambda: seen.append(node.bundles.rules("current")[0]))
    one, two = await node.pull("1", files(1)), await node.pull("2", files(2))
    await node.bundles.apply("1")
    await node.bundles.apply("2")
    await node.bundles.rollback()
    assert seen == [one, two, one]


async def test_what_is_in_force_is_there_after_a_restart(node, make_node):
    for number in (1, 2):
        await node.pull(str(number), files(number))
        await node.bundles.apply(str(number))
    before = await node.bundles.listed()
    again = await make_node()
    assert before == await again.bundles.listed()
    assert (await again.bundles.rollback()).bundle.name == "1"


async def test_a_file_is_linked_where_it_is_allowed_and_changes_with_the_bundle(make_node, tmp_path):
    target = tmp_path / "etc"
    target.mkdir()
    node = await make_node(targets=[str(target)])
    for number in (1, 2):
        await node.pull(str(number), {"conf/x.conf": f"x={number}".encode()}, target=str(target))
        await node.bundles.apply(str(number))
        assert (target / "x.conf").read_text() == f"x={number}"
    await node.pull("3", files(3))
    await node.bundles.apply("3")
    assert list(target.iterdir()) == []
    await node.bundles.rollback()
    assert (target / "x.conf").read_text() == "x=2"


async def test_links_outside_the_allowed_directories_or_over_a_file_are_refused(make_node, tmp_path):
    allowed, other = tmp_path / "etc", tmp_path / "etc2"
    allowed.mkdir(), other.mkdir()
    (allowed / "way-out").symlink_to(other)
    (allowed / "taken").write_text("the operator's")
    node = await make_node(targets=[str(allowed)])
    for at, (target, name, error) in enumerate(
        [
            (other, "x", PermissionDenied),
            (allowed / "way-out", "x", PermissionDenied),
            (allowed / "nowhere", "x", FailedPrecondition),
            (allowed, "taken", FailedPrecondition),
        ]
    ):
        await node.pull(str(at), {name: b"x"}, target=str(target))
        with pytest.raises(error, match=f"{name}: "):
            await node.bundles.apply(str(at))
    assert (allowed / "taken").read_text() == "the operator's"
    assert list(other.iterdir()) == []


async def test_a_directory_that_others_may_change_gets_no_link(make_node, tmp_path):
    allowed = tmp_path / "etc"
    for place in ("open", "inner/theirs"):
        (allowed / place).mkdir(parents=True)
    (allowed / "open").chmod(0o777)
    (allowed / "inner").chmod(0o775)
    node = await make_node(targets=[str(allowed)])
    for at, (place, said) in enumerate([("open", "open"), ("inner/theirs", "inner")]):
        await node.pull(str(at), {"x": b"x"}, target=str(allowed / place))
        with pytest.raises(FailedPrecondition, match=f"{allowed / said}: others than root may write there"):
            await node.bundles.apply(str(at))
    (allowed / "inner").chmod(0o755)
    await node.bundles.apply("1")
    assert (allowed / "inner/theirs/x").read_bytes() == b"x"


async def test_a_directory_that_others_may_exchange_gets_no_link(make_node, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    (theirs / "etc").mkdir(parents=True)
    ours.mkdir()
    theirs.chmod(0o777)
    (theirs / "link").symlink_to(ours)
    node = await make_node(targets=[str(theirs / "etc"), str(theirs / "link")])
    for at, place in enumerate(("etc", "link")):
        await node.pull(str(at), {"x": b"x"}, target=str(theirs / place))
        with pytest.raises(FailedPrecondition, match=f"{theirs}: others than root may write there"):
            await node.bundles.apply(str(at))
    theirs.chmod(0o1777)
    await node.bundles.apply("0")
    assert (theirs / "etc/x").read_bytes() == b"x"


async def test_without_targets_nothing_is_written_outside(node, tmp_path):
    await node.pull("1", {"x": b"x"}, target=str(tmp_path))
    with pytest.raises(PermissionDenied, match=r"not among the allowed targets \(none\)"):
        await node.bundles.apply("1")


async def test_a_lease_cannot_be_made_of_what_a_client_removed(node):
    """An applied bundle stays, whatever a client does to our images and leases."""
    name = await node.pull("1", files(1))
    await node.bundles.apply("1")
    for lease in await node.metadata.leases.matching(NAMESPACE):
        await node.metadata.leases.delete(NAMESPACE, lease.id)
    await node.metadata.images.delete(NAMESPACE, "1")
    assert await node.content() == set()
    assert node.bundles.rules("current")[0] == name
    with pytest.raises(NotFound, match="pull it first"):
        await node.bundles.apply("1")
    with pytest.raises(NotFound):
        await node.metadata.leases.add(NAMESPACE, "bundle-" + name.partition(":")[2], Resource(CONTENT, name))


async def test_a_history_that_cannot_be_read_is_told_and_removed_by_hand(node, make_node):
    await node.pull("1", files(1))
    await node.bundles.apply("1")
    (node.root / "bundles" / "history.json").write_text("{")
    with pytest.raises(InvalidArgument, match=r"history\.json: .*; remove it"):
        node.bundle_dir.open()
