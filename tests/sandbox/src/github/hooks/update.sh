#!/bin/sh
# Refuses a ref as GitHub does. Arguments: the ref, where it is, where it is to go.
# $SANDBOX_PUSH: where the reason goes that the client is told; unset for a push past the server (by path).
# $SANDBOX_RULES: "PATTERN<tab>MESSAGE" lines. $SANDBOX_WORKFLOWS: "write", or the token may not touch workflows.
[ -n "${SANDBOX_PUSH-}" ] || exit 0
ref=$1
new=$3

refuse() {
    printf '%s\t%s\n' "$ref" "$1" >>"$SANDBOX_PUSH/refused"
    exit 1
}

tab=$(printf '\t')
while IFS=$tab read -r pattern message; do
    # shellcheck disable=SC2254 # unquoted: the rule is a pattern
    case ${ref#refs/heads/} in
        $pattern)
            {
                echo "error: GH013: Repository rule violations found for $ref."
                echo
                echo "- $message"
                echo
            } >&2
            refuse "push declined due to repository rule violations"
            ;;
    esac
done <"$SANDBOX_RULES"

case $new in
    *[!0]*) ;;
    # The ref is deleted: nothing is brought in.
    *) exit 0 ;;
esac
[ "${SANDBOX_WORKFLOWS-}" != write ] || exit 0
commit=$(git rev-list --max-count=1 "$new" --not --all -- .github/workflows) || exit 1
if [ -n "$commit" ]; then
    file=$(git diff-tree --root --no-commit-id --name-only -r -m "$commit" -- .github/workflows | head -n 1)
    refuse "refusing to allow a GitHub App to create or update workflow \`$file\` without \`workflows\` permission"
fi
