import pytest
from holdfast.config.check import is_loopback
from holdfast.config.describe import REQUIRED, keys_of
from holdfast.config.schema import TIMEOUT_PREFIX, Grpc, Settings, Ttrpc

KEYS = list(keys_of(Settings))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ".".join(map(str, key.path)))
def test_every_key_says_what_it_means(key):
    assert key.description


def test_every_key_the_design_names_is_there():
    names = {".".join(map(str, key.path)) for key in KEYS}
    wanted = (
        "version root state temp oom_score cgroup.path grpc.address grpc.tcp_address grpc.tcp_tls_ca grpc.tcp_tls_cert"
        " grpc.tcp_tls_key grpc.uid grpc.gid grpc.max_recv_message_size grpc.max_send_message_size grpc.insecure"
        " grpc.reflection ttrpc.address ttrpc.uid ttrpc.gid debug.address debug.uid debug.gid debug.level debug.format"
        " metrics.address metrics.grpc_histogram metrics.grpc_zero_series required_plugins disabled_plugins imports"
        " timeouts proxy_plugins.*.type proxy_plugins.*.address plugins tracing.ratio"
    )
    assert set(wanted.split()) - names == set()


def test_only_what_cannot_have_a_default_must_be_given():
    required = {".".join(map(str, key.path)) for key in KEYS if key.default is REQUIRED}
    assert required == {
        "grpc.grants.[].identities",
        "grpc.grants.[].methods",
        "proxy_plugins.*.type",
        "proxy_plugins.*.address",
    }


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().root = "/x"


def test_the_ttrpc_socket_follows_the_grpc_one_unless_it_has_its_own():
    follows = Settings(grpc=Grpc(address="/g", uid=5, gid=6))
    own = Settings(grpc=Grpc(address="/g", uid=5, gid=6), ttrpc=Ttrpc(address="/t", uid=7))
    assert (follows.ttrpc_address, follows.ttrpc_owner) == ("/g.ttrpc", (5, 6))
    assert (own.ttrpc_address, own.ttrpc_owner) == ("/t", (7, -1))


def test_a_timeout_is_found_with_and_without_the_prefix_and_is_a_second_when_unknown():
    settings = Settings(timeouts={f"{TIMEOUT_PREFIX}plugin.init": 5.0, "io.containerd.timeout.task.state": 2.0})
    names = ("plugin.init", f"{TIMEOUT_PREFIX}plugin.init", "io.containerd.timeout.task.state", "nobody")
    assert [settings.timeout_s(name) for name in names] == [5.0, 5.0, 2.0, 1.0]


def test_by_default_nothing_listens_beyond_this_machine():
    settings = Settings()
    assert (settings.grpc.tcp_address, settings.grpc.health_address, settings.debug.address) == ("", "", "")
    assert is_loopback(settings.metrics.address)
    assert is_loopback(settings.web.address)
