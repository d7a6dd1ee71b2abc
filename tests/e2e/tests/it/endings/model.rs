//! What the model's API does to a run.

use crate::expected::{DELIVERED, Expected, NOTHING_DONE, UNFINISHED, assert_ended, assert_limited};
use crate::scripted::{ended, failing, is_done, refuse_connections, usage_limit, world, writes_the_note};
use agent_task::Outcome;
use sandbox::Failing;

/// The note is written; then this happens to every further request.
#[track_caller]
fn assert_after(how: Failing, expected: Expected<'_>) -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 100, how)])?;
    assert_ended(&world, &ended(&world, &[])?, expected)
}

const fn status(code: u16) -> Failing {
    Failing::Status { code, kind: None, message: None, headers: Vec::new() }
}

/// P1, P8, P9
#[test]
fn the_usage_limit_is_told_with_the_time_of_its_reset() -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 100, usage_limit())])?;
    assert_limited(&world, &ended(&world, &[])?)
}

/// P1, P9: the login is refused from the beginning, or while the agent is at work.
#[test]
fn an_expired_login_is_told() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    let mut run = crate::scripted::run(&world, &[])?;
    world.sandbox.model().expect_token("sk-ant-oat01-another");
    let ended = e2e::Ended::from_output(&run.output()?)?;
    assert_ended(&world, &ended, Expected { outcome: Outcome::LoginFailed, error: "401", ..NOTHING_DONE })?;
    assert_after(status(401), Expected { outcome: Outcome::LoginFailed, error: "401", ..UNFINISHED })
}

/// P1, P9
#[test]
fn an_api_that_stays_overloaded_fails_the_run() -> anyhow::Result<()> {
    let expected = Expected { outcome: Outcome::ApiUnavailable, error: "529", ..UNFINISHED };
    assert_after(Failing::Overloaded, expected)
}

/// P1
#[test]
fn an_api_that_is_overloaded_for_a_moment_costs_nothing_but_time() -> anyhow::Result<()> {
    let world = world([writes_the_note(), failing(is_done(), 2, Failing::Overloaded)])?;
    let mut run = crate::scripted::run(&world, &[])?;
    run.env_remove("CLAUDE_CODE_MAX_RETRIES");
    let ended = e2e::Ended::from_output(&run.output()?)?;
    assert_ended(&world, &ended, DELIVERED)?;
    assert_eq!(ended.record()?.report.map(|report| report.api_retries), Some(2));
    Ok(())
}

/// P1, P9
#[test]
fn a_request_that_the_api_refuses_is_no_reason_to_wait() -> anyhow::Result<()> {
    assert_after(status(400), Expected { outcome: Outcome::ApiError, error: "400", ..UNFINISHED })
}

/// P1, P9
#[test]
fn a_cut_connection_fails_the_run() -> anyhow::Result<()> {
    assert_after(Failing::CutAfter(0), Expected { outcome: Outcome::NetworkError, ..UNFINISHED })
}

/// P1, P9
#[test]
fn an_answer_that_breaks_off_fails_the_run() -> anyhow::Result<()> {
    assert_after(Failing::CutAfter(300), Expected { outcome: Outcome::NetworkError, ..UNFINISHED })
}

/// P1: the agent CLI leaves such an event out, says so, and goes on.
#[test]
fn an_event_that_is_no_json_does_not_end_the_run() -> anyhow::Result<()> {
    assert_after(Failing::Malformed, DELIVERED)
}

/// P1, P9
#[test]
fn a_refused_connection_fails_the_run() -> anyhow::Result<()> {
    let world = world([writes_the_note(), is_done()])?;
    refuse_connections(&world);
    let expected = Expected { outcome: Outcome::NetworkError, ..NOTHING_DONE };
    assert_ended(&world, &ended(&world, &[])?, expected)
}

/// P1, P9: an API that says nothing at all is ended by the run's time limit.
#[test]
fn an_api_that_does_not_answer_ends_with_the_time_limit() -> anyhow::Result<()> {
    let how = Failing::Hang(std::time::Duration::from_secs(600));
    let world = world([writes_the_note(), failing(is_done(), 100, how)])?;
    let expected = Expected { outcome: Outcome::Timeout, error: "the time limit of 8s", ..UNFINISHED };
    assert_ended(&world, &ended(&world, &["--timeout", "8s"])?, expected)
}
