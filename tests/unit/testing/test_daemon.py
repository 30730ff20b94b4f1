"""A daemon for an author's tests, with plugins as an author writes them."""

import grpc
import msgspec
import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.errors import BootError, ConfigError, NotFound
from holdfast.plugin import Kind, SkipPlugin, plugin
from holdfast.plugins.kinds import EVENTS, PODS
from holdfast.testing import running

KIND = Kind("io.test.v1")
URI = "io.test.v1.plugin"
SERVICE = "test.v1.Service"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    word: str = "default"


class Service:
    def __init__(self, config):
        self.config = config

    async def call(self, request, context):
        if self.config.word == "missing":
            raise NotFound("word")
        return Empty()

    def register_grpc(self, registrar):
        method = grpc.unary_unary_rpc_method_handler(self.call, Empty.FromString, Empty.SerializeToString)
        registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Call": method}),))


@plugin(KIND, "plugin", config=Config, services=[SERVICE])
async def serves(context):
    service = Service(context.config)

    def reload(config):
        if config.word == "refused":
            raise ConfigError("not that word")
        service.config = config

    context.on_reload(reload)
    yield service


def section(word):
    return {"plugins": {URI: {"word": word}}}


async def called(daemon):
    return await daemon.channel.unary_unary(f"/{SERVICE}/Call")(b"")


async def test_the_plugin_serves_with_its_configuration_and_the_daemons_layer():
    async with running([serves], section("missing")) as daemon:
        assert daemon.single(KIND).config == Config("missing")
        assert (daemon.serves(), daemon.serves(SERVICE), daemon.serves("no.such.v1.Service")) == (True, True, None)
        with pytest.raises(grpc.aio.AioRpcError, match="word: not found"):
            await called(daemon)
        assert f'grpc_code="NotFound",grpc_method="Call",grpc_service="{SERVICE}"' in daemon.metrics()


async def test_another_configuration_is_applied_or_refused():
    async with running([serves]) as daemon:
        await daemon.reload(section("other"))
        assert daemon.single(KIND).config.word == "other"
        with pytest.raises(ConfigError, match="not that word"):
            await daemon.reload(section("refused"))
        with pytest.raises(ConfigError, match=r"config.yaml:\d+: .*wrod"):
            await daemon.reload({"plugins": {URI: {"wrod": ""}}})
        assert daemon.single(KIND).config.word == "other"


async def test_the_plugin_is_closed_at_the_end_and_what_it_kept_is_there_for_the_next_daemon(short_dir):
    steps = []

    @plugin(KIND, "plugin")
    async def keeps(context):
        file = context.root_dir / "kept"
        steps.append(file.exists())
        file.touch()
        yield
        steps.append("closed")

    for _ in range(2):
        async with running([keeps], directory=short_dir):
            pass
    async with running([keeps]):
        pass
    assert steps == [False, "closed", True, "closed", False, "closed"]


async def test_a_fake_stands_for_what_the_plugin_requires():
    @plugin(PODS, "fake")
    async def pods(context):
        yield "pods"

    @plugin(EVENTS, "exchange")
    async def events(context):
        yield "events"

    @plugin(KIND, "plugin", requires=[PODS, EVENTS])
    async def needs(context):
        yield context.single(PODS), context.single(EVENTS)

    async with running([needs, pods, events]) as daemon:
        assert daemon.single(KIND) == ("pods", "events")


async def test_nothing_of_it_acts_on_the_machine():
    async with running() as daemon:
        kinds = {one.registration.kind.uri for one in daemon.plugins}
    assert EVENTS.uri in kinds
    assert not kinds & {"io.holdfast.placement.v1", "io.holdfast.cgroups.v1", "io.holdfast.nri.v1", PODS.uri}


async def test_a_plugin_that_fails_or_skips_fails_the_test_with_its_own_error():
    @plugin(KIND, "plugin")
    async def fails(context):
        raise KeyError("torn")
        yield

    @plugin(KIND, "other")
    async def skips(context):
        raise SkipPlugin("nothing to do")
        yield

    with pytest.raises(BootError, match=f"load required plugin {URI}: KeyError: 'torn'") as found:
        async with running([fails]):
            raise AssertionError
    assert isinstance(found.value.__cause__, KeyError)
    with pytest.raises(BootError, match="nothing to do"):
        async with running([skips]):
            raise AssertionError
    async with running([fails, skips], required=False) as daemon:
        with pytest.raises(KeyError, match="torn"):
            daemon.single(KIND)
        assert isinstance(daemon.plugins.get("io.test.v1.other").error, SkipPlugin)


async def test_a_wrong_configuration_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"config.yaml:\d+: nosuch: unknown key"):
        async with running([serves], {"nosuch": 1}):
            raise AssertionError
