#!/usr/bin/env python3
"""Draws what a run of tools/bench measured. Usage: plots.py RAW.json FOLDER

Prints the names of the plots; each is written as SVG and as PNG. Needs matplotlib.
"""
import json
import pathlib
import sys

import matplotlib

import plan
from figures import all_samples, crossing, quantile, shown_bytes, shown_time
from peers import title

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position

LIMITS = ("cache_line", "futex", "memcpy", "sequential")
HOT_AT = 1_000  # no pause has no place on a log axis


def name_of(peer):
    return title(peer).replace("**", "").removeprefix("limit: ")


def curves(samples, workload, axis, fixed=None):
    """peer -> [(parameter, median nanoseconds)]"""
    found = {}
    for case in {case.name: case for case in plan.CASES if case.workload == workload}.values():
        if fixed and not fixed(case.values):
            continue
        for peer, rounds in samples.get(case.name, {}).items():
            if all_samples(rounds):
                found.setdefault(peer, []).append((case.values[axis], quantile(all_samples(rounds), 0.5)))
    return {peer: sorted(points) for peer, points in found.items()}


def draw(axes, lines, at=lambda x: x, value=lambda y: y):
    for peer, points in sorted(lines.items(), key=lambda each: name_of(each[0])):
        ours = peer.startswith("prefork")
        style = {"color": "black", "linestyle": "--"} if peer in LIMITS else {"marker": "o", "markersize": 3}
        if peer == "futex":
            style["linestyle"] = ":"
        axes.plot([at(x) for x, _ in points], [value(y) for _, y in points], linewidth=2.5 if ours else 1.2,
                  label=name_of(peer) + (" (limit)" if peer in LIMITS else ""), **style)


def finish(axes, what, across, up, ticks):
    axes.set(title=what, xlabel=across, ylabel=up, xscale="log", yscale="log")
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.minorticks_off()
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def several(lines):
    return {peer: points for peer, points in lines.items() if len(points) > 1}


def latency_by_idle_time(axes, samples):
    lines = several(curves(samples, "round_trip", "idle_ns"))
    draw(axes, lines, at=lambda x: x or HOT_AT, value=lambda y: y / 1e3)
    ticks = sorted({x for points in lines.values() for x, _ in points})
    finish(axes, "A null task, there and back, after a pause", "idle before it", "µs (median)",
           [(x or HOT_AT, shown_time(x) if x else "hot") for x in ticks])
    return lines


def throughput_by_task_size(axes, samples):
    lines = several(curves(samples, "gather", "task_ns", lambda values: values["task_ns"] > 0))
    draw(axes, lines, value=lambda y: 1e9 / y)
    if "prefork" in lines and "sequential" in lines:
        even = crossing(lines["prefork"], lines["sequential"])
        if even:
            axes.axvline(even, color="grey", linewidth=1)
            axes.annotate(f"prefork pays from {shown_time(even)}", (even, axes.get_ylim()[0]), rotation=90,
                          ha="right", va="bottom", fontsize="small")
    ticks = sorted({x for points in lines.values() for x, _ in points})
    finish(axes, "Tasks gathered in order", "work in a task", "tasks/s", [(x, shown_time(x)) for x in ticks])
    return lines


def two_tasks_by_size(axes, samples):
    lines = several(curves(samples, "pair", "task_ns"))
    draw(axes, lines, value=lambda y: y / 1e3)
    ticks = sorted({x for points in lines.values() for x, _ in points})
    finish(axes, "Two tasks after 1 ms idle", "work in each", "µs until both results are there (median)",
           [(x, shown_time(x)) for x in ticks])
    return lines


def payload_by_size(axes, samples):
    lines = several(curves(samples, "payload", "bytes"))
    draw(axes, lines, value=lambda y: y / 1e3)
    ticks = sorted({x for points in lines.values() for x, _ in points})
    finish(axes, "An argument to another process", "size", "µs (median)", [(x, shown_bytes(x)) for x in ticks])
    return lines


def main(raw, folder):
    samples = json.loads(pathlib.Path(raw).read_text(encoding="utf-8"))["versus"]
    for plot in (latency_by_idle_time, throughput_by_task_size, two_tasks_by_size, payload_by_size):
        figure, axes = pyplot.subplots(figsize=(9, 5))
        if plot(axes, samples):
            for kind in ("svg", "png"):
                figure.savefig(pathlib.Path(folder) / f"{plot.__name__}.{kind}", bbox_inches="tight", dpi=120)
            print(plot.__name__)
        pyplot.close(figure)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
