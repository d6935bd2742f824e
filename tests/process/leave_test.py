#!/usr/bin/env python3
"""Fails when what a worker does is missing from coverage, what it prints from its output, or a leak isn't told.

usage: leave_test.py INCLUDE LIBRARY PROGRAMS COMPILER...

Builds three small programs with the compiler's own tools against LIBRARY, and runs them: workers leave by _exit,
after which these tools would have written nothing.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

INCLUDE, LIBRARY, PROGRAMS = (pathlib.Path(each).resolve() for each in sys.argv[1:4])
COMPILER = sys.argv[4:]
VERSION = subprocess.run([*COMPILER, '--version'], stdout=subprocess.PIPE, encoding='utf-8', check=True).stdout
IS_CLANG = 'clang' in VERSION
SECONDS = 60  # for one program: a hang is a failure


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_here(self, *command, status=0, **environment):
        result = subprocess.run([str(each) for each in command], cwd=self.folder, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, encoding='utf-8', errors='replace', timeout=SECONDS,
                                env={**os.environ, 'LC_ALL': 'C', **environment}, check=False)
        self.assertEqual(result.returncode, status, f'{command}\n{result.stdout}')
        return result.stdout

    def build(self, name, *flags):
        shutil.copy(PROGRAMS / f'{name}.cpp', self.folder)
        self.run_here(*COMPILER, '-std=c++20', '-O0', '-g', *flags, f'-I{INCLUDE}', '-c', f'{name}.cpp')
        self.run_here(*COMPILER, *flags, f'{name}.o', '-o', name, LIBRARY, f'-Wl,-rpath,{LIBRARY.parent}', '-pthread')
        return f'./{name}'

    def tool(self, name):
        """The tool of the compiler's own version, or the one without a number."""
        major = re.search(r'(\d+)[.]\d+[.]\d+', VERSION)[1]
        found = shutil.which(f'{name}-{major}') or shutil.which(name)
        if found is None:
            self.skipTest(f'{name} is not installed')
        return found


class Coverage(InFolder):
    def check(self, counts, times):
        """`counts`: lines that end with the source's, and begin with how often they ran."""
        ran = {mark: re.findall(rf'^[\s\d|]*?(\d+|#+)[:|].*// {mark}$', counts, re.MULTILINE)
               for mark in ('covered: looped', 'covered: asked', 'not covered')}
        self.assertEqual(ran['covered: asked'], [str(times)], counts)
        self.assertEqual(ran['covered: looped'], [str(6 * times)], counts)
        self.assertIn(ran['not covered'], [['0'], ['#####']], counts)

    @unittest.skipIf(IS_CLANG, 'clang has source-based coverage')
    def test_gcov(self):
        program = self.build('covered', '--coverage')
        for times, leaves in enumerate([[], ['by exit()']], 1):
            with self.subTest(leaves=leaves):
                self.run_here(program, *leaves, status=bool(leaves) * 7)
                self.run_here(self.tool('gcov'), 'covered.cpp')
                text = (self.folder / 'covered.cpp.gcov').read_text(encoding='utf-8')
                self.check(re.sub(r':\s*\d+:', ':', text), times)

    @unittest.skipUnless(IS_CLANG, 'gcc has gcov')
    def test_source_based(self):
        profdata, cov = self.tool('llvm-profdata'), self.tool('llvm-cov')
        program = self.build('covered', '-fprofile-instr-generate', '-fcoverage-mapping')
        for name in ('one.profraw', 'each-%p.profraw', 'merged-%m.profraw'):
            with self.subTest(name=name):
                self.run_here(program, LLVM_PROFILE_FILE=name)
                files = sorted(self.folder.glob('*.profraw*'))
                self.run_here(profdata, 'merge', '-o', 'all.profdata', *files)
                shown = self.run_here(cov, 'show', program, '-instr-profile=all.profdata')
                self.check('\n'.join(re.sub(r'^\s*\d+\|', '', line) for line in shown.splitlines()), 1)
                for file in files:
                    file.unlink()


class Output(InFolder):
    def test_printed_once(self):
        # A pipe: what is printed stays in a buffer. The workers' comes when they leave, the host's at its end.
        said = self.run_here(self.build('printing'))
        self.assertEqual(said, 'task 1\ntask 2\nworker, last\nby exit()\nhost, before\nhost, after\n')


class Leaks(InFolder):
    def leaks(self, sanitizer):
        program = self.build('leaky', f'-fsanitize={sanitizer}')
        none = self.run_here(program, 0)
        if 'LeakSanitizer has encountered a fatal error' in none:
            self.skipTest('the leak sanitizer may not stop threads here')
        self.assertEqual(none, '0 100\n')
        told = self.run_here(program, 777)
        self.assertIn('777 byte(s) in 1 object(s) allocated', told)
        self.assertRegex(told, r'#1 0x[0-9a-f]+ in lose\b')
        self.assertEqual(told.count('ERROR: LeakSanitizer'), 1)
        self.assertIn('1 100\n', told)  # the task has its result, and the host goes on

    def test_address(self):
        self.leaks('address')

    def test_leak(self):
        self.leaks('leak')


if 'PREFORK_SANITIZED' in os.environ:
    print('the library is built with a sanitizer, these programs are not')
    sys.exit(77)
unittest.main(argv=sys.argv[:1])
