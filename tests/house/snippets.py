#!/usr/bin/env python3
"""Fails when code in README.md or docs/ is not what the tree says. Usage: snippets.py ROOT COMPILER...

A line `<!-- examples/crash.cpp -->` before a fenced block says that the block is a piece of that file, whole
lines in their order; indentation that all of them share may be missing. Every C++ block is marked: what is
not meant to be compiled says `<!-- sketch -->`. A block with an `int main` is a whole program: it must compile as it stands.
"""
import pathlib
import re
import subprocess
import sys
import textwrap

BLOCK = re.compile(r'(?:^<!-- *(?P<mark>\S+) *-->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


def is_piece(piece, whole):
    lines = piece.splitlines()
    of = whole.splitlines()
    wanted = textwrap.dedent(piece).splitlines()
    return any(textwrap.dedent('\n'.join(of[start:start + len(lines)])).splitlines() == wanted
               for start in range(len(of) - len(lines) + 1))


def compiler_says(program, root, compiler):
    """Nothing where it compiles."""
    result = subprocess.run([*compiler, '-std=c++20', '-fsyntax-only', f'-I{root / "include"}', '-x', 'c++', '-'],
                            input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8', check=False)
    return result.stdout if result.returncode != 0 else ''


def violations(root, compiler):
    for page in [root / 'README.md', *sorted((root / 'docs').rglob('*.md'))]:
        text = page.read_text(encoding='utf-8') if page.exists() else ''
        for block in BLOCK.finditer(text):
            where = f'{page.relative_to(root)}:{text.count(chr(10), 0, block.start("text"))}'
            mark = block['mark']
            if mark is None:
                if block['language'] in ('cpp', 'c++'):
                    yield f'{where}: from which example is this?'
            elif mark != 'sketch':
                source = root / mark
                if not source.is_file():
                    yield f'{where}: there is no {mark}'
                elif not is_piece(block['text'], source.read_text(encoding='utf-8')):
                    yield f'{where}: not a piece of {mark}'
                elif 'int main(' in block['text'] and (said := compiler_says(block['text'], root, compiler)):
                    yield f'{where}: does not compile\n{said}'


found = list(violations(pathlib.Path(sys.argv[1]), sys.argv[2:]))
print('\n'.join(found), end='\n' if found else '')
sys.exit(bool(found))
