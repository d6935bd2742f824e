"""The Python peers' side of workload.hpp: a task that is busy until it is killed, and the next one's start."""
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from turn import Turn, needs, wrong_answer  # pylint: disable=wrong-import-position,unused-import


def hold(pid_file):
    """Says who it is, whole, and is busy from then on."""
    pathlib.Path(f"{pid_file}.new").write_text(str(os.getpid()), encoding="ascii")
    os.rename(f"{pid_file}.new", pid_file)
    while True:
        pass


def start_time():
    """Every process of a machine has the same monotonic clock."""
    return time.monotonic_ns()


def measure(start_busy, start_time_of_next, folder):
    """`start_busy(task, argument)` submits the task that is killed; `start_time_of_next()` returns start_time() of
    the next one, whatever the pool needs for it."""
    turn = Turn()
    pid_file = pathlib.Path(folder) / "pid"

    def recover():
        start_busy(hold, str(pid_file))
        while not pid_file.exists():
            time.sleep(0.001)
        pid = int(pid_file.read_text(encoding="ascii"))
        pid_file.unlink()
        killed = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        return start_time_of_next() - killed
    recover()
    turn.run(recover)
