import json

import pytest
from holdfast.bundle.manifest import MAX_BUNDLE, MAX_FILE, MAX_FILES, MAX_RULES, contents
from holdfast.errors import InvalidArgument, ResourceExhausted

from tests.fakes.layout import ARTIFACT, EMPTY, FILE, RULES, digest, layer, manifest


def read(text):
    return contents(digest(text), text)


def test_files_are_what_the_layers_say_in_their_order():
    bundle = read(manifest(layer("a.yaml", b"[]", RULES), layer("etc/x", b"x", mode="0600", target="/etc/x.d")))
    rules, file = bundle.files
    assert (rules.path, rules.rules, rules.mode, rules.size) == ("a.yaml", True, 0o644, 2)
    assert (file.path, file.name, file.rules, file.mode, file.target) == ("etc/x", "x", False, 0o600, "/etc/x.d")
    assert bundle.rules == (rules,)


def test_an_older_orass_config_type_says_it_too():
    config = {"mediaType": ARTIFACT, "digest": digest(b"{}"), "size": 2}
    assert read(manifest(layer("x", b"x"), config=config, artifactType="")).files


@pytest.mark.parametrize(
    ("over", "word"),
    [
        ({"artifactType": "application/vnd.oci.image.config.v1+json"}, "artifactType"),
        ({"artifactType": ""}, "artifactType"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, "mediaType"),
        ({"config": {"mediaType": "text/plain", "digest": digest(b"{}"), "size": 2}}, "config.mediaType"),
        ({"config": {"mediaType": EMPTY, "digest": "sha256:x", "size": 2}}, "config.digest"),
        ({"config": {"mediaType": EMPTY, "digest": digest(b"{}"), "size": -1}}, "size"),
        ({"layers": []}, "at least one file"),
        ({"layers": {}}, "layers"),
    ],
)
def test_what_is_no_bundle_is_refused(over, word):
    with pytest.raises(InvalidArgument, match=word):
        read(manifest(layer("x", b"x"), **over))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"schemaVersion": 2}'])
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(InvalidArgument):
        read(text)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "./x",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "\u202egpj.sh",
        "n" * 256,
        "/".join(["n" * 200] * 6),
    ],
)
def test_a_path_that_could_leave_the_bundle_or_fool_a_reader_is_refused(path):
    with pytest.raises(InvalidArgument, match="layers"):
        read(manifest(layer(path, b"x")))


@pytest.mark.parametrize("target", ["etc", "/", "/etc/", "/etc/../root", "/etc//x", "/./etc"])
def test_a_target_that_is_no_plain_directory_is_refused(target):
    with pytest.raises(InvalidArgument, match=r"io\.holdfast\.bundle\.target"):
        read(manifest(layer("x", b"x", target=target)))


def test_rules_have_no_target():
    with pytest.raises(InvalidArgument, match="rules stay in the bundle"):
        read(manifest(layer("r.yaml", b"[]", RULES, target="/etc")))


@pytest.mark.parametrize("mode", ["04755", "4755", "02755", "1777", "rwx", "0o644", "888", "07777"])
def test_no_mode_but_permissions(mode):
    with pytest.raises(InvalidArgument, match=r"io\.holdfast\.bundle\.mode"):
        read(manifest(layer("x", b"x", mode=mode)))


def test_an_unknown_type_of_file_is_refused():
    with pytest.raises(InvalidArgument, match=r"layers\[0\].mediaType: application/x-tar"):
        read(manifest(layer("x", b"x", "application/x-tar")))


def test_a_directory_that_oras_packed_is_refused():
    with pytest.raises(InvalidArgument, match="packed directory"):
        read(manifest(layer("x", b"x", **{"io.deis.oras.content.unpack": "true"})))


@pytest.mark.parametrize(
    "layers",
    [
        [layer("a", b"1"), layer("a", b"2")],
        [layer("a", b"1"), layer("a/b", b"2")],
        [layer("a/b/c", b"1"), layer("a/b", b"2")],
        [layer("one/x", b"1", target="/etc/d"), layer("two/x", b"2", target="/etc/d")],
    ],
)
def test_two_files_in_one_place_are_refused(layers):
    with pytest.raises(InvalidArgument, match=r"two files are called|is a file and a directory"):
        read(manifest(*layers))


@pytest.mark.parametrize(
    "layers",
    [
        [{**layer("x", b"x"), "size": MAX_FILE + 1}],
        [{**layer("x.yaml", b"x", RULES), "size": MAX_RULES + 1}],
        [{**layer(f"x{at}", b"x"), "size": MAX_FILE} for at in range(MAX_BUNDLE // MAX_FILE + 1)],
        [layer(f"x{at}", b"x") for at in range(MAX_FILES + 1)],
    ],
)
def test_more_than_a_bundle_may_be_is_refused(layers):
    with pytest.raises(ResourceExhausted):
        read(manifest(*layers))


def test_fields_of_other_tools_do_not_matter():
    text = json.loads(manifest(layer("x", b"x")))
    text["annotations"] = {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"}
    text["config"]["data"] = "e30="
    assert text["layers"][0]["mediaType"] == FILE
    assert read(json.dumps(text).encode()).files[0].path == "x"
