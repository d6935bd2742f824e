"""The report of a run, for people: the bars first, then every figure."""
import re

import plan
from bars import bars_table
from figures import UNITS, all_samples, exact, quantile, ratio, shown_bytes, shown_time, spread, table, three_digits
from peers import ABOUT, title

METHOD = """Every peer is a program of its own, started for each of its turns; in each of {rounds} rounds all have theirs, in another
order. A time is the median of all samples, with the quartiles; a ratio is the median of the rounds' ratios, so that
what disturbs a whole round falls on both: "× prefork" is how many times prefork's time. Each workload's header in
`bench/versus` says what is measured, and checks the answers.
"""
QUESTIONS = """Each file's first line in `bench/` is its question. Google Benchmark: times are real, per iteration.
"""
LIMITS = ("cache_line", "futex", "memcpy", "fork_exit_wait", "sequential")


def words(case):
    """A case's name for people: "round_trip, idle 1 ms"."""
    shown = [case.workload]
    for name, value in case.parameters:
        if name == "idle_ns" and value == 0:
            shown.append("hot")
        elif name.endswith("_ns"):
            shown.append(f"{name[:-3]} {shown_time(value, exact)}")
        elif name == "bytes":
            shown.append(shown_bytes(value, exact))
        else:
            shown.append(f"{value:,} {name}")
    return ", ".join(shown)


def named(peer, case):
    """With how many tasks it had, where all would have taken it many seconds."""
    tasks = ABOUT[peer].tasks
    return title(peer) + (f" ({tasks:,} tasks)" if 0 < tasks < case.values.get("tasks", 0) else "")


def peers_table(case, measured):
    """The fastest first."""
    there = {peer: rounds for peer, rounds in measured.items() if all_samples(rounds)}
    limit = next((peer for peer in LIMITS if peer in there), None)
    rows = []
    for peer, rounds in sorted(there.items(), key=lambda each: quantile(all_samples(each[1]), 0.5)):
        samples = all_samples(rounds)
        time = spread(samples)
        rows.append([named(peer, case), shown_time(time.median), f"{shown_time(time.low)} – {shown_time(time.high)}",
                     shown_time(quantile(samples, 0.99)),
                     times(rounds, there.get(limit)), times(rounds, there.get("prefork")), f"{len(samples):,}"])
    against = f"× {title(limit).removeprefix('limit: ')}" if limit else "× limit"
    return table(["", "median", "quartiles", "p99", against, "× prefork", "samples"], rows)


def times(rounds, reference):
    found = ratio(rounds, reference) if reference else None
    return three_digits(found.median) if found else "—"


def versus(samples):
    for case in {case.name: case for case in plan.CASES}.values():
        if case.name in samples:
            unit = {"gather": ", per task", "map": ", per item"}.get(case.workload, "")
            yield f"### {words(case)}{unit}\n\n{peers_table(case, samples[case.name])}"


def question(name, benchmarks):
    """One table of a file's benchmarks; counters are columns."""
    own = {"iterations", "real_time", "cpu_time", "repetitions", "repetition_index", "family_index", "threads",
           "per_family_instance_index"}
    counters = sorted({key for each in benchmarks for key, value in each.items()
                       if type(value) in (int, float) and key not in own}, key=without_unit)
    rows = []
    for each in benchmarks:
        if each.get("error_occurred"):
            rows.append([each["name"], each["error_message"], *[""] * len(counters)])
            continue
        rows.append([re.sub(r"/(real_time|manual_time|iterations:\d+)", "", each["name"]),
                     shown_time(each["real_time"] * UNITS[each["time_unit"]]),
                     *[counted(key, each[key]) if key in each else "" for key in counters]])
    return f"### {name}\n\n{table(['', 'time', *map(without_unit, counters)], rows)}"


def without_unit(counter):
    return counter.removesuffix("_ns")


def counted(name, value):
    if name.endswith("_ns"):
        return shown_time(value)
    if name == "bytes_per_second":
        return f"{shown_bytes(value)}/s"
    return three_digits(value)


def left_out(reasons):
    if not reasons:
        return "Nothing.\n"
    return "".join(f"- {title(peer) if peer in ABOUT else peer}: {why}\n" for peer, why in sorted(reasons.items()))


def report(run, plots):
    """`run` is what raw.json holds, `plots` the names of the images beside the report."""
    samples = run["versus"]
    parts = ["# Benchmarks\n"]
    if run["quick"]:
        parts.append("**A smoke run: nothing here is a measurement.**\n")
    parts += [f"{run['seconds']:.0f} s, by `tools/bench`. {run['plots_said']}\n",
              table(["machine", ""], [[key, str(value)] for key, value in run["machine"].items()])]
    if samples:
        parts += ["## The bars\n", bars_table(samples, judged=not run["quick"])]
    parts += ["## Left out\n", left_out(run["left_out"])]
    parts += [f"![{name}]({name}.svg)\n" for name in plots]
    if samples:
        parts += ["## Beside its peers\n", METHOD.format(rounds=run["rounds"]), *versus(samples)]
    if run["results"]:
        parts += ["## The library alone\n", QUESTIONS]
        parts += [question(name, benchmarks) for name, benchmarks in run["results"].items()]
    return "\n".join(parts)
