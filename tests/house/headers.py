#!/usr/bin/env python3
"""Fails when a public header does not compile alone, with exceptions and without, or pulls in too much.

usage: headers.py [--have part]... INCLUDE -- COMPILER...

codec/x.hpp and asio.hpp are left out unless part x, or asio, is there (--have): they need a library of their own.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow', '-Wnon-virtual-dtor', '-Werror']
# What a program that includes only pool.hpp must not pay for.
HEAVY = re.compile(r'/(boost|msgpack|CLI|spdlog|fmt)/|/msgpack\.hpp|/prefork/(codec/.*|log\.hpp)$')


def compiled(command, text):
    return subprocess.run([*command, '-x', 'c++', '-'], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding='utf-8', errors='replace',
                          env={**os.environ, 'LC_ALL': 'C'}, check=False)


def alone(command, name, flags):
    result = compiled([*command, *WARNINGS, *flags, '-fsyntax-only'], f'#include <prefork/{name}>\n')
    how = ' '.join(['alone', *flags])
    return [] if result.returncode == 0 else [f'{name} does not compile {how}:\n{result.stdout}']


def weight(command, name):
    result = compiled([*command, '-M'], f'#include <prefork/{name}>\n')
    pulled = [path for path in re.split(r'[\s\\]+', result.stdout) if HEAVY.search(path)]
    if result.returncode != 0:
        return [f'{name}: its includes can\'t be listed:\n{result.stdout}']
    return [f'{name} pulls in {path}' for path in pulled[:3]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--have', action='append', default=[])
    parser.add_argument('include', type=pathlib.Path)
    parser.add_argument('compiler', nargs='+')
    options = parser.parse_args()
    command = [*options.compiler, '-std=c++20', f'-I{options.include}']
    public = options.include / 'prefork'
    names = [str(header.relative_to(public)) for header in sorted(public.rglob('*.hpp'))]
    names = [name for name in names if not (name.startswith('codec/') or name == 'asio.hpp')
             or pathlib.Path(name).stem in options.have]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        checks = [pool.submit(alone, command, name, flags) for name in names
                  for flags in ([], ['-fno-exceptions']) if not (flags and name == 'asio.hpp')]
        checks += [pool.submit(weight, command, 'pool.hpp')] if 'pool.hpp' in names else []
    found = [line for check in checks for line in check.result()]
    if not names:
        found = [f'no header in {public}']
    print('\n'.join(found), end='\n' if found else '')
    return bool(found)


sys.exit(main())
