import os
import subprocess
import sys

import pytest
from holdfast.errors import BootError
from holdfast.server.lock import locked

HOLD = """
import sys
from pathlib import Path
from holdfast.server.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_daemon_is_refused_with_the_holders_pid(tmp_path, holder):
    with pytest.raises(BootError, match=rf"^root: {tmp_path}: in use .* \(pid {holder.pid}\); "), locked(tmp_path):
        pass


def test_a_killed_holder_leaves_nothing_behind_that_blocks(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert (tmp_path / "holdfast.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "holdfast.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BootError, match="lock: "), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
