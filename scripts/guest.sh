# shellcheck shell=bash
# What scripts/guest-test and scripts/udmabuf-test share: Debian's Linux in an
# emulated machine, an initramfs with programs and a plan for them, and how what
# they did is judged.  To be sourced after scripts/lib.sh and scripts/apt.sh.
#
# The script sets $guest, the folder for all that it makes, before it sources this,
# and $only, a pattern of tests' names.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2154

linux=$out/guest/linux          # both scripts have the same kernel
pkgs=$guest/tools               # programs that are not installed
root=$guest/root
tests=$guest/tests
# The scripts which source this file use these
# shellcheck disable=SC2034
{
    clips=$guest/clips
    results=$guest/results
    libdir=usr/lib/x86_64-linux-gnu
    passed=0 failed=0 skipped=0
}

# known_fault NAME REASON: says why it is not our fault that this test fails, if
# that is so.  A script can have its own.
known_fault() {
    return 1
}

# result ok|FAIL|skip NAME [REASON]
result() {
    local fault
    if [ "$1" = FAIL ] && fault=$(known_fault "$2" "${3:-}"); then
        set -- skip "$2" "$fault"
    fi
    case $1 in
    ok) passed=$((passed + 1)) ;;
    FAIL) failed=$((failed + 1)) ;;
    skip) skipped=$((skipped + 1)) ;;
    esac
    printf '%-4s %s%s\n' "$1" "$2" "${3:+ ($3)}"
}

### Packages from Debian

# depends PACKAGE PATTERN: on which packages with such names it depends
depends() {
    private_apt apt-cache depends ${suite:+-t "$suite"} "$1" |
        sed -n "s/^ *|\\?Depends: \\($2\\)\$/\\1/p"
}

# closure COMMAND PACKAGE...: what this apt-get would install, with versions
closure() {
    local apt=$1
    shift
    $apt -s install -qq --no-install-recommends "$@" |
        sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p'
}

# download DIR COMMAND PACKAGE...: fetch and unpack into DIR
download() {
    local dir=$1 apt=$2 deb
    shift 2
    mkdir -p "$dir" "$guest/deb"
    (cd "$guest/deb" && $apt download -o APT::Sandbox::User=root "$@") \
        >>"$out/log/guest-apt.log" 2>&1 ||
        die "apt could not fetch $*" "See build/log/guest-apt.log"
    for deb in "$guest"/deb/*.deb; do
        dpkg-deb -x "$deb" "$dir"
    done
    rm -r "$guest/deb"
}

# fetch_once DIR WHAT FUNCTION...: each FUNCTION puts into its argument what it
# fetches; DIR is there if all did
fetch_once() {
    local dir=$1 f
    [ ! -d "$dir" ] || return 0
    say "fetching $2 from Debian (log: build/log/guest-apt.log)"
    shift 2
    rm -rf "$dir.new" "$guest/deb"
    mkdir -p "$dir.new"
    : >"$out/log/guest-apt.log"
    for f; do
        "$f" "$dir.new"
    done
    mv "$dir.new" "$dir"
}

# The headers come along, as later they may be those of another kernel
fetch_kernel() {
    local suite='' image headers list
    case $(debian_release) in
    debian-12)
        suite=bookworm-backports
        private_sources "deb bookworm" "deb $suite"
        ;;
    debian-13) private_sources "deb trixie" ;;
    *) die "this is neither Debian 12 nor 13" ;;
    esac
    image=$(depends linux-image-amd64 'linux-image-.*')
    headers=$(depends linux-headers-amd64 'linux-headers-.*')
    mapfile -t list < <(depends "$headers" 'linux-\(headers\|kbuild\)-.*')
    download "$1" "private_apt apt-get" "$image" "$headers" "${list[@]}"
    # The headers name each other by where they would be installed
    sed -i "s,/usr/src/,$linux/usr/src/," "$1"/usr/src/linux-headers-*-amd64/Makefile
}

fetch_linux() {
    [ "$(uname -m)" = x86_64 ] || die "the guest's kernel is for x86_64, this is $(uname -m)"
    mkdir -p "${linux%/*}"
    fetch_once "$linux" Linux fetch_kernel
}

# What is installed already is taken from the system
fetch_busybox() {
    local list
    mapfile -t list < <(closure apt-get busybox-static)
    [ ${#list[@]} = 0 ] || download "$1" apt-get "${list[@]}"
}

### The guest's programs, with their libraries

# find_file PATH: as it was fetched, else as it is installed
find_file() {
    local f
    for f in "$pkgs"/$1 /$1; do
        if [ -e "$f" ]; then
            echo "$f"
            return
        fi
    done
    return 1
}

begin_root() {
    library_path=$(find "$pkgs" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    rm -rf "$root" "$guest/libraries"
    mkdir -p "$root"/{bin,dev,proc,sys,tmp}
    cp "$(find_file bin/busybox || find_file usr/bin/busybox)" "$root/bin/busybox" ||
        die "there is no busybox" "See build/log/guest-apt.log"
}

# add_tool PATH [FILE]: a program or plugin; FILE if it is somewhere else here
add_tool() {
    local file
    file=${2:-$(find_file "$1")} || return
    mkdir -p "$root/$(dirname "$1")"
    cp -L "$file" "$root/$1"
    LD_LIBRARY_PATH=$library_path ldd "$file" |
        sed -n 's,.*=> \(/.*\) (.*,\1,p; s,^[[:space:]]*\(/[^ ]*ld-linux[^ ]*\) .*,\1,p' \
            >>"$guest/libraries"
}

end_root() {
    local file dest
    while read -r file; do
        # Wherever it was found, the guest's loader looks there
        dest=$libdir
        [[ $file != *ld-linux* ]] || dest=lib64
        mkdir -p "$root/$dest"
        cp -L "$file" "$root/$dest"
    done < <(sort -u "$guest/libraries")
    mkdir -p "$root/lib"
    ln -s "../$libdir" "$root/lib/${libdir##*/}"
    archive "$root" "$guest/root.cpio"
}

# archive DIR FILE
archive() {
    (cd "$1" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) >"$2.new"
    mv "$2.new" "$2"
}

### What the guest does: plan NAME SECONDS COMMAND, see tests/guest/init

plan() {
    # shellcheck disable=SC2053
    [[ $1 == $only ]] || return 0
    echo "$*" >>"$tests/plan"
}

# begin_tests PREPARE: what the guest has besides its programs, in $tests; it
# prepares itself with tests/guest/PREPARE
begin_tests() {
    rm -rf "$tests"
    mkdir -p "$tests"
    cp "$repo/tests/guest/init" "$tests/init"
    cp "$repo/tests/guest/$1" "$tests/prepare"
}

end_tests() {
    [ -s "$tests/plan" ] || die "no test matches $only"
    archive "$tests" "$guest/tests.cpio"
    # The kernel takes several archives for one
    cat "$guest/root.cpio" "$guest/tests.cpio" >"$guest/initrd"
}

# boot QEMU-OPTION...
boot() {
    local seconds more dir=${guest#"$repo/"}
    read -ra more <<<"${QEMU_ARGS:-}"
    # Each test has its own limit
    seconds=$(awk '{ n += $2 } END { print n + 120 }' "$tests/plan")
    say "booting the guest (log: $dir/console.log)"
    # Nothing that is left of another guest shall be judged
    rm -rf "$results" "$guest/results.tar"
    mkdir -p "$results"
    timeout --kill-after=10 "$seconds" "$qemu/qemu-system-x86_64" -M q35 -accel tcg -cpu max \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$linux"/boot/vmlinuz-* -initrd "$guest/initrd" \
        -append "console=ttyS0 panic=-1 mitigations=off nokaslr tsc=reliable quiet" \
        -serial "file:$guest/console.log" -serial "file:$guest/results.tar" \
        "$@" "${more[@]}" >"$guest/qemu.log" 2>&1 </dev/null ||
        say "QEMU ended with status $?; see $dir/qemu.log"
    # One archive after the other; the last one may be cut off
    tar -C "$results" -xif "$guest/results.tar" 2>/dev/null || true
}

### What came of it

# Why test $1 did not work in the guest; nothing if it did
trouble() {
    local dir=$results/$1 status
    if [ ! -e "$dir/status" ]; then
        echo "the guest did not come so far"
        return
    fi
    status=$(cat "$dir/status")
    case $status in
    0) ;;
    137) echo "not done in time" ;;
    *) echo "status $status: $(grep -v '^ *$' "$dir/log" | tail -n 1 | cut -c 1-100)" ;;
    esac
}

# judge_kernel PATTERN: does the kernel's log have that, or what is always bad?
judge_kernel() {
    local bad
    bad=$(cat "$results"/*/kernel 2>/dev/null | grep -E "BUG|WARNING|Oops|Call Trace|timed out|$1" |
        grep -v 'module verification failed' | head -n 1) || true
    if [ ! -e "$results/end/status" ]; then
        result FAIL "guest: to the end" "see ${guest#"$repo/"}/console.log"
    elif [ -n "$bad" ]; then
        result FAIL "guest: nothing in the kernel's log" "${bad:0:120}"
    else
        result ok "guest: nothing in the kernel's log"
    fi
}

# The last line; status 1 if a test failed
summary() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
}
