"""The Python peers' side of workload.hpp: tasks that do nothing, and the check of their results."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from turn import Turn, leave_out, needs, timed, wrong_answer  # pylint: disable=wrong-import-position,unused-import


def task(number):
    return number + 1


def measure(gather):
    """`gather(count)` returns the results of task 0, 1, …"""
    turn = Turn()
    count = turn.get("tasks", 100_000)
    if turn.get("steps", 0) != 0:
        leave_out("in Python, only tasks that do nothing are the same tasks")
    expected = list(range(1, count + 1))

    def once():
        found = []
        took = timed(lambda: found.extend(gather(count)))
        if found != expected:
            wrong_answer("not the results, or not in their order")
        return took / count
    once()
    turn.run(once)
