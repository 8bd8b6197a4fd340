# Raw formats that the GPU does not decode to or encode from, and drivers whose
# video processors get that wrong, or want memory to be aligned.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
import re

import clips as made
import encode as enc
from common import TMP, VVCLIENT, run
from vaapi_common import PATHS, auto, decode, engine, refused, stream, through
from vaapi_encode import ENCODE_PATHS, ENCODERS, encode_refused, encode_way

COPIED = '(derive|getimage)'

# Of clips that say so, and how ffmpeg makes them
COLOURS = {
    'bt601': ('smpte170m', 'tv'),
    'bt601 of full range': ('smpte170m', 'pc'),
    'bt709': ('bt709', 'tv'),
    'bt709 of full range': ('bt709', 'pc'),
}


def make_colours(colours):
    """Path of a clip, or None."""
    matrix, extent = COLOURS[colours]
    return made.make(f'colours-{matrix}-{extent}', 'mp4', [
        '-vf', f'scale=out_color_matrix={matrix}:out_range={extent},'
        'format=yuv420p', '-colorspace', matrix, '-color_range', extent,
        '-c:v', 'libx264', '-qp', '10', '-frames:v', '10'])


def rgb(path, way, options='', forced=True):
    """RGB as it should be, but for the chroma between two of its samples."""
    name = f'{os.path.basename(path)}-{way}-{options}'
    outs = [os.path.join(TMP, f'{name}-{i}.y4m') for i in range(2)]
    run(VVCLIENT, 'decode', path, '--raw', 'xrgb', '-o', outs[0], '--codec',
        'video-codec-libav')
    answer = decode(path, *([f'x-path={way}'] if forced else []), md5=False,
                    options=options, extra=['--raw', 'xrgb', '-o', outs[1]])
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    info = stream(answer)
    if not re.fullmatch(engine(way), info['engine']) or \
            (way == 'import') != (info['pixels-copied'] == 0):
        return f'{info["engine"]}, {info["pixels-copied"]} bytes copied'
    result = run('ffmpeg', '-v', 'info', '-nostdin', '-i', outs[0], '-i',
                 outs[1], '-lavfi', '[0][1]psnr', '-f', 'null', '-')
    found = re.search(r'PSNR y:([\d.]+|inf) u:([\d.]+|inf) v:([\d.]+|inf)',
                      result.stderr)
    # With another matrix or range luma would have less than 35
    return None if found and float(found[1]) > 40 and \
        min(float(found[2]), float(found[3])) > 30 else \
        f'{found and found[0]}\n{result.stderr}'


def not_forced(path):
    return refused(path, 'and x-path=import', 'x-path=import',
                   options='no-convert', extra=['--raw', 'yu12'])


def convert_cases(paths):
    """Decoding."""
    h264 = paths['h264']
    colours = {name: make_colours(name) for name in COLOURS}
    for way in PATHS:
        yield f'h264 as yu12, {way}', through, h264, way, None, '', \
            ['--raw', 'yu12']
        for name, path in colours.items():
            yield f'{name} as xrgb, {way}', rgb, path, way
    yield 'h264 as yu12 in a DMA-BUF of scattered pages', through, h264, \
        'import', None, 'udmabuf', ['--raw', 'yu12', '--scatter']
    yield 'a video processor that does not convert', auto, h264, 'import', \
        'no-convert'
    yield 'a video processor that does not convert, yu12', auto, h264, \
        COPIED, 'no-convert', (), ['--raw', 'yu12']
    yield 'a video processor that does not convert, forced', not_forced, h264
    for name, path in colours.items():
        yield f'a video processor that knows bt601 only, {name}', rgb, path, \
            'import' if name == 'bt601' else COPIED, 'convert-601', False
    # Lines of 384 bytes, half of that in the chroma of yu12, and 19.5 pages of
    # luma; those of a frame of 1280x720 are 225
    clip = paths['uneven']
    for options, way in (
            ('import-pitch=64', 'import'), ('import-pitch=256', COPIED),
            ('import-pitch=512', COPIED), ('import-offset=16', 'import'),
            ('import-offset=256', 'import'), ('import-offset=4096', COPIED),
            ('import-offset=8192', COPIED)):
        for where in '', ',udmabuf':
            yield f'{options}{where}', auto, clip, way, options + where
    for pitch, way in (64, 'import'), (128, COPIED):
        yield f'import-pitch={pitch}, yu12', auto, clip, way, \
            f'import-pitch={pitch}', (), ['--raw', 'yu12']
    yield 'import-offset=4096, a frame of whole pages', auto, \
        paths['pages'], 'import', 'import-offset=4096'


def as_good(clip, codec, extension, way):
    """RGB that is as good, or nearly, as what the CPU has made of it."""
    found = {}
    for each in 'derive', way:
        out = enc.path(f'rgb-{codec}-{each}.{extension}')
        answer = encode_way(clip, codec, each, '--raw', 'xrgb', '-b', '2M',
                            out=out)
        found[each] = answer['psnr']['all']
    enc.check(found[way] > found['derive'] - 1, f'PSNR is {found}')


def same_bytes(clip, codec, extension, raw, way, options=''):
    """What is converted is coded as if it came as NV12."""
    outs = [enc.path(f'convert-{codec}-{raw}-{i}.{extension}')
            for i in range(2)]
    encode_way(clip, codec, 'derive', '--raw', 'nv12', out=outs[0])
    encode_way(clip, codec, way, '--raw', raw, out=outs[1], options=options)
    enc.check(enc.md5(outs[0]) == enc.md5(outs[1]), 'streams differ')


def convert_encode_cases(coded, codec):
    extension = ENCODERS[codec]
    for way in ENCODE_PATHS:
        yield f'encode from yu12, {way}', same_bytes, coded.short, codec, \
            extension, 'yu12', way
    yield 'encode from xrgb, import', as_good, coded.short, codec, extension, \
        'import'
    yield 'encode from yu12, no conversion', same_bytes, coded.short, codec, \
        extension, 'yu12', COPIED, 'no-convert'
    yield 'encode from yu12, no conversion, forced', encode_refused, \
        coded.short, codec, 'no-convert', '--raw', 'yu12'
    for options, way in (('import-pitch=64', 'import'),
                         ('import-pitch=512', COPIED)):
        yield f'encode, {options}', same_bytes, coded.short, codec, \
            extension, 'nv12', way, options
