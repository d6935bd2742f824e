#!/usr/bin/env python3
"""The parts of tools/bench that need no quiet machine: what is made of samples, the turns, the table of bars.

Usage: bench_test.py ROOT
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(sys.argv[1])
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / 'bench/suite'))
import bars  # pylint: disable=wrong-import-position
import figures  # pylint: disable=wrong-import-position
import peers  # pylint: disable=wrong-import-position
import plan  # pylint: disable=wrong-import-position
import report  # pylint: disable=wrong-import-position
import turns  # pylint: disable=wrong-import-position


class Figures(unittest.TestCase):
    def test_quartiles_lie_between_values_where_they_fall_between_them(self):
        self.assertEqual(figures.spread([4, 1, 3, 2, 5]), (2, 3, 4))
        self.assertEqual(figures.spread([10, 20]), (12.5, 15, 17.5))
        self.assertEqual(figures.spread([7]), (7, 7, 7))

    def test_a_ratio_is_that_of_the_rounds_so_a_slow_round_changes_nothing(self):
        ours = [[2], [20, 20, 20], [2], None]
        theirs = [[1], [10], [1], [1]]
        self.assertEqual(figures.ratio(ours, theirs), (2, 2, 2))
        self.assertIsNone(figures.ratio([None, [1]], [[1], None]))

    def test_the_break_even_point_is_where_a_curve_begins_to_stay_below_the_other(self):
        other = [(1, 10), (10, 10), (100, 10), (1000, 10)]
        self.assertAlmostEqual(figures.crossing([(1, 5), (10, 100), (100, 1), (1000, 1)], other), 10 ** 1.5)
        self.assertEqual(figures.crossing([(1, 5), (10, 5), (100, 5), (1000, 5)], other), 1)
        self.assertIsNone(figures.crossing([(1, 5), (10, 5), (100, 5), (1000, 10)], other))
        self.assertIsNone(figures.crossing([], []))

    def test_three_digits_are_shown(self):
        self.assertEqual([figures.shown_time(each) for each in (0.0, 0.5, 12.345, 999, 1000, 123456, 2.5e9)],
                         ['0 ns', '0.500 ns', '12.3 ns', '999 ns', '1.00 µs', '123 µs', '2.50 s'])
        self.assertEqual([figures.shown_bytes(each) for each in (0, 64, 1024, 64 << 20)],
                         ['0 B', '64 B', '1.00 KiB', '64.0 MiB'])

    def test_a_table_is_markdown(self):
        self.assertEqual(figures.table(['a', ''], [['1', '2']]), '| a |  |\n| --- | --- |\n| 1 | 2 |\n')


def samples_of(bar, ours, theirs):
    """As Turns has them, in one round; `theirs` by reference."""
    found = {bar.case.name: {bar.peer: [[ours]]}}
    for peer, time in theirs.items():
        found.setdefault((bar.other_case or bar.case).name, {})[peer] = [[time]]
    return found


class Bars(unittest.TestCase):
    hot, same, _, _, idle, mapped, _, pair, _, large, _ = bars.BARS

    def verdict(self, bar, ours, theirs):
        return bars.row(bar, samples_of(bar, ours, theirs), True)[-1]

    def test_a_bar_is_met_at_its_limit(self):
        self.assertEqual(self.verdict(self.hot, 125, {'cache_line': 100}), 'met')
        self.assertEqual(self.verdict(self.hot, 126, {'cache_line': 100}), '**not met**')

    def test_faster_is_not_as_fast(self):
        self.assertEqual(self.verdict(self.pair, 100, {'sequential': 100}), '**not met**')
        self.assertEqual(self.verdict(self.pair, 99, {'sequential': 100}), 'met')

    def test_a_speed_is_the_times_the_other_way_round(self):
        row = bars.row(self.mapped, samples_of(self.mapped, 125, {'tbb': 100}), True)
        self.assertEqual(row[-2:], ['0.80 (0.80–0.80)', '**not met**'])
        self.assertEqual(self.verdict(self.mapped, 110, {'tbb': 100}), 'met')
        case = {'prefork': [[100], [200], [400]], 'tbb': [[100], [100], [100]]}
        self.assertEqual(bars.row(self.mapped, {self.mapped.case.name: case}, True)[-2], '0.50 (0.33–0.67)')

    def test_the_fastest_reference_counts(self):
        row = bars.row(self.idle, samples_of(self.idle, 100, {'futex': 99, 'tbb': 10, 'tbb_spin': 50}), True)
        self.assertEqual((row[1], row[-1]), ('oneTBB', '**not met**'))

    def test_what_was_not_measured_is_neither_met_nor_not(self):
        self.assertEqual(self.verdict(self.same, 1, {}), 'not measured: no oneTBB or oneTBB, caller spins')
        self.assertIn('not measured', bars.row(self.same, {}, True)[-1])
        self.assertEqual(bars.row(self.hot, samples_of(self.hot, 1, {'cache_line': 1}), False)[-1], '')

    def test_a_workload_that_was_not_asked_for_has_no_bar(self):
        said = bars.bars_table(samples_of(self.hot, 100, {'cache_line': 100}))
        self.assertEqual([said.count(text) for text in ('hot', 'the same', 'map over')], [1, 1, 0])

    def test_another_size_may_be_the_reference(self):
        there = {bar.name: {'prefork_shared': [[time]]} for bar, time in ((plan.LARGE, 150), (plan.SMALL, 100))}
        self.assertEqual(bars.row(self.large, there, True)[-1], 'met')
        there[plan.LARGE.name]['prefork_shared'] = [[151]]
        self.assertEqual(bars.row(self.large, there, True)[-1], '**not met**')

    def test_every_bar_is_measured(self):
        for bar in bars.BARS:
            self.assertIn(bar.case, plan.CASES)
            for peer in (bar.peer, *bar.references):
                self.assertTrue(list((ROOT / 'bench/versus' / bar.case.workload).glob(f'{peer}.*')), peer)


class Tree(unittest.TestCase):
    """What stands beside the library is built, named and measured."""
    files = [path for path in (ROOT / 'bench/versus').glob('*/*') if path.suffix in ('.cpp', '.py')
             and path.stem != 'workload' and path.parent.name != 'support']

    def test_every_peer_is_built_and_has_a_name(self):
        built = (ROOT / 'bench/versus/meson.build').read_text(encoding='utf-8')
        for path in self.files:
            self.assertIn(path.stem, peers.ABOUT)
            if path.suffix == '.cpp':
                self.assertIn(f"'{path.stem}'", built)

    def test_every_workload_is_measured_and_every_name_is_that_of_a_peer(self):
        self.assertEqual({path.parent.name for path in self.files}, {case.workload for case in plan.CASES})
        self.assertEqual({path.stem for path in self.files}, set(peers.ABOUT))
        for case in plan.CASES:
            self.assertLessEqual(set(case.peers), set(peers.ABOUT))

    def test_every_question_is_built(self):
        built = (ROOT / 'bench/meson.build').read_text(encoding='utf-8')
        for path in (ROOT / 'bench').glob('*_bench.cpp'):
            self.assertIn(f"'{path.stem.removesuffix('_bench')}'", built)


class Turns(unittest.TestCase):
    case = plan.Case('map', (('items', 10), ('task_ns', 50)), 5)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.said = pathlib.Path(folder.name) / 'said'
        self.said.touch()

    def peer(self, script):
        return ['sh', '-c', f'echo "$0 $@" >>{self.said}; {script}']

    def turns(self, **scripts):
        commands = {'map': {name: [*self.peer(script), name] for name, script in scripts.items()}}
        return turns.Turns(commands, peers.ABOUT, {50: 44}, 3)

    def test_each_peer_has_its_turn_in_every_round(self):
        these = self.turns(prefork="echo '{\"ns\": 1}'; echo '{\"ns\": 2}'", tbb="echo '{\"ns\": 3}'")
        for number in range(3):
            these.round(number, [self.case])
        self.assertEqual(these.samples, {self.case.name: {'prefork': [[1, 2]] * 3, 'tbb': [[3]] * 3}})
        said = self.said.read_text(encoding='utf-8').splitlines()
        self.assertEqual([sorted(line.split()[0] for line in said[i:i + 2]) for i in (0, 2, 4)],
                         [['prefork', 'tbb']] * 3)
        self.assertEqual(set(re.sub(r'^\w+ ', '', line) for line in said), {'items=10 milliseconds=5 steps=44'})

    def test_a_peer_that_cannot_be_measured_here_is_left_out_and_one_that_fails_has_no_more_turns(self):
        these = self.turns(tbb='echo no threads >&2; exit 77', asio='echo wrong answer >&2; exit 1')
        for number in range(3):
            these.round(number, [self.case])
        self.assertEqual((these.samples, these.left_out, these.failed),
                         ({}, {'tbb': 'no threads'}, {('map', 'asio'): 'wrong answer'}))
        self.assertEqual(len(self.said.read_text(encoding='utf-8').splitlines()), 2)

    def test_a_peer_that_hangs_is_ended_with_all_that_it_started(self):
        turns.BOUND = 3  # long enough for a shell to start on a busy machine
        these = self.turns(pipe=f'sleep 1000 & echo $! >{self.said}; wait')
        these.round(0, [self.case])
        self.assertEqual(these.failed, {('map', 'pipe'): 'no end within 3 s'})
        # Killed, it may still be on its way out.
        state = pathlib.Path('/proc', str(int(self.said.read_text(encoding='utf-8'))), 'stat')
        until = time.monotonic() + 20
        while state.exists() and ') Z ' not in state.read_text(encoding='utf-8') and time.monotonic() < until:
            time.sleep(0.01)
        self.assertLess(time.monotonic(), until)

    def test_a_case_and_a_peer_come_in_every_so_many_rounds(self):
        these = self.turns(prefork="echo '{\"ns\": 1}'", joblib_loky="echo '{\"ns\": 1}'")
        seldom = plan.Case('map', (), 5, every=2)
        for number in range(3):
            these.round(number, [seldom])
        self.assertEqual(these.samples, {'map': {'prefork': [[1], None, [1]], 'joblib_loky': [[1], None, None]}})


class Compare(unittest.TestCase):
    """Of two runs that `tools/bench --save` kept."""

    def test_it_shows_what_changed_of_our_own_figures(self):
        def run(commit, time):
            return {'machine': {'commit': commit, 'load': commit},
                    'results': {'idle': [{'run_name': 'round_trip', 'real_time': time, 'time_unit': 'us'}]},
                    'versus': {'map': {'prefork': [1, 1e3 * time, 1e9], 'tbb': [1, 2, 3]}}}
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder) / f'{commit}.json' for commit in ('a', 'b')]
            for path, time in zip(files, (2, 3)):
                path.write_text(json.dumps(run(path.stem, time)), encoding='utf-8')
            said = subprocess.run([ROOT / 'bench/compare', *files], stdout=subprocess.PIPE, encoding='utf-8', check=True)
        self.assertEqual(said.stdout, 'commit: a -> b\n'
                         'idle: round_trip            2 us        3 us   +50.0%\n'
                         'versus: map: prefork        2 us        3 us   +50.0%\n')


class Report(unittest.TestCase):
    run_ = {'machine': {'cpu': 'some'}, 'quick': False, 'rounds': 1, 'seconds': 1, 'plots_said': '',
            'left_out': {'tbb': 'not built'}, 'results': {}, 'versus': samples_of(bars.BARS[0], 1000, {'cache_line': 500})}

    def test_it_has_bars_peers_ratios_and_what_is_left_out(self):
        said = report.report(json.loads(json.dumps(self.run_)), ['latency'])
        self.assertIn('| null task, there and back, hot | limit: two cache lines |', said)
        self.assertIn('- oneTBB: not built', said)
        self.assertIn('![latency](latency.svg)', said)
        self.assertIn('### round_trip, hot\n', said)
        self.assertIn('| **prefork** | 1.00 µs | 1.00 µs – 1.00 µs | 1.00 µs | 2.00 | 1.00 | 1 |', said)

    def test_the_library_alone_has_its_counters_as_columns(self):
        figure = {'name': 'hot/real_time', 'iterations': 5, 'real_time': 2.5, 'cpu_time': 1, 'time_unit': 'us', 'p50_ns': 2000}
        failed = {'name': 'shut', 'error_occurred': True, 'error_message': 'the load is 0 here'}
        said = report.report({**self.run_, 'versus': {}, 'results': {'gate': [figure, failed]}}, [])
        self.assertIn('|  | time | p50 |\n| --- | --- | --- |\n| hot | 2.50 µs | 2.00 µs |\n'
                      '| shut | the load is 0 here |  |\n', said)
        self.assertNotIn('## The bars', said)


unittest.main(argv=sys.argv[:1])
