# What the way through the device costs with video-codec-vaapi, on each way of
# the pixels.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
from threading import Lock

import clips as made
from vaapi_common import OBJECT, PATHS, REAL, left_out, said, vvclient

# By libavcodec with the same driver, and a download, in vvclient itself
RATIO = 0.95
# The slowest of 16 streams, by their mean
SLOWEST = 0.7
ATTEMPTS = 4
# One at a time: they would slow each other down
LOCK = Lock()


def make_bench_clip():
    return made.make('gpu-bench', 'mp4', [
        '-c:v', 'libx264', '-preset', 'veryfast', '-frames:v', '150'],
        size='1280x720')


def bench(path, way):
    """Fast enough, no stream of 16 starves, and nothing is copied where the
    GPU does that.

    What else is on the machine may slow anything down: so try again.
    """
    copies = way != 'import'
    for _ in range(ATTEMPTS):
        # For the ratio, the second round has the opposite order
        with LOCK:
            result = vvclient('bench', path, '--rounds', 2 if copies else 1,
                              '--limit', 150, '--json', '--codec',
                              f'{OBJECT},x-path={way}',
                              options='' if copies else 'udmabuf')
        if result.returncode:
            return result.stderr
        answer = said(result)
        ratio, slowest, copied = (answer[name] for name in (
            'ratio', 'slowest_streams16', 'copied_bytes'))
        text = f'{answer["device_fps"]:.0f} frames/s are {ratio:.2f} of ' \
            f'native ones, the slowest of 16 streams has {slowest:.2f} of ' \
            f'their mean, {copied:.0f} bytes are copied of each frame'
        print(f'# {way}: {text}', flush=True)
        if (copied != 0) != copies:
            break
        if (ratio >= RATIO or not copies) and slowest >= SLOWEST:
            return None
    return text


def bench_cases(path):
    for way in PATHS:
        # Scattered pages are part of it
        if way == 'import' and REAL and not os.access('/dev/udmabuf', os.W_OK):
            yield f'bench, {way}', left_out, "/dev/udmabuf can't be used"
        else:
            yield f'bench, {way}', bench, path, way
