import errno
import subprocess
import sys

import pytest
from holdfast.errors import InvalidArgument, KernelRefused
from holdfast.process import ProcRoot, oomscore


class Refusing:
    """A process whose writes the kernel refuses with one errno, or whose value another program sets again."""

    pid = 7

    def __init__(self, number=0, holds=b"0\n"):
        self.number, self.holds, self.written = number, holds, []

    def exchange(self, name, value, old=None):
        if self.number:
            raise KernelRefused("write", f"/proc/7/{name}", self.number)
        self.written.append(value)
        return self.holds


@pytest.mark.parametrize("value", [-1001, 1001])
def test_out_of_range_is_refused_in_containerds_words_before_any_write(value):
    process = Refusing()
    with pytest.raises(InvalidArgument) as caught:
        oomscore.write(process, value)
    assert caught.value.message == f"value out of range ({value}): OOM score must be between -1000 and 1000"
    assert process.written == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_forbidden_lowering_names_the_capability(number):
    with pytest.raises(KernelRefused, match=r"denied|not permitted") as caught:
        oomscore.write(Refusing(number), -5)
    assert "CAP_SYS_RESOURCE" in caught.value.advice


def test_a_value_that_does_not_stay_is_an_error():
    with pytest.raises(KernelRefused) as caught:
        oomscore.write(Refusing(holds=b"300\n"), 200)
    assert caught.value.errno == errno.EAGAIN


def test_a_raised_value_is_read_back_from_the_kernel():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with ProcRoot("/proc") as proc, proc.open(process.pid) as opened:
            before = oomscore.read(opened)
            target = before + 1 if before < 1000 else before
            oomscore.write(opened, target)
            assert oomscore.read(opened) == target
            assert not oomscore.replace(opened, target - 1, 1000), "it is not that value"
            assert oomscore.read(opened) == target
            assert oomscore.replace(opened, target, target)
        with open(f"/proc/{process.pid}/oom_score_adj") as file:
            assert int(file.read()) == target
    finally:
        process.kill()
        process.communicate()
