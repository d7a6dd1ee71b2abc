//! When to ask again: decided from what the server said, without a clock, a network or a dice of its own.
//!
//! Sources: GitHub, "Rate limits for the REST API" (`retry-after`, else `x-ratelimit-reset` once `x-ratelimit-remaining` is 0,
//! else a minute that doubles; a limit comes as 429 or as 403). Discord, "Rate Limits" (`retry_after` in the JSON body, a float
//! in seconds, else `Retry-After`).

use crate::error::Broken;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// A service's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The service's name in messages.
    pub service: &'static str,
    /// Whose headers are followed.
    pub dialect: Dialect,
    /// How long asking, waiting and asking again may take in all; a wait that would end later is not begun.
    pub total: Duration,
    /// The first wait after a 5xx or a broken connection; it doubles with every attempt.
    pub first: Duration,
    /// The longest such wait.
    pub longest: Duration,
    /// The first wait after a limit without any header that says how long; it doubles too.
    pub blind: Duration,
}

/// How a service says "too many requests".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 429 or 403 with `retry-after`, or with `x-ratelimit-remaining: 0` and `x-ratelimit-reset`, or neither.
    GitHub,
    /// 429 with `retry_after` in the JSON body.
    Discord,
}

impl Policy {
    /// GitHub's rules; two minutes in all.
    #[must_use]
    pub const fn github() -> Self {
        Self {
            service: "GitHub",
            dialect: Dialect::GitHub,
            total: Duration::from_secs(120),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            blind: Duration::from_secs(60),
        }
    }

    /// Discord's rules; two minutes in all.
    #[must_use]
    pub const fn discord() -> Self {
        Self {
            service: "Discord",
            dialect: Dialect::Discord,
            total: Duration::from_secs(120),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            blind: Duration::from_secs(1),
        }
    }

    /// The same with another limit in all.
    #[must_use]
    pub const fn within(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }
}

/// How one attempt went.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The server answered.
    Answer {
        /// The status.
        status: u16,
        /// The headers.
        headers: &'a HeaderMap,
        /// The body.
        body: &'a [u8],
    },
    /// The connection broke, or never was.
    Broken {
        /// What happened.
        broken: &'a Broken,
        /// Whether the request may be sent again although the server may have acted on it.
        replay: bool,
    },
}

/// Where we are when the attempt has ended.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// How many attempts there were, this one included.
    pub attempt: u32,
    /// Time since the first began.
    pub elapsed: Duration,
    /// Our time of day. Times of day in the answer are compared with the answer's own `Date` where it has one.
    pub now: Timestamp,
    /// From 0 to 1 (excluded): spreads the clients that all failed in the same moment.
    pub chance: f64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The answer is one: hand it to the caller.
    Take,
    /// Ask again after this time.
    Retry(Duration),
    /// Give up.
    Stop(Stop),
}

/// Why no further attempt is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The server wants us to wait longer than the policy allows in all.
    TooLong {
        /// How long it wants us to wait.
        wait: Duration,
        /// How long we would have waited in all.
        total: Duration,
    },
    /// It went wrong for as long as the policy allows.
    OutOfTime {
        /// How long that is.
        total: Duration,
    },
    /// The connection broke when the request was out, and sending it twice might do the work twice.
    MaybeDone,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { wait, total } => {
                write!(f, "it asks to wait {}, more than the {} allowed", span(*wait), span(*total))
            }
            Self::OutOfTime { total } => write!(f, "gave up within the {} allowed", span(*total)),
            Self::MaybeDone => f.write_str("not sent again, as the work may be done"),
        }
    }
}

/// What follows from `event`.
#[must_use]
pub fn decide(policy: &Policy, moment: Moment, event: Event<'_>) -> Decision {
    match event {
        Event::Broken { broken, replay } if broken.sent && !replay => Decision::Stop(Stop::MaybeDone),
        Event::Broken { .. } => own_pace(policy, moment),
        Event::Answer { status, headers, body } => {
            if is_limit(policy.dialect, status, headers, body) {
                let wait = asked_wait(policy.dialect, moment.now, headers, body)
                    .unwrap_or_else(|| doubled(policy.blind, moment.attempt));
                return at_their_pace(policy, moment, wait);
            }
            if status < 500 {
                return Decision::Take;
            }
            match retry_after(headers, moment.now) {
                Some(wait) => at_their_pace(policy, moment, wait),
                None => own_pace(policy, moment),
            }
        }
    }
}

/// The wait is the server's: never shortened.
fn at_their_pace(policy: &Policy, moment: Moment, wait: Duration) -> Decision {
    if moment.elapsed.saturating_add(wait) > policy.total {
        return Decision::Stop(Stop::TooLong { wait, total: policy.total });
    }
    Decision::Retry(wait)
}

/// Doubling, and at random between the half and the whole.
fn own_pace(policy: &Policy, moment: Moment) -> Decision {
    let whole = doubled(policy.first, moment.attempt).min(policy.longest);
    let wait = whole.mul_f64(0.5 + moment.chance.clamp(0.0, 1.0) / 2.0);
    if moment.elapsed.saturating_add(wait) > policy.total {
        return Decision::Stop(Stop::OutOfTime { total: policy.total });
    }
    Decision::Retry(wait)
}

fn doubled(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
}

fn is_limit(dialect: Dialect, status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
    match (status, dialect) {
        (429, _) => true,
        (403, Dialect::GitHub) => {
            headers.contains_key("retry-after")
                || text(headers, "x-ratelimit-remaining") == Some("0")
                // The secondary limit can come without any header.
                || memory_find(body, b"secondary rate limit")
        }
        _ => false,
    }
}

/// How long the server asks us to wait.
fn asked_wait(dialect: Dialect, now: Timestamp, headers: &HeaderMap, body: &[u8]) -> Option<Duration> {
    let by_dialect = match dialect {
        Dialect::Discord => {
            #[derive(Deserialize)]
            struct Limit {
                retry_after: f64,
            }
            // A limit of the whole address comes from Discord's front, as HTML with the header alone.
            let seconds = serde_json::from_slice::<Limit>(body).ok().map(|limit| limit.retry_after);
            return seconds.and_then(seconds_up).or_else(|| retry_after(headers, now));
        }
        Dialect::GitHub => retry_after(headers, now),
    };
    by_dialect.or_else(|| {
        if text(headers, "x-ratelimit-remaining") != Some("0") {
            return None;
        }
        let reset = Timestamp::from_second(text(headers, "x-ratelimit-reset")?.parse().ok()?).ok()?;
        // Their clock, where they tell it: ours may be off. One second more, as the reset is in whole seconds.
        let since = crate::message::date(headers).unwrap_or(now);
        Some(Duration::try_from(reset.duration_since(since)).unwrap_or_default() + Duration::from_secs(1))
    })
}

/// `Retry-After`: seconds, with a fraction at Discord, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, "retry-after")?;
    if let Ok(seconds) = value.parse::<f64>() {
        return seconds_up(seconds);
    }
    let until = crate::message::http_date(value)?;
    let since = crate::message::date(headers).unwrap_or(now);
    Some(Duration::try_from(until.duration_since(since)).unwrap_or_default())
}

/// Rounded up to a millisecond: asking an instant too early counts against us.
fn seconds_up(seconds: f64) -> Option<Duration> {
    let milliseconds = (seconds * 1000.0).ceil();
    Duration::try_from_secs_f64(milliseconds.max(0.0) / 1000.0).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn memory_find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// A time span for people: `0.4 s`, `12 s`, `3 min 5 s`, `1 h 2 min`.
#[must_use]
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64().round();
    if time < Duration::from_secs(10) && time.subsec_millis() != 0 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    // Far below 2^53 for every wait there is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded, bounded, positive number"
    )]
    let seconds = seconds as u64;
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T22:00:00Z".parse().unwrap()
    }

    fn first() -> Moment {
        Moment { attempt: 1, elapsed: Duration::from_secs(1), now: now(), chance: 0.0 }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn answer(
        policy: &Policy,
        moment: Moment,
        status: u16,
        pairs: &[(&'static str, &str)],
        body: &str,
    ) -> Decision {
        decide(policy, moment, Event::Answer { status, headers: &headers(pairs), body: body.as_bytes() })
    }

    fn github(status: u16, pairs: &[(&'static str, &str)]) -> Decision {
        answer(&Policy::github(), first(), status, pairs, "")
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_that_time_does_not_change_is_taken() {
        for status in [200, 201, 204, 301, 400, 401, 403, 404, 409, 422] {
            assert_eq!(github(status, &[("x-ratelimit-remaining", "4999")]), Decision::Take, "{status}");
        }
    }

    #[test]
    fn github_says_how_long_by_retry_after_first() {
        let both =
            [("retry-after", "7"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795384890")];
        for status in [403, 429] {
            assert_eq!(github(status, &both), Decision::Retry(seconds(7)), "{status}");
        }
        let date = [("retry-after", "Sun, 22 Nov 2026 22:00:20 GMT")];
        assert_eq!(github(429, &date), Decision::Retry(seconds(20)));
    }

    #[test]
    fn github_says_how_long_by_the_limits_reset() {
        let reset = now().as_second().to_string();
        let late = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        assert_eq!(github(403, &late), Decision::Retry(seconds(1)), "just past");
        // Their clock is a minute behind ours, and says so.
        let pairs = [late[0], late[1], ("date", "Sun, 22 Nov 2026 21:59:00 GMT")];
        assert_eq!(github(429, &pairs), Decision::Retry(seconds(61)));
        // Far off: not waited for.
        let reset = (now().as_second() + 2399).to_string();
        let far = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        let Decision::Stop(stop) = github(403, &far) else { panic!("waits") };
        assert_eq!(stop.to_string(), "it asks to wait 40 min, more than the 2 min allowed");
    }

    #[test]
    fn githubs_secondary_limit_without_headers_waits_a_minute_that_doubles() {
        let body = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        let policy = Policy::github().within(seconds(600));
        assert_eq!(answer(&policy, first(), 403, &[], body), Decision::Retry(seconds(60)));
        let second = Moment { attempt: 2, ..first() };
        assert_eq!(answer(&policy, second, 403, &[], body), Decision::Retry(seconds(120)));
        assert_eq!(answer(&policy, first(), 429, &[], ""), Decision::Retry(seconds(60)));
        assert_eq!(
            answer(&Policy::discord(), first(), 403, &[], body),
            Decision::Take,
            "Discord's 403 is a refusal"
        );
    }

    #[test]
    fn discord_says_how_long_in_the_body() {
        let policy = Policy::discord();
        let body = r#"{"message":"You are being rate limited.","retry_after":0.3251,"global":false}"#;
        let wait = Decision::Retry(Duration::from_millis(326));
        assert_eq!(answer(&policy, first(), 429, &[("retry-after", "1")], body), wait);
        let front = answer(&policy, first(), 429, &[("retry-after", "65")], "<html>");
        assert_eq!(front, Decision::Retry(seconds(65)));
        assert_eq!(answer(&policy, first(), 429, &[], ""), Decision::Retry(seconds(1)));
    }

    #[test]
    fn a_wait_that_makes_no_sense_is_none() {
        for body in [r#"{"retry_after":1e300}"#, r#"{"retry_after":-5}"#] {
            let decision = answer(&Policy::discord(), first(), 429, &[], body);
            assert!(matches!(decision, Decision::Retry(wait) if wait <= seconds(1)), "{body}: {decision:?}");
        }
        assert_eq!(github(429, &[("retry-after", "soon")]), Decision::Retry(seconds(60)));
    }

    #[test]
    fn a_5xx_is_asked_again_at_a_pace_that_doubles_and_is_spread() {
        let wait = |attempt, chance| match answer(
            &Policy::github(),
            Moment { attempt, chance, ..first() },
            502,
            &[],
            "",
        ) {
            Decision::Retry(wait) => wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(1, 0.0), Duration::from_millis(250));
        assert_eq!(wait(2, 0.0), Duration::from_millis(500));
        assert_eq!(wait(3, 0.5), Duration::from_millis(1500));
        assert_eq!(wait(60, 0.0), Duration::from_millis(7500), "bounded");
        assert_eq!(github(503, &[("retry-after", "9")]), Decision::Retry(seconds(9)));
    }

    #[test]
    fn the_total_is_not_exceeded() {
        let late = Moment { elapsed: seconds(120), ..first() };
        let stop = Decision::Stop(Stop::OutOfTime { total: seconds(120) });
        assert_eq!(answer(&Policy::github(), late, 500, &[], ""), stop);
        let broken = Broken { cause: "connection refused".into(), sent: false };
        assert_eq!(decide(&Policy::github(), late, Event::Broken { broken: &broken, replay: true }), stop);
    }

    #[test]
    fn a_break_after_sending_is_replayed_only_if_that_is_safe() {
        let decide = |sent, replay| {
            let broken = Broken { cause: String::new(), sent };
            decide(&Policy::github(), first(), Event::Broken { broken: &broken, replay })
        };
        assert_eq!(decide(true, false), Decision::Stop(Stop::MaybeDone));
        assert!(matches!(decide(true, true), Decision::Retry(_)));
        assert!(matches!(decide(false, false), Decision::Retry(_)));
    }

    #[test]
    fn spans_read_well() {
        let texts = [326, 9_500, 12_000, 12_400, 60_000, 185_000, 3_720_000, 7_200_000]
            .map(|milliseconds| span(Duration::from_millis(milliseconds)));
        assert_eq!(texts, ["0.3 s", "9.5 s", "12 s", "12 s", "1 min", "3 min 5 s", "1 h 2 min", "2 h"]);
    }
}
