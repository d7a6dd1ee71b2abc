#!/usr/bin/env bash
# The README's examples do what they say, and no link in the documents leads nowhere.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Runs every ```bash block of README.md in an empty folder of its own, and looks for each local file that a document links.

Usage: check-docs.sh FOLDER-OF-THE-BINARIES

Example:
  cargo build --workspace --bins && scripts/check-docs.sh target/debug
USAGE
}

run_examples() {
    local binaries=$1 count block
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    awk -v folder="$folder" '
        /^```bash$/ { inside = 1; file = folder "/" ++count ".sh"; next }
        /^```$/ { inside = 0; next }
        inside { print > file }' README.md
    # Whatever an example leaves in the background ends with it.
    # shellcheck disable=SC2016 # the inner shell expands it
    local example='trap "jobs -p | xargs -r kill 2>/dev/null || true" EXIT; source "$1"'
    count=0
    for block in "$folder"/*.sh; do
        count=$((count + 1))
        mkdir "$folder/$count"
        # Nothing of the user's: no settings, no credentials.
        if ! (cd "$folder/$count" && env -i HOME="$folder/$count" PATH="$binaries:$PATH" LANG=C.UTF-8 \
            GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a \
            GIT_COMMITTER_EMAIL=a@example.org timeout 60 bash -Eeuo pipefail -c "$example" bash "$block" </dev/null >"$folder/output" 2>&1); then
            cat "$block" "$folder/output" >&2
            printf 'README.md: example %d failed\n' "$count" >&2
            return 1
        fi
        [[ -s $folder/output ]] || {
            printf 'README.md: example %d prints nothing\n' "$count" >&2
            return 1
        }
    done
    printf '%d examples of README.md run\n' "$count"
}

# shellcheck disable=SC2016 # a fence is no command
check_links() {
    local document target broken=0
    while read -r document; do
        while read -r target; do
            target=${target%%#*}
            [[ -z $target || $target == *:* || -e $(dirname "$document")/$target ]] || {
                printf '%s links %s, which is not there\n' "$document" "$target" >&2
                broken=1
            }
        done < <(sed '/^```/,/^```/d' "$document" | grep -oE '\]\([^)]+\)' | sed 's/^](//; s/)$//')
    done < <(git ls-files --cached --others --exclude-standard '*.md' ':!config/samples')
    ((broken == 0))
}

main() {
    case ${1:-} in
        -h | --help) usage && exit 0 ;;
        '') usage >&2 && exit 2 ;;
    esac
    local binaries
    binaries=$(cd "$1" && pwd)
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    check_links
    run_examples "$binaries"
}

main "$@"
