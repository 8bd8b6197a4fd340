#!/usr/bin/python3
# Encoding through virtio-media, as a V4L2 application does: what encode.py asks
# of draft v10, and that both protocols give the same bytes.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import re
import struct

import encode as enc
from common import QUICK, SANITIZE, VVCLIENT, Tap, run

MEDIA = ['--protocol', 'media']
UAPI = ['--protocol', 'v4l2-uapi']
MMAP = ['--memory', 'mmap']
# The ways to an encoder that there are besides guest memory in one piece on PCI
WAYS = {
    'scattered': MEDIA + ['--scatter'],
    'mmap': MEDIA + MMAP,
    'mmio': MEDIA + ['--transport', 'mmio'],
    'q35, mmap': MEDIA + MMAP + ['--machine', 'q35'],
    'uapi': UAPI,
    'uapi, scattered': UAPI + ['--scatter'],
    'uapi, mmio': UAPI + ['--transport', 'mmio'],
    'virt': MEDIA + ['--machine', 'virt'],
    'virt, mmap': MEDIA + MMAP + ['--machine', 'virt'],
}
FEW = QUICK or SANITIZE


def tag(*words):
    return re.sub('[^a-z0-9]', '', ''.join(map(str, words)))


def output(clips, codec, name, *options):
    """MD5 of what comes of the short clip."""
    out = enc.path(f'{name}-{codec}.{enc.CODECS[codec][0]}')
    said = enc.encode(clips.short, codec, '-b', '400k', *options, out=out)
    enc.check(said['protocol'] == (options[1] if options else 'media'),
              f'the protocol is {said["protocol"]}')
    enc.check(said.get('memory') in ('mmap' if 'mmap' in options else
                                     'userptr', None),
              f'buffers are {said.get("memory")} ones')
    return enc.md5(out)


def same(clips, codec, ways):
    """Neither the protocol nor the memory makes a difference to a byte."""
    found = {'v10': output(clips, codec, 'v10', '--protocol', 'v10'),
             'media': output(clips, codec, 'media')}
    for way in ways:
        found[way] = output(clips, codec, way.replace(', ', '-'), *WAYS[way])
    print(f'# {codec}: md5 {found["v10"]} with {", ".join(found)}', flush=True)
    enc.check(len(set(found.values())) == 1, f'streams are {found}')


def same_changes(clips, codec, way, *options):
    """A control changes at that frame, where v10 has a queue for it."""
    outs = []
    for protocol in ['--protocol', 'v10'], way:
        outs.append(enc.path(f'changes-{codec}-{tag(*protocol, *options)}.'
                             f'{enc.CODECS[codec][0]}'))
        enc.encode(clips.short, codec, '-b', '400k', *options, *protocol,
                   out=outs[-1])
    first, second = (enc.hashes(out) for out in outs)
    enc.check(len(first) == 60, f'{len(first)} frames')
    found = [i for i, (a, b) in enumerate(zip(first, second)) if a != b]
    enc.check(first == second, f'frames {found} are not the same')


def real_rate(clips, codec):
    """The device knows the frame rate, so native encoding has the same."""
    said = enc.encode(clips.fractal, codec, '-b', '300k', '--compare')
    enc.check(said['bitrate'] and enc.near(said['bitrate'],
                                           said['native']['bitrate'], 2),
              f'{said["bitrate"]} bits a second, natively '
              f'{said["native"]["bitrate"]}')
    enc.quality(said, codec)


# Of video-codec-test's instructions, see include/system/video-codec-test.h
TEST_MAGIC, TEST_BAD, TEST_FAIL = 0x72637376, 4, 6


def script(op, at, *options):
    """A clip for the scripted codec, which does that with frame @at."""
    out = enc.path(f'script-{tag(op, at, *options)}.y4m')
    with open(out, 'wb') as f:
        f.write(b'YUV4MPEG2 W64 H48 F30:1 C420jpeg\n')
        for i in range(20):
            luma = struct.pack('<II32s', TEST_MAGIC, op, b'it was told to') \
                if i == at else b''
            f.write(b'FRAME\n' + luma.ljust(64 * 48, b'\x50') +
                    bytes(32 * 24 * 2))
    return out


def failing(op, at, said, *options):
    """What goes wrong is told once, and nothing else, and it ends."""
    result = run(VVCLIENT, 'encode', script(op, at, *options), '-c', 'h264',
                 '--codec', 'video-codec-test', *options)
    enc.check(result.returncode == 1 and result.stderr.count(said) == 1,
              f'exit status {result.returncode}: {result.stderr}')
    for wrong in 'silent', 'could not be encoded', 'gave up', 'is lost':
        enc.check(wrong in said or wrong not in result.stderr, result.stderr)


def failing_cases():
    for name, options in ('userptr', MEDIA), ('mmap', MEDIA + MMAP), \
            ('4 streams', MEDIA + ['--streams', '4']), ('uapi', UAPI):
        each = 'stream 3: ' if '4' in name else '.y4m: '
        yield f'a bad frame, {name}', failing, TEST_BAD, 5, \
            f'{each}frame 5 could not be encoded', *options
        for at in 0, 5, 19:
            yield f'failing at frame {at}, {name}', failing, TEST_FAIL, at, \
                f'{each}the device gave up after', *options


def same_cases(clips):
    ways = [way for way in WAYS if not SANITIZE or 'virt' not in way]
    for codec in enc.CODECS:
        yield f'{codec}, the same bytes as v10', same, clips, codec, \
            ways if codec == 'h264' and not QUICK else ways[:2]
    for codec in ('h264',) if FEW else enc.CODECS:
        yield f'{codec}, the same bytes when controls change', same_changes, \
            clips, codec, MEDIA, '--set', '7:bitrate=200k', '--force-key', \
            '8,31', '--set', '40:gop=5', '--set', '40:bitrate=600k'
    yield 'h264, uapi, the same bytes when controls change', same_changes, \
        clips, 'h264', UAPI, '--gop', '13', '--set', '7:bitrate=200k', \
        '--set', '22:max-qp=30'
    for codec in ('h264',) if FEW else ('h264', 'hevc', 'mpeg2', 'mpeg4'):
        # Where frames are reordered, too
        yield f'{codec} with B frames, the same bytes when controls change', \
            same_changes, clips, codec, MEDIA, '--b-frames', '2', '--set', \
            '21:bitrate=200k', '--force-key', '32'
    if SANITIZE:
        return
    yield 'h264 on four threads, the same bytes when controls change', \
        same_changes, clips, 'h264', MEDIA, '--codec', \
        'video-codec-libav,threads=4', '--set', '21:bitrate=200k'


def basic_cases(clips):
    for codec in enc.CODECS:
        yield f'{codec}, userptr', enc.basic, clips, codec, []
    for codec in ('h264',) if FEW else ('h264', 'vp8', 'mpeg4'):
        yield f'{codec}, mmap', enc.basic, clips, codec, MMAP
    yield 'h264, mmio scattered', enc.basic, clips, 'h264', \
        ['--transport', 'mmio', '--scatter']
    yield 'vp9, uapi', enc.basic, clips, 'vp9', UAPI


def control_cases(clips):
    for codec, wanted, profile, level in enc.HEADERS:
        if not FEW or (codec, wanted[0]) in (('h264', 'main'),
                                             ('h264', 'high10')):
            yield f'{codec} of profile {wanted[0]}, level {wanted[1]}', \
                enc.headers, clips, codec, wanted, profile, level
    for codec in ('h264', 'vp8') if FEW else enc.CODECS:
        yield f'{codec} with a GOP of 13', enc.gop, clips, codec
        yield f'{codec} with forced key frames', enc.force, clips, codec
        yield f'{codec}, another bitrate from a frame on', enc.change, clips, \
            codec, 'bitrate', '20k' if codec == 'h264' else '200k'
    for codec in ('h264',) if FEW else ('h264', 'hevc', 'mpeg2', 'mpeg4'):
        yield f'{codec} with 2 B frames', enc.b_frames, clips, codec, 2
        yield f'{codec} with a GOP of 13 and B frames', enc.gop, clips, \
            codec, 2
    yield 'h264, headers only once', enc.prepend, clips, 'h264', False
    yield 'h264, quantizers from 25 to 30', enc.qp, clips, 'h264', 25, 30
    yield 'h264 of 25 frames a second', enc.other_rate, clips, 'h264'
    for codec in ('h264',) if FEW else enc.CODECS:
        yield f'{codec} of 25 frames a second as natively', real_rate, clips, \
            codec
    if FEW:
        return
    for control, value in ('profile', 'main'), ('level', '5'), \
            ('b-frames', '2'), ('min-qp', '40'), ('max-qp', '10'), \
            ('bitrate-mode', 'vbr'), ('force-key', '1'):
        yield f'h264, another {control} from a frame on', enc.change, clips, \
            'h264', control, value
    for codec in enc.CODECS:
        yield f'{codec} at another bitrate in the second half', \
            enc.change_rate, clips, codec
        yield f'{codec}, CBR', enc.bitrate, clips, codec, \
            enc.CODECS[codec][1] * 3 // 2, 'cbr'


def format_cases(clips):
    for codec in ('hevc',) if FEW else ('h264', 'hevc', 'vp9'):
        yield f'{codec} of 10 bits', enc.deep, clips, codec
    for name in ('yu12',) if FEW else ('yu12', 'xrgb'):
        yield f'h264 from {name}', enc.raw, clips, 'h264', name
    yield 'h264 of an odd size', enc.odd, clips, 'h264'
    yield 'h264 in .mp4', enc.container, clips, 'h264', 'mp4', \
        '--b-frames', '2'
    yield 'h264, 4 streams at once', enc.streams, clips, 'h264', 4
    yield 'h264, 4 streams at once, mmap', enc.streams, clips, 'h264', 4, *MMAP
    if not FEW:
        yield 'vp8, 16 streams at once', enc.streams, clips, 'vp8', 16, \
            '--scatter'
        yield 'h264 with threads=3', enc.threads, clips, 'h264', 'threads=3'


def refused_cases(clips):
    args = ['encode', clips.short, *MEDIA, '-c']
    yield 'vp8 has no B frames', enc.refused, \
        args + ['vp8', '--b-frames', '1'], "no control 'b-frames'"
    yield 'vp8 has no 10 bits', enc.refused, args + ['vp8', '--raw', 'p010'], \
        'cannot encode P010'
    yield 'a profile that the device has not', enc.refused, \
        args + ['h264', '--profile', 'extended'], 'refuses the profile 3'
    yield 'no frame to change something at', enc.refused, \
        args + ['h264', '--set', '60:bitrate=1M'], 'never came'
    for name, options in ('mmio', ['--transport', 'mmio']), ('uapi', UAPI):
        yield f'no MMAP buffers, {name}', enc.refused, \
            args + ['h264', *MMAP, *options], 'only virtio-media on PCI'


def main():
    tap = Tap()
    clips = enc.Clips()
    if not all(vars(clips).values()):
        tap.skip('encoding', 'this ffmpeg cannot make the clips')
        tap.exit()
    enc.OBJECT = MEDIA
    cases = [*same_cases(clips), *basic_cases(clips), *control_cases(clips),
             *format_cases(clips), *failing_cases(), *refused_cases(clips)]
    tap.run_all((name, enc.no_exception(fn), *args)
                for name, fn, *args in cases)
    tap.exit()


if __name__ == '__main__':
    main()
