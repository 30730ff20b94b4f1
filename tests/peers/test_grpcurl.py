"""``grpcurl`` finds and calls everything by reflection, on the unix socket and over TCP with mutual TLS."""

from __future__ import annotations

import json
import subprocess

import holdfast
import pytest

from tests.needs import path_of, peer
from tests.running import PATIENCE_S

pytestmark = peer("grpcurl", "openssl")

SERVICES = {
    "containerd.services.events.v1.Events",
    "containerd.services.introspection.v1.Introspection",
    "containerd.services.version.v1.Version",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
MUTUAL = """\
  tcp_address = "127.0.0.1:{port}"
  tcp_tls_ca = "{ca}"
  tcp_tls_cert = "{cert}"
  tcp_tls_key = "{key}"
"""


def grpcurl(*words):
    command = [path_of("grpcurl"), "-max-time", "20", "-H", "containerd-namespace: hf", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


class Unix:
    def __init__(self, daemon):
        self.daemon = daemon

    def __call__(self, *words, options=()):
        return grpcurl("-plaintext", *options, f"unix://{self.daemon.address}", *words)


class Mutual:
    def __init__(self, daemon, port, certificates, name="client"):
        self.daemon = daemon
        self._address = f"127.0.0.1:{port}"
        self._flags = ["-cacert", certificates.cert("ca")]
        if name:
            self._flags += ["-cert", certificates.cert(name), "-key", certificates.key(name)]

    def __call__(self, *words, options=()):
        return grpcurl(*self._flags, *options, self._address, *words)


@pytest.fixture
def mutual(ours, free_port, certificates):
    """A daemon that asks TCP clients for certificates, and a way to call it as one of them."""
    port = free_port()
    files = {"ca": certificates.cert("ca"), "cert": certificates.cert("server"), "key": certificates.key("server")}
    daemon = ours(grpc=MUTUAL.format(port=port, **files))
    return lambda name="client": Mutual(daemon, port, certificates, name)


@pytest.fixture(params=["unix", "mutual"])
def call(request):
    """Calls one daemon, over each of its two doors."""
    if request.param == "unix":
        return Unix(request.getfixturevalue("ours")())
    return request.getfixturevalue("mutual")()


def test_every_service_is_listed(call):
    done = call("list")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) >= SERVICES
    assert not [name for name in done.stdout.split() if "ttrpc" in name]  # nobody could call it here


def test_a_service_is_described_with_its_messages(call):
    done = call("describe", "containerd.services.introspection.v1.Introspection")
    assert "rpc Plugins ( .containerd.services.introspection.v1.PluginsRequest )" in done.stdout
    message = call("describe", "containerd.services.introspection.v1.Plugin").stdout
    assert "repeated string capabilities = 6;" in message


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_listed_service_can_be_described(ours, service):
    assert "service" in Unix(ours())("describe", service).stdout


def test_a_read_only_method_is_called(call):
    done = call("containerd.services.version.v1.Version/Version")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["version"] == holdfast.__version__


def test_a_filtered_list_is_called_with_data(call):
    done = call(
        "containerd.services.introspection.v1.Introspection/Plugins", options=["-d", '{"filters": ["id==version"]}']
    )
    assert [plugin["id"] for plugin in json.loads(done.stdout)["plugins"]] == ["version"]


def test_health_is_called_by_name(call):
    done = call("grpc.health.v1.Health/Check", options=["-d", '{"service": "containerd.services.version.v1.Version"}'])
    assert json.loads(done.stdout) == {"status": "SERVING"}


def test_an_error_of_the_placement_api_names_its_reason_and_the_field(call):
    done = call("holdfast.placement.v1.Placement/ListPlacements", options=["-d", '{"filters": ["stat==held"]}'])
    words = "".join(done.stderr.split())
    assert "Code:InvalidArgument" in words
    assert '"type.googleapis.com/google.rpc.ErrorInfo","domain":"holdfast.dev","reason":"INVALID_FIELD"' in words
    assert '"type.googleapis.com/google.rpc.BadRequest"' in words
    assert '"field":"filters"' in words


def test_a_list_takes_a_mask_and_a_page(ours):
    daemon = Unix(ours())

    def page(**more):
        asked = json.dumps({"read_mask": {"paths": ["name"]}, **more})
        return json.loads(daemon("holdfast.placement.v1.Placement/ListRules", options=["-d", asked]).stdout)

    first, whole = page(page_size=1), page()
    rest = page(page_size=1000, page_token=first["next_page_token"])
    assert first["rules"] + rest["rules"] == whole["rules"]
    assert {name for rule in whole["rules"] for name in rule} == {"name"}


def test_the_older_and_the_newer_reflection_both_answer(ours):
    daemon = Unix(ours())
    for version in ("v1", "v1alpha"):
        done = daemon(
            f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", options=["-d", '{"list_services": ""}']
        )
        answer = json.loads(done.stdout)  # camel or snake: as the installed library's descriptor has it
        answer = answer.get("listServicesResponse") or answer["list_services_response"]
        listed = {service["name"] for service in answer["service"]}
        assert listed >= SERVICES


PUBLISH = ("-d", '{"topic": "/a/b", "event": {"@type": "google.protobuf.Empty", "value": {}}}')


def test_what_changes_something_is_for_the_socket_and_refused_to_a_client_without_a_grant(mutual):
    client = mutual()
    assert Unix(client.daemon)("containerd.services.events.v1.Events/Publish", options=PUBLISH).returncode == 0
    refused = client("containerd.services.events.v1.Events/Publish", options=PUBLISH)
    assert "Code: PermissionDenied" in refused.stderr


def test_what_clients_keep_is_read_on_the_socket_and_over_tcp_only_with_a_grant(ours, free_port, certificates):
    port = free_port()
    files = {"ca": certificates.cert("ca"), "cert": certificates.cert("server"), "key": certificates.key("server")}
    grant = '[[grpc.grants]]\n  identities = ["*"]\n  methods = ["/containerd.services.content.v1.Content/*"]\n'
    client = Mutual(ours(grpc=MUTUAL.format(port=port, **files) + grant), port, certificates)
    for name in ("content.v1.Content/List", "containers.v1.Containers/List"):
        assert Unix(client.daemon)(f"containerd.services.{name}").returncode == 0
    assert client("containerd.services.content.v1.Content/List").returncode == 0
    refused = client("containerd.services.containers.v1.Containers/List")
    assert "Code: PermissionDenied" in refused.stderr
    assert "reads what is kept for the node's own clients" in refused.stderr


@pytest.mark.parametrize("name", ["", "stranger"])
def test_a_client_without_a_certificate_of_the_authority_is_not_let_in(mutual, name):
    assert mutual("client")("list").returncode == 0
    done = mutual(name)("list", options=["-connect-timeout", "2"])  # it would try for ten seconds
    assert done.returncode == 1
    assert "Failed to dial target host" in done.stderr or "Failed to list services" in done.stderr
    assert "containerd" not in done.stdout
