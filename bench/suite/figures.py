"""What is made of samples: medians, quartiles, ratios round by round, and how they are written."""
import math
from typing import NamedTuple

UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}


class Spread(NamedTuple):
    low: float  # a quarter lies below
    median: float
    high: float  # a quarter lies above


def quantile(values, part):
    """Between two values, where it falls between them."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values):
    return Spread(*(quantile(values, part) for part in (0.25, 0.5, 0.75)))


def all_samples(rounds):
    return [sample for each in rounds for sample in each or []]


def ratio(rounds, reference):
    """How many times the reference's time, round by round: what disturbs a whole round falls on both. None where they
    have no round in common."""
    both = [quantile(ours, 0.5) / quantile(theirs, 0.5) for ours, theirs in zip(rounds, reference) if ours and theirs]
    return spread(both) if both else None


def crossing(curve, other):
    """Where `curve` begins to stay below `other`, both [(x, y)] at the same x, between two points as on a plot with log
    axes; the first x when it always does, None when it does not at the last."""
    below = [math.log(ours) - math.log(theirs) for (_, ours), (_, theirs) in zip(curve, other)]
    if not below or below[-1] >= 0:
        return None
    last = max((i for i, each in enumerate(below) if each >= 0), default=None)
    if last is None:
        return curve[0][0]
    before, after = math.log(curve[last][0]), math.log(curve[last + 1][0])
    return math.exp(before + (after - before) * below[last] / (below[last] - below[last + 1]))


def three_digits(value):
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def exact(value):
    """Of what was asked for, not measured."""
    return f"{value:g}"


def shown_time(nanoseconds, digits=three_digits):
    for unit in ("s", "ms", "µs"):
        if nanoseconds >= UNITS[unit]:
            return f"{digits(nanoseconds / UNITS[unit])} {unit}"
    return f"{digits(nanoseconds)} ns"


def shown_bytes(count, digits=three_digits):
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{digits(count / size)} {unit}"
    return f"{count:.0f} B"


def table(head, rows):
    """A table of Markdown; every cell is text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
