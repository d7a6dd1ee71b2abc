//! Figures as people read them.

use std::time::Duration;

/// US dollars with cents; with more digits where cents would show nothing: `$0.42`, `$0.0031`, `$0.00`.
#[must_use]
pub fn dollars(amount: f64) -> String {
    if amount > 0.0 && amount < 0.01 { format!("${amount:.4}") } else { format!("${:.2}", amount.max(0.0)) }
}

/// The two largest units of a time: `450 ms`, `12 s`, `3 min 05 s`, `1 h 02 min`.
#[must_use]
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A whole number with its thousands apart: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_show_what_there_is() {
        let shown = [0.0, 0.0031, 0.42, 12.345, -1.0, f64::NAN].map(dollars);
        assert_eq!(shown, ["$0.00", "$0.0031", "$0.42", "$12.35", "$0.00", "$0.00"]);
    }

    #[test]
    fn times_have_two_units() {
        let shown = [450, 12_999, 185_000, 3_725_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(shown, ["450 ms", "12 s", "3 min 05 s", "1 h 02 min"]);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
