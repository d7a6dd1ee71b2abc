//! Time limits as people write them.

use std::time::Duration;

/// Longer than anything here takes, and far from where adding to a clock overflows.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// A time limit with its unit, as `500ms`, `90s`, `30m` or `1h30m`: more than nothing, and 30 days at most. For clap's
/// `value_parser`.
///
/// # Errors
/// Says how to write one.
pub fn limit(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.filter(|time| !time.is_zero() && *time <= LONGEST)
        .ok_or_else(|| "write it as 500ms, 90s, 30m or 1h30m".to_owned())
}

/// [`limit`], where `0` stands for none and gives zero.
///
/// # Errors
/// As [`limit`].
pub fn limit_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { limit(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_people_do() {
        assert_eq!(limit("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(limit("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(limit("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "0", "0s", "30", "s", "-5s", "soon", "99999999999999999999s", "999999h"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_bare_0_is_none() {
        assert_eq!(limit_or_none("0"), Ok(Duration::ZERO));
        assert!(limit_or_none("0s").is_err());
        assert_eq!(limit_or_none("1s"), Ok(Duration::from_secs(1)));
    }
}
