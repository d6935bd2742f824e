#!/usr/bin/env python3
"""Draws what a run of tools/bench measured. Usage: plots.py RAW.json FOLDER

Prints the names of the plots; each is written as SVG and as PNG. Needs matplotlib.
"""
import json
import pathlib
import sys

import matplotlib

import plan
from figures import all_samples, crossing, exact, quantile, shown_bytes, shown_time
from peers import title

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position

OURS = {"prefork": "crimson", "prefork_caller_helps": "darkorange", "prefork_shared": "darkorange"}
LIMITS = {"cache_line": "--", "futex": ":", "memcpy": "--"}
HOT_AT = 1_000  # ns: no pause has no place on a log axis


def name_of(peer):
    return title(peer).replace("**", "").removeprefix("limit: ") + (" (limit)" if peer in LIMITS else "")


def curves(samples, workload, axis):
    """peer -> [(parameter, median nanoseconds)], of those that were measured at three points or more."""
    found = {}
    for case in {case.name: case for case in plan.CASES if case.workload == workload}.values():
        for peer, rounds in samples.get(case.name, {}).items():
            if all_samples(rounds):
                found.setdefault(peer, []).append((case.values[axis], quantile(all_samples(rounds), 0.5)))
    return {peer: sorted(points) for peer, points in found.items() if len(points) > 2}


def draw(axes, lines, value):
    others = iter(pyplot.get_cmap("tab20").colors)
    for peer, points in sorted(lines.items(), key=lambda each: name_of(each[0])):
        if peer in LIMITS:
            style = {"color": "black", "linestyle": LIMITS[peer]}
        elif peer == "sequential":
            style = {"color": "grey", "linestyle": "--"}
        elif peer in OURS:
            style = {"color": OURS[peer], "linewidth": 2.5, "marker": "o"}
        else:
            style = {"color": next(others), "linewidth": 1.2, "marker": "o"}
        axes.plot([x or HOT_AT for x, _ in points], [value(y) for _, y in points], markersize=3, label=name_of(peer),
                  **style)


def limit_of_cpus(axes, lines, cpus, value):
    """The work of the sequential run, spread over all CPUs without any cost."""
    points = lines.get("sequential", [])
    axes.plot([x for x, _ in points], [value(y / cpus) for _, y in points], color="black", linestyle=":",
              label=f"all of {cpus} CPUs at work (limit)")


def break_even(axes, lines, peer):
    if peer not in lines or "sequential" not in lines:
        return
    at = crossing(lines[peer], lines["sequential"])
    if at:
        axes.axvline(at, color=OURS[peer], linewidth=1, linestyle="-.",
                     label=f"{name_of(peer)}: pays from {shown_time(at)}")
    else:
        axes.plot([], [], " ", label=f"{name_of(peer)}: does not pay here")


def finish(axes, lines, shown, what, across, up):
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set(title=what, xlabel=across, ylabel=up, xscale="log", yscale="log")
    axes.set_xticks([x or HOT_AT for x in ticks], [shown(x, exact) if x else "hot" for x in ticks])
    axes.minorticks_off()
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def as_microseconds(nanoseconds):
    return nanoseconds / 1e3


def as_rate(nanoseconds):
    return 1e9 / nanoseconds


def latency_by_idle_time(axes, samples, _):
    lines = curves(samples, "round_trip", "idle_ns")
    draw(axes, lines, as_microseconds)
    finish(axes, lines, shown_time, "A null task, there and back, after a pause", "idle before it", "µs (median)")
    return lines


def throughput_by_task_size(axes, samples, cpus):
    lines = curves(samples, "gather", "task_ns")
    # A task that does nothing has no place on a log axis; its rate is a table of the report.
    lines = {peer: [(x, y) for x, y in points if x > 0] for peer, points in lines.items()}
    draw(axes, lines, as_rate)
    limit_of_cpus(axes, lines, cpus, as_rate)
    break_even(axes, lines, "prefork")
    finish(axes, lines, shown_time, "Tasks submitted one by one, gathered in order", "work in a task", "tasks/s")
    return lines


def two_tasks_by_size(axes, samples, cpus):
    lines = curves(samples, "pair", "task_ns")
    draw(axes, lines, as_microseconds)
    limit_of_cpus(axes, lines, min(cpus, 2), as_microseconds)
    for peer in ("prefork", "prefork_caller_helps"):
        break_even(axes, lines, peer)
    finish(axes, lines, shown_time, "Two tasks after 1 ms idle", "work in each",
           "µs until both results are there (median)")
    return lines


def payload_by_size(axes, samples, _):
    lines = curves(samples, "payload", "bytes")
    draw(axes, lines, as_microseconds)
    finish(axes, lines, shown_bytes, "An argument to another process", "size", "µs (median)")
    return lines


def main(raw, folder):
    run = json.loads(pathlib.Path(raw).read_text(encoding="utf-8"))
    for plot in (latency_by_idle_time, throughput_by_task_size, two_tasks_by_size, payload_by_size):
        figure, axes = pyplot.subplots(figsize=(9, 5))
        if plot(axes, run["versus"], run["machine"]["cpus"]):
            for kind in ("svg", "png"):
                figure.savefig(pathlib.Path(folder) / f"{plot.__name__}.{kind}", bbox_inches="tight", dpi=120)
            print(plot.__name__)
        pyplot.close(figure)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
