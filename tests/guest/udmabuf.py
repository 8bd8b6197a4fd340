#!/usr/bin/python3
# Judge what vvclient has done in the guest of scripts/udmabuf-test:
#   udmabuf.py DIR WAY PIECES MD5
#
# DIR has the answer of vvclient and the traces of the kernel, see traced.
# WAY is that of the pixels: import, with a DMA-BUF for each frame, or address,
# copied or refused, where no DMA-BUF can be made.
# PIECES is "one" or "many": what guest memory a frame is in.
# MD5 is that of the frames that are decoded.
#
# Prints what was done, or what is wrong and ends with status 1.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import re
import sys
from pathlib import Path

PATHS = {'import': 'import', 'address': 'import',
         'copied': '(derive|getimage)'}


def check(condition, text):
    if not condition:
        print(text)
        raise SystemExit(1)


def traces(path):
    """What the kernel has done with /dev/udmabuf.

    Returns: the thread that has asked for each DMA-BUF that was made, and how
    many pieces it has; and how many were mapped and released.
    """
    asked, made, count = {}, [], {'map': 0, 'release': 0}
    for line in path.read_text().splitlines():
        match = re.search(r'-(\d+) .*: (create|created|map|release): \(.*\)'
                          r'(?: (?:count|fd)=(-?\d+))?$', line)
        if not match:
            continue
        thread, what, number = match[1], match[2], int(match[3] or 0)
        if what == 'create':
            asked[thread] = number
        elif what != 'created':
            count[what] += 1
        elif number >= 0:
            made.append((thread, asked[thread]))
    return made, count


def check_streams(answer, way, md5):
    check(answer['ok'], '; '.join(answer['errors']))
    for stream in answer['device']['streams']:
        check(re.fullmatch(rf'VA-API .*, path {PATHS[way]}', stream['engine']),
              f'engine is {stream["engine"]}')
        check((stream['pixels-copied'] == 0) == (way != 'copied'),
              f'{stream["pixels-copied"]} bytes copied')
    for found in answer.get('md5s', []):
        check(found == md5, f'MD5 is {found}, expected {md5}')


def raw_frames(answer):
    """How many have gone through guest memory."""
    return sum(stream['input' if stream['direction'] == 'encoder' else
                      'output']['buffers']
               for stream in answer['device']['streams'])


def check_traces(made, count, way, pieces, frames):
    # The main thread opens the node and probes, others have the frames
    of_frames = [n for thread, n in made if thread != made[0][0]]
    if way == 'import':
        fit = sum((n > 1) == (pieces == 'many') for n in of_frames)
        check(fit >= frames, f'{fit} such DMA-BUFs for {frames} frames')
    else:
        check(not of_frames, f'{len(made)} DMA-BUFs were made')
    for what, n in count.items():
        check(n == len(made), f'{len(made)} DMA-BUFs, but {n} times {what}')


def main():
    folder, way, pieces, md5 = Path(sys.argv[1]), *sys.argv[2:]
    try:
        answer = json.loads((folder / 'answer').read_text())
    except (OSError, ValueError):
        lines = (folder / 'log').read_text().strip().splitlines()
        check(False, f'vvclient: {lines[-1] if lines else "said nothing"}')
    if way == 'refused':
        frames = 0
        check("can't write this frame" in ''.join(answer['errors']),
              f'not told: {answer["errors"]}')
    else:
        check_streams(answer, way, md5)
        frames = raw_frames(answer)
    made, count = traces(folder / 'trace')
    check_traces(made, count, way, pieces, frames)
    check('Total 0 objects' in (folder / 'bufinfo').read_text(),
          'DMA-BUFs are left')
    dmabufs = f'{len(made)} DMA-BUFs' + \
        (f' of up to {max(n for _, n in made)} pieces' if made else '')
    if way == 'refused':
        print(f'refused, {dmabufs}')
    else:
        copied = sum(stream['pixels-copied']
                     for stream in answer['device']['streams'])
        print(f'{frames} frames, {copied} bytes copied, {dmabufs}')


main()
