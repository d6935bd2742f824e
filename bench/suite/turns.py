"""Gives every peer its turns, one after the other, round after round."""
import json
import os
import random
import signal
import subprocess

BOUND = 60  # seconds; a turn is meant to take one at most
NOT_HERE = 77


def run(command):
    """(status, output, what it said about itself); whatever it started ends with it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", start_new_session=True) as process:
        try:
            output, errors = process.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return 1, "", f"no end within {BOUND} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output, (errors.strip().splitlines() or [f"status {process.returncode}"])[-1]


def steps_for(durations, calibrate):
    """duration -> steps, on this machine and today."""
    status, output, said = run([str(calibrate), *map(str, sorted(durations))])
    if status != 0:
        raise RuntimeError(f"{calibrate}: {said}")
    return {int(duration): steps for duration, steps in json.loads(output).items()}


def arguments(case, about, steps):
    values = dict(case.values, milliseconds=case.milliseconds)
    if "task_ns" in values:
        values["steps"] = steps[values.pop("task_ns")]
    if about.tasks and "tasks" in values:
        values["tasks"] = min(values["tasks"], about.tasks)
    return [f"{name}={value}" for name, value in values.items()]


class Turns:
    """`commands`: workload -> peer -> command. `about`: peer -> what slows it down (peers.About)."""

    def __init__(self, commands, about, steps, rounds):
        self.commands = commands
        self.about = about
        self.steps = steps
        self.rounds = rounds
        self.samples = {}  # case's name -> peer -> a list of nanoseconds, or None, for each round
        self.left_out = {}  # peer -> why it can't be measured here
        self.failed = {}  # (workload, peer) -> why, and it has no more turns

    def round(self, number, cases):
        turns = [(case, peer) for case in cases for peer in case.peers or self.commands[case.workload]
                 if peer in self.commands[case.workload] and number % max(case.every, self.about[peer].every) == 0]
        # Nobody always comes after the same one, whose end may still keep the machine busy.
        random.Random(number).shuffle(turns)
        for case, peer in turns:
            if peer not in self.left_out and (case.workload, peer) not in self.failed:
                self.turn(number, case, peer)

    def turn(self, number, case, peer):
        status, output, said = run([*self.commands[case.workload][peer],
                                    *arguments(case, self.about[peer], self.steps)])
        if status == NOT_HERE:
            self.left_out[peer] = said
            return
        if status != 0:
            self.failed[case.workload, peer] = said
            return
        found = [json.loads(line)["ns"] for line in output.splitlines()]
        mine = self.samples.setdefault(case.name, {}).setdefault(peer, [None] * self.rounds)
        mine[number] = (mine[number] or []) + found
