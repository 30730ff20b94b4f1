"""Certificates, side by side with containerd where it refuses too, and where we refuse what it takes in."""

from __future__ import annotations

import socket

import grpc
import pytest

from tests.needs import peer
from tests.peers.case import ctr, last_word
from tests.peers.cases.looks import port
from tests.peers.daemon import containerd, holdfast, write_config
from tests.running import PATIENCE_S

pytestmark = peer("containerd", "ctr", "openssl")

TLS = """\
  tcp_address = "{address}"
  tcp_tls_cert = "{cert}"
  tcp_tls_key = "{key}"
  tcp_tls_ca = "{ca}"
"""


@pytest.fixture
def refused(short_dir, certificates, start):
    """Starts both daemons with the same TLS keys, and gives the words and status each ended with; "" for no end."""
    words = {"address": "127.0.0.1:0", "ca": "", "cert": certificates.cert("server"), "key": certificates.key("server")}

    def run(**changed):
        seen = []
        for name, starter in (("h", holdfast), ("c", containerd)):
            own = short_dir / name
            own.mkdir()
            (own / "garbage.pem").write_text("this is no certificate\n")
            with starter(own, write_config(own, grpc=TLS.format(**{**words, **changed}))) as daemon:
                booted = daemon.booted()
                status = daemon.stop() if booted else daemon.end()
                seen.append("" if booted else f"{status} {last_word(daemon)}")
        return seen

    return run


def test_a_good_pair_starts_both(refused, certificates):
    assert refused() == ["", ""]
    assert certificates.cert("ca").exists()


def test_a_key_that_is_not_the_certificates(refused, certificates):
    mine, real = refused(key=certificates.key("client"))
    assert real == "1 tls: private key does not match public key"
    assert mine.startswith("1 ")
    assert "private key does not match" in mine
    assert str(certificates.key("client")) in mine


def test_a_missing_key_file(refused):
    mine, real = refused(key="@DIR@/none.key")
    assert real == "1 open @DIR@/none.key: no such file or directory"
    assert mine.startswith("1 ")
    assert "@DIR@/none.key: no such file or directory" in mine


def test_no_key_at_all(refused):
    mine, real = refused(key="")
    assert real == "1 open : no such file or directory"
    assert mine.startswith("1 ")
    assert "tcp_tls_key" in mine


def test_an_unreadable_authority(refused):
    mine, real = refused(ca="@DIR@/none.pem")
    assert real == "1 failed to load CA file: open @DIR@/none.pem: no such file or directory"
    assert mine.startswith("1 ")
    assert "@DIR@/none.pem: no such file or directory" in mine


def test_an_authority_that_is_garbage_is_refused_at_the_start_and_not_client_by_client(refused):
    mine, real = refused(ca="@DIR@/garbage.pem")
    assert real == ""
    assert mine.startswith("1 ")
    assert "@DIR@/garbage.pem" in mine


def test_a_certificate_that_is_garbage(refused):
    mine, real = refused(cert="@DIR@/garbage.pem")
    assert real.startswith("1 tls: failed to find any PEM data")
    assert mine.startswith("1 ")
    assert "@DIR@/garbage.pem" in mine


@pytest.mark.parametrize("asks", [True, False], ids=["for client certificates", "for none"])
def test_the_same_clients_get_in(ours, theirs, certificates, asks):
    """With an authority only its clients do, without one all; the unix socket never requests a certificate."""
    files = {"cert": certificates.cert("server"), "key": certificates.key("server")}
    words = TLS.format(address="127.0.0.1:0", ca=certificates.cert("ca") if asks else "", **files)
    admitted = []
    for start in (ours, theirs):
        daemon = start(grpc=words)
        admitted.append([gets_in(port(daemon), certificates, name) for name in ("", "stranger", "client")])
        assert ctr(daemon, "version").returncode == 0
    assert admitted == [[not asks, not asks, True]] * 2


def gets_in(number, certificates, name):
    """Whether a client with this certificate, or none, gets any answer at all."""
    pair = (certificates.key(name).read_bytes(), certificates.cert(name).read_bytes()) if name else (None, None)
    credentials = grpc.ssl_channel_credentials(certificates.cert("ca").read_bytes(), *pair)
    with grpc.secure_channel(f"127.0.0.1:{number}", credentials) as channel:
        try:
            channel.unary_unary("/containerd.services.version.v1.Version/Version")(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED  # containerd serves none of its own there
        return True


@pytest.mark.parametrize("key", ["tcp_address", "metrics"])
def test_a_busy_port(short_dir, key):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        grpc = f'  tcp_address = "127.0.0.1:{port}"' if key == "tcp_address" else ""
        tables = f'[metrics]\n  address = "127.0.0.1:{port}"' if key == "metrics" else ""
        ends = []
        for name, starter in (("h", holdfast), ("c", containerd)):
            (short_dir / name).mkdir()
            with starter(short_dir / name, write_config(short_dir / name, grpc=grpc, tables=tables)) as daemon:
                assert not daemon.booted()
                ends.append((daemon.end(), last_word(daemon)))
        (mine, my_words), (real, real_words) = ends
        assert (mine, real) == (1, 1)
        assert real_words.endswith(f"listen tcp 127.0.0.1:{port}: bind: address already in use")
        assert f"127.0.0.1:{port}" in my_words
        assert "address already in use" in my_words


def test_plaintext_beyond_loopback_is_refused_unless_it_is_asked_for(short_dir):
    with holdfast(short_dir, write_config(short_dir, grpc='  tcp_address = "0.0.0.0:0"')) as daemon:
        assert daemon.end() == 1
        assert "grpc.insecure" in last_word(daemon)
    with holdfast(short_dir, write_config(short_dir, grpc='  tcp_address = "0.0.0.0:0"\n  insecure = true')) as daemon:
        assert daemon.ready().stop() == 0
