"""``holdfast new-plugin``: a project in which only the names are the author's."""

import re
import subprocess
import sys

import pytest
from holdfast.cli.main import call


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_name_of_the_example_is_left(folder):
    assert call(["new-plugin", "disk-quota-2"]) == 1
    assert call(["new-plugin", "disk-quota2"]) == 0
    project = folder / "disk-quota2"
    texts = {str(path.relative_to(project)): path.read_text() for path in project.rglob("*") if path.is_file()}
    assert [(path, text) for path, text in texts.items() if re.search(r"example.load", f"{path}{text}")] == []
    assert '"disk.quota2.v1.Load"' in texts["src/disk_quota2/plugin.py"]
    assert sorted(texts) == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/disk_quota2/__init__.py",
        "src/disk_quota2/load.proto",
        "src/disk_quota2/load_pb2.py",
        "src/disk_quota2/load_pb2.pyi",
        "src/disk_quota2/load_pb2_grpc.py",
        "src/disk_quota2/plugin.py",
        "src/disk_quota2/py.typed",
        "tests/test_plugin.py",
    ]


def test_two_projects_have_services_of_their_own(folder):
    """In one process, as in one daemon: protobuf refuses two files or messages of one name."""
    for name in ("disk-quota", "message"):  # `message` is a keyword of protobuf's language
        assert call(["new-plugin", name]) == 0
    code = "import disk_quota.plugin, message.plugin"
    path = f"{folder}/disk-quota/src:{folder}/message/src:{':'.join(sys.path)}"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=True)


@pytest.mark.parametrize("name", ["Disk", "disk_quota", "disk--quota", "2disk", "disk-", "../disk", "", "é"])
def test_a_name_that_no_package_may_have_is_refused(name, folder, capsys):
    assert call(["new-plugin", name]) == 1
    assert "lower-case words" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["class", "json", "holdfast", "grpc"])
def test_the_name_of_another_module_is_refused(name, folder, capsys):
    assert call(["new-plugin", name]) == 1
    assert "another module of this name" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_an_existing_directory_is_left_alone(folder, capsys):
    (folder / "disk").mkdir()
    assert call(["new-plugin", "disk"]) == 1
    assert capsys.readouterr().err == "holdfast: directory disk: already exists\n"
    assert list((folder / "disk").iterdir()) == []


def test_without_the_generator_it_names_the_extra_and_writes_nothing(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.path", [path for path in sys.path if "site-packages" not in path])
    assert call(["new-plugin", "disk"]) == 1
    assert "pip install 'holdfastd[plugin]'" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
