#!/usr/bin/python3
# Broken streams: QEMU lives, and the next stream decodes correctly.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
import random

from common import CODECS, QUICK, SANITIZE, TMP, VVCLIENT, Tap, clips, \
    ffmpeg, run

# Files for one QEMU
BATCH = 16


def good_clip():
    path = os.path.join(TMP, 'good.mp4')
    result = ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25',
                    '-frames:v', '30', '-c:v', 'libx264', '-bf', '2',
                    '-pix_fmt', 'yuv420p', path)
    return path if result.returncode == 0 else None


def survive(good, batch, options):
    result = run(VVCLIENT, 'survive', good, *batch, *options, timeout=1500)
    bad = [line for line in result.stdout.splitlines()
           if line.startswith(('not ok', '#'))]
    print('\n'.join(bad[-1:]), flush=True)
    if result.returncode or 'Sanitizer' in result.stderr:
        return '\n'.join(bad) + f'\nexit status {result.returncode}\n' + \
            result.stderr
    return None


def batches(paths):
    for i in range(0, len(paths), BATCH):
        yield paths[i:i + BATCH]


def main():
    tap = Tap()
    good = good_clip()
    if not good:
        tap.skip('broken streams', 'there is no ffmpeg with libx264')
        tap.exit()

    seed = str(random.randrange(1 << 30))
    cuts = '2' if QUICK else '4' if SANITIZE else '10'
    tap.result('own clip, truncated at random places, seed ' + seed,
               survive(good, [good], ['--cuts', '50', '--seed', seed]))

    broken = [clip['path'] for clip in clips('malformed.tsv')]
    whole = [clip for clip in clips() if clip['codec'] in CODECS]
    large = [clip['path'] for clip in whole if '3840' in clip['sizes']]
    whole = [clip['path'] for clip in whole if clip['path'] not in large]
    if QUICK or SANITIZE:
        small = [path for path in whole if os.path.getsize(path) < 60000]
        tap.skip(f'{len(whole) + len(large) - len(small)} larger clips',
                 'they take too long here')
        whole, large = small, []
    if not broken:
        tap.skip('broken clips of others', 'there is no folder of test clips')
    tap.run_all(
        [(f'malformed {i + 1}', survive, good, batch, [])
         for i, batch in enumerate(batches(broken))] +
        [(f'truncated {i + 1}, seed {seed}', survive, good, batch,
          ['--cuts', cuts, '--seed', seed])
         for i, batch in enumerate(batches(whole))] +
        [(f'truncated 4K {i + 1}, seed {seed}', survive, good, batch,
          ['--cuts', '2', '--seed', seed])
         for i, batch in enumerate(batches(large))])
    tap.exit()


main()
