# What people and CI run: `just --list` shows it, `./scripts/test.sh` installs what is missing and runs `just ci`.

set shell := ["bash", "-Eeuo", "pipefail", "-c"]
export RUSTDOCFLAGS := "-D warnings"

scripts := `git ls-files --cached --others --exclude-standard '*.sh' .ci/run | tr '\n' ' '`

[private]
default:
    @just --list --unsorted

# Every gate, in the order of how soon it can fail.
ci: fmt-check shfmt shellcheck deny clippy doc readme test

# Format the Rust sources and the scripts.
fmt:
    cargo fmt --all
    shfmt -i 4 -ci -w {{ scripts }}

# The Rust sources are formatted.
fmt-check:
    cargo fmt --all --check

# The scripts are formatted.
shfmt:
    shfmt -i 4 -ci -d {{ scripts }}

# The scripts have no fault that shellcheck knows.
shellcheck:
    shellcheck {{ scripts }}

# Licences, sources and duplicates of the dependencies, without the network.
deny:
    cargo-deny --all-features --locked check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities of the dependencies. Fetches the RustSec database from GitHub, so it is no gate.
advisories:
    cargo-deny --all-features --locked check advisories

# The lints, warnings denied.
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The documentation builds, warnings denied.
doc:
    cargo doc --workspace --no-deps --document-private-items --locked

# The README's examples run as they stand, and no link of the documents is broken.
readme:
    cargo build --workspace --bins --locked
    ./scripts/check-docs.sh "${CARGO_TARGET_DIR:-target}/debug"

# All tests: units, the built binaries, real git, and the real agent CLI end to end.
test *ARGS:
    cargo test --workspace --locked --no-fail-fast {{ ARGS }}

# The tests with the real agent CLI alone.
e2e *ARGS:
    cargo test -p e2e --locked {{ ARGS }}

# Runs a target of fuzz/ (credentials, events, overlays, records, redaction) for so many seconds. Installs cargo-fuzz.
fuzz TARGET SECONDS="600":
    #!/usr/bin/env bash
    set -Eeuo pipefail
    source "$(scripts/setup.sh fuzz)"
    mkdir -p 'fuzz/corpus/{{ TARGET }}'
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    # Without a sanitizer, which would need a nightly compiler: the code is safe, and what it must not do panics.
    cargo fuzz run --sanitizer none --features libfuzzer --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" '{{ TARGET }}' \
        'fuzz/corpus/{{ TARGET }}' 'fuzz/seeds/{{ TARGET }}' -- -max_total_time={{ SECONDS }} -max_len=4096 -timeout=10 -print_final_stats=1

# All targets of fuzz/, one after the other, each for so many seconds.
fuzz-all SECONDS="600":
    for target in fuzz/seeds/*; do just fuzz "${target##*/}" {{ SECONDS }}; done

# Kill so many runs at random moments, start each again, and count what is lost, doubled or left. A seed repeats the moments.
kill-test ROUNDS="10" *SEED:
    cargo run --quiet --locked -p e2e --example kill_test -- {{ ROUNDS }} {{ SEED }}

# The whole pipeline against the sandbox, on the sample blog.
quickstart *ARGS:
    ./scripts/quickstart.sh {{ ARGS }}

# Requirements of the design that no test's doc comment names, and names that the design does not have.
requirements FILE="../shared/design/requirements.md":
    #!/usr/bin/env bash
    set -Eeuo pipefail
    known=$(grep -oE '^\| [PKI][0-9]+ ' '{{ FILE }}' | tr -d '| ' | sort -u)
    shown=$(git grep -hE '^ *///? *([PKI][0-9]+, )*[PKI][0-9]+\.?$' -- '*.rs' | grep -oE '[PKI][0-9]+' | sort -u)
    echo "shown by a test:" $(comm -12 <(echo "$known") <(echo "$shown") | sort -V)
    echo "shown by none:  " $(comm -23 <(echo "$known") <(echo "$shown") | sort -V)
    unknown=$(comm -13 <(echo "$known") <(echo "$shown"))
    [[ -z $unknown ]] || { echo "no such requirement:" $unknown >&2; exit 1; }

# The figures of docs/performance.md, on a machine that does nothing else. Needs hyperfine (a Debian package).
bench: bench-start bench-log bench-overhead bench-reap bench-spawn bench-pod

# How long each piece takes to start, beside `true`.
bench-start: release
    #!/usr/bin/env bash
    set -Eeuo pipefail
    cd "${CARGO_TARGET_DIR:-target}/release"
    hyperfine --shell=none --warmup 10 --style basic true "./agent-home --version" "./agent-log --version" \
        "./branch-run --version" "./mcp-config --version" "./mint-gh-token --version" "./notify-discord --version" \
        "./open-pr --version" "./preflight --version" "./spawn-job --version" "./agent-task --version" "./reap-pvcs --version" "./egress-check --version"

# How fast agent-log reads a transcript of so many MiB, redaction included, beside `jq -c .`.
bench-log MIB="200": release
    #!/usr/bin/env bash
    set -Eeuo pipefail
    transcript=$(mktemp)
    trap 'rm -f "$transcript"' EXIT
    cargo run --quiet --release --locked -p agent-log --example generate-transcript -- {{ MIB }} >"$transcript"
    hyperfine --warmup 1 --runs 5 --style basic "jq -c . <$transcript" "${CARGO_TARGET_DIR:-target}/release/agent-log --quiet <$transcript"

# What everything around the agent costs: run-publisher.sh beside the agent CLI alone, in so many rounds.
bench-overhead ROUNDS="5": release
    cargo run --quiet --release --locked -p e2e --example overhead -- {{ ROUNDS }}

# How long reap-pvcs takes for ten thousand claims on a real API server, and its memory.
bench-reap:
    cargo test --release --locked -p reap-pvcs --test it -- --nocapture ten_thousand

# So many tasks at once: spawn-job beside a bare loop that makes the same calls, on an API server of its own.
bench-spawn TASKS="1000" ROUNDS="3": release
    cargo run --quiet --release --locked -p spawn-job --example burst -- {{ TASKS }} {{ ROUNDS }}

# From a Job's creation to the agent's first request, on a node of the tests, in so many rounds. It builds the programs itself.
bench-pod ROUNDS="5":
    for mode in storageClass ephemeral; do cargo run --quiet --release --locked -p pods --example start -- {{ ROUNDS }} "$mode"; done

[private]
release:
    cargo build --quiet --release --locked --workspace --bins
