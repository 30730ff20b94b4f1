import pytest
from holdfast.errors import AlreadyExists, BootError, FailedPrecondition, NotFound, SkipPlugin
from holdfast.plugin import Kind, PluginSet, PluginState, Registration, State

A = Kind("io.test.a.v1")


async def init(context):
    yield None


def state(name, outcome=State.READY, instance=None, error=None, services=()):
    return PluginState(Registration(A, name, init, services=services), outcome, instance, error)


def loaded(*states):
    plugins = PluginSet()
    for each in states:
        plugins.add(each)
    return plugins


BROKEN = RuntimeError("disk on fire")


def test_single_gives_the_one_instance_and_passes_over_skipped_ones():
    plugins = loaded(state("x", State.SKIPPED, error=SkipPlugin("no btrfs")), state("y", instance="instance"))
    assert plugins.single(A) == "instance"


def test_single_raises_the_only_candidates_own_error():
    with pytest.raises(RuntimeError, match="disk on fire"):
        loaded(state("x", State.FAILED, error=BROKEN)).single(A)


def test_single_refuses_to_choose():
    with pytest.raises(FailedPrecondition, match=r"multiple plugins .* io\.test\.a\.v1\.x io\.test\.a\.v1\.y"):
        loaded(state("x"), state("y")).single(A)


@pytest.mark.parametrize("plugins", [loaded(), loaded(state("x", State.SKIPPED, error=SkipPlugin("")))])
def test_single_of_nothing_is_not_found_with_containerds_words(plugins):
    with pytest.raises(NotFound) as refused:
        plugins.single(A)
    assert str(refused.value) == "no plugins registered for io.test.a.v1: not found"


def test_by_id_gives_the_instance_or_why_there_is_none():
    plugins = loaded(state("x", instance=1), state("y", State.SKIPPED, error=SkipPlugin("not here")))
    assert plugins.by_id(A, "x") == 1
    with pytest.raises(SkipPlugin, match="not here: skip plugin"):
        plugins.by_id(A, "y")
    with pytest.raises(NotFound, match=r"^no io\.test\.a\.v1 plugins with id z: not found$"):
        plugins.by_id(A, "z")


def test_all_gives_what_is_ready_in_start_order():
    plugins = loaded(state("z", instance=1), state("x", State.FAILED, error=BROKEN), state("a", instance=2))
    assert list(plugins.all(A).items()) == [("z", 1), ("a", 2)]


def test_one_uri_is_tried_once():
    with pytest.raises(AlreadyExists, match=r"plugin io\.test\.a\.v1\.x already initialized: already exists"):
        loaded(state("x"), state("x"))


def test_what_is_required_and_was_never_tried_is_named_in_the_users_order():
    plugins = loaded(state("x"))
    plugins.check_not_missing(["io.test.a.v1.x"])
    with pytest.raises(BootError) as refused:
        plugins.check_not_missing(["z", "io.test.a.v1.x", "b", "z"])
    assert str(refused.value) == "required plugin [z b] not included"


def test_the_absence_of_a_service_is_explained_by_the_plugin_that_failed():
    plugins = loaded(
        state("x", State.FAILED, error=BROKEN, services=("a.Service",)), state("y", services=("b.Service",))
    )
    assert plugins.absence("a.Service") == "plugin io.test.a.v1.x failed: RuntimeError: disk on fire"
    assert plugins.absence("b.Service") is None
    assert plugins.absence("c.Service") is None
