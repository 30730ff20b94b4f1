import socket

import msgspec
import pytest
from holdfast.config import Settings
from holdfast.errors import BootError, SkipPlugin
from holdfast.plugin import Endpoint, server
from holdfast.server.addresses import endpoints_of, refuse_taken


class Config(msgspec.Struct):
    address: str = ""


async def init(context):
    yield None


def registered(endpoints, config=None):
    return server("x", endpoints, config=config)(init)


def test_a_server_says_where_it_listens_by_the_settings_and_its_own_section():
    def endpoints(settings, config):
        return [Endpoint("x", "x endpoint", config.address), Endpoint("y", "y endpoint", settings.grpc.address)]

    one = registered(endpoints, Config)
    found, unusable = endpoints_of(Settings(), {one.uri: Config("127.0.0.1:1")}, [one])
    assert [endpoint.address for endpoint in found[one.uri]] == ["127.0.0.1:1", Settings().grpc.address]
    assert unusable == {}


def test_one_without_a_section_that_can_be_used_is_not_asked():
    one = registered(lambda settings, config: 1 / 0, Config)
    assert endpoints_of(Settings(), {}, [one]) == ({}, {})


@pytest.mark.parametrize("error", [ValueError("torn"), SystemExit(3)])
async def test_an_authors_error_is_that_plugins_and_ours_ends_the_boot(error):
    def endpoints(settings, config):
        raise error

    one = registered(endpoints)
    found, unusable = endpoints_of(Settings(), {}, [one])
    assert (found, list(unusable)) == ({}, [one.uri])
    error = BootError("no such certificate")
    with pytest.raises(BootError, match="no such certificate"):
        endpoints_of(Settings(), {}, [one])


def test_an_address_in_use_is_refused_by_the_endpoints_purpose(short_dir):
    path = f"{short_dir}/s.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        tcp = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BootError, match=f"failed to get listener for x endpoint: listen tcp {tcp}: bind: address"):
            refuse_taken({"x": [Endpoint("x", "x endpoint", tcp)]})
        with pytest.raises(BootError, match=f"failed to get listener for y endpoint: {path}: in use"):
            refuse_taken({"y": [Endpoint("y", "y endpoint", path)]})
    free = {"x": [Endpoint("x", "x endpoint", tcp)], "z": [Endpoint("z", "z endpoint", f"{short_dir}/none.sock")]}
    assert refuse_taken(free) == {}


def test_two_of_ours_cannot_have_one_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        tcp = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BootError, match="address already in use"):
        refuse_taken({"x": [Endpoint("x", "x endpoint", tcp)], "y": [Endpoint("y", "y endpoint", tcp)]})


@pytest.mark.parametrize("address", ["taken", "ours", "192.0.2.1:0"])
def test_a_server_that_nobody_asked_for_is_left_out_when_its_address_cannot_be_had(address):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        tcp = f"127.0.0.1:{(taken if address == 'taken' else free).getsockname()[1]}"
        free.close()
        own = [Endpoint("y", "y endpoint", tcp)] if address == "ours" else []
        page = Endpoint("x", "x endpoint", tcp if address in ("taken", "ours") else address, optional=True)
        left_out = refuse_taken({"x": [page], "y": own})
    assert [type(error) for error in left_out.values()] == [SkipPlugin]
    assert "; name another address, or none: skip plugin" in str(left_out["x"])
