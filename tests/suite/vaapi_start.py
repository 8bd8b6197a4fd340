# Which render node video-codec-vaapi takes, what it says when it cannot start,
# and when it is the default.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os
import re
import shutil
from pathlib import Path

from common import TMP, VVCLIENT, new_file, run
from vaapi_common import REAL, engine, environment, said, stream


def qemu(*args, options='', **env):
    return run(os.environ['QTEST_QEMU_BINARY'], '-display', 'none', *args,
               timeout=60, env={**environment(options), **env})


def not_opened(node, texts, **env):
    result = qemu('-machine', 'none', '-object',
                  f'video-codec-vaapi,id=gpu0,rendernode={node}', **env)
    missing = [text for text in texts if text not in result.stderr]
    if result.returncode != 1 or missing:
        return f'exit status {result.returncode}, {missing} not in:\n' \
            f'{result.stderr}'
    return None


def no_permission():
    """Even root may not open a device on a file system without devices."""
    node = os.path.join(TMP, 'forbidden-node')
    Path(node).touch()
    script = 'mount --bind /dev/null "$0" && ' \
        'mount -o remount,bind,nodev "$0" && exec "$@"'
    command = ['unshare', '-rm', 'sh', '-c', script, node]
    if run(*command, 'true').returncode:
        return 'SKIP this machine gives tests no mounts of their own'
    result = run(*command, 'timeout', 60, os.environ['QTEST_QEMU_BINARY'],
                 '-display', 'none', '-machine', 'none', '-object',
                 f'video-codec-vaapi,id=gpu0,rendernode={node}',
                 env=environment())
    missing = [text for text in (node, 'Permission denied', "'render'")
               if text not in result.stderr]
    return f'exit status {result.returncode}, {missing} not in:\n' \
        f'{result.stderr}' if result.returncode != 1 or missing else None


def no_driver():
    return not_opened('/dev/null', [
        '/dev/null', 'nosuch_drv_video.so', 'libva', 'vainfo', 'mesa-va'],
        LIBVA_DRIVER_NAME='nosuch')


def with_nodes(*nodes):
    """A script that runs what it is given in a /dev with these render nodes.

    They are links, or folders if there is nothing to link to.
    """
    name = '-'.join(node or 'none' for node in nodes) or 'nothing'
    script = os.path.join(TMP, f'with-{name}.sh')
    dev = os.path.join(TMP, f'dev-{name}')
    with new_file(script) as out, open(out, 'w', encoding='utf-8') as f:
        # A new /dev for this process only
        f.write('set -e\n'
                f'mkdir -p {dev}\n'
                f'mount -t tmpfs none {dev}\n'
                'for d in null zero urandom random shm; do\n'
                f'  [ -d /dev/$d ] && mkdir {dev}/$d || touch {dev}/$d\n'
                f'  mount --rbind /dev/$d {dev}/$d\n'
                'done\n'
                f'mkdir {dev}/dri\n'
                f'ln -s /proc/self/fd {dev}/fd\n')
        for number, node in enumerate(nodes, 128):
            f.write(f'ln -s ../{node} {dev}/dri/renderD{number}\n' if node
                    else f'mkdir {dev}/dri/renderD{number}\n')
        f.write(f'mount --move {dev} /dev\n'
                'exec "$@"\n')
    return script


NO_NODE = 'SKIP this machine gives tests no /dev of their own'


def only_nodes(*nodes):
    """What comes before a command that is to see these; None: can't be."""
    if not nodes and not any(Path('/dev/dri').glob('renderD*')):
        return []
    command = ['unshare', '-rm', 'sh', with_nodes(*nodes)]
    return None if run(*command, 'true').returncode else command


def qemu_with_nodes(nodes, *args, options=''):
    """What QEMU says of a /dev with these nodes, and which of them gpu0 has."""
    result = run(*only_nodes(*nodes), 'sh', '-c',
                 r'printf "qom-get gpu0 rendernode\nquit\n" | "$@"', 'sh',
                 os.environ['QTEST_QEMU_BINARY'], '-display', 'none', '-S',
                 '-monitor', 'stdio', *args, env=environment(options),
                 timeout=60)
    return result.stdout + result.stderr


def no_encoders():
    """A GPU that only decodes: no software in its place, but it is told of."""
    for option, told in ('', True), (',encoder=off', False):
        text = qemu_with_nodes(['null'], '-device',
                               f'virtio-video-pci{option}',
                               options='no-encode')
        said_so = 'this GPU has no encoders' in text and \
            'fallback=software' in text
        if 'virtio-video: decoding on the GPU' not in text or said_so != told:
            return f'a device{option} says:\n{text}'
    offered = said(run(*only_nodes('null'), VVCLIENT, 'caps', '--json',
                       env=environment('no-encode')))['coded']
    return None if all('decodes_to' in coded and 'encodes_from' not in coded
                       for coded in offered) else f'{offered} are offered'


def first_node():
    """Nodes that are of no use are passed over: the first one that works."""
    device = '-device', 'virtio-video-pci'
    # A folder, a node without a driver, one without codecs, and a good one
    nodes = None, 'random', 'zero', 'null'
    useless = 'no-driver-at=/dev/random,no-codec-at=/dev/zero'
    told = qemu_with_nodes(nodes, *device, options=useless)
    if 'on the GPU of /dev/dri/renderD131 ' not in told:
        return f'not the first that works: {told}'
    for some, props, text in (
            (nodes, '', '"/dev/dri/renderD131"'),
            (nodes[:3], '', "renderD128': Is a directory"),
            (nodes[1:3], '', "can't use render node '/dev/dri/renderD128'"),
            (nodes[2:3], '', "renderD128' (virtio-video software driver) has "
             "no codec of use"),
            # One without codecs will do then, but is not preferred
            (nodes, ',fallback=software', '"/dev/dri/renderD131"'),
            (nodes[:3], ',fallback=software', '"/dev/dri/renderD130"')):
        told = qemu_with_nodes(some, '-machine', 'none', '-object',
                               f'video-codec-vaapi,id=gpu0{props}',
                               options=useless)
        if text not in told:
            return f'{text} is not told of {some}{props}: {told}'
    return None


def no_render_node():
    """An object without rendernode= that finds none."""
    before = only_nodes()
    if before is None:
        return NO_NODE
    result = run(*before, os.environ['QTEST_QEMU_BINARY'], '-display', 'none',
                 '-machine', 'none', '-object', 'video-codec-vaapi,id=gpu0',
                 env=environment(), timeout=60)
    missing = [text for text in (
        'there is no render node of a GPU: no /dev/dri/renderD* here',
        'Without a GPU, video-codec-libav works in software.')
        if text not in result.stderr]
    return f'exit status {result.returncode}, {missing} not in:\n' \
        f'{result.stderr}' if result.returncode != 1 or missing else None


def default_software(path, *nodes):
    """Without codec= where no GPU works: what QEMU says, and what works."""
    before = only_nodes(*nodes)
    if before is None:
        return NO_NODE
    useless = 'no-driver-at=/dev/random'
    told = qemu_with_nodes(nodes, '-device', 'virtio-video-pci',
                           options=useless)
    if 'virtio-video: decoding and encoding in software ' \
            '(video-codec-libav)' not in told:
        return f'QEMU does not tell of software:\n{told}'
    result = run(*before, VVCLIENT, 'decode', path, '--json',
                 env=environment(useless))
    if result.returncode:
        return result.stderr
    found = stream(said(result))['engine']
    return None if found == 'libavcodec h264' else f'engine is {found}'


def default_codec(path):
    """Without codec=, in a /dev that has a render node."""
    node = only_nodes('null')
    if not node:
        return NO_NODE
    result = run(*node, VVCLIENT, 'decode', path, '--json', env=environment())
    if result.returncode:
        return result.stderr
    found = stream(said(result))['engine']
    if not re.fullmatch(engine(r'\w+'), found):
        return f'engine is {found} with a node'
    told = qemu_with_nodes(['null'], '-device', 'virtio-video-pci')
    if 'on the GPU of /dev/dri/renderD128 (video-codec-vaapi)' not in told or \
            'fallback' in told:
        return f'QEMU does not tell of the GPU:\n{told}'
    return None if REAL else no_encoders() or first_node()


def without_module(path):
    """As where the package with the module is not installed."""
    node = only_nodes('null')
    if not node:
        return NO_NODE
    whole = Path(os.environ['QTEST_QEMU_BINARY'])
    folder = Path(TMP) / 'no-module'
    (folder / 'modules').mkdir(parents=True, exist_ok=True)
    # A link would lead to the modules beside what it links to
    binary = shutil.copy(whole, folder)
    for module in whole.parent.glob('*.so'):
        if 'vaapi' not in module.name:
            (folder / 'modules' / module.name).symlink_to(module)
    env = {**environment(), 'QEMU_MODULE_DIR': str(folder / 'modules'),
           'QTEST_QEMU_BINARY': binary}
    result = run(binary, '-display', 'none', '-machine', 'none', '-object',
                 'video-codec-vaapi,id=gpu0', env=env, timeout=60)
    if result.returncode != 1 or 'video-codec-vaapi' not in result.stderr:
        return f'exit status {result.returncode}\n{result.stderr}'
    result = run(*node, VVCLIENT, 'decode', path, '--json', env=env)
    if result.returncode:
        return result.stderr
    found = stream(said(result))['engine']
    return None if found == 'libavcodec h264' else f'engine is {found}'


def not_linked():
    """libva is loaded with the module only."""
    whole = Path(os.environ['QTEST_QEMU_BINARY'])
    for file, wanted in (whole, False), \
            (whole.parent / 'backends-video-codec-vaapi.so', True):
        result = run('readelf', '-d', file)
        if result.returncode or ('[libva.so' in result.stdout) != wanted:
            return f'{file}: {result.stdout}{result.stderr}'
    return None
