//! git's report on a push, where each ref has its result.
//!
//! git says "hook declined" for every ref that a hook refused; GitHub says why, in the same place.

use std::collections::HashMap;

/// What became of each ref.
type Results = Vec<(String, Result<(), String>)>;

/// The report in the body of a receive-pack answer, with the reasons put in; and what became of each ref (`Err` with the
/// reason).
pub(super) fn with_reasons(body: &[u8], reasons: &HashMap<String, String>) -> Option<(Vec<u8>, Results)> {
    let packets = packets(body)?;
    // Multiplexed, each packet names its band: 1 is the report, 2 is for people, 3 is an error.
    let banded = packets.first().is_some_and(|packet| matches!(packet.first(), Some(1..=3)));
    if !banded {
        return rewritten(&packets, reasons);
    }
    let mut out = Vec::new();
    let mut report = Vec::new();
    for packet in packets {
        match packet.split_first() {
            Some((1, data)) => report.extend_from_slice(data),
            Some(_) => packet_into(&mut out, packet),
            None => (),
        }
    }
    let (report, results) = rewritten(&self::packets(&report)?, reasons)?;
    for part in report.chunks(60_000) {
        packet_into(&mut out, &[&[1], part].concat());
    }
    out.extend_from_slice(b"0000");
    Some((out, results))
}

fn rewritten(packets: &[&[u8]], reasons: &HashMap<String, String>) -> Option<(Vec<u8>, Results)> {
    let mut out = Vec::new();
    let mut results = Vec::new();
    for packet in packets {
        let line = std::str::from_utf8(packet).ok()?.trim_end_matches('\n');
        match line.split_once(' ') {
            Some(("ok", name)) => {
                results.push((name.to_owned(), Ok(())));
                packet_into(&mut out, packet);
            }
            Some(("ng", refused)) => {
                let (name, reason) = refused.split_once(' ')?;
                let reason = reasons.get(name).map_or(reason, String::as_str);
                results.push((name.to_owned(), Err(reason.to_owned())));
                packet_into(&mut out, format!("ng {name} {reason}\n").as_bytes());
            }
            _ => packet_into(&mut out, packet),
        }
    }
    out.extend_from_slice(b"0000");
    Some((out, results))
}

/// The packets up to the flush (gitprotocol-common, "pkt-line format").
fn packets(mut from: &[u8]) -> Option<Vec<&[u8]>> {
    let mut packets = Vec::new();
    while !from.is_empty() {
        let (length, rest) = from.split_at_checked(4)?;
        match usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()? {
            0 => break,
            length => {
                let (packet, rest) = rest.split_at_checked(length.checked_sub(4)?)?;
                packets.push(packet);
                from = rest;
            }
        }
    }
    Some(packets)
}

fn packet_into(out: &mut Vec<u8>, packet: &[u8]) {
    out.extend_from_slice(format!("{:04x}", packet.len() + 4).as_bytes());
    out.extend_from_slice(packet);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Vec<u8> {
        let mut report = Vec::new();
        packet_into(&mut report, b"unpack ok\n");
        packet_into(&mut report, b"ok refs/heads/a\n");
        packet_into(&mut report, b"ng refs/heads/b hook declined\n");
        report.extend_from_slice(b"0000");
        report
    }

    #[test]
    fn the_reason_stands_where_git_put_its_own() {
        let reasons = HashMap::from([("refs/heads/b".to_owned(), "because".to_owned())]);
        let mut banded = Vec::new();
        packet_into(&mut banded, b"\x02for people\n");
        packet_into(&mut banded, &[b"\x01", report().as_slice()].concat());
        banded.extend_from_slice(b"0000");
        for body in [report(), banded] {
            let (out, results) = with_reasons(&body, &reasons).unwrap();
            let text = String::from_utf8_lossy(&out);
            assert!(text.contains("001cng refs/heads/b because\n0000"), "{text}");
            assert_eq!(text.contains("for people"), body != report());
            assert_eq!(
                results,
                [("refs/heads/a".to_owned(), Ok(())), ("refs/heads/b".to_owned(), Err("because".to_owned())),]
            );
        }
    }
}
