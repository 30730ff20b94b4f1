from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import msgspec
import pytest
from holdfast.config import Settings
from holdfast.errors import BootError
from holdfast.rpc import server_credentials
from holdfast.rpc.auth import identities_of
from holdfast.rpc.tls import TlsFiles

from tests.running import PATIENCE_S

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")

NAMES = "subjectAltName=IP:127.0.0.1,DNS:node.test,URI:spiffe://test/ops,email:ops@test"
REQUEST = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
REQUEST += ["-days", "2", "-addext", NAMES]
Make = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes a certificate and its key: self-signed, or by another pair; files by name."""
    directory = tmp_path_factory.mktemp("tls")

    def made(name: str, *extra: str, by: str = "", cn: str = ""):
        cert, key = directory / f"{name}.pem", directory / f"{name}.key"
        signer = ["-CA", directory / f"{by}.pem", "-CAkey", directory / f"{by}.key"] if by else []
        subprocess.run(
            [*REQUEST, "-subj", f"/CN={cn or name}", "-keyout", key, "-out", cert, *signer, *extra],
            check=True,
            capture_output=True,
        )
        return cert, key

    return made


@pytest.fixture(scope="session")
def pair(make: Make) -> tuple[Path, Path]:
    return make("server")


def loaded(cert: object, key: object, authority: object = "") -> None:
    TlsFiles(str(cert), str(key), str(authority)).load()


def refusal(cert: object, key: object, authority: object = "") -> str:
    with pytest.raises(BootError) as caught:
        loaded(cert, key, authority)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_certificate_it_is_plaintext():
    assert server_credentials(Settings()) is None


def test_a_good_pair_and_authority_pass_in_silence(pair, caplog):
    loaded(*pair, pair[0])
    assert caplog.records == []


def test_a_missing_file_is_named_with_its_setting(pair, tmp_path):
    missing = tmp_path / "none.pem"
    assert refusal(missing, pair[1]) == f"grpc.tcp_tls_cert: open {missing}: no such file or directory"
    assert refusal(pair[0], missing) == f"grpc.tcp_tls_key: open {missing}: no such file or directory"
    assert refusal(*pair, missing) == f"grpc.tcp_tls_ca: open {missing}: no such file or directory"


def test_a_certificate_without_a_key_is_told_to_have_one(pair):
    assert refusal(pair[0], "").startswith("grpc.tcp_tls_key: not set, but grpc.tcp_tls_cert is")


def test_a_directory_is_no_file(pair, tmp_path):
    assert refusal(tmp_path, pair[1]) == f"grpc.tcp_tls_cert: open {tmp_path}: is a directory"


def test_a_key_of_another_certificate_does_not_match(pair, make):
    _, other = make("other")
    assert refusal(pair[0], other) == (
        f"grpc.tcp_tls_key: {other}: tls: private key does not match public key of {pair[0]}"
    )


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_junk_is_named_by_what_it_should_have_been(pair, tmp_path, junk):
    path = tmp_path / "junk.pem"
    path.write_bytes(junk)
    assert refusal(path, pair[1]) == f"grpc.tcp_tls_cert: {path}: no certificate in it; it must be PEM"
    assert refusal(pair[0], path).startswith(f"grpc.tcp_tls_key: {path}: no usable private key in it (")
    assert refusal(*pair, path) == (
        f"grpc.tcp_tls_ca: failed to load CA file: {path}: no certificate in it; it must be PEM"
    )


def test_an_encrypted_key_is_refused_and_not_asked_for(pair, tmp_path):
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", pair[1], "-aes128", "-passout", "pass:secret", "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    assert refusal(pair[0], encrypted).startswith("grpc.tcp_tls_key: is encrypted")


def test_a_certificate_that_is_not_for_servers_is_refused(make):
    assert "purpose" in refusal(*make("clientonly", "-addext", "extendedKeyUsage=clientAuth"))


def _expired(make: Make) -> tuple[Path, Path]:
    """`openssl ca` dates a certificate as it likes; `req -x509` learned that only in 3.4."""
    cert, key = make("expired")
    base, request = cert.parent / "expired.ca", cert.with_suffix(".csr")
    (base / "new").mkdir(parents=True, exist_ok=True)
    (base / "index").write_text("")
    (base / "serial").write_text("01\n")
    (base / "cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={base}/new\ndatabase={base}/index\nserial={base}/serial\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    sign = ["openssl", "ca", "-batch", "-selfsign", "-config", base / "cnf", "-keyfile", key, "-in", request]
    sign += ["-startdate", "200101000000Z", "-enddate", "200102000000Z", "-notext", "-out", cert]
    for command in (["openssl", "req", "-new", "-key", key, "-subj", "/CN=expired", "-out", request], sign):
        subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_an_expired_certificate_is_a_warning_the_node_keeps_its_daemon(make, caplog):
    cert, key = _expired(make)
    loaded(cert, key)
    assert [record.getMessage() for record in caplog.records] == [
        f"grpc.tcp_tls_cert: {cert}: certificate has expired; every client will refuse it"
    ]


class Served:
    """A server with TLS from files in a directory of its own."""

    def __init__(self, directory: Path, pair: tuple[Path, Path], authority: Path | None) -> None:
        self.cert, self.key, self.authority = (directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.use(pair, authority)
        section = {"tcp_tls_cert": str(self.cert), "tcp_tls_key": str(self.key)}
        if authority is not None:
            section["tcp_tls_ca"] = str(self.authority)
        self.credentials = server_credentials(msgspec.convert({"grpc": section}, Settings))

    def use(self, pair: tuple[Path, Path], authority: Path | None = None) -> None:
        """Swap the files as kubelet does: a new file takes the name."""
        for source, target in zip((*pair, authority), (self.cert, self.key, self.authority), strict=True):
            if source is not None:
                fresh = target.with_suffix(".new")
                shutil.copy(source, fresh)
                os.rename(fresh, target)

    async def __aenter__(self) -> Served:
        async def who(request, context):
            return " ".join(identities_of(context)).encode()

        service = grpc.method_handlers_generic_handler("t.T", {"Who": grpc.unary_unary_rpc_method_handler(who)})
        self.server = grpc.aio.server(handlers=[service])
        self.port = self.server.add_secure_port("127.0.0.1:0", self.credentials)
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(0)

    async def ask(self, roots: Path, client: tuple[Path, Path] | None = None) -> str:
        """Return the server's view of the client, or the code the call failed with."""
        chain = (client[1].read_bytes(), client[0].read_bytes()) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(roots.read_bytes(), *chain)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials) as channel:
            try:
                return (await channel.unary_unary("/t.T/Who")(b"", timeout=PATIENCE_S)).decode()
            except grpc.aio.AioRpcError as error:
                return error.code().name


async def test_a_client_certificate_is_asked_for_and_its_names_are_seen(tmp_path, pair, make):
    ca, _ = make("ca", "-addext", "basicConstraints=critical,CA:TRUE")
    client = make("client", "-addext", "basicConstraints=critical,CA:FALSE", by="ca", cn="fleet")
    stranger = make("stranger")
    async with Served(tmp_path, pair, ca) as served:
        names = await served.ask(pair[0], client)
        assert set(names.split()) == {"127.0.0.1", "node.test", "spiffe://test/ops", "ops@test", "CN=fleet"}
        assert await served.ask(pair[0], stranger) == "UNAVAILABLE"
        assert await served.ask(pair[0]) == "UNAVAILABLE"


async def test_without_an_authority_no_certificate_is_asked_for(tmp_path, pair):
    async with Served(tmp_path, pair, None) as served:
        assert await served.ask(pair[0]) == ""


async def test_changed_files_serve_the_next_connection_and_a_broken_set_is_left_alone(tmp_path, pair, make, caplog):
    second = make("second")
    async with Served(tmp_path, pair, None) as served:
        assert await served.ask(pair[0]) == ""
        served.use((second[0], pair[1]))  # kubelet swaps both at once, others do not: half of a new pair
        assert await served.ask(pair[0]) == ""
        assert await served.ask(pair[0]) == ""
        assert [record.levelname for record in caplog.records if "TLS" in record.getMessage()] == ["ERROR"]
        served.use(second)
        assert await served.ask(second[0]) == ""
        assert await served.ask(pair[0]) == "UNAVAILABLE"


async def test_many_handshakes_at_once_find_one_good_set(tmp_path, pair, make):
    second = make("second")
    async with Served(tmp_path, pair, None) as served:
        served.use(second)
        assert await asyncio.gather(*(served.ask(second[0]) for _ in range(8))) == [""] * 8
