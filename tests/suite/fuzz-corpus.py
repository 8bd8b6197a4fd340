#!/usr/bin/python3
# The inputs that fuzzing has kept: each is run again, with no fuzzer needed.
#
# Programs for the device run against an ordinary QEMU through qtest (QEMU's
# tests/qtest/fuzz/virtio_video_replay.c); where scripts/setup --fuzz was run,
# also in the fuzzer itself, which sees more.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
from pathlib import Path

from common import QUICK, Tap, run

REPO = Path(__file__).resolve().parents[2]
CORPUS = REPO / 'tests/fuzz-corpus'
BUILD = Path(os.environ.get('QEMU_BUILD', REPO / 'build/qemu'))
TLV_REPLAY = REPO / 'build/tools/tests/fuzz/tlv-replay'
FUZZER = REPO / 'build/qemu-fuzz/qemu-fuzz-x86_64'
TARGETS = ('virtio-video-fuzz', 'virtio-video-libav-fuzz',
           'virtio-media-fuzz', 'virtio-media-encoder-fuzz')
TIMEOUT = 900


def inputs(target):
    return sorted((CORPUS / target).iterdir())


def problem(result):
    """None, or what a program that should have ended well has said."""
    if result.returncode == 0:
        return None
    return f'{result.stdout[-1000:]}\n{result.stderr[-2000:]}\n' \
        f'exit status {result.returncode}'


def replay_tlv():
    return problem(run(TLV_REPLAY, CORPUS / 'tlv', timeout=TIMEOUT))


def qtest(*args):
    # libqos never frees its graph
    env = dict(os.environ, VIRTIO_VIDEO_CORPUS=str(CORPUS), QTEST_QEMU_IMG='',
               ASAN_OPTIONS='detect_leaks=0')
    return run(BUILD / 'tests/qtest/qos-test', '--tap', '-k', *args,
               timeout=TIMEOUT, env=env)


def replay_qtest(target):
    """On one machine: where the device sits is not what was fuzzed."""
    # Newer versions of GLib make a comment of TAP of each name
    lines = [line.removeprefix('# ')
             for line in qtest('-l').stdout.splitlines()]
    paths = [line for line in lines if line.startswith('/x86_64/pc/') and
             line.endswith('/replay/' + target)]
    if len(paths) != 1:
        return f'{len(paths)} tests for {target} in qos-test'
    return problem(qtest('-p', paths[0]))


def fuzzer_problem():
    """Why there is no use in running the fuzzer, or None."""
    if not FUZZER.exists():
        return 'not built: scripts/setup --fuzz'
    sources = [path for folder in ('hw/virtio/video', 'backends',
                                   'include/system', 'tests/qtest/fuzz')
               for path in (REPO / folder).iterdir()]
    if FUZZER.stat().st_mtime < max(p.stat().st_mtime for p in sources):
        return 'older than the sources: scripts/setup --fuzz'
    return 'not with --quick' if QUICK else None


def replay_fuzzer(target):
    env = dict(os.environ, LLVM_PROFILE_FILE='/dev/null',
               ASAN_OPTIONS='detect_leaks=0')
    return problem(run(FUZZER, '--fuzz-target=' + target, '-runs=0',
                       '-detect_leaks=0', CORPUS / target, timeout=TIMEOUT,
                       env=env))


def main():
    tap = Tap()
    tap.result(f'tlv: {len(inputs("tlv"))} inputs', replay_tlv())
    for target in TARGETS:
        tap.result(f'{target}: {len(inputs(target))} inputs through qtest',
                   replay_qtest(target))
    for target in TARGETS:
        name = f'{target}: {len(inputs(target))} inputs in the fuzzer'
        reason = fuzzer_problem()
        if reason:
            tap.skip(name, reason)
        else:
            tap.result(name, replay_fuzzer(target))
    tap.exit()


main()
