import pytest
from holdfast.cgroups import Foreign
from holdfast.node.model.privileges import CAPABILITIES, Privileges, lacks
from msgspec.structs import replace

HOST = Privileges()
SEEING = frozenset(CAPABILITIES)
BLIND = SEEING - {"CAP_SYS_PTRACE"}


def words(seen):
    return [lack.what for lack in lacks(seen)]


def test_a_host_and_a_whole_pod_lack_nothing():
    assert lacks(HOST) == ()
    assert lacks(replace(HOST, own_pid=4711, init_comm="systemd")) == ()


@pytest.mark.parametrize(
    ("seen", "private"),
    [
        (Privileges(initial_pids=False, own_pid=1), True),
        (Privileges(initial_pids=False, own_pid=7, init_comm="pause"), True),
        (Privileges(initial_pids=False, own_pid=7, init_comm="sh", init_in_pod=True), True),
        (Privileges(initial_pids=False, own_pid=900, init_comm="systemd"), False),
        (Privileges(initial_pids=True, own_pid=1, init_comm="holdfast"), False),
    ],
    ids=["alone", "beside the pause container", "in a pod that shares its pids", "in a nested node", "as init"],
)
def test_own_pids_are_told_from_a_host_s(seen, private):
    (found,) = lacks(seen) or (None,)
    assert (found is not None) is private
    if found is not None:
        assert found.disabling
        assert "hostPID: true" in found.remedy


def test_what_is_missing_of_the_cgroups_comes_with_the_remedy_for_it():
    (unmounted,) = lacks(replace(HOST, without_cgroups=Foreign.UNMOUNTED, cgroups_writable=False))
    (namespace,) = lacks(replace(HOST, without_cgroups=Foreign.NAMESPACE, cgroups_writable=False))
    (read_only,) = lacks(replace(HOST, cgroups_writable=False))
    assert "hostPath" in unmounted.remedy
    assert "CAP_SYS_ADMIN" in namespace.remedy
    assert "writable" in read_only.remedy
    assert not any(lack.disabling for lack in (unmounted, namespace, read_only))


def test_missing_capabilities_are_one_line_and_count_for_nothing_in_a_user_namespace():
    assert words(replace(HOST, capabilities=frozenset())) == ["CAP_SYS_RESOURCE, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE"]
    assert words(replace(HOST, capabilities=frozenset(), initial_users=False)) == ["the host's user namespace"]


@pytest.mark.parametrize(
    ("option", "gid", "caps", "hides"),
    [
        ("invisible", 0, BLIND, False),
        ("2", 27, BLIND, True),
        ("noaccess", 27, BLIND, True),
        ("ptraceable", 0, BLIND, True),
        ("4", 0, BLIND, True),
        ("ptraceable", 0, SEEING, False),
        ("0", 27, BLIND, False),
        ("off", 27, BLIND, False),
        ("", 0, BLIND, False),
    ],
)
def test_hidepid_hides_from_who_is_not_in_its_group_and_may_not_trace(option, gid, caps, hides):
    seen = replace(HOST, hidepid=option, hidepid_gid=gid, capabilities=caps)
    assert any("hidepid" in what for what in words(seen)) is hides
