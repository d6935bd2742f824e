#!/usr/bin/env python3
"""Checks tests/model/ring.pml with spin: every state that can be reached, of several configurations.

  check.py ROOT places      every step of the model names a place in the code, and the other way round
  check.py ROOT NAME …      these configurations (below), which must hold
  check.py ROOT mutants     each mutant of the model must be found
  check.py ROOT --large     configurations and mutants that take longer than a test may
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

# What is small enough for every run of the tests.
CONFIGURATIONS = {
    'one task': 'TASKS=1 DEATHS=1',
    'one task, polling': 'TASKS=1 DEATHS=1 POLLS=1',
    'one task, killed': 'TASKS=1 KILLS=1',
    'given up': 'TASKS=1 SLOTS=1 GIVE_UPS=1 HANGS=1',
    'one hangs, polling': 'TASKS=2 POLLS=1 HANGS=1',
    'two tasks': 'TASKS=2 DEATHS=1',
    'two tasks in one slot': 'TASKS=2 SLOTS=1 DEATHS=1 POLLS=1',
}
LARGE = {
    'one task, another run': 'TASKS=1 DEATHS=1 RETRIES=1',
    'one task, two waiters': 'TASKS=1 SLOTS=1 DEATHS=1 WAITERS=2',
    'given up, the slot used again': 'TASKS=2 SLOTS=1 GIVE_UPS=1',
    'a skipped slot, polling': 'TASKS=2 POSITIONS=3 SLOTS=2 POLLS=1',
    'low priority, polling': 'TASKS=2 QUEUE=1 POLLS=1',
    'two tasks, polling': 'TASKS=2 DEATHS=1 POLLS=1',
    'three workers': 'TASKS=2 WORKERS=3',
}
# What is left out or done wrong, and the configuration that must show it.
MUTANTS = {
    'HOST_FENCE': 'TASKS=1',                        # publish: tail as a release store, then the idle bits
    'WORKER_FENCE': 'TASKS=1',                      # sleep: the last look before the idle bit
    'PROMISE_BROKEN': 'TASKS=1 POLLS=1',            # a mark taken off without a look at what was published there
    'RESERVATION_KEPT': 'TASKS=1 WORKERS=2',        # asleep with a position reserved
    'NOT_BEHIND': 'TASKS=2 HANGS=1',                # a claim without a look behind it
    'PLAIN_COMMIT': 'TASKS=1 SLOTS=1 GIVE_UPS=1',   # a commit without compare-and-swap
    'NO_JOURNAL': 'TASKS=1 DEATHS=1',               # what was claimed is taken as not started
    'NO_QUARANTINE': 'TASKS=1 SLOTS=1 GIVE_UPS=1',  # a slot freed while a late worker may write to it
    'HARVEST_SILENT': 'TASKS=1 DEATHS=1',           # the wake of who died after the commit isn't given again
    'WAKE_SET_BITS': 'TASKS=2 DEATHS=1',            # only to sleepers whose bit is set
    'HEAD_KEPT': 'TASKS=1 DEATHS=1',                # positions that the dead had reserved are not looked at again
    'MARK_KEPT': 'TASKS=1 DEATHS=1 POLLS=1',        # a dead worker's slot stays polled
    'ONE_WAITER': 'TASKS=1 SLOTS=1 WAITERS=2',      # a commit wakes one waiter
    'SETTLE_EARLY': 'TASKS=1 KILLS=1',              # SIGKILL sent is taken as the proof of death
    'NO_WAKE': 'TASKS=1 KILLS=1',                   # who the dead was to wake sleeps on
}

LARGE_MUTANTS = {
    'LEFT_UNSAID': 'TASKS=2 SLOTS=1 GIVE_UPS=1',    # a late worker goes on without saying so
    'KILL_UNMARKED': 'TASKS=2 GIVE_UPS=1',          # a late worker killed without changing its journal before
    'TAKE_SILENT': 'TASKS=1 SLOTS=1 WAITERS=2 DEATHS=1',    # one waiter takes the result, another sleeps on
}


class Failure(Exception):
    pass


def spin(name, settings, extra=(), optimise='-O2'):
    """Builds and runs a checker; what it found (nothing: the model holds), and how many states there are."""
    with tempfile.TemporaryDirectory(prefix='prefork-model-') as work:
        definitions = [f'-D{setting}' for setting in [*settings.split(), *extra]]
        model = pathlib.Path(__file__).with_name('ring.pml')
        subprocess.run(['spin', *definitions, '-a', model], cwd=work, check=True, stdout=subprocess.DEVNULL)
        compiler = os.environ.get('CC', 'cc').split()
        subprocess.run([*compiler, optimise, '-w', '-DSAFETY', '-DCOLLAPSE', '-DMEMLIM=6000', '-DVECTORSZ=512',
                        '-o', 'pan', 'pan.c'], cwd=work, check=True)
        began = time.monotonic()
        said = subprocess.run(['./pan', '-m1000000', '-w24'], cwd=work, capture_output=True, text=True).stdout
        took = time.monotonic() - began
        states = re.search(r'^ *(\d+) states, stored', said, re.MULTILINE)
        errors = re.search(r'errors: (\d+)', said)
        if not states or not errors:
            raise Failure(f'{name}: pan did not end:\n{said}')
        found = re.search(r'^pan:1: (.*)$', said, re.MULTILINE)
        if not found and re.search('too small|not completed|aborted|out of memory', said):
            raise Failure(f'{name}: the search was not completed:\n{said}')
        if found:
            trail = pathlib.Path(work, 'ring.pml.trail')
            path = subprocess.run(['spin', *definitions, '-k', trail, '-p', model], cwd=work, capture_output=True,
                                  text=True, check=False).stdout if trail.exists() else ''
            return found[1], int(states[1]), took, path
        return None, int(states[1]), took, ''


def must_hold(name, settings):
    found, states, took, path = spin(name, settings)
    if found:
        steps = '\n'.join(path.splitlines()[-60:])
        raise Failure(f'{name} ({settings}): {found}\n{steps}')
    print(f'{name} ({settings}): holds, {states:,} states, {took:.0f} s', flush=True)


def must_be_found(mutant, settings):
    # What is soon found isn't worth the compiler's 13 s.
    found, states, took, _ = spin(mutant, settings, [f'MUTANT_{mutant}'], '-O0')
    if not found:
        raise Failure(f'mutant {mutant} ({settings}): not found in {states:,} states')
    print(f'mutant {mutant}: {found}, after {states:,} states, {took:.0f} s', flush=True)


def places(root):
    model = set(re.findall(r'(?:WORKER|HOST)\("([\w.]+)"\)',
                           pathlib.Path(__file__).with_name('ring.pml').read_text(encoding='utf-8')))
    code = {}
    for path in sorted((root / 'lib').rglob('*.[ch]pp')):
        for line in path.read_text(encoding='utf-8').splitlines():
            if said := re.fullmatch(r' *// model: ([\w., ]+)', line):
                for name in said[1].split(', '):
                    code.setdefault(name, []).append(path.relative_to(root))
    wrong = [f'{name}: a step of the model, and no place in lib/ says "model: {name}"' for name in model - set(code)]
    wrong += [f'{name}: said by {code[name][0]}, and no step of the model has that name' for name in set(code) - model]
    wrong += [f'{name}: said twice, by {files[0]} and {files[1]}' for name, files in code.items() if len(files) > 1]
    if wrong:
        raise Failure('\n'.join(sorted(wrong)))
    print(f'{len(model)} places, each in the model and in the code')


def mutants_listed():
    model = pathlib.Path(__file__).with_name('ring.pml').read_text(encoding='utf-8')
    if (there := set(re.findall(r'MUTANT_(\w+)', model))) != {*MUTANTS, *LARGE_MUTANTS}:
        raise Failure(f'mutants that only the model or only check.py has: {there ^ {*MUTANTS, *LARGE_MUTANTS}}')


def main(root, asked):
    if not shutil.which('spin'):
        print('spin is not there')
        return 77
    work = []
    for name in asked:
        if name == 'places':
            places(root)
            mutants_listed()
        elif name == 'mutants':
            work += [(must_be_found, mutant, settings) for mutant, settings in MUTANTS.items()]
        elif name == '--large':
            work += [(must_hold, each, settings) for each, settings in LARGE.items()]
            work += [(must_be_found, mutant, settings) for mutant, settings in LARGE_MUTANTS.items()]
        else:
            work.append((must_hold, name, CONFIGURATIONS[name]))
    for check, name, settings in work:
        check(name, settings)
    return 0


try:
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
except Failure as failure:
    print(failure)
    sys.exit(1)
