# What the suites share: the environment of scripts/check, and TAP.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import csv
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident

VVCLIENT = os.environ.get(
    'VVCLIENT', str(Path(__file__).resolve().parents[2] / 'scripts/vvclient'))
VECTORS = os.environ.get('VECTORS', '')
TMP = os.environ.get('TMP', '/tmp')
QUICK = bool(os.environ.get('QUICK'))
SANITIZE = bool(os.environ.get('SANITIZE'))
os.environ['QTEST_QEMU_BINARY'] = os.path.join(
    os.environ.get('QEMU_BUILD', Path(__file__).parents[2] / 'build/qemu'),
    'qemu-system-x86_64')
# Of what went wrong, in the results
LAST_LINES = 20
# The coded formats that the device knows, as the lists of clips name them
CODECS = ('h264', 'hevc', 'vp8', 'vp9', 'av1', 'mpeg2', 'mpeg4')
# The ways to the device that every clip must go
MODES = {
    'pci': [],
    'pci scattered': ['--scatter'],
    'mmio': ['--transport', 'mmio'],
    'mmio scattered': ['--transport', 'mmio', '--scatter'],
    'media': ['--protocol', 'media'],
}


def run(*args, timeout=300, env=None):
    """Run a command; a timeout is an exit status of 124, and the last words."""
    try:
        return subprocess.run([str(a) for a in args], capture_output=True,
                              text=True, errors='replace', timeout=timeout,
                              stdin=subprocess.DEVNULL, check=False, env=env)
    except subprocess.TimeoutExpired as e:
        out, err = ((text or b'').decode(errors='replace')
                    for text in (e.stdout, e.stderr))
        return subprocess.CompletedProcess(
            args, 124, out, f'{err}\ntimed out after {timeout} seconds')


@contextmanager
def new_file(path):
    """Where to write what becomes PATH once it is complete.

    Two tests may make the same file at the same time.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f'{get_ident()}-{name}')
    yield temporary
    if os.path.exists(temporary):
        os.replace(temporary, path)


def ffmpeg(*args):
    return run('ffmpeg', '-v', 'error', '-y', *args)


def clips(name='manifest.tsv'):
    """Rows of a list of clips, as dicts; none without the clips."""
    if not VECTORS:
        return []
    with open(os.path.join(VECTORS, name), encoding='utf-8') as f:
        rows = list(csv.DictReader(f, delimiter='\t', quoting=csv.QUOTE_NONE))
    for row in rows:
        row['path'] = os.path.join(VECTORS, row['file'])
    return rows


def stream_problem(stream, direction, frames, coded_bytes=None):
    """Is that what QEMU has to say of a stream with so many good frames?

    Returns: None or what is wrong.
    """
    sides = stream['input'], stream['output']
    raw, coded = sides if direction == 'encoder' else reversed(sides)
    if stream['direction'] != direction or stream['state'] != 'idle' or \
            not stream['engine'].startswith(('libavcodec ', 'VA-API ')) or \
            not stream['codec-time'] or not coded['buffers'] or \
            raw['buffers'] != frames or raw['bytes'] < frames * 256 or \
            any(side['errors'] for side in sides) or \
            coded_bytes not in (None, coded['bytes']):
        return f'{frames} frames, {coded_bytes} bytes; QEMU says {stream}'
    return None


class Tap:
    """Prints results as TAP and remembers whether one was bad."""

    def __init__(self):
        self.n = 0
        self.failed = False

    def result(self, name, problem=None):
        self.n += 1
        self.failed |= problem is not None
        print(f'{"not " if problem is not None else ""}ok {self.n} {name}')
        if problem is not None:
            lines = problem.strip().splitlines()
            # What was done, and the last words
            for line in lines[:1] + lines[1:][-LAST_LINES:]:
                print(f'# {line}')
        print(end='', flush=True)

    def skip(self, name, reason):
        self.n += 1
        print(f'ok {self.n} {name} # SKIP {reason}', flush=True)

    def run_all(self, cases):
        """Run (name, function, args...) on two threads, in order of output.

        A function returns None, or what is wrong, or "SKIP" and the reason.
        """
        with ThreadPoolExecutor(2) as pool:
            jobs = [(name, pool.submit(fn, *args)) for name, fn, *args in cases]
            for name, job in jobs:
                problem = job.result()
                if problem and problem.startswith('SKIP '):
                    self.skip(name, problem.removeprefix('SKIP '))
                else:
                    self.result(name, problem)

    def exit(self):
        print(f'1..{self.n}')
        raise SystemExit(self.failed)
