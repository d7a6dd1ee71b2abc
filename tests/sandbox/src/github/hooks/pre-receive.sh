#!/bin/sh
# Keeps what a push asked for: "OLD NEW REF" lines. A push past the server (by path) is not kept.
if [ -n "${SANDBOX_PUSH-}" ]; then
    cat >"$SANDBOX_PUSH/commands"
fi
