"""The Python peers' side of workload.hpp: bytes to another process, and the check of what it has seen."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from turn import Turn, needs, wrong_answer  # pylint: disable=wrong-import-position,unused-import


def seen(payload):
    return len(payload) * 256 + (payload[-1] if payload else 0)


def measure(hand_over):
    """`hand_over(payload)` returns what the other process has seen."""
    turn = Turn()
    payload = bytes(turn.get("bytes", 64) - 1) + b"\7"

    def once():
        if hand_over(payload) != seen(payload):
            wrong_answer("not all bytes are there")
    turn.run_batches(once)
