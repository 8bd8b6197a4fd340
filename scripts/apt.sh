# shellcheck shell=bash
# What scripts/setup and scripts/guest-test share: packages and sources from the
# mirror of Debian that this machine uses.  To be sourced after scripts/lib.sh,
# whose variables it uses.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck disable=SC2154

as_root() {
    if [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo DEBIAN_FRONTEND=noninteractive "$@"
    else
        die "installing packages needs root, and there is no sudo" \
            "Run this as root first: $*"
    fi
}

# The mirror of Debian's main archive which this machine uses.  Third parties'
# sources and the security archive must not be taken for it, so ask apt who
# published each one.
debian_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' |
        awk -F '|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !n++ { print $4 }'
}

debian_keyring() {
    local k
    for k in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        if [ -e "$k" ]; then
            echo "$k"
            return
        fi
    done
    die "Debian's keyring is not there, so no download could be verified" \
        "apt-get install debian-archive-keyring"
}

# apt-get with sources, lists and cache of its own under build/dl, so that the
# system's configuration stays as it is.  The rest (proxies) is the system's.
private_apt() {
    local dir=$out/dl/apt
    "$@" -o Dir::Etc::SourceList="$dir/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$dir/lists" \
        -o Dir::Cache="$dir/cache" \
        -o APT::Sandbox::User=root \
        -o Acquire::Languages=none
}

# private_sources LINE...: LINE is "deb SUITE" or "deb-src SUITE"
private_sources() {
    local dir=$out/dl/apt mirror keyring line
    mirror=$(debian_mirror)
    if [ -z "$mirror" ]; then
        # A system whose lists were never fetched does not know its own origins
        as_root apt-get update -q >"$out/log/apt-update.log" 2>&1 || true
        mirror=$(debian_mirror)
    fi
    [ -n "$mirror" ] ||
        die "apt's configuration names no mirror of Debian's main archive" \
            "See: apt-get indextargets --format '\$(ORIGIN) \$(REPO_URI)'" \
            "Add one to /etc/apt/sources.list.d/ and run apt-get update."
    keyring=$(debian_keyring)
    mkdir -p "$dir"/{lists,cache/archives}/partial
    for line; do
        echo "${line%% *} [signed-by=$keyring] $mirror ${line#* } main"
    done >"$dir/sources.list"
    private_apt apt-get update -q >"$out/log/apt-private.log" 2>&1 ||
        die "apt could not fetch the package lists of $mirror ($*)" \
            "See build/log/apt-private.log; is the network there?"
}

as_root_private() {
    local dir=$out/dl/apt
    as_root apt-get -o Dir::Etc::SourceList="$dir/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" \
        -o APT::Sandbox::User=root "$@"
}

debian_release() {
    # shellcheck disable=SC1091
    (. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}")
}
