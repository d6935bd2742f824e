"""What the design promises, side by side with what it is promised against: work, reference, bar, met or not."""
from dataclasses import dataclass

import plan
from figures import all_samples, quantile, ratio, shown_time, table
from peers import title


@dataclass(frozen=True)
class Bar:
    work: str
    case: plan.Case
    peer: str
    references: tuple  # of peers, of which the fastest counts
    at_most: float = 0  # times the reference's time
    strictly: bool = False  # less than that
    at_least: float = 0  # times its speed
    other_case: plan.Case = None  # the reference's, where it is another

    @property
    def text(self):
        if self.at_most:
            return f"{'<' if self.strictly else '≤'} {self.at_most:g} × its time"
        return f"≥ {self.at_least:g} × its speed"


THREAD_POOL = ("tbb", "tbb_spin")
BARS = [
    Bar("null task, there and back, hot", plan.HOT, "prefork", ("cache_line",), at_most=1.25),
    Bar("the same", plan.HOT, "prefork", THREAD_POOL, at_most=0.5),
    Bar("100,000 null tasks, gathered in order", plan.GATHER, "prefork", ("tbb",), at_least=2),
    Bar("the same (the aim)", plan.GATHER, "prefork", ("openmp",), at_least=1),
    Bar("null task after 1 ms idle", plan.IDLE, "prefork", ("futex", *THREAD_POOL), at_most=1.1),
    Bar("map over 1,000,000 items of 50 ns", plan.MAP, "prefork", ("tbb",), at_least=0.9),
    Bar("the same, the caller helps", plan.MAP, "prefork_caller_helps", ("tbb",), at_least=0.9),
    Bar("two tasks of 20 µs after 1 ms idle", plan.PAIR, "prefork", ("sequential",), at_most=1, strictly=True),
    Bar("the same, the caller helps", plan.PAIR, "prefork_caller_helps", ("sequential",), at_most=1, strictly=True),
    Bar("shared_array of 64 MiB as an argument", plan.LARGE, "prefork_shared", ("prefork_shared",), at_most=1.5,
        other_case=plan.SMALL),
    Bar("SIGKILL of a busy worker, until the next task starts", plan.RECOVERY, "prefork", ("fork_exit_wait",), at_most=3),
]


def median(rounds):
    return quantile(all_samples(rounds), 0.5)


def reference_of(bar, samples):
    """(name, rounds) of the fastest, or None where there is none."""
    case = bar.other_case or bar.case
    there = [(peer, samples.get(case.name, {}).get(peer)) for peer in bar.references]
    there = [(peer, rounds) for peer, rounds in there if rounds and all_samples(rounds)]
    if not there:
        return None
    peer, rounds = min(there, key=lambda each: median(each[1]))
    return ("64 bytes" if bar.other_case else title(peer)), rounds


def is_met(bar, times):
    """`times`: how many times the reference's time."""
    if bar.at_least:
        return 1 / times >= bar.at_least
    return times < bar.at_most if bar.strictly else times <= bar.at_most


def row(bar, samples, judged):
    ours = samples.get(bar.case.name, {}).get(bar.peer)
    reference = reference_of(bar, samples)
    times = ratio(ours, reference[1]) if ours and reference else None
    if times is None:
        references = " or ".join(map(title, bar.references))
        missing = references if ours else title(bar.peer)
        return [bar.work, references, bar.text, "—", "—", "—", f"not measured: no {missing}"]
    judgement = ("met" if is_met(bar, times.median) else "**not met**") if judged else ""
    # A speed's quartiles are those of the time, the other way round.
    written = [f"{1 / each if bar.at_least else each:.2f}" for each in times]
    low, middle, high = reversed(written) if bar.at_least else written
    return [bar.work, reference[0], bar.text, shown_time(median(ours)), shown_time(median(reference[1])),
            f"{middle} ({low}–{high})", judgement]


def bars_table(samples, judged=True):
    """Of the workloads that were asked for; without a verdict where nothing was measured but that it runs."""
    asked_for = {name.split(" ", maxsplit=1)[0] for name in samples}
    head = ["work", "reference", "bar", "prefork", "reference's", "measured, × (quartiles)", ""]
    return table(head, [row(bar, samples, judged) for bar in BARS if bar.case.workload in asked_for])
