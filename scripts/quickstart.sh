#!/usr/bin/env bash
# The whole pipeline on one machine: from a topic to a pull request, and everything that can be seen of it afterwards.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Takes a topic to a pull request: with the real agent CLI, browser and git, against a model, a GitHub and a Discord that
are scripted stand-ins on this machine. Installs and builds what is missing first.

Usage: quickstart.sh [OPTIONS]

Options:
  --topic TEXT   What the post is to be about [default: what the scripted model was written for]
  --sandbox      Use the stand-ins, whatever credentials are set
  --scenario F   What the scripted model says [default: tests/sandbox/scenarios/publish.json]
  --out DIR      Where everything goes [default: a new folder in ~/.local/state/pressrun/quickstart]
  -h, --help     Print this help

With CLAUDE_CODE_OAUTH_TOKEN, GITHUB_REPOSITORY (owner/name, with .claude/agents/publisher.md) and GITHUB_APP_ID with
GITHUB_APP_PRIVATE_KEY_FILE (or GITHUB_TOKEN) set, and a --topic, it runs on the real services instead; DISCORD_WEBHOOK_URL is optional.

Exit code: 0 with a pull request, 1 without one, 2 wrong usage.

Example:
  scripts/quickstart.sh --sandbox --topic "What a load average counts"
USAGE
}

readonly REPOSITORY=octo/blog
# Those of a run on one machine: what a cluster takes is built in minutes.
readonly pieces=(agent-home branch-run mcp-config mint-gh-token notify-discord open-pr sandbox)

# ---- what a person sees --------------------------------------------------------------------------------------------

set_colours() {
    bold='' green='' red='' plain=''
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
        bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
    fi
}

heading() { printf '\n%s==> %s%s\n' "$bold" "$1" "$plain"; }
note() { printf '    %s\n' "$@"; }
indented() { sed --unbuffered 's/^/    /'; }

# What is shown of the agents' words and of strangers' texts cannot move the cursor or colour the screen.
shown() { LC_ALL=C tr -d '\000-\010\013-\037\177' | indented; }

# The first lines of stdin, and how many more there are.
first() {
    awk -v limit="$1" -v where="$2" 'NR <= limit { print } END { if (NR > limit) printf "… %d more lines in %s\n", NR - limit, where }'
}

die() {
    printf '\n%sFAILED%s: %s\n' "$red" "$plain" "$1"
    shift
    (($# == 0)) || note "$@"
    exit 1
} >&2

# ---- before --------------------------------------------------------------------------------------------------------

set_or_in_file() {
    local file=${1}_FILE
    [[ -n ${!1:-} || -n ${!file:-} ]]
}

# Whether everything is there for a run on the real services.
has_credentials() {
    set_or_in_file CLAUDE_CODE_OAUTH_TOKEN && [[ -n ${GITHUB_REPOSITORY:-} ]] || return 1
    set_or_in_file GITHUB_TOKEN || { [[ -n ${GITHUB_APP_ID:-} ]] && set_or_in_file GITHUB_APP_PRIVATE_KEY; }
}

parse() {
    topic='' scenario=tests/sandbox/scenarios/publish.json out='' sandboxed=''
    while (($#)); do
        case $1 in
            --topic | --scenario | --out)
                (($# > 1)) || usage_error "$1 wants a value"
                ;;
        esac
        case $1 in
            --topic) topic=$2 && shift ;;
            --scenario) scenario=$(realpath -- "$2") && shift ;;
            --out) out=$(realpath -m -- "$2") && shift ;;
            --sandbox) sandboxed=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) usage_error "unexpected '$1'" ;;
        esac
        shift
    done
}

usage_error() {
    printf 'quickstart.sh: %s\nhint: quickstart.sh --help\n' "$1" >&2
    exit 2
}

install_and_build() {
    heading 'What is needed'
    local environment
    environment=$(scripts/setup.sh run)
    # shellcheck disable=SC1090 # setup.sh writes it
    source "$environment"
    note "$(claude --version), Playwright MCP, $(git --version), Rust, Chromium, Hugo"
    local target=${CARGO_TARGET_DIR:-$PWD/target}
    if [[ ! -x $target/debug/sandbox ]]; then
        note 'the first build of the pieces takes some minutes'
    fi
    cargo build --bins --locked --target-dir "$target" "${pieces[@]/#/--package=}" 2>&1 | { grep --line-buffered -vE '^ +(Downloaded|Downloading|Locking)' || true; } | indented ||
        die 'the pieces do not build'
    PATH=$PWD/scripts:$target/debug:$PATH
    export PATH
}

# ---- the stand-ins -------------------------------------------------------------------------------------------------

start_sandbox() {
    heading 'A model, a GitHub and a Discord on this machine'
    note 'All three are scripted stand-ins on 127.0.0.1; nothing leaves this machine.' \
        'The agent CLI, the browser, git and all pieces are the real ones.'
    # In a session of its own: Ctrl-C is the run's to handle, with somewhere to publish to. It ends when its stdin closes,
    # however this script ends.
    coproc SANDBOX { exec setsid sandbox serve --dir "$out/sandbox" --repository "$REPOSITORY" --scenario "$scenario" 2>"$out/sandbox.log"; }
    sandbox_pid=$!
    local ready
    IFS= read -r -t 30 -u "${SANDBOX[0]}" ready || die 'the sandbox did not start' "its log: $out/sandbox.log"
    {
        IFS= read -r control
        IFS= read -r bare
        IFS= read -r GITHUB_APP_ID
        IFS= read -r GITHUB_APP_PRIVATE_KEY_FILE
        IFS= read -r DISCORD_WEBHOOK_URL
        IFS= read -r CLAUDE_CODE_OAUTH_TOKEN
    } < <(jq -r --arg repository "$REPOSITORY" \
        '.controlUrl, .repositories[$repository], .github.appId, .github.privateKeyFile, .discord.webhookUrl, .model.token' <<<"$ready")
    # shellcheck source=/dev/null
    source "$out/sandbox/environment"
    unset GITHUB_TOKEN GITHUB_TOKEN_FILE GITHUB_APP_PRIVATE_KEY GITHUB_APP_INSTALLATION_ID GITHUB_API_URL GITHUB_SERVER_URL
    unset CLAUDE_CODE_OAUTH_TOKEN_FILE DISCORD_WEBHOOK_URL_FILE DISCORD_BOT_TOKEN DISCORD_BOT_TOKEN_FILE DISCORD_CHANNEL_ID
    GITHUB_REPOSITORY=$REPOSITORY
    # Nothing of the user's own settings: a run here is the same everywhere.
    HOME=$out/home
    mkdir -p "$HOME"
    export HOME GITHUB_REPOSITORY GITHUB_APP_ID GITHUB_APP_PRIVATE_KEY_FILE DISCORD_WEBHOOK_URL CLAUDE_CODE_OAUTH_TOKEN
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null

    cp -R config/samples/blog "$out/seed"
    git -C "$out/seed" init --quiet --initial-branch main
    identify "$out/seed"
    git -C "$out/seed" add --all
    git -C "$out/seed" commit --quiet --message 'Begin the blog'
    git -C "$out/seed" push --quiet "$bare" main
    rm -rf "$out/seed"
    git clone --quiet "$bare" "$out/blog"
    git -C "$out/blog" remote set-url origin "https://github.com/$REPOSITORY.git"
    identify "$out/blog"
    note "The sample blog is in $REPOSITORY, its clone in $out/blog"
}

# Who the agent commits as, where the machine has no name for it.
identify() {
    git -C "$1" config user.email >/dev/null || git -C "$1" config user.email publisher@small-hours.example
    git -C "$1" config user.name >/dev/null || git -C "$1" config user.name 'Small Hours'
}

stop_sandbox() {
    [[ -n ${sandbox_pid:-} ]] || return 0
    kill -TERM "$sandbox_pid" 2>/dev/null || true
    wait "$sandbox_pid" 2>/dev/null || true
    sandbox_pid=''
}

# ---- the real services ---------------------------------------------------------------------------------------------

clone_real() {
    heading 'The real services'
    note "This run uses your Claude subscription, and pushes a branch and opens a pull request in $GITHUB_REPOSITORY." \
        '--sandbox runs on stand-ins instead.'
    if [[ -t 0 && -t 1 ]]; then
        note 'It begins in 5 seconds; Ctrl-C stops it.'
        sleep 5
    fi
    # shellcheck disable=SC2016 # git's shell expands it
    local helper='!f() { echo username=x-access-token; printf "password=%s\n" "${GITHUB_TOKEN:-$(cat "$GITHUB_TOKEN_FILE")}"; }; test "$1" = get && f'
    set_or_in_file GITHUB_TOKEN || helper="!mint-gh-token git-credential --read-only"
    git -c credential.helper= -c credential.helper="$helper" -c credential.useHttpPath=true clone --quiet \
        "${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY.git" "$out/blog" ||
        die "cannot clone $GITHUB_REPOSITORY" 'check the App key, and that the App is installed on the repository'
    identify "$out/blog"
    if ! set_or_in_file DISCORD_WEBHOOK_URL && ! set_or_in_file DISCORD_BOT_TOKEN; then
        publisher_options+=(--no-notify)
    fi
}

# ---- the run -------------------------------------------------------------------------------------------------------

run_publisher() {
    heading "run-publisher.sh \"$topic\""
    code=0
    (cd "$out/blog" && PRESSRUN_RUN_DIR=$out/run exec run-publisher.sh "${publisher_options[@]}" "$topic") \
        >"$out/events.jsonl" </dev/null || code=$?
    record=$out/run/published.json
    [[ -s $record ]] || record=$out/run/record.json
}

read_back() {
    state=$out/state.json
    if [[ -n $sandboxed ]]; then
        curl --silent --show-error --fail --noproxy '*' "$control/state" | jq --arg repository "$REPOSITORY" '{
            sandbox: true, repository: $repository, pullRequest: .pulls[$repository][-1],
            message: .discord.messages[-1], hosts, violations}' >"$state"
        local branch
        branch=$(jq -r '.pullRequest.head // empty' "$state")
        [[ -z $branch ]] || git --git-dir="$bare" diff "main...$branch" -- >"$out/change.diff"
    else
        jq --arg repository "$GITHUB_REPOSITORY" '{sandbox: false, repository: $repository}' <<<null >"$state"
        local from to
        from=$(jq -r '.baseCommit // empty' "$record") to=$(jq -r '.head // empty' "$record")
        [[ -z $from || -z $to ]] || git -C "$out/blog" diff "$from...$to" -- >"$out/change.diff"
    fi
    [[ -e $out/change.diff ]] || : >"$out/change.diff"
    page=$out/run.html
    sandbox page --run-dir "$out/run" --state "$state" --diff "$out/change.diff" >"$page"
}

show() {
    local whose='as the stand-ins have it'
    [[ -n $sandboxed ]] || whose='as the record has it'
    heading "Branch and pull request, $whose"
    jq -r --slurpfile state "$state" '($state[0].pullRequest // {}) as $pr | .pullRequest as $own |
        if ($pr.number // $own.number) then
            "#\($pr.number // $own.number) \($pr.title // .prompt) [\($pr.state // $own.state)]",
            "\($pr.head // .branch) → \($pr.base // .base)\(if $pr.author then ", by \($pr.author)" else "" end)",
            "", ($pr.body // $own.url)
        else "no pull request; branch \(.branch // "-")" end' "$record" | first 24 "$page" | shown
    heading 'The change'
    git apply --stat --summary <"$out/change.diff" | shown
    first 30 "$page" <"$out/change.diff" | shown
    if [[ -n $sandboxed ]]; then
        heading "Discord, $whose"
        jq -r '.message.content // "no message"' "$state" | shown
    fi
    heading 'What the agents did'
    jq -r '.report // {} | (.subagents // [] | .[] | "\(.type): \(.description // ""), \(.toolCalls) tool calls\(
            if .verdict then if .verdict.pass then ", passed" else ", FAILED: \(.verdict.reason // "")" end else "" end)"),
        "\(.turns // 0) turns, \(.toolCalls // 0) tool calls, \((.durationMs // 0) / 100 | floor / 10) s, $\((.costUsd // 0) * 100 | round / 100) as the CLI counts"' \
        "$record" | shown
    heading 'To look at'
    note "page        $page"
    local shot
    shot=$(find "$out/run/browser" -name 'post.png' -print -quit 2>/dev/null || true)
    [[ -z $shot ]] || note "screenshot  $shot"
    note "transcript  $out/run/transcript.jsonl" "record      $record" "work tree   $out/blog"
}

main() {
    local began=$EPOCHREALTIME
    set_colours
    parse "$@"
    # Files are named from where this was called.
    local file
    for file in {CLAUDE_CODE_OAUTH_TOKEN,GITHUB_APP_PRIVATE_KEY,GITHUB_TOKEN,DISCORD_WEBHOOK_URL,DISCORD_BOT_TOKEN}_FILE; do
        [[ -z ${!file:-} || ${!file} == /* ]] || export "$file=$PWD/${!file}"
    done
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    if [[ -z $sandboxed ]] && ! has_credentials; then sandboxed=1; fi
    [[ -n $topic || -n $sandboxed ]] ||
        usage_error "with credentials set, this opens a pull request in $GITHUB_REPOSITORY: give it a --topic, or choose --sandbox"
    [[ -n $topic ]] || topic=$(sed -n 's/^  "topic": "\(.*\)",$/\1/p' "$scenario")
    [[ -n $topic ]] || usage_error "the scenario has no topic: give --topic"
    install_and_build

    if [[ -z $out ]]; then
        local outs=${XDG_STATE_HOME:-$HOME/.local/state}/pressrun/quickstart
        mkdir -p "$outs"
        out=$(mktemp -d "$outs/$(date +%Y%m%d-%H%M%S)-XXXX")
        ln -sfn "$out" "$outs/latest"
    fi
    mkdir -p "$out"
    publisher_options=()
    trap stop_sandbox EXIT
    trap 'printf "\nStopped. What there is of the run is in %s\n" "$out" >&2; exit 130' INT
    trap 'exit 143' TERM
    if [[ -n $sandboxed ]]; then start_sandbox; else clone_real; fi
    run_publisher
    [[ -s $record ]] || die "run-publisher.sh ended with $code and left no record" "everything is in $out"
    read_back
    show

    local took
    took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    ((code == 0)) || die "$(jq -r '"\(.outcome) at \(.stage // "-"): \(.error // "")"' "$record")" "the agents' events: $out/run/transcript.jsonl"
    local where
    where=$(jq -r '"pull request #\(.pullRequest.number)"' "$record")
    [[ -n $sandboxed ]] || where=$(jq -r .pullRequest.url "$record")
    printf '\n%sDone in %s s%s: %s is open.\n' "$green$bold" "$took" "$plain" "$where"
}

main "$@"
