//! A report as people read it.

use crate::text;
use agent_task::AgentReport;
use std::fmt::Write as _;
use std::time::Duration;

/// `1m 05s`, `12.3s`, `340ms`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `950`, `12.3k`, `1.2M`.
#[must_use]
pub fn count(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..1_000_000 => format!("{}.{}k", number / 1000, number % 1000 / 100),
        _ => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

/// `1 call`, `2 calls`.
#[must_use]
pub fn calls(number: u64) -> String {
    format!("{number} call{}", if number == 1 { "" } else { "s" })
}

/// The report over several lines.
#[must_use]
pub fn text(report: &AgentReport, colours: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let mut out = String::new();
    let good = report.outcome.is_success();
    let head = format!("{} {}", if good { "✓" } else { "✗" }, report.outcome);
    // Writing to a String cannot fail.
    let _ = write!(out, "{}  {}", paint(if good { "1;32" } else { "1;31" }, &head), report.outcome.meaning());
    if let Some(stage) = &report.stage {
        let _ = write!(out, " (stage {})", text::line(stage.as_str(), 100));
    }
    out.push('\n');
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "  {} {value}", paint("2", &format!("{name:<10}")));
    };
    if let Some(error) = &report.error {
        row("error", &text::line(error, 500));
    }
    if let Some(resets_at) = report.resets_at {
        row("resets at", &resets_at.to_string());
    }
    if let Some(remedy) = report.outcome.remedy() {
        row("what to do", remedy);
    }
    if let Some(model) = &report.model {
        row("model", &text::line(model, 100));
    }
    let tokens = report.tokens;
    row(
        "used",
        &format!(
            "{} · {} turns · {} · {} tokens in, {} out, {} cached · ${:.4}",
            duration(Duration::from_millis(report.duration_ms)),
            report.turns,
            calls(report.tool_calls),
            count(tokens.input.saturating_add(tokens.cache_write)),
            count(tokens.output),
            count(tokens.cache_read),
            report.cost_usd
        ),
    );
    for agent in &report.subagents {
        let said = match &agent.verdict {
            Some(verdict) if verdict.pass => paint("32", "PASS"),
            Some(verdict) => {
                let reason = verdict.reason.as_deref().unwrap_or_default();
                format!("{} {}", paint("31", "FAIL"), text::line(reason, 200))
            }
            None if agent.failed => paint("31", "failed"),
            None => "done".to_owned(),
        };
        let name = text::line(&agent.agent_type, 40);
        let about = agent.description.as_deref().map(|about| text::line(about, 80)).unwrap_or_default();
        row("subagent", &format!("{name}: {about} · {} · {}", calls(agent.tool_calls), said.trim_end()));
    }
    for server in report.mcp_servers.iter().filter(|server| server.status != "connected") {
        row("mcp", &format!("{} is {}", text::line(&server.name, 80), text::line(&server.status, 40)));
    }
    if report.api_retries > 0 {
        row("retries", &report.api_retries.to_string());
    }
    if report.malformed_lines > 0 {
        row("left out", &format!("{} lines that were no events", report.malformed_lines));
    }
    if let Some(session) = &report.session {
        row("session", &text::line(session, 100));
    }
    if let Some(result) = &report.result {
        out.push('\n');
        for line in text::block(result, 4096).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0, 340, 12_340, 65_000, 7_260_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "340ms", "12.3s", "1m 05s", "2h 01m"]);
        assert_eq!([0, 999, 1000, 12_345, 1_234_567].map(count), ["0", "999", "1.0k", "12.3k", "1.2M"]);
    }
}
