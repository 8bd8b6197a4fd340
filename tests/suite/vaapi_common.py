# What the cases of vaapi.py share: the driver, vvclient with it, and what to
# make of an answer.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re
from pathlib import Path

import clips as made
from common import SANITIZE, TMP, VVCLIENT, run

NODE = os.environ.get('VAAPI_NODE', '/dev/null')
REAL = NODE != '/dev/null'
DRIVER = Path(VVCLIENT).resolve().parents[1] / 'build/tools/tests/va-driver'
OBJECT = f'video-codec-vaapi,rendernode={NODE}'
PATHS = ['import', 'derive', 'getimage']
ENCODE_PATHS = [*PATHS]


def environment(options=''):
    """For a QEMU with the software driver in place of a GPU's."""
    env = dict(os.environ)
    if not REAL:
        env.update(
            LIBVA_DRIVER_NAME='vvsw', LIBVA_DRIVERS_PATH=str(DRIVER),
            LD_PRELOAD=str(DRIVER / 'libvvsw-preload.so'),
            VVSW_OPTIONS=options)
    if SANITIZE:
        env['ASAN_OPTIONS'] = 'verify_asan_link_order=0:' + \
            env.get('ASAN_OPTIONS', '')
    return env


def vvclient(*args, options='', **env):
    return run(VVCLIENT, *args, env={**environment(options), **env})


def said(result):
    return json.loads(result.stdout)


def some(ways):
    """One of them, the same on all machines if it can be."""
    return [way for way in ways if way != 'import'][:1] or ways


def decode(path, *props, options='', extra=(), env=None, md5=True):
    """Returns: what vvclient says, whatever became of it."""
    result = vvclient('decode', path, *(['--md5'] if md5 else []), '--json',
                      '--codec', ','.join([OBJECT, *props]), *extra,
                      options=options, **(env or {}))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def stream(answer):
    """What QEMU has said of the first stream."""
    return answer['device']['streams'][0]


def wrong(answer, md5, engine):
    """What is not as it should be, or None."""
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    if not re.fullmatch(engine, stream(answer)['engine']):
        return f'engine is {stream(answer)["engine"]}, not {engine}'
    return None if answer['md5'] == md5 else \
        f'MD5 is {answer["md5"]}, expected {md5}'


def engine(way):
    return rf'VA-API \w+ \(.*\), path {way}'


def through(path, way, md5=None, options='', extra=()):
    """A clip, all of it the way that was said."""
    answer = decode(path, f'x-path={way}', options=options, extra=extra)
    problem = wrong(answer, md5 or made.ffmpeg_md5(path), engine(way))
    if not problem:
        copied = stream(answer)['pixels-copied']
        if (way == 'import') != (copied == 0):
            problem = f'{copied} bytes copied'
        elif 'mmap' in extra and answer.get('memory') != 'mmap':
            problem = f'buffers are {answer.get("memory")} ones'
    return problem


def auto(path, way, options='', props=(), extra=()):
    """The way that is chosen."""
    return wrong(decode(path, *props, options=options, extra=extra),
                 made.ffmpeg_md5(path), engine(way))


def refused(path, text, *props, options='', extra=()):
    answer = decode(path, *props, options=options, extra=extra)
    if answer['ok'] or text not in '\n'.join(answer['errors']):
        return f'expected to fail with "{text}":\n{answer}'
    return None


def left_out(reason):
    return f'SKIP {reason}'


def caps(options, *props):
    """Coded formats, and the raw formats that they go with, in which sizes;
    controls of encoders and their values."""
    answer = said(vvclient('caps', '--json', '--codec',
                           ','.join([OBJECT, *props]), options=options))
    return {way: {coded['format']: coded[way] for coded in answer['coded']
                  if way in coded}
            for way in ('decodes_to', 'encodes_from', 'controls')}


def in_turn(*args):
    """Nothing is kept: neither thread_count nor async_depth adds a delay."""
    result = vvclient(*args, '--in-turn', '--codec', OBJECT)
    return result.stderr if result.returncode else None


def qemu_with(name, arguments):
    """Environment for a QEMU that gets these, too."""
    wrapper = os.path.join(TMP, name, 'qemu-system-x86_64')
    os.makedirs(os.path.dirname(wrapper), exist_ok=True)
    with open(wrapper, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\nexec {os.environ["QTEST_QEMU_BINARY"]} "$@" '
                f'{arguments}\n')
    os.chmod(wrapper, 0o755)
    return {'QTEST_QEMU_BINARY': wrapper}


def imitate(options, fn, *args):
    return fn(*args, options=options)
