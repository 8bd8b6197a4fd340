#!/usr/bin/python3
# Clips that others made: every frame through the device, by the MD5 of all.
#
# SPDX-License-Identifier: GPL-2.0-or-later
from common import CODECS, MODES, QUICK, SANITIZE, VVCLIENT, Tap, clips, run

# What does not give its MD5 with exit status 0, and why: what is said instead
EXCEPTIONS = {
    # RGB, and the device does 4:2:0
    'av1/wpt-four-colors.mp4': 'pixel format gbrp is not supported',
    'vp9/moz-320x240.webm': 'pixel format gbrp is not supported',
}
# Behind the first frames come bytes which libavformat complains about; newer
# versions than that of the list find more frames in them
TRAILING = ('av1/vkcts-av1-argon_test1019.obu',
            'av1/vkcts-av1-argon_test9354_2.obu')
# Their decoders are not the same to the bit everywhere: other versions of
# libavcodec may differ from the list, but not from themselves
INEXACT = ('mpeg2', 'mpeg4')


def is_md5(clip, md5):
    if md5 == clip['ffmpeg_md5']:
        return True
    if clip['codec'] not in INEXACT and clip['file'] not in TRAILING:
        return False
    native = run(VVCLIENT, 'native', clip['path'], '--md5').stdout.strip()
    if md5 == native:
        print(f'# {clip["file"]}: not as in the list, but as natively here')
    return md5 == native


def decode(clip, options):
    result = run(VVCLIENT, 'decode', clip['path'], '--md5', *options)
    said = EXCEPTIONS.get(clip['file'])
    if said:
        if result.returncode != 1 or said not in result.stderr:
            return f'expected to fail with "{said}":\n{result.stderr}'
        return None
    if clip['file'] in TRAILING and 'pixel format' in result.stderr:
        return None             # of the frames behind, which are grey
    trailing = clip['file'] in TRAILING and \
        'the file breaks off' in result.stderr
    if result.returncode and not trailing:
        return f'exit status {result.returncode}\n{result.stderr}'
    md5 = result.stdout.strip()
    return None if is_md5(clip, md5) else \
        f'MD5 is {md5}, expected {clip["ffmpeg_md5"]}'


def cases():
    modes = dict(list(MODES.items())[:1]) if QUICK or SANITIZE else MODES
    for clip in clips():
        small = int(clip['bytes']) < 300000 and '3840' not in clip['sizes']
        if clip['codec'] in CODECS and (small or not (QUICK or SANITIZE)):
            for mode, options in modes.items():
                yield f'{clip["file"]} {mode}', decode, clip, options


def main():
    tap = Tap()
    tap.run_all(cases())
    if not tap.n:
        tap.skip('clips', 'there is no folder of test clips')
    tap.exit()


if __name__ == '__main__':
    main()
