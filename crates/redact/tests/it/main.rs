//! Properties that must hold for every text, however it is cut.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

use agent_task::Secret;
use proptest::prelude::*;
use redact::Redactor;

const PASSWORD: &str = "p4ss\"w/rd\\n+ü";
const TOKEN: &str = "ghs_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIEow+/IBAAKCAQEAabc\n-----END PRIVATE KEY-----";

fn redactor() -> Redactor {
    let (password, other) = (Secret::new(PASSWORD), Secret::new("aaaaaaaa"));
    Redactor::new([("PASSWORD", &password), ("A", &other)])
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Text with secrets in it, whole, cut off and one upon the other, and much of the same in between.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => Just(PASSWORD.to_owned()),
        6 => Just(escaped(PASSWORD)),
        6 => Just(TOKEN.to_owned()),
        1 => Just(format!("{TOKEN}{}", "x".repeat(70_000))),
        6 => Just(KEY.to_owned()),
        6 => Just(escaped(KEY)),
        6 => Just("aaaaaaaa".to_owned()),
        1 => Just("a".repeat(70_000)),
        6 => (1..40_usize).prop_map(|length| TOKEN.chars().take(length).collect()),
        6 => Just("Authorization: Bearer abcdefghijklmnopqrstuvwxyz0123".to_owned()),
        6 => Just(
            "https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyz0123456789"
                .to_owned()
        ),
        6 => Just("MTE5ODYyMjQ4MzQ3MTkyNTI0OA.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs1abc".to_owned()),
        6 => "[a-z.\\\\\"n/ \n]{0,30}",
        1 => (1000..9000_usize).prop_map(|length| "lorem ipsum. ".repeat(length / 13)),
        6 => (1..200_usize).prop_map(|length| "\\".repeat(length)),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// P6
    #[test]
    fn a_stream_redacts_as_the_whole_text_wherever_it_is_cut(
        text in text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let redactor = redactor();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut out = Vec::new();
        let mut stream = redactor.stream();
        let mut at = 0;
        for cut in cuts {
            stream.push(&text.as_bytes()[at..cut], &mut out);
            at = cut;
        }
        stream.push(&text.as_bytes()[at..], &mut out);
        stream.finish(&mut out);
        let whole = redactor.redact_text(&text);
        prop_assert_eq!(String::from_utf8_lossy(&out), whole);
    }

    /// P6
    #[test]
    fn what_is_redacted_is_clean(text in text()) {
        let redactor = redactor();
        let out = redactor.redact_line(text.as_bytes()).into_owned();
        for secret in [PASSWORD.as_bytes(), escaped(PASSWORD).as_bytes(), TOKEN.as_bytes(), b"aaaaaaaa"] {
            prop_assert!(!out.windows(secret.len()).any(|window| window == secret));
        }
    }

    /// P6
    #[test]
    fn json_stays_json(
        texts in prop::collection::vec(text(), 1..4),
        secret in "[\"\\\\a-z0-9u:,{}]{8,12}",
        before in "[\"\\\\a-z0-9u\n]{0,5}",
    ) {
        let line = serde_json::json!({ "type": "user", "texts": texts, "own": format!("{before}{secret}\"\\") });
        let line = serde_json::to_vec(&line).unwrap();
        let redactor = Redactor::new([("S", &Secret::new(secret.clone()))]);
        let out = redactor.redact_line(&line);
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let own = document["own"].as_str().unwrap_or_default();
        prop_assert!(!own.contains(&secret), "{own}");
    }
}

/// P6
#[test]
fn a_stream_of_one_endless_token_is_held_in_bounded_memory() {
    let redactor = redactor();
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    stream.push(TOKEN.as_bytes(), &mut out);
    for _ in 0..1000 {
        stream.push(&[b'x'; 8192], &mut out);
    }
    stream.push(b" end", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"[redacted:github-token] end");
}

/// P6
#[test]
fn a_watched_stream_lets_lines_out_at_once_and_holds_a_key_until_its_end() {
    let redactor = redactor();
    let mut stream = redactor.stream();
    let mut let_out = |piece: &str| {
        let mut out = Vec::new();
        stream.push_lines(piece.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(let_out("first\nsecond ghs_"), "first\n");
    assert_eq!(let_out(&format!("{}\n", &TOKEN[4..])), "second [redacted:github-token]\n");
    let (head, rest) = KEY.split_once('\n').unwrap();
    assert_eq!(let_out(&format!("a key\n{head}\n")), "a key\n");
    assert_eq!(let_out(&format!("{rest}\nlast\n")), "[redacted:private-key]\nlast\n");
}

/// P6: base64 that is broken anywhere, line by line as it is watched, short values and long ones.
#[test]
fn a_watched_stream_lets_no_part_of_base64_out_that_goes_on_in_the_next_line() {
    use base64::Engine as _;
    for length in [30, 108, 400] {
        let secret: String = ('!'..='~').cycle().step_by(7).take(length).collect();
        let redactor = Redactor::new([("S", &Secret::new(secret.clone()))]);
        for (width, before) in
            [20, 64, 76].into_iter().flat_map(|width| (0..80).step_by(3).map(move |before| (width, before)))
        {
            let encoded =
                base64::engine::general_purpose::STANDARD.encode(format!("{}{secret}", "-".repeat(before)));
            let mut stream = redactor.stream();
            let mut out = Vec::new();
            let mut let_out = |piece: &[u8]| {
                stream.push_lines(piece, &mut out);
                out.len()
            };
            assert_eq!(let_out(b"first line\n"), 11);
            for line in encoded.as_bytes().chunks(width) {
                let_out(line);
                let_out(b"\n");
            }
            let_out(b"last line\n");
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("[redacted:S]") && out.ends_with("\nlast line\n"), "{out}");
            // The first of its own characters, and the last, are half a neighbour's.
            let own = &encoded[(before * 8).div_ceil(6)..(before + length) * 8 / 6];
            let told: String = out.lines().collect();
            let fragment =
                own.as_bytes().windows(8).find(|part| told.contains(std::str::from_utf8(part).unwrap()));
            assert_eq!(fragment, None, "{length} bytes after {before} in lines of {width}: {out}");
        }
    }
}
