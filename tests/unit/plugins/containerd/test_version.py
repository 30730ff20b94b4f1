import holdfast
from holdfast.plugins.containerd.version import Versions, version


async def test_the_answer_is_the_version_and_the_revision_of_this_build(monkeypatch):
    monkeypatch.setattr(holdfast, "__revision__", "abc")
    answer = await Versions().Version(None, None)
    assert (answer.version, answer.revision) == (holdfast.__version__, "abc")


async def test_the_plugin_is_containerds():
    assert version.uri == "io.containerd.grpc.v1.version"
    async for instance in version.init(None):
        assert isinstance(instance, Versions)
