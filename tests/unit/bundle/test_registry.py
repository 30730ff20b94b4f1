"""A registry over the distribution API, and one that breaks it; `tests/peers/test_bundle.py` has a real one."""

import base64
import contextlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from holdfast.bundle import registry
from holdfast.bundle.layout import read_blob, read_contents
from holdfast.bundle.manifest import INDEX, MAX_FILE, MAX_MANIFEST
from holdfast.bundle.registry import Reference, Repository, password_of, reference_of
from holdfast.errors import (
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

from tests.fakes.layout import RULES, digest, layer, manifest, rule

NAME = "team/node-rules"
PASSWORD = base64.b64encode(b"user:password").decode()
A = "a" * 64


class Server:
    """Answers by path: (status, headers, body), or a function of the request's headers that gives them."""

    def __init__(self):
        self.answers, self.requests = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Authorization", "")))
                answer = outer.answers.get(self.path.partition("?")[0], (404, {}, b""))
                status, headers, body = answer(self.headers) if callable(answer) else answer
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError):  # the client hung up
                    super().handle()

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_address[1]}"

    def put(self, tag, files, **over):
        """Serve a bundle, and return its manifest's digest."""
        layers = [layer(path, data, RULES) for path, data in files.items()]
        text = manifest(*layers, **over)
        for data in (b"{}", *files.values()):
            self.answers[f"/v2/{NAME}/blobs/{digest(data)}"] = (200, {}, data)
        for version in (tag, digest(text)):
            self.answers[f"/v2/{NAME}/manifests/{version}"] = (200, {}, text)
        return digest(text)


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


@pytest.fixture
def server():
    with serving() as one:
        yield one


@pytest.fixture
def repository(server, monkeypatch):
    """Make a repository at the server. Its passwords are sent: the tests have no TLS."""

    def make(version="v1", password="", timeout_s=10.0):
        made = Repository(Reference(server.host, NAME, version), "", timeout_s, plain=True)
        made._password = password
        return made

    return make


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://registry.example.org/rules:v1", ("registry.example.org", "rules", "v1")),
        ("oci://registry:5000/a/b_c/d--e:V1.0", ("registry:5000", "a/b_c/d--e", "V1.0")),
        (f"oci://[::1]:5000/rules@sha256:{A}", ("[::1]:5000", "rules", f"sha256:{A}")),
        (f"oci://registry/rules:v1@sha256:{A}", ("registry", "rules", f"sha256:{A}")),
    ],
)
def test_a_reference_is_read(text, expected):
    found = reference_of(text)
    assert (found.host, found.name, found.version) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("oci://rules:v1", "oci://registry/", "oci://registry/Rules:v1", "oci://registry/a//b:v1"),
        *("oci://registry/rules", "oci://registry/rules:", "oci://registry/rules@sha256:1", "oci://r/a/../b:v1"),
        *("oci://user@registry/rules:v1", "oci://registry/rules:v1\n", "oci://registry/rules:v1?x=y", "oci://r x/a:v1"),
    ],
)
def test_a_reference_of_another_form_is_refused(text):
    with pytest.raises(InvalidArgument):
        reference_of(text)


def test_a_bundle_is_read_by_tag_and_by_digest_and_each_file_is_requested_once(server, repository):
    made = server.put("v1", {"a.yaml": rule("a"), "sub/b.yaml": rule("b")})
    for version in ("v1", made):
        files = repository(version)
        bundle = read_contents(files, files.manifest())
        assert (bundle.digest, [file.path for file in bundle.files]) == (made, ["a.yaml", "sub/b.yaml"])
        server.requests.clear()
        for _ in range(2):
            assert [read_blob(files, one.digest, one.size) for one in bundle.files] == [rule("a"), rule("b")]
        assert len(server.requests) == 2


def test_bytes_that_are_not_what_the_digest_says_are_refused(server, repository):
    made = server.put("v1", {"a.yaml": rule("a")})
    server.answers[f"/v2/{NAME}/manifests/{made}"] = (200, {}, manifest(layer("a.yaml", rule("b"), RULES)))
    server.answers[f"/v2/{NAME}/blobs/{digest(rule('a'))}"] = (200, {}, rule("b"))
    files = repository(made)
    with pytest.raises(FailedPrecondition, match="its bytes are"):
        read_contents(files, files.manifest())
    files = repository("v1")
    (file,) = read_contents(files, files.manifest()).files
    with pytest.raises(FailedPrecondition, match="its bytes are"):
        read_blob(files, file.digest, file.size)


def test_an_index_of_several_manifests_is_no_bundle(server, repository):
    text = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    server.answers[f"/v2/{NAME}/manifests/v1"] = (200, {"Content-Type": INDEX}, text)
    files = repository()
    with pytest.raises(InvalidArgument):
        read_contents(files, files.manifest())


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (403, PermissionDenied), (429, Unavailable), (500, Unavailable)]
)
def test_a_refusal_is_one_line_with_its_status(server, repository, status, kind):
    server.answers[f"/v2/{NAME}/manifests/v1"] = (status, {}, b"<html>")
    with pytest.raises(kind, match=f"HTTP {status}"):
        repository().manifest()


def test_more_than_the_limit_is_refused(server, repository):
    server.answers[f"/v2/{NAME}/manifests/v1"] = (200, {}, b" " * (MAX_MANIFEST + 1))
    with pytest.raises(ResourceExhausted, match="more than"):
        repository().manifest()
    server.answers[f"/v2/{NAME}/blobs/sha256:{A}"] = (200, {}, b" " * (MAX_FILE + 1))
    with pytest.raises(ResourceExhausted), repository().opened(f"blobs/sha256/{A}"):
        pass


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Length": "1000"}, b"{"),  # ends early
        (302, {"Location": "file:///etc/passwd"}, b""),
        (302, {"Location": "ftp://127.0.0.1/x"}, b""),
        (302, {"Location": "http://[::1"}, b""),
        (302, {"Location": f"/v2/{NAME}/manifests/v1"}, b""),  # for ever
        (999, {}, b""),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_of_ours(server, repository, answer):
    server.answers[f"/v2/{NAME}/manifests/v1"] = answer
    with pytest.raises(HoldfastError):
        repository().manifest()


def test_nobody_there_and_an_answer_that_does_not_come_are_unavailable(server, repository):
    silent = threading.Event()
    server.answers[f"/v2/{NAME}/manifests/v1"] = lambda _: silent.wait(30) and (200, {}, b"")
    with pytest.raises(Unavailable, match="timed out"):
        repository(timeout_s=0.2).manifest()
    silent.set()
    with pytest.raises(Unavailable, match="refused"):
        Repository(Reference("127.0.0.1:1", NAME, "v1"), "", 5, plain=True).manifest()


def protected(server, header):
    """Let the server ask for a token, and give it to the holder of the password."""
    server.put("v1", {"a.yaml": rule("a")})
    realm = f'Bearer realm="http://{server.host}/token",service="registry"'
    for path, answer in server.answers.copy().items():
        server.answers[path] = lambda headers, answer=answer: (
            answer if headers.get("Authorization") == "Bearer secret" else (401, {"WWW-Authenticate": realm}, b"")
        )
    server.answers["/token"] = lambda headers: (
        (200, {}, b'{"token": "secret"}') if headers.get("Authorization", "") == header else (401, {}, b"")
    )


@pytest.mark.parametrize("password", ["", PASSWORD])
def test_a_token_is_got_once_with_the_password_and_without_one(server, repository, password):
    header = f"Basic {password}" if password else ""
    protected(server, header)
    files = repository(password=password)
    (file,) = read_contents(files, files.manifest()).files
    assert read_blob(files, file.digest, file.size) == rule("a")
    asked = [one for one in server.requests if one[0].startswith("/token")]
    assert asked == [("/token?service=registry&scope=repository%3Ateam%2Fnode-rules%3Apull", header)]
    assert {header for path, header in server.requests if path.startswith("/v2/")} == {"", "Bearer secret"}


def test_a_wrong_password_is_refused_in_one_line(server, repository):
    protected(server, "Basic other")
    with pytest.raises(PermissionDenied, match=r"refuses the password of docker's config\.json"):
        repository(password=PASSWORD).manifest()


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"token": ""}', b'{"expires": 1}', b"\xff", b"1" * (1 << 17)])
def test_a_token_server_that_sends_none_is_an_error_of_ours(server, repository, answer):
    protected(server, "")
    server.answers["/token"] = (200, {}, answer)
    with pytest.raises(HoldfastError):
        repository().manifest()


@pytest.mark.parametrize(
    "challenge",
    ["", "Negotiate", "Bearer", 'Bearer realm="file:///etc/passwd"', 'Basic realm="x"', "Bearer " + "x" * 999],
)
def test_a_challenge_that_cannot_be_met_is_refused(server, repository, challenge):
    server.answers[f"/v2/{NAME}/manifests/v1"] = (401, {"WWW-Authenticate": challenge}, b"")
    with pytest.raises(PermissionDenied):
        repository().manifest()


def test_a_basic_challenge_gets_the_password(server, repository):
    made = server.put("v1", {"a.yaml": rule("a")})
    text = server.answers[f"/v2/{NAME}/manifests/v1"]
    server.answers[f"/v2/{NAME}/manifests/v1"] = lambda headers: (
        text
        if headers.get("Authorization") == f"Basic {PASSWORD}"
        else (401, {"WWW-Authenticate": "Basic realm=x"}, b"")
    )
    assert repository(password=PASSWORD).manifest().digest == made


def test_the_password_does_not_follow_a_redirect(server, repository):
    with serving() as store:
        store.answers["/blob"] = (200, {}, rule("a"))
        server.answers[f"/v2/{NAME}/blobs/{digest(rule('a'))}"] = (307, {"Location": f"http://{store.host}/blob"}, b"")
        files = repository(password=PASSWORD)
        files._authorization = "Bearer secret"
        assert read_blob(files, digest(rule("a")), len(rule("a"))) == rule("a")
        assert server.requests[0][1] == "Bearer secret"
        assert store.requests == [("/blob", "")]


def test_without_tls_no_password_is_sent_and_with_it_no_token_server_is_asked_in_plain_text():
    assert Repository(Reference("r", NAME, "v1"), PASSWORD, 5, plain=True)._password == ""
    files = Repository(Reference("r", NAME, "v1"), PASSWORD, 5)
    with pytest.raises(PermissionDenied, match="http://token"):
        files._answer("bearer", {"realm": "http://token.example.org/"})


def test_no_redirect_leads_from_tls_to_plain_text():
    follow = registry._Redirects().redirect_request
    wanted = registry.request.Request("https://r/v2/x")
    assert follow(wanted, None, 302, "", {}, "http://r/v2/x") is None
    assert follow(wanted, None, 302, "", {}, "https://s/v2/x").full_url == "https://s/v2/x"


def test_the_password_is_that_of_dockers_file(tmp_path):
    environ = {"HOME": str(tmp_path)}
    assert password_of("r:5000", environ) == ""
    (tmp_path / ".docker").mkdir()
    file = tmp_path / ".docker/config.json"
    file.write_text(json.dumps({"auths": {"r:5000": {"auth": PASSWORD}, "helped": {}}, "credsStore": "x"}))
    assert [password_of(host, environ) for host in ("r:5000", "helped", "other")] == [PASSWORD, "", ""]
    assert password_of("r:5000", {"DOCKER_CONFIG": str(file.parent), "HOME": "/nowhere"}) == PASSWORD
    file.write_text('{"auths": []}')
    with pytest.raises(InvalidArgument, match=r"config\.json"):
        password_of("r:5000", environ)
