// Completes what `opencode run --format json` prints: it tells of the main session's finished steps alone. This tells, in
// lines of the same shape, which MCP servers are connected, what the subagents do and when, and that the model's API is
// asked again. It ends a run that would wait for hours, or that has cost more than it may. It keeps what is the
// run's own out of the environment of shells. And it lets no code into this process but opencode's own.

const id = "pressrun"

// A part of opencode reads the repository's configuration whatever its environment says, and imports the plugins that stand
// there. From here on a module from outside of the program is empty.
Bun.plugin({
    name: id,
    setup: (build) =>
        build.onLoad({ filter: /^(?!\/\$bunfs\/)/ }, () => ({ contents: "export default {}", loader: "js" })),
})

// A limit that resets later than that ends the run.
const LONGEST_WAIT_MS = 5 * 60 * 1000

async function server({ client }, options = {}) {
    let main
    const sessions = new Set()
    const begun = new Set()
    let turns = 0
    let cost = 0
    let over = false

    const print = (type, sessionID, fields) =>
        process.stdout.write(JSON.stringify({ type, timestamp: Date.now(), sessionID, ...fields }) + "\n")

    const end = (reason, fields) => {
        if (over) return
        over = true
        print("ended", main, { reason, ...fields })
        client.session.abort({ path: { id: main } }).catch(() => {})
    }

    // Before the model is asked for the first time. It is answered when every server is connected, or has failed.
    const begin = async ({ sessionID, agent, model }) => {
        const { data = {} } = await client.mcp.status()
        const servers = Object.entries(data).map(([name, { status, error }]) => ({ name, status, error }))
        print("session", sessionID, { model: `${model.providerID}/${model.modelID}`, agent, servers })
        const missing = servers.filter(({ status }) => status !== "connected")
        if (missing.length === 0) return
        const message = missing.map(({ name, status, error }) => `${name}: ${error ?? status}`).join(", ")
        end("servers", { message })
        throw new Error(message)
    }

    const part = (part) => {
        const child = part.sessionID !== main
        switch (part.type) {
            case "tool": {
                // A subagent's session is known a moment after its call.
                const known = part.tool !== "task" || part.state.metadata?.sessionId
                if (part.state.status === "running" && known && !begun.has(part.id)) {
                    begun.add(part.id)
                    print("tool_start", part.sessionID, { part })
                }
                if (part.state.status === "completed" || part.state.status === "error") {
                    begun.delete(part.id)
                    if (child) print("tool_use", part.sessionID, { part })
                }
                break
            }
            case "text":
                if (child && part.time?.end) print("text", part.sessionID, { part })
                break
            case "step-start":
                if (!child && ++turns > options.maxTurns) end("turns", { maxTurns: options.maxTurns })
                break
            case "step-finish":
                if (child) print("step_finish", part.sessionID, { part })
                cost += part.cost ?? 0
                if (cost > options.maxBudgetUsd) end("budget", { costUsd: cost, maxBudgetUsd: options.maxBudgetUsd })
                break
        }
    }

    return {
        event: async ({ event: { type, properties } }) => {
            switch (type) {
                case "session.created":
                    main ??= properties.info.id
                    sessions.add(properties.info.id)
                    break
                case "message.part.updated":
                    if (sessions.has(properties.part.sessionID)) part(properties.part)
                    break
                case "session.error":
                    if (properties.sessionID !== main) print("error", properties.sessionID, { error: properties.error })
                    break
                case "session.status": {
                    const { status } = properties
                    if (status.type !== "retry") break
                    const delayMs = Math.max(0, (status.next ?? 0) - Date.now())
                    print("retry", properties.sessionID, { attempt: status.attempt, message: status.message, delayMs })
                    if (status.attempt > options.maxRetries) end("retries", { message: status.message })
                    else if (delayMs > LONGEST_WAIT_MS) end("wait", { message: status.message, resetsAt: status.next })
                    break
                }
            }
        },
        "chat.message": async (_, { message }) => {
            if (message.sessionID === main && !begun.has(main)) {
                begun.add(main)
                await begin(message)
            }
        },
        "shell.env": async (_, output) => {
            Object.assign(output.env, options.shellEnvironment)
        },
    }
}

export default { id, server }
