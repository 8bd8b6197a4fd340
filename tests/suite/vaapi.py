#!/usr/bin/python3
# video-codec-vaapi: with the software driver of tests/va-driver, no GPU needed.
#
# The driver imitates what those of GPUs do and fail to do, see VVSW_OPTIONS in
# tests/va-driver/options.c.  VAAPI_NODE names a render node to run what needs
# no such imitation on a real GPU.
#
# What the cases do is in vaapi_*.py, which are no suites of their own.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os

import clips as made
import encode as enc
from common import QUICK, SANITIZE, TMP, Tap, clips, ffmpeg
from vaapi_bench import bench_cases, make_bench_clip
from vaapi_common import DRIVER, ENCODE_PATHS, OBJECT, PATHS, REAL, decode, \
    environment, stream
from vaapi_decode import decoder_cases, has_decoder, malformed_cases, \
    vector_cases
from vaapi_convert import convert_cases, convert_encode_cases
from vaapi_encode import encode_path_cases, encode_short, encoder_cases, \
    encoder_imitation_cases, encoder_names
from vaapi_imitations import imitation_cases
from vaapi_start import default_codec, default_software, no_render_node, \
    not_linked, without_module

CLIPS = [clip for clip in made.CLIPS if clip[0] != 'mpeg4']


def make_clips():
    paths = {name: made.make(name, container, options)
             for name, container, options in CLIPS}
    paths['mpeg4'] = made.make('mpeg4', 'mp4', ['-c:v', 'mpeg4', '-bf', '2'])
    # Frames of more pages than /dev/udmabuf takes
    paths['large'] = made.make('gpu-large', 'mp4', [
        '-c:v', 'libx264', '-preset', 'ultrafast', '-frames:v', '5'],
        size='2048x1400')
    for name, size in ('pages', '1280x720'), ('uneven', '336x208'):
        paths[name] = made.make(f'gpu-{name}', 'mp4', [
            '-c:v', 'libx264', '-frames:v', '5'], size=size)
    for name, n, gop, b in (('plain', 40, 250, 0), ('keys', 40, 10, 0),
                            ('keys-b', 40, 10, 3), ('long', 150, 250, 0)):
        path = os.path.join(TMP, f'gpu-{name}.mp4')
        result = ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25',
                        '-frames:v', n, '-pix_fmt', 'yuv420p', '-c:v',
                        'libx264', '-bf', b, '-g', gop, path)
        paths[name] = path if result.returncode == 0 else None
    if not QUICK and not SANITIZE:
        paths['bench'] = make_bench_clip()
    return paths


def leave_out(tap, ways, what, code):
    """Take from the ways those that this GPU's driver has not.

    code: does something, on a way if it is given one; returns vvclient's answer
    """
    chosen = code()
    for way in [*ways]:
        answer = code(f'x-path={way}')
        reason = None if answer['ok'] else answer['errors'][0]
        # The one that is the fastest where it works
        if way == 'import' and not reason and \
                not stream(chosen)['engine'].endswith('path import'):
            reason = f'{stream(chosen)["engine"]} is chosen'
        if reason:
            ways.remove(way)
            tap.skip(f'{what}, {way}', reason.splitlines()[0])


def checked(tap, cases):
    tap.run_all((name, enc.no_exception(fn), *args)
                for name, fn, *args in cases)


def main():
    tap = Tap()
    if not REAL and not (DRIVER / 'vvsw_drv_video.so').exists():
        tap.result('the software driver', f'{DRIVER} has none')
        tap.exit()
    paths = make_clips()
    if not all(paths.values()):
        tap.skip('VA-API', 'this ffmpeg cannot make the clips')
        tap.exit()
    usable = {}
    for name, *_ in CLIPS:
        if has_decoder(name):
            usable[name] = paths[name]
        elif REAL:
            tap.skip(name, 'the driver does not decode it')
        else:
            tap.result(name, 'the software driver does not decode it')
    if REAL and usable:
        first = next(iter(usable.values()))
        leave_out(tap, PATHS, 'decode', lambda *props: decode(first, *props))
    cases = [*decoder_cases(usable)]
    if not REAL:
        cases += [*imitation_cases(paths), *convert_cases(paths),
                  ('default codec', default_codec, paths['h264']),
                  ('default codec without a GPU', default_software,
                   paths['h264']),
                  ('default codec, no GPU that works', default_software,
                   paths['h264'], 'random', None),
                  ('no render node', no_render_node),
                  ('no module', without_module, paths['h264']),
                  ('no libva but in the module', not_linked)]
    if 'bench' in paths:
        cases += bench_cases(paths['bench'])
    checked(tap, cases)
    checked(tap, vector_cases())
    checked(tap, malformed_cases(paths['plain']))
    if not clips('malformed.tsv'):
        tap.skip('malformed', 'there is no folder of test clips')

    enc.OBJECT = ['--codec', OBJECT]
    names = encoder_names()
    coded = enc.Clips()
    os.environ.update(environment())
    coded.clip = paths['h264']
    if names and all(vars(coded).values()):
        if REAL:
            leave_out(tap, ENCODE_PATHS, 'encode', lambda *props:
                      encode_short(coded, names[0], *props))
        checked(tap, encoder_cases(coded, names, paths))
        checked(tap, encode_path_cases(coded, names))
        if not REAL:
            checked(tap, convert_encode_cases(coded, names[0]))
            checked(tap, encoder_imitation_cases(coded, names))
    else:
        tap.skip('encoders', 'the driver has none')
    tap.exit()


if __name__ == '__main__':
    main()
