//! Known values: every form in which one may turn up, and the search for all of them at once.
//!
//! There may be hundreds of needles (each line of a private key has a dozen forms), but none is shorter than
//! [`SHORTEST`] bytes, and most secrets are much longer. So it is enough to look at four bytes in every five, or in as many more
//! as the shortest needle allows: whatever the position, an occurrence holds one of its own first grams of four bytes at a place
//! that is looked at. A bitmap answers nearly every look.
//!
//! Base64 is broken into lines by who writes it (`base64` does after 76 characters), wherever the value begins in them. So of
//! such a form as many grams are looked for in every thirty-two bytes, and from there on it is followed both ways, over line ends.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use zeroize::Zeroizing;

/// Values shorter than this are not looked for: they would be found in ordinary words.
pub(crate) const SHORTEST: usize = 8;

/// Lines of a key that are shorter are left alone, for the same reason.
const SHORTEST_LINE: usize = 16;

const GRAM: usize = 4;
/// No more bytes are passed over, so that a line of base64 holds a place that is looked at.
const LONGEST_STEP: usize = 16;
/// 32 KiB of them: few enough for the nearest cache, and hardly one in a hundred is set.
const BITS: u32 = 18;

/// So far apart are the places that base64 is looked for by: half of a line and less. What is shorter than a line has twice as
/// many, for it has no second line to be found in.
const ANCHORS: usize = 32;

/// So much of a value's base64 is a finding, if it is half of it: what a line of a mail or of a key's file holds.
const PART: usize = 64;

/// How a line may end: as it is, and as JSON has it, once and twice.
const LINE_ENDS: [&[u8]; 6] = [b"\\\\r\\\\n", b"\\\\n", b"\\r\\n", b"\\n", b"\r\n", b"\n"];

struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    name: usize,
    /// It is base64, and may be broken into lines.
    broken: bool,
}

impl Needle {
    /// How long an occurrence is at most: the line ends of a mail go in, and twice as many.
    fn reach(&self) -> usize {
        let length = self.bytes.len();
        length + if self.broken { (length / 32 + 2) * LINE_ENDS[0].len() } else { 0 }
    }

    /// Where in the needle it may be recognised.
    fn anchors(&self) -> impl Iterator<Item = usize> {
        let step = match self.bytes.len() {
            _ if !self.broken => usize::MAX,
            ..PART => ANCHORS / 2,
            _ => ANCHORS,
        };
        (0..self.bytes.len()).step_by(step)
    }

    /// How far it can be followed back, over line ends, from `offset` in the text at `at`: to where in the text, and in the needle.
    fn back(&self, text: &[u8], at: usize, offset: usize) -> (usize, usize) {
        let (mut start, mut first) = (at, offset);
        while first > 0 {
            let before = &text[..start];
            let ends = LINE_ENDS.iter().find(|end| before.ends_with(end));
            let line = &before[..start - ends.map_or(0, |end| end.len())];
            if line.last() != Some(&self.bytes[first - 1]) {
                break;
            }
            (start, first) = (line.len() - 1, first - 1);
        }
        (start, first)
    }

    /// Where an occurrence begins that the text, which ends with a line, has no more of than `GRAM` bytes or more of its beginning.
    fn begun(&self, text: &[u8]) -> Option<usize> {
        let at = text.len().checked_sub(GRAM)?;
        let offsets = self.bytes.windows(GRAM).enumerate().filter(|(_, gram)| *gram == &text[at..]);
        let starts = offsets.map(|(offset, _)| self.back(text, at, offset));
        starts.filter(|(_, first)| *first == 0).map(|(start, _)| start).min()
    }

    /// The occurrence that has the needle's gram at `offset` in the text at `at`.
    fn around(&self, text: &[u8], at: usize, offset: usize) -> Option<Range<usize>> {
        if !self.broken {
            let start = at.checked_sub(offset)?;
            return text[start..].starts_with(&self.bytes).then(|| start..start + self.bytes.len());
        }
        let (start, first) = self.back(text, at, offset);
        let (mut end, mut last) = (at + GRAM, offset + GRAM);
        while let Some(byte) = self.bytes.get(last) {
            let rest = &text[end..];
            let skipped = LINE_ENDS.iter().find(|end| rest.starts_with(end)).map_or(0, |end| end.len());
            if rest.get(skipped) != Some(byte) {
                break;
            }
            (end, last) = (end + skipped + 1, last + 1);
        }
        let (length, whole) = (last - first, self.bytes.len());
        let enough = length == whole || (length >= PART && length * 2 >= whole);
        (enough && end - start <= self.reach()).then_some(start..end)
    }
}

struct Place {
    gram: u32,
    needle: u32,
    offset: u32,
}

/// The known values.
pub(crate) struct Known {
    needles: Vec<Needle>,
    /// A bit for the hash of every gram of `places`.
    seen: Box<[u64; (1 << BITS) / 64]>,
    /// Where a gram stands in which needle, sorted by gram.
    places: Vec<Place>,
    longest: usize,
    /// From one look to the next.
    step: usize,
}

impl Known {
    /// The values with the index of their name. Forms that two values share belong to the first.
    pub(crate) fn new<'a>(values: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut needles: Vec<Needle> = Vec::new();
        for (name, value) in values {
            for (form, broken) in forms(value) {
                if form.len() >= SHORTEST && !needles.iter().any(|needle| *needle.bytes == form) {
                    needles.push(Needle { bytes: Zeroizing::new(form), name, broken });
                }
            }
        }
        let shortest = needles.iter().map(|needle| needle.bytes.len()).min().unwrap_or(SHORTEST);
        let step = (shortest - GRAM + 1).min(LONGEST_STEP);
        let mut seen = Box::new([0_u64; (1 << BITS) / 64]);
        let mut places = Vec::new();
        for (index, needle) in needles.iter().enumerate() {
            for offset in needle.anchors().flat_map(|anchor| anchor..anchor + step) {
                let Some(gram) = needle.bytes.get(offset..offset + GRAM) else { break };
                let gram = number(gram);
                let hash = hash(gram);
                seen[hash / 64] |= 1 << (hash % 64);
                // Both are small: a few hundred needles, a few hundred offsets.
                places.push(Place { gram, needle: index as u32, offset: offset as u32 });
            }
        }
        places.sort_unstable_by_key(|place| place.gram);
        let longest = needles.iter().map(Needle::reach).max().unwrap_or(0);
        Self { needles, seen, places, longest, step }
    }

    /// The length of the longest occurrence.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// How many forms there are.
    pub(crate) fn len(&self) -> usize {
        self.needles.len()
    }

    /// Tells `found` of every occurrence, the name's index with it, in no particular order and possibly twice.
    pub(crate) fn each(&self, text: &[u8], mut found: impl FnMut(Range<usize>, usize)) {
        if self.needles.is_empty() || text.len() < SHORTEST {
            return;
        }
        let mut position = 0;
        for chunk in text.chunks(self.step) {
            let Some(gram) = chunk.first_chunk::<GRAM>() else { break };
            let gram = u32::from_le_bytes(*gram);
            let hash = hash(gram);
            if self.seen[hash / 64] >> (hash % 64) & 1 == 1 {
                self.verify(text, position, gram, &mut found);
            }
            position += self.step;
        }
    }

    /// Where in this text, which ends with a line end, base64 begins that may go on in the next line.
    pub(crate) fn begun(&self, text: &[u8]) -> Option<usize> {
        let line = text.strip_suffix(b"\n")?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.needles.iter().filter(|needle| needle.broken).filter_map(|needle| needle.begun(line)).min()
    }

    #[cold]
    fn verify(&self, text: &[u8], position: usize, gram: u32, found: &mut impl FnMut(Range<usize>, usize)) {
        let first = self.places.partition_point(|place| place.gram < gram);
        for place in self.places[first..].iter().take_while(|place| place.gram == gram) {
            let needle = &self.needles[place.needle as usize];
            if let Some(range) = needle.around(text, position, place.offset as usize) {
                found(range, needle.name);
            }
        }
    }
}

fn number(gram: &[u8]) -> u32 {
    gram.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn hash(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

/// Every form of a value, with whether it is base64, and of those of its parts that are as good as the whole: the lines of a key, the last
/// segment of a webhook's address.
fn forms(value: &str) -> BTreeMap<Vec<u8>, bool> {
    let mut forms = BTreeMap::new();
    let value = value.trim();
    if value.len() < SHORTEST {
        return forms;
    }
    forms_of(value, &mut forms);
    // A key may come with its line ends written as `\n`.
    let lines: Vec<&str> = value.lines().flat_map(|line| line.split("\\n")).map(str::trim).collect();
    if lines.len() > 1 {
        for line in lines.iter().filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----")) {
            forms_of(line, &mut forms);
        }
    }
    if value.starts_with("http")
        && let Some(last) = value.rsplit('/').next().filter(|last| last.len() >= 32)
    {
        forms_of(last, &mut forms);
    }
    forms
}

fn forms_of(value: &str, forms: &mut BTreeMap<Vec<u8>, bool>) {
    json_forms(value, forms);
    for (lower, form) in [(false, false), (true, false), (false, true)] {
        forms.insert(percent_encoded(value, lower, form).into_bytes(), false);
    }
    for alignment in 0..3 {
        let mut bytes = Zeroizing::new(vec![0; alignment]);
        bytes.extend_from_slice(value.as_bytes());
        // Characters that bytes around the value have a share in differ from place to place.
        let first = (alignment * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&*bytes), URL_SAFE_NO_PAD.encode(&*bytes)] {
            json_forms(&text[first..end], forms);
            forms.insert(text.as_bytes()[first..end].to_vec(), true);
        }
    }
    forms.insert(value.as_bytes().to_vec(), false);
}

/// How deep a JSON text that stands in a JSON string can stand in others: what a tool printed stands in an event.
const NESTED: usize = 3;

/// As it stands inside a JSON string, and inside one that stands in another. What must not be escaped still is by some: the
/// solidus (PHP), all that is not ASCII (Python, PHP), and what HTML would act on (Go).
fn json_forms(value: &str, forms: &mut BTreeMap<Vec<u8>, bool>) {
    let once = escaped(value);
    let ascii = with_units(&once, |c| !c.is_ascii());
    let html = with_units(&once, |c| matches!(c, '<' | '>' | '&'));
    for mut text in [once.replace('/', "\\/"), ascii.replace('/', "\\/"), once, ascii, html] {
        for _ in 1..NESTED {
            let outer = escaped(&text);
            forms.insert(std::mem::replace(&mut text, outer).into_bytes(), false);
        }
        forms.insert(text.into_bytes(), false);
    }
}

/// Writes some characters as `\uXXXX`.
fn with_units(text: &str, some: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if some(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// As a JSON string has it.
fn escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(value: &str, lower: bool, form: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            b' ' if form => text.push('+'),
            // Writing to a String cannot fail.
            _ if lower => _ = write!(text, "%{byte:02x}"),
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(known: &Known, text: &str) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        known.each(text.as_bytes(), |range, _| ranges.push(range));
        ranges.sort_by_key(|range| (range.start, range.end));
        ranges.dedup();
        ranges
    }

    #[test]
    fn an_occurrence_is_found_at_every_position() {
        let known = Known::new([(0, "s3cr3t-8")].into_iter());
        for before in 0..12 {
            for after in 0..12 {
                let text = format!("{}s3cr3t-8{}", "x".repeat(before), "x".repeat(after));
                assert_eq!(found(&known, &text), vec![Range { start: before, end: before + 8 }], "{text}");
            }
        }
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        let known = Known::new([(0, "p?ss/w>rd~~1")].into_iter());
        for before in 0..4 {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{}p?ss/w>rd~~1 and more", "y".repeat(before)));
                assert_eq!(found(&known, &text).len(), 1, "{text}");
            }
        }
    }

    #[test]
    fn base64_is_found_broken_into_lines_wherever_the_value_begins_in_them() {
        let value = "sk-ant-oat01-This-is-a-Token-0123456789-of-Ninety-Nine-Letters-abcdefghijklmnopqrstuvwxyz-ABCDEFG";
        let known = Known::new([(0, value)].into_iter());
        for columns in [64, 76] {
            for before in 0..80 {
                let text = STANDARD_NO_PAD.encode(format!("{}{value} and more", "y".repeat(before)));
                for line_end in ["\n", "\r\n", "\\n", "\\r\\n", "\\\\n"] {
                    let lines: Vec<&str> = text
                        .as_bytes()
                        .chunks(columns)
                        .map(|line| std::str::from_utf8(line).unwrap())
                        .collect();
                    let text = lines.join(line_end);
                    let found = found(&known, &text);
                    assert_eq!(found.len(), 1, "{before} bytes before: {text}");
                    let rest = format!("{}{}", &text[..found[0].start], &text[found[0].end..]);
                    let rest = rest.replace(line_end, "").len();
                    assert!(rest <= (before + 12) * 4 / 3 + 4, "{before} bytes before: {text}");
                }
            }
        }
    }

    #[test]
    fn a_line_of_base64_alone_is_found() {
        let value = "sk-ant-oat01-This-is-a-Token-0123456789-of-Ninety-Nine-Letters-abcdefghijklmnopqrstuvwxyz-ABCDEFG";
        let known = Known::new([(0, value)].into_iter());
        let text = STANDARD_NO_PAD.encode(value);
        assert_eq!(found(&known, &text[20..96]).len(), 1);
        assert_eq!(found(&known, &text[20..60]).len(), 0, "too little to be sure");
    }

    #[test]
    fn a_short_value_is_not_looked_for() {
        let known = Known::new([(0, "secret"), (1, "  x  ")].into_iter());
        assert_eq!(known.len(), 0);
        assert_eq!(found(&known, "a secret"), Vec::<Range<usize>>::new());
    }
}
