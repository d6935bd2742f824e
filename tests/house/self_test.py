#!/usr/bin/env python3
"""Plants one mistake after the other, and fails when a check of this house does not see it.

Usage: self_test.py ROOT COMPILER...
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv[1])
COMPILER = sys.argv[2:]
HOUSE = ROOT / 'tests/house'


def run(*command):
    result = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            encoding='utf-8', check=False)
    return result.returncode, result.stdout


class Planted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.write('lib/meson.build', "base_sources = files()\nring_sources = files('ring/ring.cpp', 'ring/wake.cpp')\n")
        self.write('lib/base/clock.hpp', '#pragma once\n#include <chrono>\n')
        self.write('lib/ring/ring.cpp', '#include "base/clock.hpp"\n#include "prefork/pool.hpp"\npass("claim.taken");\n')
        self.write('lib/base/fail_points.def', 'PLACE("claim.taken", worker)\n')
        self.write('tests/meson.build', "unit_tests = {'ring': ['ring']}\n")
        self.write('tests/ring/ring_test.cpp', '')
        self.write('include/prefork/meson.build', "install_headers('pool.hpp')\n")
        self.write('include/prefork/pool.hpp', '#pragma once\n#include <vector>\n')
        self.write('examples/hello.cpp', 'int main() {\n    return 0;\n}\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')

    def sees(self, said, *command):
        code, output = run(*command)
        self.assertEqual((code, said in output), (1, True), f'not seen: {said}\n{output}')

    def passes(self, *command):
        code, output = run(*command)
        self.assertEqual((code, output), (0, ''))

    def test_layers(self):
        check = [ROOT / 'tools/check-layers', self.root / 'lib']
        self.passes(*check)
        self.write('lib/base/futex.cpp', '\n# include "ring/ring.hpp"\n')
        self.sees('futex.cpp:2: base/ must not include ring/', *check)
        self.write('lib/base/futex.cpp', '#include "ring.hpp"\n')
        self.sees('"ring.hpp" is not written from lib/', *check)
        self.write('lib/base/futex.cpp', '')
        self.write('lib/cellar/wine.hpp', '')
        self.sees('has no cellar_sources', *check)

    def test_tree(self):
        check = [HOUSE / 'tree.py', self.root]
        self.passes(*check)
        self.write('lib/ring/wake.cpp', '')
        self.sees('lib/ring/wake.cpp has no tests/ring/wake_test.cpp', *check)
        self.write('tests/ring/wake_test.cpp', '')
        self.sees('tests/ring/wake_test.cpp is not built', *check)
        self.write('tests/meson.build', "'ring', 'wake'\n")
        self.passes(*check)
        self.write('tests/meson.build', "# ring/wake.cpp: tested by ring_test\n'ring', 'wake'\n")
        self.sees('but it has one', *check)
        self.write('lib/ring/set.cpp', '')
        self.sees('lib/ring/set.cpp is not built', *check)
        self.write('tests/meson.build', "# ring/gone.cpp: no reason\n'ring', 'wake'\n")
        self.sees('lib/ring/gone.cpp, which does not exist', *check)

    def test_fail_points(self):
        check = [HOUSE / 'tree.py', self.root]
        self.write('lib/base/fail_points.def', 'PLACE("claim.taken", worker)\nPLACE("claim.lost", worker, EIO)\n')
        self.sees('fail_points.def lists "claim.lost", which no code has', *check)

    def test_sizes_words_and_installed_headers(self):
        check = [HOUSE / 'tree.py', self.root]
        self.write('include/prefork/pool.hpp', '\n' * 601)
        self.sees('pool.hpp has 601 lines', *check)
        self.write('include/prefork/pool.hpp', '// TO' 'DO(perf): faster\n')
        self.sees('include/prefork/pool.hpp:1: says', *check)
        self.write('include/prefork/pool.hpp', '// a St' 'ub\n')
        self.sees('include/prefork/pool.hpp:1: says', *check)
        self.write('include/prefork/pool.hpp', '')
        self.write('include/prefork/detail/map.hpp', '')
        self.sees('include/prefork/detail/map.hpp is not installed', *check)

    def test_snippets(self):
        check = [HOUSE / 'snippets.py', self.root, *COMPILER]
        self.passes(*check)
        marked = '# Title\n\n<!-- examples/hello.cpp -->\n```cpp\n{}```\n'
        self.write('README.md', marked.format('int main() {\n    return 0;\n}\n'))
        self.passes(*check)
        self.write('README.md', marked.format('int main() {\n    return 0;\n'))
        self.sees('README.md:4: does not compile', *check)
        self.write('README.md', marked.format('return 0;\n'))
        self.passes(*check)
        self.write('README.md', marked.format('return 1;\n'))
        self.sees('README.md:4: not a piece of examples/hello.cpp', *check)
        self.write('README.md', marked.format('').replace('hello', 'gone'))
        self.sees('there is no examples/gone.cpp', *check)
        self.write('README.md', '')
        self.write('docs/guide.md', 'Text.\n```cpp\nint main() {}\n```\n')
        self.sees('docs/guide.md:2: from which example is this?', *check)
        self.write('docs/guide.md', '<!-- sketch -->\n```cpp\nint main() {}\n```\n```sh\nls\n```\n')
        self.passes(*check)

    def test_headers(self):
        check = [HOUSE / 'headers.py', self.root / 'include', '--', *COMPILER]
        self.passes(*check)
        self.write('include/prefork/future.hpp', '#pragma once\ninline std::vector<int> all;\n')
        self.sees('future.hpp does not compile alone', *check)
        self.write('include/prefork/future.hpp', '#pragma once\ninline void fail() { throw 1; }\n')
        self.sees('future.hpp does not compile alone -fno-exceptions', *check)
        self.write('include/prefork/future.hpp', '#pragma once\n')
        self.write('include/prefork/log.hpp', '#pragma once\n')
        self.write('include/prefork/pool.hpp', '#pragma once\n#include "prefork/log.hpp"\n')
        self.sees('pool.hpp pulls in', *check)

    def counted(self, *tests):
        lines = [json.dumps({'name': 'x', 'result': result, 'stdout': output}) for result, output in tests]
        self.write('testlog.json', '\n'.join(lines))
        return run(ROOT / 'tools/run-tests', '--count', self.root / 'testlog.json')

    def test_counts(self):
        all_passed = 'All tests passed (456 assertions in 5 test cases)\n'
        some_failed = 'test cases:  5 |  3 passed | 2 failed\nassertions: 15 | 13 passed | 2 failed\n'
        self.assertEqual(self.counted(('OK', all_passed), ('OK', 'no Catch2')), (0, '6 passed, 0 failed\n'))
        self.assertEqual(self.counted(('FAIL', some_failed))[0], 1)
        self.assertEqual(self.counted(('FAIL', some_failed))[1].splitlines()[-1], '3 passed, 2 failed')
        self.assertEqual(self.counted(('TIMEOUT', ''), ('OK', ''))[1].splitlines()[-1], '1 passed, 1 failed')
        # A program that dies after its last test has not passed.
        self.assertEqual(self.counted(('ERROR', all_passed))[1].splitlines()[-1], '5 passed, 1 failed')
        self.assertEqual(self.counted(('SKIP', 'why\nno CMake here\n'), ('OK', '')),
                         (0, 'skipped x: no CMake here\n1 passed, 0 failed, 1 skipped\n'))
        # Nothing ran: that is no success.
        self.assertEqual(self.counted()[0], 1)
        self.assertEqual(self.counted(('SKIP', 'no reason'))[0], 1)


unittest.main(argv=sys.argv[:1])
