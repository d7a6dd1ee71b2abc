#!/usr/bin/env bash
# Every check of this repository, on a machine that may have nothing yet.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Installs what the checks need (see setup.sh), then runs them all: format, lints, documentation, licences, tests.

Usage: test.sh [GATE...]

  GATE  recipes of the justfile [default: the gates of `just ci`, in their order]

Environment:
  CARGO_TARGET_DIR  where Cargo builds [default: target; with CI set, a folder of the cache that outlives the checkout]

The last line says how many tests passed and failed. Exit code: 0 if all is well, 1 otherwise.

Example:
  scripts/test.sh fmt-check clippy
USAGE
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        exit 0
    fi
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    local environment cache
    environment=$(scripts/setup.sh test)
    # shellcheck disable=SC1090 # setup.sh writes it
    source "$environment"
    cache=$(dirname "$environment")
    if [[ -n ${CI:-} && -z ${CARGO_TARGET_DIR:-} ]]; then
        # A clean checkout finds the dependencies built. Nothing is compiled twice from there, so increments only cost space.
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
