#!/usr/bin/env python3
"""Fails when what must not compile does, or does not say why in the words that it should.

usage: must_not_compile.py [-I dir]... [--have part]... DIRECTORY -- COMPILER...

Each .cpp of DIRECTORY/reject begins with lines `// expect: text`, each of which must occur in what the
compiler says, and perhaps with `// needs: part`: it is left out unless that part is there (--have).
DIRECTORY/must_compile.cpp is the control: without it, a wrong include path would look like success.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys


def lines_of(text, keyword):
    return re.findall(rf'^// {keyword}: (.+)$', text, re.MULTILINE)


def compile_only(command, source):
    return subprocess.run([*command, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding='utf-8', errors='replace',
                          env={**os.environ, 'LC_ALL': 'C'}, check=False)


def complaints(command, source, have):
    text = source.read_text(encoding='utf-8')
    if any(part not in have for part in lines_of(text, 'needs')):
        return
    expected = lines_of(text, 'expect')
    if not expected:
        yield 'has no "// expect:" line'
    result = compile_only(command, source)
    if result.returncode == 0:
        yield 'compiles'
        return
    # A compiler may break a string where the source does.
    said = re.sub(r'\s+', ' ', result.stdout.replace('"\n"', ''))
    missing = [each for each in expected if each not in said]
    for each in missing:
        yield f'the compiler does not say "{each}"'
    if missing:
        yield result.stdout


def main():
    split = sys.argv.index('--')
    parser = argparse.ArgumentParser()
    parser.add_argument('-I', dest='include', action='append', default=[])
    parser.add_argument('--have', action='append', default=[])
    parser.add_argument('directory', type=pathlib.Path)
    options = parser.parse_args(sys.argv[1:split])
    command = [*sys.argv[split + 1:], '-std=c++20', '-fsyntax-only',
               *(f'-I{each}' for each in options.include)]

    failed = False
    control = compile_only(command, options.directory / 'must_compile.cpp')
    if control.returncode != 0:
        print(f'must_compile.cpp does not compile\n{control.stdout}')
        failed = True
    sources = sorted((options.directory / 'reject').glob('*.cpp'))
    if not sources:
        print('nothing to reject')
        failed = True
    for source in sources:
        for complaint in complaints(command, source, options.have):
            print(f'{source.name}: {complaint}')
            failed = True
    return failed


if __name__ == '__main__':
    sys.exit(main())
