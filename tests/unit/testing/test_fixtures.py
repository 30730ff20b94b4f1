"""The fixture for tests that are not async."""

import threading

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub
from holdfast.errors import BootError
from holdfast.plugin import Kind, plugin

pytest_plugins = ["holdfast.testing.fixtures"]
KIND = Kind("io.test.v1")


def test_each_daemon_of_a_test_serves(run_daemon):
    daemons = [run_daemon(), run_daemon()]
    for daemon in daemons:
        with grpc.insecure_channel(daemon.target) as channel:
            assert VersionStub(channel).Version(Empty(), timeout=20).version
    assert daemons[0].address != daemons[1].address


@plugin(KIND, "plugin")
async def tells(context):
    yield threading.current_thread()


def test_its_loop_is_in_a_thread_of_its_own(run_daemon):
    assert run_daemon([tells]).single(KIND) is not threading.current_thread()


def test_a_plugin_that_fails_fails_the_test_and_leaves_no_thread(run_daemon):
    @plugin(KIND, "plugin")
    async def fails(context):
        raise ValueError("torn")
        yield

    with pytest.raises(BootError, match="ValueError: torn"):
        run_daemon([fails])
    assert [one.name for one in threading.enumerate() if one.name == "holdfast"] == []
