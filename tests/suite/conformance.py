#!/usr/bin/python3
# The table of the draft's rules: each rule is there, and has tests that passed.
#
# The results are those of scripts/check's qtests (QTEST_RESULTS); without them
# the tests of the table are run here.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import collections
import os
import re
from pathlib import Path

from common import SANITIZE, Tap, run

TABLE = Path(__file__).resolve().parents[2] / \
    'docs/system/devices/virtio-video-conformance.rst'
# How many rules each normative section of the draft has for a device
RULES = {
    'FEATURES': 3, 'CONFIG': 2, 'OPERATION': 1, 'TLV': 2, 'CAPS': 8,
    'OPEN': 1, 'CLOSE': 2, 'PARAMS': 10, 'UNBLOCK': 1, 'DRAIN': 5,
    'RESET': 4, 'QUEUE': 9, 'CONTROLS': 1, 'RAW': 2, 'CROP': 1,
}
KEYWORDS = ('MUST', 'MUST NOT', 'SHOULD', 'MAY')
EXTRA = 'MORE'
Row = collections.namedtuple('Row', 'rule keyword text tests')


def read_table(text):
    """The rows of all list-tables but their headings."""
    rows, cells = [], None
    for line in text.splitlines() + ['']:
        if line.startswith('   * - '):
            cells = [line[7:]]
            rows.append(cells)
        elif cells is not None and line.startswith('     - '):
            cells.append(line[7:])
        elif cells is not None and line.startswith('       '):
            cells[-1] += ' ' + line.strip()
        else:
            cells = None
    return [Row(*cells[:3], re.findall(r'``([^`]+)``', cells[3]))
            for cells in rows if len(cells) == 4 and cells[0] != 'Rule']


def read_results(log):
    """From a test's name, such as caps/links-are-last, to a set of results."""
    results = collections.defaultdict(set)
    for bad, path, skip in re.findall(
            r'(not )?ok \d+ (/\S+)(.*# *SKIP)?', log):
        name = path.partition('-tests/')[2]
        results[name].add('failed' if bad else 'skipped' if skip else 'passed')
    return results


def problem_of_test(name, results):
    found = results.get(name, set())
    if 'failed' in found:
        return f'{name} failed'
    if 'passed' not in found:
        return f'{name} was skipped' if found else f'there is no test {name}'
    return None


def problem_of_row(row, results):
    if not row.tests:
        return 'no test proves it'
    if row.keyword not in KEYWORDS and not row.rule.startswith(EXTRA):
        return f'{row.keyword} is no keyword'
    problems = filter(None, (problem_of_test(t, results) for t in row.tests))
    return '\n'.join(problems) or None


def problem_of_table(rows):
    want = [f'{section}-{i + 1}'
            for section, n in RULES.items() for i in range(n)]
    got = [row.rule for row in rows if not row.rule.startswith(EXTRA)]
    if got != want:
        return 'wrong, or in the wrong place: ' + \
            ' '.join(sorted(set(got) ^ set(want)) or got)
    return None


def run_tests(names):
    """The log of those tests on all machines that they run on."""
    qemu = os.environ['QTEST_QEMU_BINARY']
    program = Path(qemu).parent / 'tests/qtest/qos-test'
    # libqos never frees its graph
    env = dict(os.environ, ASAN_OPTIONS='detect_leaks=0') if SANITIZE else None
    paths = run(program, '-l', env=env).stdout.split()
    paths = [p for p in paths
             if 'virtio-video' in p and p.partition('-tests/')[2] in names]
    log = []
    for path in paths:
        # One at a time: a test that fails ends the program
        result = run(program, '--tap', '-k', '-p', path, env=env)
        log.append(result.stdout if result.returncode == 0
                   else f'not ok 1 {path}')
    return '\n'.join(log)


def self_test():
    """A table that is not true is noticed."""
    row = Row('OPEN-1', 'MUST', '', ['open/a'])
    seen = [
        problem_of_row(row, read_results('ok 1 /x/v-tests/open/a')) is None,
        problem_of_row(row, read_results('ok 1 /x/v-tests/open/ab')),
        problem_of_row(row, read_results('not ok 1 /x/v-tests/open/a')),
        problem_of_row(row, read_results('ok 1 /x/v-tests/open/a # SKIP no')),
        problem_of_row(row, read_results('ok 1 /pci/v-tests/open/a\n'
                                         'not ok 2 /mmio/v-tests/open/a')),
        problem_of_row(row._replace(tests=[]), {}),
        problem_of_row(row._replace(keyword='OUGHT'),
                       read_results('ok 1 /x/v-tests/open/a')),
        problem_of_table([row]),
    ]
    return None if all(seen) else f'not noticed: {seen}'


def main():
    tap = Tap()
    rows = read_table(TABLE.read_text(encoding='utf-8'))
    log = os.environ.get('QTEST_RESULTS')
    if log:
        text = Path(log).read_text(encoding='utf-8', errors='replace')
    else:
        text = run_tests({test for row in rows for test in row.tests})
    results = read_results(text)

    tap.result('a table that is not true is noticed', self_test())
    tap.result(f'all {sum(RULES.values())} rules of the draft are there',
               problem_of_table(rows))
    for row in rows:
        tap.result(f'{row.rule} {row.keyword}'.removesuffix(' --'),
                   problem_of_row(row, results))
    tap.exit()


main()
