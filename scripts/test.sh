#!/usr/bin/env bash
# Every check of this repository, on a machine that may have nothing yet.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Installs what the checks need (see setup.sh), then runs them all: format, lints, documentation, licences, tests. Takes root, or sudo.

Usage: test.sh [GATE...]

  GATE  recipes of the justfile [default: the gates of `just ci`, in their order]

Environment:
  CARGO_TARGET_DIR  where Cargo builds [default: target; with CI set or through sudo, a folder of the cache]

The last line says how many tests passed and failed. Exit code: 0 if all is well, 1 otherwise.

Example:
  scripts/test.sh fmt-check clippy
USAGE
}

die() {
    printf 'test.sh: %s\n' "$1" >&2
    exit 1
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        exit 0
    fi
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die 'the tests make network namespaces and containers, which takes root, and there is no sudo'
        printf 'The tests make network namespaces and containers, which takes root: going on with sudo\n' >&2
        exec sudo --preserve-env=CI,CARGO_TARGET_DIR,PRESSRUN_CACHE,HTTPS_PROXY,HTTP_PROXY,NO_PROXY -- scripts/test.sh "$@"
    fi
    local environment cache
    environment=$(scripts/setup.sh test)
    # shellcheck disable=SC1090 # setup.sh writes it
    source "$environment"
    cache=$(dirname "$environment")
    if [[ -n ${CI:-}${SUDO_UID:-} && -z ${CARGO_TARGET_DIR:-} ]]; then
        # A clean checkout finds the dependencies built, and root leaves nothing in another's. Nothing is compiled twice from there,
        # so increments only cost space.
        export CARGO_TARGET_DIR=$cache/target CARGO_INCREMENTAL=0
    fi
    if [[ -t 1 ]]; then
        export CARGO_TERM_COLOR=always
    fi

    local gates=("$@")
    if ((${#gates[@]} == 0)); then
        read -ra gates <<<"$(just --show ci | sed -n 's/^ci: //p')"
    fi
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    local gate began status=0 times=''
    for gate in "${gates[@]}"; do
        began=$SECONDS
        printf '\n==> just %s\n' "$gate"
        just "$gate" 2>&1 | tee -a "$log" || status=$?
        times+=$(printf '%s%s %d s' "${times:+ · }" "$gate" "$((SECONDS - began))")
        ((status == 0)) || break
    done

    printf '\n%s\n' "$times"
    if ((status != 0)); then
        printf 'FAILED: just %s\n' "$gate"
    fi
    total
    exit $((status != 0))
}

# What cargo's closing lines add up to, on one line.
total() {
    sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
        /^test result:/ { passed += $4; failed += $6; ignored += $8; some = 1 }
        END { if (some) printf "%d passed, %d failed%s\n", passed, failed, ignored ? ", " ignored " skipped" : "" }'
}

main "$@"
