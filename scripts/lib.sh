# shellcheck shell=bash
# What scripts/setup, scripts/export, scripts/check and scripts/fuzz share: where
# things lie, and which files of this repository are new files of QEMU.
#
# SPDX-License-Identifier: GPL-2.0-or-later

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
out=$repo/build
# The scripts which source this file use these
# shellcheck disable=SC2034
{
    src=$out/qemu-src
    qemu=$out/qemu
    qemu_asan=$out/qemu-asan
    qemu_tsan=$out/qemu-tsan
    qemu_gcov=$out/qemu-gcov
    qemu_fuzz=$out/qemu-fuzz
    tools=$out/tools
    tools_fuzz=$out/tools-fuzz
    fuzz=$out/fuzz
    test_devices=virtio-video-test
    stamps=$out/stamps
}
me=scripts/$(basename "$0")

# Messages and sorting that do not depend on the user's language
export LC_ALL=C.UTF-8

# A commit needs some name.  Not the user's: the series must come out the same
# for everyone.
export GIT_AUTHOR_NAME='virtio-video developers' GIT_AUTHOR_EMAIL=virtio-video@localhost
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
# Neither shall the user's hooks, signing or line end settings matter, nor that
# a container's root is not the owner of the checkout.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
# A folder under build/ that has lost its own .git must never be taken for a part
# of this repository: a commit meant for there would land here.
export GIT_CEILING_DIRECTORIES=$out
# Called from a git hook, these would point every git command at that repository
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

say() {
    echo "$me: $*"
}

die() {
    echo "$me: error: $1" >&2
    shift
    local line
    for line; do
        echo "    $line" >&2
    done
    exit 1
}

overlay_dirs=(include hw backends qapi tests/qtest tests/unit docs/system)

# The files under DIR... which belong to the repository: what git tracks or would
# add.  An unpacked archive of it has no git, so all files count there.
repo_files() {
    local f
    cd "$repo" || return
    {
        if [ -e .git ]; then
            git ls-files --cached --others --exclude-standard -- "$@"
        else
            find "$@" -type f 2>/dev/null || true
        fi
    } | sort -u | while read -r f; do
        # A file can be deleted and still be in the index
        [ ! -e "$f" ] || echo "$f"
    done
}

# The new files of QEMU, at the paths that they have in a QEMU tree.  The other
# folders of the repository are no part of QEMU.
overlay_files() {
    (repo_files "${overlay_dirs[@]}")
}

# The patches of the series, in order
series_patches() {
    sed -n 's/^\([^ #][^ ]*\)$/\1/p' "$repo/patches/series"
}

# Which state of patches/ is applied to build/qemu-src is known by this
patches_hash() {
    series_patches | (cd "$repo/patches" && xargs cat series) | sha256sum
}

# The overlay globs that stand under patch $1 in patches/series
series_globs() {
    awk -v patch="$1" '
        /^#/ || /^$/ { next }
        /^[^ ]/      { here = ($1 == patch); next }
        here         { print $1 }' "$repo/patches/series"
}

### How QEMU is built

firmware_dirs=(/usr/share/seabios /usr/lib/ipxe/qemu)

# shellcheck disable=SC2034
configure_args=(
    # Not whatever python3 comes first in PATH: Debian's has the packages
    --python=/usr/bin/python3
    --without-default-features
    --enable-system --enable-tcg --enable-pixman --enable-modules
    --enable-fdt=system
    --disable-docs --disable-download --disable-install-blobs
    --firmwarepath="$(IFS=:; echo "${firmware_dirs[*]}")"
)

# QEMU unpacks its UEFI images whenever bzip2 is there, though nothing here uses
# them, and Debian's source has none.  Empty archives stand for them.
stub_uefi_images() {
    local tree=$1 f
    for f in $(grep -o "'edk2-[a-z0-9_-]*\.fd'" "$tree/pc-bios/meson.build" | tr -d "'"); do
        [ -e "$tree/pc-bios/$f.bz2" ] ||
            printf 'BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0' >"$tree/pc-bios/$f.bz2"
    done
}

# shellcheck disable=SC2034
target_list=x86_64-softmmu,aarch64-softmmu

# All that is ours and what it needs.  QEMU's other tests would double the time.
# shellcheck disable=SC2034
qemu_targets=(qemu-system-x86_64 modules tests/qtest/qos-test)

# Our unit tests, as ninja targets
unit_targets() {
    overlay_files | sed -n 's,^\(tests/unit/test-.*\)\.c$,\1,p'
}
