#!/usr/bin/env python3
"""Fails when the tree breaks a rule that a reader relies on. Usage: tree.py ROOT

- no file of include/, lib/ has more than 600 lines;
- nothing says that it is unfinished;
- lib/x/y.cpp has tests/x/y_test.cpp, or tests/meson.build says why not: `# x/y.cpp: reason`;
- every source and every test is built, and every public header is installed;
- every place of lib/base/fail_points.def is in the code (the other way round is the compiler's to see).
"""
import pathlib
import re
import sys

# Written in two halves, so that this file passes.
UNFINISHED = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X|HA' r'CK)\b|(?i:\b(st' r'ub|place' r'holder|not imple' r'mented)\b)')
FOLDERS = ['.ci', 'bench', 'cmake', 'docs', 'examples', 'include', 'lib', 'tests', 'tools']


def texts(root):
    tops = [path for path in root.glob('*') if path.is_file()]
    below = [path for folder in FOLDERS for path in (root / folder).rglob('*') if path.is_file()]
    for path in sorted(tops + below):
        try:
            yield path, path.read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError:
            continue


def sizes_and_words(root):
    for path, lines in texts(root):
        name = path.relative_to(root)
        if name.parts[0] in ('include', 'lib') and len(lines) > 600:
            yield f'{name} has {len(lines)} lines: which noun is hiding in it?'
        for number, line in enumerate(lines, 1):
            found = UNFINISHED.search(line)
            if found:
                yield f'{name}:{number}: says "{found[0]}"'


def tests(root):
    build = (root / 'tests/meson.build').read_text()
    excused = set(re.findall(r'^ *# (\w+/\w+)\.cpp: \S.*$', build, re.MULTILINE))
    sources = {str(path.relative_to(root / 'lib').with_suffix(''))
               for path in (root / 'lib').glob('*/*.cpp')}
    tested = {str(path.relative_to(root / 'tests'))[:-len('_test.cpp')]
              for path in (root / 'tests').glob('*/*_test.cpp')}
    for name in sorted(sources - tested - excused):
        yield f'lib/{name}.cpp has no tests/{name}_test.cpp, and tests/meson.build does not say why'
    for name in sorted(excused & tested):
        yield f'tests/meson.build says why lib/{name}.cpp has no test, but it has one'
    for name in sorted(excused - sources):
        yield f'tests/meson.build excuses lib/{name}.cpp, which does not exist'
    listed = (root / 'lib/meson.build').read_text()
    for name in sorted(sources):
        if f"'{name}.cpp'" not in listed:
            yield f'lib/{name}.cpp is not built: lib/meson.build does not name it'
    built = set(re.findall(r"'(\w+)'", build))
    for name in sorted(tested):
        if name.split('/')[1] not in built:
            yield f'tests/{name}_test.cpp is not built: tests/meson.build does not name it'


def installed(root):
    public = root / 'include/prefork'
    build = (public / 'meson.build').read_text()
    for header in sorted(public.rglob('*.hpp')):
        if f"'{header.relative_to(public)}'" not in build:
            yield f'{header.relative_to(root)} is not installed: include/prefork/meson.build does not name it'


def fail_points(root):
    list_of_places = root / 'lib/base/fail_points.def'
    code = ''.join(path.read_text() for path in sorted((root / 'lib').rglob('*.[ch]pp')))
    for name in re.findall(r'^PLACE\("([\w.]+)"', list_of_places.read_text(), re.MULTILINE):
        if f'"{name}"' not in code:
            yield f'lib/base/fail_points.def lists "{name}", which no code has'


def main(root):
    found = [line for check in (sizes_and_words, tests, installed, fail_points) for line in check(root)]
    print('\n'.join(found), end='\n' if found else '')
    return bool(found)


sys.exit(main(pathlib.Path(sys.argv[1])))
