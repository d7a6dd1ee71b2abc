#!/usr/bin/env bash
# One run, from the topic to the pull request. What it does is the order of the pieces; what they do is theirs.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Runs an agent on a topic, in a branch of its own of the current repository, and opens a pull request.

Usage: run-publisher.sh [OPTIONS] "<topic>"

Options:
  --stage STAGE         agent (run the agent), publish (push, pull request, message), or all [default: all];
                        salvage (commit what a killed agent stage left, for publish)
  --no-publish          Keep the branch here: no push, no pull request, no message
  --no-notify           Publish, but tell nobody
  --repo OWNER/NAME     Repository on GitHub [env: GITHUB_REPOSITORY; default: the remote origin's]
  --label NAME          Label for the pull request; may be given several times
  --base BRANCH         Branch that the pull request goes to [default: main]
  --agent NAME          Agent, as .claude/agents defines it [default: publisher]
  --runtime NAME        Agent CLI: claude or opencode [env: PRESSRUN_RUNTIME; default: claude]
  --timeout DURATION    Time limit of the agent, as 30m [default: 30m]
  --max-turns N         Turn limit of the agent
  --max-budget-usd USD  Budget of the agent
  --model MODEL         Model of the agent [default: the agent's own; for opencode, as provider/model: see docs/opencode.md]
  --allowed-tools LIST  Tools that the agent may use, as 'Read,Bash(git *)' [default: see docs/agents.md]
  --mcp-overlay FILE    MCP servers beside the agent's presets, for mcp-config
  --run-dir DIR         Record, transcript and artefacts of the run [env: PRESSRUN_RUN_DIR;
                        default: a new folder in ~/.local/state/pressrun/runs]
  --dry-run             Check everything that can be checked before a run, print what it would do, and stop
  -h, --help            Print this help

Credentials (a secret X, or the file that X_FILE names):
  CLAUDE_CODE_OAUTH_TOKEN                     the agent's login, from `claude setup-token`
  OPENCODE_API_KEY                            the same for --runtime opencode: a key of the model's provider
  GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY       the GitHub App; or GITHUB_TOKEN, a token that may write to the repository
  DISCORD_WEBHOOK_URL                         the channel; or DISCORD_BOT_TOKEN and DISCORD_CHANNEL_ID

stdout has the agent's events and then the run record, as JSON Lines (on a terminal: the record); progress is on
stderr. Exit codes: 0 branch pushed, pull request open, Discord told; 1 the run failed, its record says why; 2 wrong
usage, 3 the run is still at work and 4 missing credentials, all before anything happened. With --stage agent: 0 when
the record is written.

Example:
  run-publisher.sh --timeout 20m --max-budget-usd 5 "A post on what we learnt from moving to Kubernetes"
USAGE
}

say() { printf 'run-publisher.sh: %s\n' "$*" >&2; }

die() {
    local code=$1
    shift
    say "$1"
    shift
    (($# == 0)) || printf 'hint: %s\n' "$@" >&2
    exit "$code"
}

# A secret, which may come in a file: whether there is one.
have() {
    local file=${1}_FILE
    [[ -z ${!file:-} || -r ${!file} ]] || die 4 "$file names '${!file}', which cannot be read" 'is the path right?'
    [[ -n ${!1:-} || -n ${!file:-} ]]
}

# Files are named from where this was called.
locate_secrets() {
    local name
    for name in {CLAUDE_CODE_OAUTH_TOKEN,OPENCODE_API_KEY,GITHUB_APP_PRIVATE_KEY,GITHUB_TOKEN,DISCORD_WEBHOOK_URL,DISCORD_BOT_TOKEN}_FILE; do
        [[ -z ${!name:-} || ${!name} == /* ]] || export "$name=$PWD/${!name}"
    done
}

parse() {
    topic='' stage=all publish=1 notify=1 dry_run=0
    repo=${GITHUB_REPOSITORY:-} base=main agent=publisher runtime=${PRESSRUN_RUNTIME:-claude} timeout=30m run_dir=${PRESSRUN_RUN_DIR:-}
    allowed_tools='Agent,Read,Write,Edit,Glob,Grep,TodoWrite,WebSearch,WebFetch,mcp__playwright,Bash(git *),Bash(start-dev-bg.sh *)'
    mcp_args=() agent_args=() push_args=() pull_args=()
    local topics=()
    while (($#)); do
        case $1 in
            --stage | --repo | --label | --base | --agent | --runtime | --timeout | --max-turns | --max-budget-usd | --model | --allowed-tools | --mcp-overlay | --run-dir)
                [[ -n ${2:-} ]] || die 2 "$1 wants a value"
                ;;
        esac
        case $1 in
            --stage) stage=$2 ;;
            --repo) repo=$2 ;;
            --label) pull_args+=(--label "$2") ;;
            --base) base=$2 push_args=(--allow-base "$2") ;;
            --agent) agent=$2 ;;
            --runtime) runtime=$2 ;;
            --timeout) timeout=$2 ;;
            --max-turns | --max-budget-usd | --model) agent_args+=("$1" "$2") ;;
            --allowed-tools) allowed_tools=$2 ;;
            --mcp-overlay) mcp_args+=(--overlay "$(realpath -m -- "$2")") ;;
            --run-dir) run_dir=$2 ;;
            --no-publish) publish=0 ;;
            --no-notify) notify=0 ;;
            --dry-run) dry_run=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            --)
                shift
                topics+=("$@")
                break
                ;;
            -*) die 2 "unknown option $1" 'run-publisher.sh --help' ;;
            *) topics+=("$1") ;;
        esac
        case $1 in
            --no-* | --dry-run | [!-]* | '') shift ;;
            *) shift 2 ;;
        esac
    done
    case $runtime in
        claude) login=CLAUDE_CODE_OAUTH_TOKEN login_hint="create a token with 'claude setup-token', then export $login=…" ;;
        opencode) login=OPENCODE_API_KEY login_hint="create a key at the model's provider, then export $login=…" ;;
        *) die 2 "unknown runtime '$runtime'" 'one of claude, opencode' ;;
    esac
    case $stage in
        agent | all)
            ((${#topics[@]} == 1)) || die 2 "expected one topic, got ${#topics[@]}" 'quote it: run-publisher.sh "A post about X"'
            topic=${topics[0]}
            [[ $topic == *[![:space:]]* ]] || die 2 'the topic is empty'
            ;;
        publish | salvage) ((${#topics[@]} == 0)) || die 2 "--stage $stage takes the topic from the run record" ;;
        *) die 2 "unknown stage '$stage'" 'one of agent, publish, all, salvage' ;;
    esac
    if ((! publish)); then
        [[ $stage != publish && $stage != salvage ]] || die 2 "--stage $stage and --no-publish exclude each other"
        [[ $stage == agent ]] || say '--no-publish: the branch stays here; no push, no pull request, no message'
        stage=agent_only
    elif ((! notify)) && [[ $stage != agent ]]; then
        say '--no-notify: nobody is told how the run ends'
    fi
}

require_tools() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die 2 "there is no command '$tool' on the PATH" 'scripts/setup.sh run installs what is missing'
    done
}

require_agent_stage() {
    require_tools git "$runtime" agent-home mcp-config branch-run
    have "$login" || die 4 "$login is not set" "$login_hint"
    # The agent CLI knows the variable alone.
    local file=${login}_FILE
    [[ -n ${!login:-} ]] || printf -v "$login" %s "$(<"${!file}")"
    export "${login?}"
    unset "$file"
}

require_publish_stage() {
    require_tools branch-run open-pr
    if ! have GITHUB_TOKEN; then
        require_tools mint-gh-token
        if [[ -z ${GITHUB_APP_ID:-} ]] || ! have GITHUB_APP_PRIVATE_KEY; then
            die 4 'no GitHub credentials' \
                'set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_FILE (or GITHUB_TOKEN), or choose --no-publish'
        fi
    fi
    if ((notify)); then
        require_tools notify-discord
        have DISCORD_WEBHOOK_URL || { have DISCORD_BOT_TOKEN && [[ -n ${DISCORD_CHANNEL_ID:-} ]]; } ||
            die 4 'no Discord credentials' \
                'set DISCORD_WEBHOOK_URL, or DISCORD_BOT_TOKEN and DISCORD_CHANNEL_ID, or choose --no-notify'
    fi
    # Read before the agent starts: the remote is the workspace's to change.
    [[ -n $repo ]] || repo=$(origin) || die 2 'no repository: origin is no GitHub remote' 'give --repo owner/name'
}

# As it stands there: what an include or insteadOf makes of it, anyone may have written.
remote_url() { git config --local --get remote.origin.url; }

# owner/name of the remote origin, where it has that form.
origin() {
    local url
    url=$(remote_url) || return
    [[ $url =~ [:/]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)/?$ ]] || return
    printf '%s' "${BASH_REMATCH[1]%.git}"
}

# Runs a command that gets the signals which this script gets: what was begun is ended in order, and then published.
signalled() {
    # In a process group of its own: a Ctrl-C of the terminal reaches it through the trap, once. Twice would be two signals.
    set -m
    "$@" <&0 &
    child=$!
    set +m
    attend
}

# Waits for the child, and hands it the signals.
attend() {
    local code
    # One that came while there was nobody to hand it to.
    [[ -z $signal ]] || kill -TERM "$child" 2>/dev/null || :
    while
        signal='' code=0
        wait "$child" || code=$?
        [[ -n $signal ]]
    do :; done
    child=''
    return "$code"
}

# Keeps what the command says on stderr in a file too.
logged() {
    local log=$1 code=0
    shift
    "$@" 2>"$log" || code=$?
    cat "$log" >&2
    return "$code"
}

# Puts files into the run's folder, in the place of whatever the agent left there under their names.
hand_over() {
    local file
    for file in "$@"; do
        [[ ! -e $file ]] || { rm -rf -- "${run_dir:?}/${file##*/}" && mv -T -- "$file" "$run_dir/${file##*/}"; } ||
            say "${file##*/} is missing in the run's folder $run_dir"
    done
}

# What an agent CLI reads of the repository, how it is called, and what it finds in its environment.
prepare_claude() {
    agent-home "${home[@]}" >"$run_dir/agents.json"
    environment=("CLAUDE_CONFIG_DIR=$run_dir/claude")
    command=(claude --agent "$agent" --setting-sources user --mcp-config "$mcp" --strict-mcp-config
        --permission-mode dontAsk --allowedTools "$allowed_tools" --input-format stream-json --output-format stream-json
        --verbose --no-session-persistence "${agent_args[@]}" -p)
}

prepare_opencode() {
    agent-home "${home[@]}" --mcp-config "$mcp" --allowed-tools "$allowed_tools" "${agent_args[@]}" >"$run_dir/agents.json"
    mapfile -t environment < <(jq -r '.environment | to_entries[] | "\(.key)=\(.value)"' "$run_dir/agents.json")
    command=(opencode run --format json --agent "$agent" --title "$agent" --print-logs --log-level ERROR)
}

run_agent() {
    local mcp=$run_dir/mcp.json command environment
    local home=(--runtime "$runtime" --agent "$agent" --user-agents "${CLAUDE_CONFIG_DIR:-$HOME/.claude}/agents"
        --out "$run_dir/$runtime")
    local run=(--agent "$agent" --base "$base" --prompt-file "$run_dir/prompt" --prompt-on-stdin --timeout "$timeout"
        --mcp-config "$mcp" --transcript "$run_dir/transcript.jsonl" --record "$record" --die-with-parent $$)
    [[ ! -t 1 ]] || run+=(--quiet-events)
    [[ $stage == agent_only ]] || run+=(--unsettled)
    [[ -z ${PRESSRUN_RUN:-} ]] || run+=(--run "$PRESSRUN_RUN")
    if [[ -n ${PRESSRUN_READ_TOKEN_FILE:-} ]]; then
        GH_TOKEN=$(<"$PRESSRUN_READ_TOKEN_FILE")
        export GH_TOKEN
        run+=(--pass-env GH_TOKEN)
    fi

    printf '%s' "$topic" >"$run_dir/prompt"
    mcp-config --agent "$agent" --artifacts "$run_dir/browser" "${mcp_args[@]}" --out "$mcp"
    "prepare_$runtime"
    run=(env "${environment[@]}" branch-run "${run[@]}")
    "${run[@]}" --dry-run -- "${command[@]}" >"$run_dir/plan.json"
    if ((dry_run)); then
        cat "$run_dir/plan.json"
        exit 0
    fi
    if [[ -n $interrupted ]]; then
        not_begun 'the run was ended by a signal'
        read_record
        return
    fi
    local code=0 remote
    remote=$(remote_url) || :
    signalled "${run[@]}" -- "${command[@]}" || code=$?
    # The next run would follow where the agent made it lead.
    if [[ $(remote_url) != "$remote" ]]; then
        say "the agent changed where the remote origin leads, which is taken back"
        git config --local --unset-all remote.origin.url || :
        [[ -z $remote ]] || git config --local remote.origin.url "$remote"
    fi
    # Nothing was begun; a record in this folder is that of a run before.
    ((code == 0 || code > 128)) || { forget_sessions && return "$code"; }
    # Where it was killed, nothing is written: what is left is ended and kept here.
    if ((code > 128)) && [[ ! -s $record ]]; then
        code=0
        branch-run salvage --record "$record" || [[ -s $record ]] || not_begun 'branch-run was killed before the agent began'
    fi
    forget_sessions
    read_record
    [[ $outcome/$failed_in != mcp-failed/mcp-start ]] || explain_servers
    return "$code"
}

# What is decided by here of the agent stage's record, where there is one. What the pieces change of it, their exit codes say too.
read_record() {
    local known='[(((.commits | numbers) // 0) > 0), .uncommitted == true | if . then 1 else 0 end]'
    outcome='' commits=0 uncommitted=0 failed_in=''
    # The agent writes the record: what is used in arithmetic is a digit, and stands where no empty text can shift another into its place.
    [[ ! -s $record ]] || IFS=$'\t' read -r commits uncommitted outcome failed_in \
        < <(jq -r "$known + [.outcome, .stage] | @tsv" "$record") || :
}

# What the agent CLI keeps for itself ends with the run: unlike the transcript it has every secret that a tool has shown.
forget_sessions() {
    rm -rf -- "$run_dir/claude" "$run_dir/opencode" || say 'what the agent CLI kept of its session stays in the run folder'
}

# The record of a run that was ended before its agent began: why, and in which stage.
not_begun() {
    branch-run fail --agent "$agent" --prompt "$topic" --base "$base" --stage "${2:-agent}" --outcome interrupted \
        --error "$1" ${PRESSRUN_RUN:+--run "$PRESSRUN_RUN"} --record "$record"
}

# Has what is not committed yet committed: the agent stage was killed, or could not. Not so, with branch-run's exit code, where it left
# nothing.
salvage() {
    local code=0
    [[ -z $outcome ]] || ((uncommitted)) || return 0
    branch-run salvage --record "$record" >/dev/null || code=$?
    ((code != 3)) || die 3 'the run is at work: nothing is touched' 'wait for its end, or end it'
    read_record
    [[ -n $outcome ]] || return "$code"
}

# Puts into the record of a run that was interrupted why that was, where it is known.
explain() {
    [[ $outcome == interrupted && -n ${PRESSRUN_REASON:-} ]] || return 0
    branch-run explain --reason "$PRESSRUN_REASON" <"$record" >"$record.next"
    take_next
}

# What a killed agent stage left, as a record for publish. It works on the agent's files, and has no credential.
run_salvage() {
    local reason=${PRESSRUN_REASON:-the run was killed} code=0
    topic=${PRESSRUN_TASK:-a run that was killed}
    read_record
    if [[ -z $outcome ]] && ! git rev-parse --git-dir >/dev/null 2>&1; then
        not_begun "$reason" checkout
    else
        salvage || code=$?
        case $code in
            0) explain ;;
            2) not_begun "$reason" ;;
            *) die 1 'what the run left cannot be salvaged' 'look at the clone by hand: nothing of it is lost' ;;
        esac
    fi
    forget_sessions
}

# The agent CLI says that a server did not start; the server itself says why.
explain_servers() {
    local log=$run_dir/mcp-check.log
    logged "$log" signalled mcp-config check <"$run_dir/mcp.json" >"$run_dir/mcp-check.json" && return
    branch-run fail --stage mcp-start --outcome mcp-failed --error-file "$log" <"$record" >"$record.next"
    take_next
    [[ $stage == all ]] || print_record
}

# The record that a piece has made of it; where there was no room for one, it stays as it is.
take_next() { [[ ! -s $record.next ]] || mv "$record.next" "$record"; }

# Takes the record through one piece. A piece that fails notes it in the record; for one that cannot, it is noted here.
step() {
    local stage=$1 outcome=$2 code=0
    shift 2
    signalled "$@" <"$record" >"$record.next" || code=$?
    if [[ ! -s $record.next ]]; then
        branch-run fail --stage "$stage" --outcome "$outcome" --error "$1 ended with exit code $code" \
            <"$record" >"$record.next"
    fi
    take_next
    return "$code"
}

mint() {
    local from code=0
    if ! have GITHUB_TOKEN; then
        # Not in $(…), for which signals would wait.
        exec {from}< <(exec mint-gh-token --repo "$repo" --format token)
        child=$!
        attend || code=$?
        read -r GITHUB_TOKEN <&"$from" || :
        exec {from}<&-
    fi
    export GITHUB_TOKEN
    return "$code"
}

# A run in this clone that was killed, or that nobody was told of, is published first.
recover() {
    local left folder again=(run-publisher.sh --stage publish --repo "$repo" "${pull_args[@]}")
    left=$(branch-run left)
    [[ -n $left ]] || return 0
    folder=$(jq -r '.recordFile // empty | sub("/[^/]*$"; "")' <<<"$left")
    again+=(--run-dir "${folder:-$run_dir/left}")
    ((notify)) || again+=(--no-notify)
    signalled "${again[@]}" >/dev/null || say "a run before this one is unfinished: ${again[*]}"
}

run_publish() {
    # The folder is the agent's to write: a link in it could lead to a credential of this stage.
    [[ ! -L $record ]] || die 2 "the run record $record is a link" 'look at the folder by hand'
    [[ $stage == all ]] || { read_record && salvage; } ||
        die 2 "there is no run record $record" 'run --stage agent first, or give its --run-dir'
    forget_sessions
    # A folder that the agent cannot have prepared: in the run's own, a pipe or a folder could stand where a file is to be written. With
    # room for all that will be: what has failed is written down there.
    local folder own
    trap 'rm -rf -- "${own_folders[@]}"' EXIT
    # The agent stage's record stays as it is: publishing again starts from there, whatever became of it before.
    for folder in "$run_dir" "${TMPDIR:-/tmp}"; do
        own=$(mktemp -d -- "$folder/publish.XXXXXX") || continue
        own_folders+=("$own")
        if head -c 512K /dev/zero >"$own/room" && rm "$own/room" && cp "$record" "$own/published.json"; then
            record=$own/published.json
            break
        fi
        # What little there is, others need.
        rm -rf -- "$own"
    done
    [[ $record == "$own/published.json" ]] || die 1 'there is no room to publish from' "make room in $run_dir"
    explain
    local code=0 told=1 log=$own/token.log why
    why=(--outcome token-failed --error-file "$log")
    if ((commits > 0)); then
        if logged "$log" mint; then
            publish_branch || code=$?
        else
            code=$?
            # 128 and SIGTERM
            ((code == 143)) && why=(--outcome interrupted --error 'the run was ended by a signal')
            branch-run fail --stage token "${why[@]}" <"$record" >"$record.next"
            take_next
            # Whatever was wrong with the credentials: when it is mended, there is a branch to push.
            code=3
        fi
    fi
    if ((notify)); then
        # A signal that came before has been answered; one that comes now ends this too.
        signal=''
        tell || told=0
    fi
    # Until then it counts as one that was killed, and the next run in the clone publishes it again. What is refused for good would be again.
    ((! told || code > 2)) || branch-run settle <"$record" || say 'what is left of the run in its clone stays'
    # As it ended.
    read_record
    print_record
    leave_message
    hand_over "$own"/{published,message}.json "$log"
    ((code == 0 && told)) && [[ $outcome == success ]]
}

# The branch, and its pull request.
publish_branch() {
    # Since the time before a person may have merged it. What the record says of that is the agent's word until then.
    if [[ $stage == publish ]]; then
        step pull-request pull-request-failed open-pr --merged --repo "$repo" || return
        push_args+=(--unless-merged)
    fi
    step push push-failed branch-run push --repo "$repo" "${push_args[@]}" || return
    step pull-request pull-request-failed open-pr --repo "$repo" "${pull_args[@]}"
}

# What was sent is remembered: publishing again changes the message, and sends no second one.
tell() {
    local code=0 memory=$run_dir/discord.json call
    call=(signalled notify-discord --once-file "$memory")
    "${call[@]}" <"$record" >"$own/message.json" || code=$?
    # The folder was the agent's to write, and twice is better than never.
    if ((code == 2)) && [[ -e $memory || -L $memory ]] && rm -rf -- "$memory"; then
        say "$memory was not what notify-discord leaves, and is removed"
        code=0
        "${call[@]}" <"$record" >"$own/message.json" || code=$?
    fi
    return "$code"
}

print_record() {
    if [[ -t 1 ]]; then jq . "$record"; else cat "$record"; fi
}

# In a pod: the record is its termination message, for whoever reads the pod's status.
leave_message() {
    [[ -z ${PRESSRUN_TERMINATION_LOG:-} || ! -s $record ]] || agent-task brief <"$record" >"$PRESSRUN_TERMINATION_LOG"
}

# The kubelet takes a container of a sequence in which that happened for failed, whatever its exit code is, and where it is 0, the pod
# neither goes on nor ends.
ran_out_of_memory() {
    grep -qs '^oom_kill [1-9]' /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control
}

main() {
    # No core dump of this shell, which has the credentials; the pieces see to theirs.
    ulimit -S -c 0
    parse "$@"
    require_tools jq
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    locate_secrets
    [[ -z $run_dir ]] || run_dir=$(realpath -m -- "$run_dir")
    if [[ $stage != publish && $stage != salvage ]]; then
        require_agent_stage
        local root
        root=$(git rev-parse --show-toplevel 2>/dev/null) || die 2 "$PWD is in no git work tree" \
            'change to a clone of the repository that the agent shall work on'
        cd "$root"
    fi
    [[ $stage != all && $stage != publish ]] || require_publish_stage

    local runs=${XDG_STATE_HOME:-$HOME/.local/state}/pressrun/runs
    if [[ -z $run_dir && $stage == publish ]]; then
        run_dir=$runs/latest
    elif [[ -z $run_dir ]]; then
        run_dir=$runs/$agent-$(date +%s)-$$
        mkdir -p "$run_dir"
        ln -sfn "$run_dir" "$runs/latest"
    fi
    mkdir -p "$run_dir"
    record=$run_dir/record.json
    # What a subagent may call by name: start-dev-bg.sh.
    PATH=$here:$PATH

    child='' signal='' interrupted='' own_folders=()
    trap 'signal=1 interrupted=1; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null' TERM INT HUP
    case $stage in
        agent)
            run_agent
            leave_message
            [[ ${PRESSRUN_OUT_OF_MEMORY:-} != fail ]] || ! ran_out_of_memory ||
                die 1 'a process of this container was killed because memory ran out; the work is recorded' \
                    'publish it by spawn-job --stage publish, and give the task more memory'
            ;;
        publish) run_publish ;;
        salvage) run_salvage ;;
        agent_only)
            run_agent
            [[ $outcome == success ]]
            ;;
        all)
            ((dry_run)) || recover
            run_agent
            run_publish
            ;;
    esac
}

main "$@"
