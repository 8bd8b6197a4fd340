# Decoding with video-codec-vaapi, on any GPU: formats, sizes, ways of the
# pixels, and clips that others made or broke.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
import re
import struct

import clips as made
import encode as enc
import vectors
from common import CODECS, QUICK, SANITIZE, TMP, VVCLIENT, clips, ffmpeg, run
from vaapi_common import OBJECT, PATHS, REAL, auto, caps, decode, engine, \
    environment, in_turn, left_out, qemu_with, some, through, wrong

# Files for one QEMU
BATCH = 16


def as_in_software(path, *props):
    """Of a format whose decoders are not the same to the bit."""
    out = os.path.join(TMP, f'{os.path.basename(path)}-{"-".join(props)}.y4m')
    answer = decode(path, *props, extra=['-o', out])
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    graph = ';'.join(f'[{i}:v]settb=1/25,setpts=N[{i}]' for i in (0, 1))
    result = run('ffmpeg', '-v', 'info', '-nostdin', '-i', out, '-i', path,
                 '-lavfi', f'{graph};[0][1]psnr', '-f', 'null', '-')
    os.unlink(out)
    found = re.search(r'average:([\d.]+|inf) ', result.stderr)
    return None if found and float(found[1]) > 40 else \
        f'PSNR is {found and found[1]}\n{result.stderr}'


def vector(clip, way):
    """As vectors.py, on a GPU."""
    if REAL and clip['codec'] == 'mpeg2':
        return as_in_software(clip['path'], f'x-path={way}')
    refusal = vectors.EXCEPTIONS.get(clip['file'])
    answer = decode(clip['path'], f'x-path={way}')
    text = '\n'.join(answer['errors'])
    if refusal or 'pixel format' in text or 'does not decode profile' in text:
        # of clips that software does not decode either, or no GPU does
        known = refusal or clip['pix_fmt'] not in ('yuv420p', 'yuv420p10le',
                                                   'yuvj420p') or \
            clip['file'] in vectors.TRAILING or \
            clip['profile'] in ('High 10', 'High 10 Intra', 'Rext')
        return None if known else text
    trailing = clip['file'] in vectors.TRAILING and 'breaks off' in text
    if not answer['ok'] and not trailing:
        return text
    if vectors.is_md5(clip, answer['md5']):
        return None
    return f'MD5 is {answer["md5"]}, expected {clip["ffmpeg_md5"]}'


def sandboxed(path, way):
    answer = decode(path, f'x-path={way}', env=qemu_with(
        f'sandboxed-{way}', '-sandbox on,obsolete=deny,elevateprivileges=deny,'
        'spawn=deny,resourcecontrol=deny'))
    return wrong(answer, made.ffmpeg_md5(path), engine(way))


def ivf_frames(path):
    """The header, and the frames."""
    with open(path, 'rb') as f:
        data = f.read()
    frames, at = [], 32
    while at < len(data):
        size, = struct.unpack_from('<I', data, at)
        frames.append(data[at + 12:at + 12 + size])
        at += 12 + size
    return data[:32], frames


def write_ivf(name, header, frames):
    out = os.path.join(TMP, name)
    with open(out, 'wb') as f:
        f.write(header)
        for pts, frame in enumerate(frames):
            f.write(struct.pack('<IQ', len(frame), pts) + frame)
    return out


def join_ivf(name, *parts):
    """One stream of several, as a camera that changes its size sends it."""
    files = [ivf_frames(part) for part in parts]
    return write_ivf(name, files[0][0],
                     [frame for _, frames in files for frame in frames])


def resized(codec, encoder, way):
    """Sizes that libavcodec would not tell the driver of."""
    parts = [made.make(f'{codec}-{w}', 'ivf', encoder, f'{w}x{h}')
             for w, h in ((160, 96), (320, 180), (128, 72))]
    if not all(parts):
        return 'SKIP this ffmpeg cannot make such a clip'
    path = join_ivf(f'resized-{codec}-{way}.ivf', *parts)
    native = run(VVCLIENT, 'native', path, '--md5').stdout.strip()
    answer = decode(path, f'x-path={way}')
    return wrong(answer, native, engine(way))


def scaled(mode, way):
    """AV1 frames of other sizes than that of the sequence header, which
    stays."""
    path = made.make(f'gpu-scaled-{mode}-{way}', 'ivf', [
        '-c:v', 'libsvtav1', '-preset', '12', '-svtav1-params',
        f'resize-mode={mode}:resize-denom=12'], size='320x192')
    sizes = path and {(row['width'], row['height'])
                      for row in enc.probe(path, 'frame=width,height')}
    if not path or len(sizes) == 1:
        return 'SKIP this ffmpeg cannot make such a clip'
    native = run(VVCLIENT, 'native', path, '--md5').stdout.strip()
    return wrong(decode(path, f'x-path={way}'), native, engine(way))


def malformed(good, batch, way):
    result = run(VVCLIENT, 'survive', good, *batch, '--codec',
                 f'{OBJECT},fallback=software,x-path={way}', timeout=1500,
                 env=environment())
    if result.returncode or 'Sanitizer' in result.stderr:
        return '\n'.join(line for line in result.stdout.splitlines()
                         if line.startswith(('not ok', '#'))) + \
            f'\nexit status {result.returncode}\n{result.stderr}'
    return None


def malformed_cases(good):
    broken = [clip['path'] for clip in clips('malformed.tsv')]
    if QUICK:
        broken = broken[::8]
    for at in range(0, len(broken), BATCH):
        for way in some(PATHS) if QUICK else PATHS:
            yield f'malformed from {at + 1} on, {way}', malformed, good, \
                broken[at:at + BATCH], way


def monochrome(pix_fmt):
    """Frames, or the reason; libavcodec up to 7 has it on no GPU."""
    path = made.make(f'gpu-{pix_fmt}', 'mkv',
                     ['-c:v', 'libaom-av1', '-cpu-used', '8', '-pix_fmt',
                      pix_fmt])
    if not path:
        return 'SKIP this ffmpeg cannot make such a clip'
    answer = decode(path)
    text = '\n'.join(answer['errors'])
    if not answer['ok']:
        print(f'# {pix_fmt}: {text}', flush=True)
        return None if f'{pix_fmt} is not supported' in text and \
            not answer['frames'] else f'no reason: {answer}'
    planar = {'gray': 'yuv420p', 'gray10le': 'yuv420p10le'}[pix_fmt]
    result = ffmpeg('-i', path, '-pix_fmt', planar, '-f', 'md5', '-')
    return wrong(answer, result.stdout.strip().removeprefix('MD5='),
                 engine(r'\w+'))


def as_raw(path, raw):
    """Formats that the GPU does not make are converted."""
    depth10 = '-10' in os.path.basename(path)
    if depth10 and raw != 'p010':
        answer = decode(path, extra=['--raw', 'p010'])
    else:
        answer = decode(path, extra=['--raw', raw])
        if raw == 'p010' and not depth10 and not answer['ok'] and \
                'cannot decode' in '\n'.join(answer['errors']):
            return None         # a GPU without 10 bits does not offer it
    return wrong(answer, made.ffmpeg_md5(path), engine(r'\w+'))


def decoder_cases(paths):
    for name, path in paths.items():
        for way in PATHS:
            yield f'{name}, {way}', through, path, way
    for name in list(paths)[:1] if QUICK else paths:
        yield f'{name}, scattered', auto, paths[name], r'\w+', '', (), \
            ['--scatter']
        for raw in 'yu12', 'p010':
            yield f'{name} as {raw}', as_raw, paths[name], raw
    for codec, encoder in (
            ('vp8', ['-c:v', 'libvpx', '-g', '999']),
            ('av1', ['-c:v', 'libaom-av1', '-cpu-used', '8', '-usage',
                     'realtime'])):
        if codec not in paths:
            continue
        for way in some(PATHS) if QUICK else PATHS:
            yield f'{codec} of another size, {way}', resized, codec, \
                encoder, way
    if 'av1' in paths:
        # libsvtav1's: all but key frames are smaller, or at random
        for mode in '1', '2':
            for way in some(PATHS) if QUICK else PATHS:
                yield f'av1 of scaled frames, {mode}, {way}', scaled, mode, way
    if 'mpeg2' in paths:
        yield 'mpeg2 by PSNR', as_in_software, paths['mpeg2']
    if 'vp9' in paths:
        yield 'vp9 without delay', in_turn, 'decode', paths['vp9']
    if 'av1' in paths:
        for pix_fmt in 'gray', 'gray10le':
            yield f'av1 of {pix_fmt}', monochrome, pix_fmt
    for protocol in 'media', 'v4l2-uapi':
        for way in PATHS:
            yield f'h264, {way}, {protocol}', through, paths['h264'], way, \
                None, '', ['--protocol', protocol]
    # Memory of QEMU's, which has an address as the guest's has
    for way in PATHS:
        yield f'h264, {way}, media, mmap', through, paths['h264'], way, None, \
            '', ['--protocol', 'media', '--memory', 'mmap']
    yield '16 streams', through, paths['h264'], some(PATHS)[0], None, '', \
        ['--streams', '16']
    if not SANITIZE:
        for way in PATHS:
            yield f'in a sandbox, {way}', sandboxed, paths['h264'], way


def vector_cases():
    small = QUICK or SANITIZE
    known = caps('')['decodes_to']
    for clip in clips():
        if clip['codec'] not in CODECS:
            yield clip['file'], left_out, f'{clip["codec"]} is no coded ' \
                'format of draft v10'
            continue
        if clip['codec'] not in known:
            yield clip['file'], left_out, 'the driver does not decode it'
            continue
        if small and (int(clip['bytes']) > 60000 or '3840' in clip['sizes']):
            continue
        for way in some(PATHS) if small else PATHS:
            yield f'{clip["file"]}, {way}', vector, clip, way


def has_decoder(name):
    """The driver's, for a clip of that name."""
    codec, _, depth = name.partition('-')
    raws = caps('')['decodes_to'].get(codec)
    return bool(raws) and (depth != '10' or 'P010' in raws)
