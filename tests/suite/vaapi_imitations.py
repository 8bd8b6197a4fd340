# Decoding with what the software driver imitates: GPUs that have less, do it
# in another way, or fail.  And what memory coding takes.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re

import clips as made
from common import TMP, ffmpeg
from vaapi_caps import same, same_caps, with_both, with_size, \
    with_software, without, without_deep, without_encoder, \
    without_encoder_profile, without_encoders, without_mode, without_rates
from vaapi_common import OBJECT, PATHS, auto, decode, engine, imitate, \
    in_turn, qemu_with, refused, said, stream, through, vvclient, wrong
from vaapi_decode import ivf_frames, write_ivf
from vaapi_failures import broken_stream, device_loss, failed_all, \
    failed_frames, failed_once, lost_stream, lost_until_key, not_reopened, \
    one_of_two
from vaapi_start import no_driver, no_permission, not_opened

MIB = 1 << 20


def software(path, why, *props, options=''):
    return wrong(decode(path, 'fallback=software', *props, options=options),
                 made.ffmpeg_md5(path), why)


def one_copied(path, options, *extra):
    """A buffer that the driver refuses is copied, but not the next ones."""
    answer = decode(path, options=options, extra=extra)
    problem = wrong(answer, made.ffmpeg_md5(path), engine('import'))
    if problem:
        return problem
    copied = stream(answer)['pixels-copied'] * answer['frames']
    everything = stream(decode(path, 'x-path=derive'))['pixels-copied']
    return None if copied == everything else \
        f'{copied} bytes copied, all would be {everything}'


def too_large(path):
    """The size that the driver tells is the limit: 322x182 in blocks."""
    problem = auto(path, r'\w+', 'max-size=336x192')
    return problem or refused(path, 'limit', options='max-size=320x180')


def deep_too_large(path, deep):
    """It goes for frames of 10 bits only, and not where software decodes."""
    options = 'max-size-of=HEVCMain10:64x64'
    problem = auto(path, r'\w+', options)
    problem = problem or refused(deep, 'limit of 64x64', options=options)
    return problem or software(deep, "libavcodec hevc, as the GPU can't",
                               options=options)


def without_key(good, path):
    """AV1 that refers to frames that are not there: QEMU lives."""
    ivf = os.path.join(TMP, 'with-key.ivf')
    if ffmpeg('-i', path, '-c', 'copy', ivf).returncode:
        return 'SKIP this ffmpeg cannot make such a clip'
    header, frames = ivf_frames(ivf)
    # It begins with a temporal delimiter and a sequence header, of short sizes
    if frames[0][:3] != b'\x12\x00\x0a' or frames[1][:2] != b'\x12\x00':
        return f'begins with {frames[0][:16]}'
    sequence = frames[0][:4 + frames[0][3]]
    key = frames[0][len(sequence):]
    # The key frame is of layer 1, while only layer 0 is decoded
    layers = bytearray(sequence)
    layers[5] |= 1
    layers[6] = 1
    hidden = bytes(layers) + bytes([key[0] | 4, 0x20]) + key[1:]
    # A redundant frame header that shows frame 0, alone and behind a key frame
    again = bytes([7 << 3 | 2, 1, 0x88])
    # A key frame that is not shown, whatever the rest of its header says then,
    # and headers that show what is in some place, in its unit or the next one
    unseen = bytearray(key)
    unseen[1 + next(i for i, byte in enumerate(key[1:], 1)
                    if not byte & 0x80)] &= ~0x10
    unseen = sequence + bytes(unseen)
    shows = [bytes([3 << 3 | 2, 1, 0x88 | i << 4]) for i in range(8)]
    bad = [write_ivf(f'without-key-{name}.ivf', header, begin + frames[2:])
           for name, begin in (
               ('first', [sequence + frames[1][2:]]),
               ('headers', [sequence, frames[1]]),
               ('layers', [hidden, frames[1]]),
               ('joined', [hidden + frames[1][2:]]),
               ('redundant', [sequence + again]),
               ('behind', [frames[0] + again]),
               ('hidden', [unseen]),
               ('shown', [unseen + show for show in shows]),
               ('shown-later', [part for show in shows
                                for part in (unseen, show)]))]
    result = vvclient('survive', good, *bad, '--codec', OBJECT)
    return None if result.returncode == 0 and \
        f'{len(bad)} of them with errors' in result.stdout else \
        result.stdout + result.stderr


def beginning(path):
    """Of an AV1 clip: IVF header, sequence header, key frame, other units.

    None if it can't be had.
    """
    ivf = f'{path}.ivf'
    if ffmpeg('-i', path, '-c', 'copy', ivf).returncode:
        return None
    header, units = ivf_frames(ivf)
    # Behind the temporal delimiter, of a short size
    if units[0][:3] != b'\x12\x00\x0a':
        return None
    end = 4 + units[0][3]
    return header, units[0][2:end], units[0][end:], units[1:]


def other_headers(good, path, deep):
    """AV1 whose surfaces would be those of another sequence header."""
    large = made.make('av1-large', 'mkv', [
        '-c:v', 'libaom-av1', '-cpu-used', '8', '-usage', 'realtime'],
        size='640x360')
    parts = [one and beginning(one) for one in (path, large, deep)]
    if not all(parts):
        return 'SKIP this ffmpeg cannot make such clips'
    ivf, small, small_key, _ = parts[0]
    bad = []
    for name, (_, sequence, key, rest) in zip(('large', 'deep'), parts[1:]):
        delimiter = b'\x12\x00'
        begin = delimiter + small + small_key
        padded = b'\x0a\xf0\xa2\x04' + sequence[2:].ljust(70000, b'\0')
        # Of an unregistered type
        metadata = b'\x2a\xf0\xa2\x04\x1f'.ljust(70004, b'\x80')
        for how, units in (
                ('two', [delimiter + small + sequence + key]),
                ('padded', [begin, delimiter + padded + key]),
                ('padded-first', [delimiter + padded + small_key,
                                  delimiter + sequence + key]),
                ('metadata', [begin, delimiter + metadata + sequence + key])):
            bad.append(write_ivf(f'header-{name}-{how}.ivf', ivf,
                                 units + rest))
    result = vvclient('survive', good, *bad, '--codec', OBJECT)
    return None if result.returncode == 0 and \
        f'{len(bad)} of them with errors' in result.stdout else \
        result.stdout + result.stderr


def scattered_refused(path):
    answer = decode(path, 'x-path=import', extra=['--scatter'])
    text = '\n'.join(answer['errors'])
    return None if "can't write this frame" in text else f'not told: {answer}'


def reset(path, way, options):
    """Nothing comes to guest memory once the device is reset.

    QEMU does not wait for long, 60 ms, and a busy machine may be late: so try
    again.  Only a driver that thinks for longer about what to do can be late.
    """
    late = 'end-process-ms' in options
    for _ in range(3):
        result = vvclient('reset', path, '--after', '3', '--codec',
                          f'{OBJECT},x-path={way}', options=options)
        print(f'# {way}: {result.stdout}{result.stderr}'.strip(), flush=True)
        took = re.search(r' took ([\d.]+) s', result.stdout)
        if took and float(took[1]) < 0.4 and (
                result.returncode == 0 or
                late and 'changed after the reset' in result.stderr):
            return None
    return result.stdout + result.stderr


#
# Memory
#

def device_with(name, option):
    """A QEMU whose device has one property more."""
    return qemu_with(name, f'-global virtio-video-device.{option}')


def code_large(path, direction, way, options='', env=None):
    """A clip of few large frames: surfaces are most of what is in use."""
    coder = ['decode'] if direction == 'decode' else \
        ['encode', '-c', 'h264', '--raw', 'nv12']
    result = vvclient(*coder, path, '--json', '--codec',
                      f'{OBJECT},x-path={way}', options=options, **(env or {}))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def memory(path, direction, way):
    """What the driver holds is in the device's memory, and not much more."""
    stats = os.path.join(TMP, f'memory-{direction}-{way}')
    answer = code_large(path, direction, way, f'stats-often,stats={stats}')
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    with open(stats, encoding='ascii') as f:
        peak = max(map(int, re.findall(r'peak-bytes=(\d+)', f.read())))
    used = answer['device']['memory']
    print(f'# {direction}, {way}: {used} bytes, the driver has {peak}',
          flush=True)
    return None if peak <= used <= peak * 2 else \
        f'{used} bytes are in use, the driver has {peak}'


def memory_limit(path, direction, way):
    """One byte less than what a stream takes is not enough."""
    answer = code_large(path, direction, way)
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    used = answer['device']['memory']
    name = f'limit-{direction}-{way}'
    answer = code_large(path, direction, way, env=device_with(
        f'{name}-less', f'max-mem={used - 1}'))
    if answer['ok'] or 'max-mem' not in '\n'.join(answer['errors']):
        return f'{used - 1} bytes are enough: {answer}'
    # Coded data has gone when QEMU is asked
    answer = code_large(path, direction, way, env=device_with(
        f'{name}-more', f'max-mem={used + MIB}'))
    return None if answer['ok'] else '\n'.join(answer['errors'])


#
# All of it
#

def imitation_cases(paths):
    h264 = paths['h264']
    yield 'no import', auto, h264, '(derive|getimage)', 'no-import'
    yield 'no import, forced', imitate, 'no-import', refused, h264, \
        'and x-path=import', 'x-path=import'
    yield 'nothing is decoded into imported memory', auto, h264, 'import', \
        'no-import-decode'
    yield 'nor into linear surfaces', auto, h264, 'import', 'no-linear-decode'
    yield 'an import that writes something else', auto, h264, \
        '(derive|getimage)', 'import-garbled'
    yield 'an import that writes something else, DMA-BUF', auto, h264, \
        '(derive|getimage)', 'import-garbled,udmabuf'
    for name in 'h264', 'hevc-10', 'vp8':
        yield f'{name} in a DMA-BUF', through, paths[name], 'import', None, \
            'udmabuf'
        yield f'{name} in a DMA-BUF of scattered pages', through, paths[name], \
            'import', None, 'udmabuf', ['--scatter']
    yield 'no DMA-BUF of this RAM', through, h264, 'import', None, 'udmabuf', \
        ['--unsealed']
    yield 'no DMA-BUF of this RAM, scattered', auto, h264, \
        '(derive|getimage)', 'udmabuf', (), ['--unsealed', '--scatter']
    for options in 'fail-import=20', 'fail-import=20,udmabuf':
        yield f'a buffer that is refused, {options}', one_copied, h264, \
            options, '--scatter' if 'udmabuf' in options else '--json'
    yield 'scattered pages without udmabuf, forced', scattered_refused, h264
    yield 'too many pages for one DMA-BUF', auto, paths['large'], \
        '(derive|getimage)', 'udmabuf', (), ['--scatter']
    yield 'no derive', auto, h264, 'getimage', 'no-derive,no-import'
    yield 'tiled surfaces', auto, h264, 'getimage', 'derive-tiled,no-import'
    # They are the faster ones
    garbled = 'derive-garbled,get-image-ms=2'
    yield 'derived images of something else', auto, h264, 'getimage', \
        f'{garbled},no-import'
    yield 'no derive, forced', failed_all, h264, 'x-path=derive', 'no-derive'
    # Lines that can't be read past the cache, too
    for pitch in 56, 72, 256, 1024:
        yield f'pitch {pitch}', through, h264, 'derive', None, \
            f'derive-pitch={pitch}'
    yield 'caps without VP9', same_caps, \
        'no-profile=VP9Profile0,no-profile=VP9Profile2', without('vp9')
    yield 'caps without VP9, which has entry points', same_caps, \
        'no-profile=VP9Profile0,no-profile=VP9Profile2,all-entrypoints', \
        without('vp9')
    yield 'caps without AV1', same_caps, 'no-profile=AV1Profile0', \
        without('av1')
    yield 'caps without 10 bits', same_caps, 'no-profile=HEVCMain10', \
        without_deep('hevc')
    yield 'caps without encoders', same_caps, 'no-encode', without_encoders
    yield 'caps without encoders of a profile', same_caps, \
        'no-encode-profile=H264High', without_encoder_profile('h264', 'high')
    yield 'caps without encoders of 10 bits', same_caps, \
        'no-encode-profile=HEVCMain10', without_deep('hevc', 'encodes_from')
    yield 'caps without an encoder', same_caps, ','.join(
        f'no-encode-profile=H264{name}'
        for name in ('ConstrainedBaseline', 'Main', 'High')), \
        without_encoder('h264')
    yield 'caps without CBR', same_caps, 'no-cbr', without_mode('cbr')
    yield 'caps without VBR', same_caps, 'no-vbr', without_mode('vbr')
    yield 'caps with CQP only', same_caps, 'cqp-only', without_rates
    yield 'caps with low power encoders', same_caps, 'low-power', same
    yield 'caps of small sizes', same_caps, 'max-size=336x192', \
        with_size(336, 192)
    yield 'caps of two codecs of different sizes', same_caps, \
        'max-size-of=VP8Version0_3:4096x2304', with_size(4096, 2304, 'vp8')
    # Encoders have one size for all profiles
    yield 'caps of small sizes of 10 bits', same_caps, \
        'max-size-of=HEVCMain10:4096x2304', with_both(
            with_size(4096, 2304, 'hevc', ways=['encodes_from']),
            with_size(4096, 2304, 'hevc', 'P010'))
    yield 'caps of smallest sizes', same_caps, 'min-size=64x48', with_both(
        with_size(64, 48, limit='min', ways=['decodes_to']),
        with_size(64, 64, limit='min', ways=['encodes_from']))
    yield 'caps of smallest sizes, fallback', same_caps, 'min-size=64x48', \
        with_both(with_size(64, 64, limit='min', ways=['encodes_from']),
                  with_software), 'fallback=software'
    yield 'caps with fallback', same_caps, '', with_software, \
        'fallback=software'
    yield 'h264 without delay', in_turn, 'decode', paths['plain']
    yield 'the driver has a limit', too_large, h264
    yield 'the driver has a limit for 10 bits', deep_too_large, \
        paths['hevc'], paths['hevc-10']
    yield 'a frame is too small', imitate, 'min-size=512x512', refused, h264, \
        'does not decode profile'
    yield 'a frame is too small, fallback', imitate, 'min-size=512x512', \
        software, h264, "libavcodec h264, as the GPU can't"
    yield 'a profile is missing', imitate, 'no-profile=HEVCMain10', refused, \
        paths['hevc-10'], 'does not decode profile'
    yield 'a profile is missing, fallback', imitate, \
        'no-profile=HEVCMain10', software, paths['hevc-10'], \
        "libavcodec hevc, as the GPU can't"
    yield '10 bits of av1 are missing', imitate, 'no-deep', refused, \
        paths['av1-10'], 'does not decode profile'
    yield '10 bits of av1 are missing, fallback', imitate, 'no-deep', \
        software, paths['av1-10'], "libavcodec libdav1d, as the GPU can't"
    yield 'a format is missing', imitate, 'no-profile=VP9Profile0', refused, \
        paths['vp9'], 'cannot decode'
    yield 'a format is missing, fallback', imitate, 'no-profile=VP9Profile0', \
        software, paths['vp9'], 'libavcodec vp9'
    yield 'no fallback unless asked for', refused, paths['mpeg4'], \
        'cannot decode'
    yield 'fallback', software, paths['mpeg4'], 'libavcodec mpeg4'
    for name in 'keys', 'keys-b':
        for number in 12, 13, 15, 20, 21:
            yield f'picture {number} is refused, {name}', failed_frames, \
                paths[name], f'fail-end-picture={number}', number - 1
    for number in 1, 20:
        yield f'picture {number} of av1 is refused', lost_until_key, \
            paths['av1'], number
    yield 'av1 without a key frame', without_key, h264, paths['av1']
    yield 'av1 with other headers', other_headers, h264, paths['av1'], \
        paths['av1-10']
    # VP9's drain leaves all as it is, others' may forget all
    yield 'a refused picture comes again, drain', failed_once, paths['vp9'], \
        'fail-end-picture=20', '--again', 'drain'
    for name in 'plain', 'vp9':
        yield f'a refused picture comes again, seek, {name}', failed_once, \
            paths[name], 'fail-end-picture=1', '--again', 'seek', '--limit', 1
    for again in 'seek', 'drain':
        yield f'a refused picture comes again, {again}, keys-b', failed_once, \
            paths['keys-b'], 'fail-end-picture=2', '--again', again, \
            '--limit', 2
    for way in PATHS:
        # With import, each second one is that of the GPU's copy
        yield f'a picture that fails, {way}', failed_frames, paths['keys'], \
            f'fail-sync={29 if way == "import" else 15}', 14, f'x-path={way}'
    yield 'a picture of one of two streams is refused', one_of_two, \
        paths['keys'], 'fail-end-picture=20'
    yield 'a picture of one of two streams fails', one_of_two, \
        paths['keys'], 'fail-sync=30', 'x-path=derive'
    for way in PATHS:
        yield f'a slow decoder is waited for, {way}', through, \
            paths['plain'], way, None, 'decode-ms=10'
    for way in PATHS:
        # What takes time is the copy that the GPU makes, or the picture
        slow = 'process-ms=20' if way == 'import' else 'decode-ms=200'
        yield f'a reset while the GPU is busy, {way}', imitate, slow, reset, \
            paths['plain'], way
    yield 'a reset while the GPU is busy, DMA-BUF', imitate, \
        'process-ms=20,udmabuf', reset, paths['plain'], 'import'
    yield 'a reset while the driver is asked', imitate, \
        'end-process-ms=1000', reset, paths['plain'], 'import'
    # It does nothing, or has all but pictures
    for how in 'lose-device', 'fail-all-after':
        yield f'the GPU is lost, {how}', lost_stream, h264, f'{how}=20'
        yield f'the GPU comes back, {how}', device_loss, h264, \
            paths['long'], f'{how}=100'
    # Whoever closes it waits for that, but nobody else
    yield 'the GPU is lost and hangs', device_loss, h264, paths['long'], \
        'lose-device=100,terminate-ms=90000'
    # Nothing can be decoded any more, but that is not the GPU's fault
    yield 'all that refers to a refused picture', broken_stream, paths['vp9']
    yield 'the GPU does not come back', not_reopened, h264, paths['long']
    for way in PATHS:
        for direction in 'decode', 'encode':
            yield f'memory, {direction}, {way}', memory, paths['large'], \
                direction, way
            if way != 'derive':
                yield f'max-mem, {direction}, {way}', memory_limit, \
                    paths['large'], direction, way
    yield 'no such node', not_opened, '/dev/dri/renderD999', \
        ['/dev/dri/renderD999', 'No such file', 'video-codec-libav']
    yield 'no such driver', no_driver
    yield 'no permission', no_permission
