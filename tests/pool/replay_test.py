#!/usr/bin/env python3
"""Saves tasks of tests/support/programs/crashing.cpp and runs them again. Usage: replay_test.py PROGRAM"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

program = sys.argv[1]
sanitized = os.environ.get('PREFORK_SANITIZED', '')
libraries = str(pathlib.Path(program).parent.parent / 'lib')  # for copies of the program elsewhere
failures = []


def expect(holds, what, result):
    if holds:
        return
    failures.append(what)
    print(f'not true: {what}\nstatus {result.returncode}\n{result.stdout}{result.stderr}')


def run(command, **environment):
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
                          errors='replace', check=False)


def save(what, path):
    result = run([program, what, str(path)])
    expect(result.returncode == 0 and path.exists(), f'{what}: the task is saved', result)
    return result


def replay(path, command=()):
    return run([*command, program, 'unused', 'unused'], PREFORK_REPLAY=str(path))


def crashes(work):
    """The same crash in the foreground: its arguments arrived, by their own word."""
    path = work / 'crash.task'
    save('crash', path)
    result = replay(path)
    expect('examining twelve bytes: 3000\n' in result.stderr, 'crash: the arguments are there', result)
    expect("prefork: replaying 'GET /users' " in result.stderr, 'crash: it says what it replays', result)
    expect('examine(std::string const&, std::vector<int' in result.stderr, 'crash: by name', result)
    expect('prefork: it was: worker 0 lost: SIGSEGV at 0x0 in ' in result.stderr, 'crash: and what it was', result)
    expect(result.returncode == -11 or sanitized, 'crash: it is a crash', result)
    if not shutil.which('gdb') or sanitized:
        print('left out: gdb' + (', under a sanitizer' if sanitized else ' is not here'))
    else:
        result = replay(path, ['gdb', '-nx', '-batch', '-ex', 'run', '-ex', 'bt', '--args'])
        expect('received signal SIGSEGV' in result.stdout, 'gdb: stops at the crash', result)
        expect('#0' in result.stdout and 'examine' in result.stdout.split('#0', 1)[-1].split('\n')[0],
               'gdb: in the function', result)
    under_valgrind(path)


def under_valgrind(path):
    if not shutil.which('valgrind') or sanitized:
        print('left out: valgrind' + (', under a sanitizer' if sanitized else ' is not here'))
        return
    # Valgrind 3.19 gives up at DWARF 5 of clang, before the program begins.
    probe = run(['valgrind', '--error-exitcode=0', program])
    if probe.returncode != 8:
        print('left out: valgrind can\'t run this program at all')
        return
    result = replay(path, ['valgrind'])
    expect('Invalid read of size 4' in result.stderr, 'valgrind: sees the crash', result)
    expect('examine' in result.stderr.split('Invalid read', 1)[-1].split('Address', 1)[0], 'valgrind: and where', result)


def arrays(work):
    path = work / 'array.task'
    save('array', path)
    result = replay(path)
    expect('an array of 100\n' in result.stderr, 'array: its elements are there', result)
    expect(result.returncode == -11 or sanitized, 'array: and read-only, as in a worker', result)


def ends(work):
    """A task that does something else without its worker: the status says what."""
    for what, status, said in (('killed', 0, 'prefork: it returned, and did not fail'),
                               ('throw', 1, 'prefork: it threw std::out_of_range: number 42'),
                               ('hang', 0, 'prefork: it was: task 0 ran for longer than its timeout of 20 ms'),
                               ('lambda', 0, 'a lambda of 42')):
        path = work / f'{what}.task'
        save(what, path)
        result = replay(path)
        expect(result.returncode == status and said in result.stderr, f'{what}: {said}', result)


def refusals(work):
    good = (work / 'crash.task').read_bytes()
    other = work / 'other-program'
    data = bytearray(pathlib.Path(program).read_bytes())
    # The same program but for its build id, where it has one: 20 bytes of the file's head.
    start = good.find(b'\x14\0\0\0\0\0\0\0') + 8
    identity = good[start:start + 20]
    at = data.find(identity)
    if at >= 0:
        data[at] ^= 1
        other.write_bytes(data)
        other.chmod(0o700)
        result = run([str(other), 'unused', 'unused'], PREFORK_REPLAY=str(work / 'crash.task'),
                     LD_LIBRARY_PATH=libraries)
        changed = bytes([identity[0] ^ 1]) + identity[1:]
        expect(result.returncode == 2 and identity.hex() in result.stderr and changed.hex() in result.stderr,
               'another build: refused, and both are named', result)
    for name, content in (('empty', b''), ('foreign', b'#!/bin/sh\n'), ('short', good[:-1]), ('long', good + b'x')):
        path = work / name
        path.write_bytes(content)
        result = replay(path)
        expect(result.returncode == 2 and f'can\'t replay {path}: ' in result.stderr, f'{name}: refused', result)
        expect('examining' not in result.stderr, f'{name}: nothing ran', result)
    result = replay(work / 'nowhere')
    expect(result.returncode == 2 and 'No such file' in result.stderr, 'a missing file: refused', result)
    result = run([program, 'killed', str(work / 'again.task')], PREFORK_REPLAY='')
    expect(result.returncode == 7 or result.returncode == 0, 'an empty name: no replay', result)


def stripped(work):
    """No names: then places in the file, and everything else as always."""
    if not shutil.which('strip'):
        print('left out: strip is not here')
        return
    bare = work / 'stripped'
    subprocess.run(['strip', '-o', str(bare), program], check=True)
    path = work / 'stripped.task'
    result = run([str(bare), 'crash', str(path)], LD_LIBRARY_PATH=libraries)
    expect("lost: SIGSEGV at 0x0 (task 0 'GET /users', attempt 1 of 1)" in result.stderr, 'stripped: what is known', result)
    expect(f'({bare} +0x' in path.read_text(errors='replace'), 'stripped: a trace of places', result)
    result = run([str(bare), 'unused', 'unused'], PREFORK_REPLAY=str(path), LD_LIBRARY_PATH=libraries)
    expect('examining twelve bytes: 3000\n' in result.stderr, 'stripped: it is replayed', result)


with tempfile.TemporaryDirectory() as folder:
    for check in (crashes, arrays, ends, refusals, stripped):
        check(pathlib.Path(folder))
sys.exit(bool(failures))
