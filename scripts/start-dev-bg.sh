#!/usr/bin/env bash
# Starts a site's own dev server in the background, waits until it answers, and prints one line of JSON:
#   {"url":"http://127.0.0.1:24817/","pid":4242,"log":"/tmp/dev-server.x1Y2z3.log"}
# The server ends with the run that it was started in.
set -Eeuo pipefail

usage() {
    cat <<'USAGE'
Starts a site's dev server in the background and waits until it answers.

Usage: start-dev-bg.sh [OPTIONS] -- COMMAND [ARGUMENT]...

Every {port} in the command is replaced by the port; it is in the environment as PORT too.

Options:
  --port N       Port on 127.0.0.1 that the server will listen on [default: a free one]
  --path PATH    Path to ask for [default: /]
  --timeout S    Seconds until it must answer [default: 30]
  --log FILE     Where the server's output goes [default: a temporary file]
  --owner PID    The server ends with this process [default: the run's, else the calling shell]
  -h, --help     Print this help

Prints {"url", "pid", "log"} on stdout. Exit codes: 0 it answers, 1 it died or does not answer, 2 wrong usage
or the port is in use.

Example:
  start-dev-bg.sh -- python3 -m http.server --bind 127.0.0.1 {port}
USAGE
}

die() {
    local code=$1
    shift
    printf 'start-dev-bg.sh: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '%s\n' "$@" >&2
    exit "$code"
}

# Whether something on loopback accepts connections on the port.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 12000))
        answers "$port" || {
            printf '%s' "$port"
            return
        }
    done
    die 1 'found no free port between 20000 and 31999'
}

# Ends what was started, when it is of no use, and waits until it is gone.
stop() {
    kill -TERM -- "-$server" 2>/dev/null || kill -TERM "$server" 2>/dev/null || return 0
    (sleep 5 && kill -KILL -- "-$server") 2>/dev/null &
    local killer=$!
    wait "$server" 2>/dev/null || true
    kill "$killer" 2>/dev/null || true
}

# Ends the server's whole session when its owner is gone, and goes with either. In a session of its own, without
# this script's streams: it outlives the script, and who waits for the end of stdout must not wait for it.
end_with() {
    # shellcheck disable=SC2016 # the inner shell is the one to expand them
    setsid bash -c '
        tail --pid="$1" -f /dev/null & owner=$!
        tail --pid="$2" -f /dev/null & server=$!
        wait -n
        kill -TERM -- "-$2" "$owner" "$server"' \
        dev-server-watch "$1" "$2" </dev/null >/dev/null 2>&1 &
}

main() {
    local port='' path=/ timeout=30 log='' owner=${PRESSRUN_PID:-$PPID}
    while (($#)); do
        case $1 in
            --port | --path | --timeout | --log | --owner) (($# > 1)) || die 2 "$1 wants a value" ;;
        esac
        case $1 in
            --port) port=$2 ;;
            --path) path=$2 ;;
            --timeout) timeout=$2 ;;
            --log) log=$2 ;;
            --owner) owner=$2 ;;
            -h | --help)
                usage
                exit 0
                ;;
            --)
                shift
                break
                ;;
            *) die 2 "unknown argument '$1'" "hint: the server's command goes behind --" ;;
        esac
        shift 2
    done
    (($#)) || die 2 'no command' 'hint: start-dev-bg.sh -- hugo server --bind 127.0.0.1 --port {port}'
    [[ ${port:-1} =~ ^[1-9][0-9]{0,4}$ && ${port:-1} -le 65535 ]] || die 2 "--port '$port' is no port"
    [[ $timeout =~ ^[1-9][0-9]{0,4}$ ]] || die 2 "--timeout '$timeout' is no number of seconds"
    [[ $path == /* ]] || die 2 "--path '$path' does not begin with /"
    kill -0 "$owner" 2>/dev/null || die 2 "--owner '$owner' is no running process"
    command -v "$1" >/dev/null || die 2 "there is no command '$1'" 'hint: install it, or give its path'
    if [[ -z $port ]]; then
        port=$(free_port)
    elif answers "$port"; then
        die 2 "port $port is in use" 'hint: leave --port out to get a free one'
    fi
    [[ -n $log ]] || log=$(mktemp "${TMPDIR:-/tmp}/dev-server.XXXXXX.log")

    local url="http://127.0.0.1:$port$path"
    PORT=$port setsid "${@//\{port\}/$port}" </dev/null >>"$log" 2>&1 &
    server=$!
    trap stop EXIT

    local deadline=$((SECONDS + timeout))
    until curl --silent --output /dev/null --noproxy '*' --max-time 5 "$url"; do
        kill -0 "$server" 2>/dev/null ||
            die 1 "the server ended before it answered: $*" "$(tail -n 5 "$log")" "hint: its output is in $log"
        ((SECONDS < deadline)) ||
            die 1 "nothing answers at $url after $timeout s" "$(tail -n 5 "$log")" "hint: its output is in $log"
        sleep 0.1
    done
    # Another server may have taken the port in between: only one of the two is alive.
    kill -0 "$server" 2>/dev/null ||
        die 1 "something answers at $url, but the server ended: $*" "$(tail -n 5 "$log")"

    end_with "$owner" "$server"
    trap - EXIT
    jq -cn --arg url "$url" --argjson pid "$server" --arg log "$log" '{url: $url, pid: $pid, log: $log}'
}

main "$@"
