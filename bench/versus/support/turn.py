"""A peer's turn in Python: the counterpart of turn.hpp, which says what a turn is."""
import importlib
import json
import sys
import time


def leave_out(reason):
    print(reason, file=sys.stderr)
    sys.exit(77)


def wrong_answer(what):
    sys.exit(f"wrong answer: {what}")


def needs(module):
    """The module, where it is installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return leave_out(f"Python has no {module} here")


class Turn:
    def __init__(self):
        self.asked = {name: int(value) for name, value in (each.split("=") for each in sys.argv[1:])}
        self.milliseconds = self.get("milliseconds", 100)
        self.samples = self.get("samples", 1000)

    def get(self, name, otherwise):
        return self.asked.pop(name, otherwise)

    def run(self, sample):
        """Calls `sample`, which returns nanoseconds, until the turn is over, at least once; prints what it returned."""
        if self.asked:
            sys.exit(f"{min(self.asked)}: no such parameter")
        samples = []
        end = time.monotonic() + self.milliseconds / 1000
        while not samples or len(samples) < self.samples and time.monotonic() < end:
            samples.append(sample())
        for each in samples:
            print(json.dumps({"ns": each}))

    def run_batches(self, body):
        """As run(), a sample being the mean of a batch of `body` that takes a millisecond or more."""
        batch = 1

        def once():
            return timed(lambda: [body() for _ in range(batch)])
        while once() < 1e6:
            batch *= 2
        self.run(lambda: once() / batch)


def timed(body):
    """Nanoseconds that `body` takes."""
    start = time.perf_counter_ns()
    body()
    return time.perf_counter_ns() - start
