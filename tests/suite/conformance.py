#!/usr/bin/python3
# The tables of the draft's rules and of the device's limits: each rule and each
# limit is there, and has tests that passed.
#
# The results are those of scripts/check's qtests (QTEST_RESULTS); without them
# the tests of the tables are run here.  --table prints what came of each row
# instead of TAP.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import collections
import os
import re
import sys
from pathlib import Path

from common import SANITIZE, Tap, run

TABLE = Path(__file__).resolve().parents[2] / \
    'docs/system/devices/virtio-video-conformance.rst'
Section = collections.namedtuple('Section', 'label clause keywords')
OPERATION = 'Device Operation / Device Operation: '
STREAM = f'{OPERATION}Stream commands / '
PARAMETERS = 'Device capabilities and parameters / '
# The draft's normative sections for a device.  Each has a label, which begins
# with LABEL; clauses are called after its last part.  Each sentence demands
# one thing or several, with the keywords that are given here.
LABEL = 'Device Types / Video Device / '
SECTIONS = {
    'FEATURES': Section('Feature bits', 'Feature bits',
                        [['MUST'], ['MUST'], ['MUST NOT']]),
    'CONFIG': Section('Device configuration layout',
                      'Device configuration layout', [['MUST'], ['MUST']]),
    'OPERATION': Section('Device Operation', 'Device Operation', [['MUST']]),
    'TLV': Section(f'{OPERATION}TLV format', 'TLV format',
                   [['MUST'], ['MUST']]),
    'CAPS': Section(f'{OPERATION}Device Commands / QUERY CAPS', 'QUERY CAPS',
                    [['MUST']] * 6 + [['SHOULD'], ['MUST']]),
    'OPEN': Section(f'{STREAM}OPEN', 'OPEN', [['MUST']]),
    'CLOSE': Section(f'{STREAM}CLOSE', 'CLOSE', [['MUST'], ['MUST NOT']]),
    'PARAMS': Section(f'{STREAM}SET PARAMS', 'SET PARAMS',
                      [['MUST'], ['MUST'], ['MAY']] + [['MUST']] * 7),
    'UNBLOCK': Section(f'{STREAM}UNBLOCK', 'UNBLOCK', [['MUST']]),
    'DRAIN': Section(f'{STREAM}DRAIN', 'DRAIN',
                     [['MUST'], ['MUST', 'MUST NOT'], ['MUST'], ['MUST']]),
    'RESET': Section(f'{STREAM}QUEUE RESET', 'QUEUE RESET',
                     [['MUST'], ['MUST'], ['MUST NOT'], ['MUST']]),
    'QUEUE': Section(f'{STREAM}RESOURCE QUEUE', 'RESOURCE QUEUE',
                     [['MUST'] * 3] + [['MUST']] * 4 + [['MAY'], ['MUST']]),
    'CONTROLS': Section(f'{PARAMETERS}CODED / V4L2 CONTROLS', 'V4L2 CONTROLS',
                        [['MUST NOT']]),
    'RAW': Section(f'{PARAMETERS}RAW / FORMAT', 'RAW / FORMAT',
                   [['MUST'], ['MUST']]),
    'CROP': Section(f'{PARAMETERS}RAW / CROP', 'CROP', [['MUST']]),
}
EXTRA = 'MORE'
Row = collections.namedtuple('Row', 'rule clause keyword result text tests')
Limit = collections.namedtuple('Limit', 'name default tests')
UNITS = {'': 1, 'M': 1 << 20, 'G': 1 << 30}


def quoted(cell):
    return re.findall(r'``([^`]+)``', cell)


def read_rows(text, first, n):
    """The rows of all list-tables of @n columns of which this is the first."""
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
            if cells is not None:
                rows.append(None)
            cells = None
    table = None
    for cells in rows:
        if cells is None or table is None:
            table = cells
        elif table[0] == first:
            # A row that is not complete has no result and no test
            yield cells + [''] * (n - len(cells))


def read_table(text):
    """The draft's rules."""
    return [Row(*cells[:5], quoted(cells[5]))
            for cells in read_rows(text, 'Rule', 6)]


def read_limits(text):
    """The limits that are properties."""
    return [Limit(cells[0].strip('`'), cells[1], quoted(cells[4]))
            for cells in read_rows(text, 'Property', 5)]


def read_results(log, arch='[^/]+'):
    """From a test's name, such as caps/links-are-last, to its results."""
    results = collections.defaultdict(list)
    for bad, path, skip in re.findall(
            rf'(not )?ok \d+ (/{arch}/\S+)(.*# *SKIP)?', log):
        name = path.partition('-tests/')[2]
        results[name].append('failed' if bad else
                             'skipped' if skip else 'passed')
    return results


def problem_of_test(name, results):
    found = results.get(name, [])
    if 'failed' in found:
        return f'{name} failed'
    if 'passed' not in found:
        return f'{name} was skipped' if found else f'there is no test {name}'
    return None


def problem_of_tests(tests, results):
    if not tests:
        return 'no test proves it'
    problems = filter(None, (problem_of_test(t, results) for t in tests))
    return '\n'.join(problems) or None


def result_on_aarch64(tap, rows, text):
    """The other architecture has another IOMMU."""
    name = 'the rule of IOMMUs holds on aarch64, too'
    tests = next((row.tests for row in rows
                  if 'VIRTIO_F_ACCESS_PLATFORM' in row.text), [])
    if '/aarch64/' in text:
        tap.result(name, problem_of_tests(tests, read_results(text, 'aarch64')))
    else:
        tap.skip(name, 'the tests of aarch64 were not run')


def problem_of_row(row, results):
    problem = problem_of_tests(row.tests, results)
    if (problem is None) != (row.result == 'passed'):
        problem = f'the page says "{row.result}"\n{problem or "it passed"}'
    return problem


def wanted_rows():
    """Rule, clause and keyword of each row that there has to be."""
    for name, section in SECTIONS.items():
        keywords = [(f'{section.clause}, {i + 1}', keyword)
                    for i, sentence in enumerate(section.keywords)
                    for keyword in sentence]
        for i, (clause, keyword) in enumerate(keywords):
            yield f'{name}-{i + 1}', clause, keyword


def problem_of_table(rows):
    want = list(wanted_rows())
    got = [row[:3] for row in rows if not row.rule.startswith(EXTRA)]
    if got != want:
        return 'wrong, or in the wrong place: ' + \
            ' '.join(sorted({row[0] for row in set(got) ^ set(want)}) or
                     [row[0] for row in got])
    return None


def problem_of_page(text):
    """It says where each section is in the draft, and how many rules hold."""
    text = ' '.join(text.split())
    n = len(list(wanted_rows()))
    sentences = sum(len(section.keywords) for section in SECTIONS.values())
    want = [section.label for section in SECTIONS.values()]
    want += [LABEL.strip(), f'{n} of {n}', f'the {sentences} sentences']
    return '\n'.join(f'the page does not say: {w}'
                     for w in want if w not in text) or None


def read_help(text):
    """What -device TYPE,help says: a limit's name to its default."""
    return {name: int(value) for name, value in re.findall(
        r'^  (max-[a-z-]+|hostmem)=.*\(default: (\d+)\)$', text, re.M)}


def problem_of_limits(limits, defaults):
    """The table has all limits that the device has, with these defaults."""
    said = {}
    for limit in limits:
        number, unit = re.fullmatch(r'(\d+)([MG]?)', limit.default).groups()
        said[limit.name] = int(number) * UNITS[unit]
    wrong = sorted({name for name, _ in said.items() ^ defaults.items()})
    return f'the device has it otherwise: {" ".join(wrong)}' if wrong else None


def device_defaults():
    result = {}
    for device in 'virtio-video-pci', 'virtio-media-pci':
        result |= read_help(run(os.environ['QTEST_QEMU_BINARY'], '-device',
                                f'{device},help').stdout)
    return result


def run_tests(names):
    """The log of those tests on all machines that they run on."""
    qemu = os.environ['QTEST_QEMU_BINARY']
    program = Path(qemu).parent / 'tests/qtest/qos-test'
    # libqos never frees its graph
    env = dict(os.environ, ASAN_OPTIONS='detect_leaks=0') if SANITIZE else None
    paths = run(program, '-l', env=env).stdout.split()
    paths = [p for p in paths if p.partition('-tests/')[2] in names and
             ('virtio-video' in p or 'virtio-media' in p)]
    log = []
    for path in paths:
        # One at a time: a test that fails ends the program
        result = run(program, '--tap', '-k', '-p', path, env=env)
        log.append(result.stdout if result.returncode == 0
                   else f'not ok 1 {path}')
    return '\n'.join(log)


def self_test():
    """A table that is not true is noticed."""
    row = Row('OPEN-1', 'OPEN, 1', 'MUST', 'passed', '', ['open/a'])
    passed = read_results('ok 1 /x/v-tests/open/a')
    rows = [Row(*cells, 'passed', '', ['open/a']) for cells in wanted_rows()]
    page = '\n'.join([LABEL, f'{len(rows)} of {len(rows)}',
                      'the 49 sentences'] +
                     [section.label for section in SECTIONS.values()])
    seen = [
        problem_of_row(row, passed) is None,
        problem_of_row(row, read_results('ok 1 /x/v-tests/open/ab')),
        problem_of_row(row, read_results('not ok 1 /x/v-tests/open/a')),
        problem_of_row(row, read_results('ok 1 /x/v-tests/open/a # SKIP no')),
        problem_of_row(row, read_results('ok 1 /pci/v-tests/open/a\n'
                                         'not ok 2 /mmio/v-tests/open/a')),
        problem_of_tests(row.tests, read_results('ok 1 /b/v-tests/open/a',
                                                 'b')) is None,
        problem_of_tests(row.tests, read_results('ok 1 /a/v-tests/open/a',
                                                 'b')),
        problem_of_row(row._replace(tests=[]), {}),
        problem_of_row(row._replace(result='failed'), passed),
        problem_of_table(rows) is None,
        problem_of_table([row]),
        problem_of_table(rows[1:]),
        problem_of_table([row._replace(keyword='OUGHT')] + rows[1:]),
        problem_of_table([rows[0]._replace(clause='Feature bits, 2')] +
                         rows[1:]),
        problem_of_page(page) is None,
        problem_of_page(page.replace('QUERY CAPS', 'QUERY')),
        problem_of_page(page.replace('52 of 52', '52 of 53')),
        problem_of_limits([Limit('max-a', '2M', [])],
                          {'max-a': 2 << 20}) is None,
        problem_of_limits([Limit('max-a', '2', [])], {'max-a': 3}),
        problem_of_limits([Limit('max-a', '2', [])], {}),
        problem_of_limits([], read_help('  max-a=<size> - a (default: 2)\n')),
    ]
    return None if all(seen) else f'not noticed: {seen}'


def summary(rows, limits, results):
    """How many rows have passed, and by how many tests."""
    def count(name, chosen):
        good = sum(problem_of_tests(row.tests, results) is None
                   for row in chosen)
        return f'{good} of {len(chosen)} {name}'

    draft = [row for row in rows if not row.rule.startswith(EXTRA)]
    extra = [row for row in rows if row.rule.startswith(EXTRA)]
    tests = {test for row in rows + limits for test in row.tests}
    runs = [result for test in tests for result in results.get(test, [])]
    return '{}, {}, {}; {} tests: {} passed, {} failed, {} skipped'.format(
        count('rules of the draft', draft), count('more', extra),
        count('limits', limits), len(tests), *map(
            runs.count, ('passed', 'failed', 'skipped')))


def print_table(rows, limits, results):
    failed = False
    for row in rows + limits:
        problem = problem_of_tests(row.tests, results)
        failed |= problem is not None
        name = (row.rule, row.clause, row.keyword) if isinstance(row, Row) \
            else (row.name, 'limit', row.default)
        print('{:<14} {:<30} {:<8} {}'.format(
            *name, 'FAILED' if problem else 'passed'))
        for test in row.tests:
            times = collections.Counter(results.get(test, ['did not run']))
            print(f'    {test}:',
                  ', '.join(f'{n} {result}' for result, n in times.items()))
    print(summary(rows, limits, results))
    raise SystemExit(failed)


def main():
    tap = Tap()
    page = TABLE.read_text(encoding='utf-8')
    rows, limits = read_table(page), read_limits(page)
    log = os.environ.get('QTEST_RESULTS')
    if log:
        text = '\n'.join(Path(part).read_text(encoding='utf-8',
                                              errors='replace')
                         for part in log.split(':'))
    else:
        text = run_tests({test for row in rows + limits for test in row.tests})
    results = read_results(text)
    if sys.argv[1:] == ['--table']:
        print_table(rows, limits, results)

    tap.result('a table that is not true is noticed', self_test())
    tap.result(f'all {len(list(wanted_rows()))} rules of the draft are there',
               problem_of_table(rows))
    tap.result('the page says where they are in the draft',
               problem_of_page(page))
    for row in rows:
        tap.result(f'{row.rule} ({row.clause}) {row.keyword}'
                   .removesuffix(' --'), problem_of_row(row, results))
    result_on_aarch64(tap, rows, text)
    tap.result('all limits of the device are there, with their defaults',
               problem_of_limits(limits, device_defaults()))
    for limit in limits:
        tap.result(f'limit {limit.name}',
                   problem_of_tests(limit.tests, results))
    print(f'# {summary(rows, limits, results)}')
    tap.exit()


main()
