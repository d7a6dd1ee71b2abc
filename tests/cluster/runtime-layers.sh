#!/usr/bin/env bash
# Makes the lower layers of the image that agents run in on a test cluster: what a run starts beside the pieces.
# scripts/setup.sh calls it once and keeps the result; the pieces are a layer of their own (cluster::image::runtime).
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Makes debian.tar and tools.tar, each with its digest beside it, in FOLDER.

Usage: runtime-layers.sh FOLDER NPM NODE HUGO

  FOLDER  where they go, and where there is room for twice as much
  NPM     a folder of node_modules with the agent CLIs and Playwright MCP, and their commands in bin
  NODE    the program Node.js
  HUGO    the program Hugo

Takes root, debootstrap, and Debian's mirror.
USAGE
}

# The system: what Debian has. In namespaces of its own, so that no mount stays behind.
debian() {
    local suite root=$1
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    [[ -e /usr/share/debootstrap/scripts/$suite ]] || suite=bookworm
    debootstrap --variant=minbase "$suite" "$root"
    # Nothing is started where nothing runs.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates chromium curl fonts-liberation git jq procps tini
    chroot "$root" useradd --uid 1001 --create-home --shell /bin/bash pwuser
    # Asked on the first start otherwise, and nobody is there to answer.
    printf '{"hasCompletedOnboarding": true}\n' >"$root/home/pwuser/.claude.json"
    chroot "$root" chown -R pwuser:pwuser /home/pwuser
    umount "$root/proc"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,locale} \
        "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf" "$root/etc/hostname"
}

tools() {
    local root=$1 npm=$2 node=$3 hugo=$4
    mkdir -p "$root/opt" "$root/usr/local/bin"
    cp -a "$npm" "$root/opt/npm"
    local command
    for command in "$npm"/bin/*; do
        ln -s "/opt/npm/bin/${command##*/}" "$root/usr/local/bin/${command##*/}"
    done
    cp "$node" "$root/usr/local/bin/node"
    cp "$hugo" "$root/usr/local/bin/hugo"
    chown -R 0:0 "$root"
}

layer() {
    tar --numeric-owner --xattrs --create --file "$2" --directory "$1" .
    sha256sum "$2" | cut -d ' ' -f 1 >"$2.sha256"
    rm -rf "$1"
}

main() {
    if (($# != 4)); then
        usage >&2
        exit 2
    fi
    local folder=$1
    rm -rf "$folder/debian" "$folder/tools"
    mkdir -p "$folder"
    debian "$folder/debian"
    layer "$folder/debian" "$folder/debian.tar"
    tools "$folder/tools" "$2" "$3" "$4"
    layer "$folder/tools" "$folder/tools.tar"
}

if [[ ${RUNTIME_LAYERS_INSIDE:-} != yes ]]; then
    RUNTIME_LAYERS_INSIDE=yes exec unshare --mount --pid --fork --kill-child bash "${BASH_SOURCE[0]}" "$@"
fi
main "$@"
