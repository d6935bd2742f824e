"""The Python peers' side of workload.hpp: the same task, and the check of its answer."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from turn import Turn, needs, timed, wrong_answer  # pylint: disable=wrong-import-position,unused-import


def task(number):
    return number + 1


def be_idle(nanoseconds):
    """As bench/support/idle.hpp."""
    end = time.perf_counter_ns() + nanoseconds
    if nanoseconds >= 100_000:
        time.sleep(nanoseconds / 1e9)
    while time.perf_counter_ns() < end:
        pass


def measure(round_trip):
    turn = Turn()
    idle = turn.get("idle_ns", 0)
    number = 0

    def once():
        nonlocal number
        if round_trip(number) != number + 1:
            wrong_answer("a task's result is not its own")
        number += 1

    def after_idle():
        be_idle(idle)
        return timed(once)
    if idle == 0:
        turn.run_batches(once)
    else:
        for _ in range(10):
            once()
        turn.run(after_idle)
