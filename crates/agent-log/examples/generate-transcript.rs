//! Writes a transcript of so many MiB (200 if not told otherwise) to stdout, the same for the same size: what a long run
//! looks like, for benchmarks. Nearly all of it is what tools said, a few events are megabytes long, and here and there
//! stands a token.
//!
//! `cargo run -p agent-log --example generate-transcript -- 1024 > big.jsonl`

use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};

const SESSION: &str = "00000000-0000-4000-8000-000000000001";

/// Source text as tools print it: with quotes, tabs, backslashes, full stops and some that is not ASCII.
const LINES: &[&str] = &[
    "use std::collections::HashMap;\n",
    "    let path = root.join(\"content/posts/2026-11-22-hello.md\");\n",
    "\t\tif (response.status !== 200) { throw new Error(`GET ${url}: ${response.status}`); }\n",
    "The quick brown fox jumps over the lazy dog. It does so every day, at www.example.com/fox.\n",
    "  \"dependencies\": { \"react\": \"^19.2.0\", \"@types/node\": \"24.1.0\" },\n",
    "ß ünïcode — “quotes” and an arrow → 漢字\n",
    "C:\\Users\\agent\\project> npm run build && echo \"done\"\n",
    "drwxr-xr-x  2 agent agent  4096 Nov 22 22:00 node_modules\n",
    "sha256-4b1a7f3c2e9d8a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b\n",
    "        assert_eq!(parse(\"a.b.c\").unwrap(), [\"a\", \"b\", \"c\"]);\n",
];

/// xorshift: enough for a mix, and the same everywhere.
struct Mix(u64);

impl Mix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 128);
        while text.len() < bytes {
            text.push_str(LINES[self.below(LINES.len())]);
        }
        text
    }
}

fn main() -> io::Result<()> {
    let mebibytes: u64 = std::env::args().nth(1).and_then(|size| size.parse().ok()).unwrap_or(200);
    let mut out = Counted { out: BufWriter::with_capacity(1 << 20, io::stdout().lock()), bytes: 0 };
    let mut mix = Mix(0x9E37_79B9_7F4A_7C15);
    out.event(&json!({"type": "system", "subtype": "init", "session_id": SESSION, "model": "claude-sonnet-4-5",
        "mcp_servers": [{"name": "playwright", "status": "connected"}], "tools": ["Bash", "Read", "Write", "Agent"]}))?;
    let mut turn = 0_u64;
    while out.bytes < mebibytes << 20 {
        turn += 1;
        let call = format!("toolu_{turn:08}");
        let length = match mix.below(1000) {
            0 => 4 << 20,
            1..=20 => 200_000,
            21..=300 => 20_000,
            _ => 2000,
        };
        let text = mix.text(300);
        let usage = json!({"input_tokens": 12, "output_tokens": 340, "cache_read_input_tokens": 45_000, "cache_creation_input_tokens": 800});
        out.event(&json!({"type": "assistant", "message": {"id": format!("msg_{turn:08}"), "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "content": [{"type": "text", "text": text},
            {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": format!("cat file-{turn}.rs"), "description": "Read it"}}],
            "usage": usage}, "parent_tool_use_id": null, "session_id": SESSION}))?;
        let mut said = mix.text(length);
        if mix.below(500) == 0 {
            said.push_str("remote: https://x-access-token:ghs_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8@github.com/octo/blog\n");
        }
        out.event(&json!({"type": "user", "message": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call,
            "content": said, "is_error": false}]}, "parent_tool_use_id": null, "session_id": SESSION,
            "tool_use_result": {"stdout": said, "stderr": "", "interrupted": false}}))?;
    }
    out.event(&json!({"type": "result", "subtype": "success", "is_error": false, "num_turns": turn, "total_cost_usd": 1.25,
        "duration_ms": 1_800_000, "result": "Done.", "session_id": SESSION, "permission_denials": []}))?;
    out.out.flush()
}

struct Counted<W: Write> {
    out: W,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        let line = event.to_string();
        self.bytes += line.len() as u64 + 1;
        writeln!(self.out, "{line}")
    }
}
