"""docs/framework.md: its plugin is run as the page runs it, from its directory, and does what the page says."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
from holdfast.cli.main import call

from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S, until

PAGE = (Path(__file__).parents[2] / "docs" / "framework.md").read_text()
URI = "io.example.spool.v1.mail"


@pytest.fixture
def source():
    (found,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_it_is_thirty_lines(source):
    assert len([line for line in source.splitlines() if line.strip()]) <= 30


def test_it_runs_counts_and_reports_a_fault(source, tmp_path, short_dir, free_port, capsys):
    (words,) = re.findall(r"^\$ holdfast run (--plugin .*)$", PAGE, re.MULTILINE)
    folder, port = tmp_path / "spool", free_port()
    folder.mkdir()
    (tmp_path / "spool.py").write_text(source)
    file = short_dir / "config.yaml"
    file.write_text(
        json.dumps(  # JSON is YAML
            {
                "root": f"{short_dir}/root",
                "state": f"{short_dir}/state",
                "grpc": {"address": f"{short_dir}/s.sock"},
                "metrics": {"address": f"127.0.0.1:{port}"},
                "web": {"address": ""},
                "plugins": {URI: {"folder": str(folder), "limit": 1}},
            }
        )
    )

    def listed(*options):
        assert call(["plugins", "ls", "id==mail", *options, "-a", daemon.address]) == 0
        return capsys.readouterr().out

    def counted(number):
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S).read().decode()
        return f"example_spool_files {number}" in page.splitlines()

    with holdfast(short_dir, file, *words.split(), cwd=tmp_path) as daemon:
        daemon.ready()
        until(lambda: counted(0))
        assert listed().splitlines()[1].split() == ["io.example.spool.v1", "mail", "-", "ok"]
        for name in ("a", "b"):
            (folder / name).touch()
        until(lambda: "2 files wait" in listed("-d"))
        until(lambda: counted(2))
        assert daemon.stop() == 0
