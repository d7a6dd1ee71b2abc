#!/usr/bin/env bash
# The repository for one run: read with a token that can only read, and left without a credential.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Clones a repository for one run.

Usage: checkout.sh [OPTIONS] DIR

Options:
  --repo OWNER/NAME   Repository on GitHub [env: GITHUB_REPOSITORY]
  --base BRANCH       Branch that the work is meant for [default: main]
  --branch BRANCH     Branch that the run begins at [default: the base]
  --mirror DIR        Keep a bare copy in here that all runs share, and clone from that
  --read-token FILE   Leave a token in FILE that can only read the repository
  -h, --help          Print this help

Credentials (X, or the file that X_FILE names): GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY. Without them only a public
repository can be read.

A DIR that is there is left as it is: it is whole, and may hold work. Exit codes: 0 done; 1 there is no such branch or
repository; 2 wrong usage; 3 worth a retry; 4 not allowed.

Example:
  checkout.sh --repo octo/blog /workspace/repo
USAGE
}

say() { printf 'checkout.sh: %s\n' "$*" >&2; }

die() {
    local code=$1
    shift
    say "$1"
    shift
    (($# == 0)) || printf 'hint: %s\n' "$@" >&2
    exit "$code"
}

parse() {
    repo=${GITHUB_REPOSITORY:-} base=main branch='' mirror='' read_token='' dir=''
    while (($#)); do
        case $1 in
            --repo | --base | --branch | --mirror | --read-token)
                [[ -n ${2:-} ]] || die 2 "$1 wants a value"
                case $1 in
                    --repo) repo=$2 ;;
                    --base) base=$2 ;;
                    --branch) branch=$2 ;;
                    --mirror) mirror=$2 ;;
                    --read-token) read_token=$2 ;;
                esac
                shift 2
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            -*) die 2 "unknown option $1" 'checkout.sh --help' ;;
            *)
                [[ -z $dir ]] || die 2 'expected one folder'
                dir=$1
                shift
                ;;
        esac
    done
    [[ -n $dir ]] || die 2 'expected a folder' 'checkout.sh --repo octo/blog /workspace/repo'
    [[ $repo =~ ^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$ ]] || die 2 "'$repo' is not of the form owner/name" 'give --repo'
    branch=${branch:-$base}
    url=${GITHUB_SERVER_URL:-https://github.com}/$repo.git
    if [[ -n ${GITHUB_APP_ID_FILE:-} ]]; then
        [[ -z ${GITHUB_APP_ID:-} ]] || die 4 'GITHUB_APP_ID and GITHUB_APP_ID_FILE are both set' 'unset one of them'
        [[ -r $GITHUB_APP_ID_FILE ]] || die 4 "GITHUB_APP_ID_FILE: cannot read $GITHUB_APP_ID_FILE"
        # mint-gh-token has it from this variable alone.
        GITHUB_APP_ID=$(<"$GITHUB_APP_ID_FILE")
        export GITHUB_APP_ID
    fi
    # Nothing of it is written to the clone's configuration.
    options=(-c credential.helper= -c credential.useHttpPath=true -c gc.auto=0 -c maintenance.auto=false)
    if [[ -n ${GITHUB_APP_ID:-} ]]; then
        options+=(-c 'credential.helper=!mint-gh-token git-credential --read-only')
    fi
    export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_GLOBAL=/dev/null LC_ALL=C
}

# Runs git, and makes of its failure an exit code and a word on what to do.
remote_git() {
    local said code=0
    said=$(mktemp)
    git "${options[@]}" "$@" 2>"$said" || code=$?
    cat "$said" >&2
    if ((code == 0)); then
        rm -f "$said"
        return
    fi
    code=3
    local hint='the network, or GitHub: the same again may do'
    if grep -qE 'could not read (Username|Password)|Authentication failed|returned error: 40[13]' "$said"; then
        code=4 hint="the GitHub App must be installed on $repo, with contents: read"
    elif grep -qE '[Rr]emote branch .* not found|couldn.t find remote ref|repository .* not found' "$said"; then
        code=1 hint="there must be a repository $repo with the branches $base and $branch"
    elif grep -q 'No space left on device' "$said"; then
        code=1 hint='give the volume more room: workspace.size'
    fi
    rm -f "$said"
    die "$code" "reading $repo failed" "$hint"
}

# The shared copy only ever gains objects: whoever reads it is not disturbed. Branches go that are gone, before one comes whose
# name has theirs as a folder.
refresh_mirror() {
    copy=$mirror/$repo.git
    mkdir -p "${copy%/*}"
    exec {lock}>"$copy.lock"
    flock "$lock"
    if [[ ! -d $copy ]]; then
        rm -rf "$copy.new"
        git init --quiet --bare --template= "$copy.new"
        mv "$copy.new" "$copy"
    fi
    # Whoever writes holds our lock, the git of a killed checkout too: what is there now was left by one that is dead. No ref
    # ends with .lock.
    find "$copy" -type f -name '*.lock' -delete
    find "$copy/objects" -type f -name 'tmp_*' -delete
    remote_git --git-dir "$copy" fetch --quiet --prune --no-tags --no-write-fetch-head "$url" '+refs/heads/*:refs/heads/*'
    exec {lock}>&-
}

clone() {
    # Whole or not at all.
    local new=$dir.new
    rm -rf "$new"
    mkdir -p "$(dirname "$dir")"
    if [[ -n $mirror ]]; then
        refresh_mirror
        remote_git clone --quiet --template= --shared --no-tags --branch "$base" -- "$copy" "$new"
        git -C "$new" remote set-url origin "$url"
        [[ $branch == "$base" ]] || git -C "$new" switch --quiet "$branch" || die 1 "there is no branch $branch"
    else
        remote_git clone --quiet --template= --single-branch --no-tags --branch "$base" -- "$url" "$new"
        if [[ $branch != "$base" ]]; then
            remote_git -C "$new" fetch --quiet --no-tags origin "refs/heads/$branch:refs/heads/$branch"
            git -C "$new" switch --quiet "$branch"
        fi
    fi
    mv "$new" "$dir"
    say "$repo at $branch: $(git -C "$dir" rev-parse HEAD)"
}

main() {
    parse "$@"
    if [[ -e $dir ]]; then
        # Its configuration may be an agent's by now: no git runs here with a credential.
        say "$dir is there, and stays as it is"
    else
        clone
    fi
    if [[ -n $read_token ]]; then
        (umask 077 && mint-gh-token --repo "$repo" --read-only --format token >"$read_token")
    fi
}

main "$@"
