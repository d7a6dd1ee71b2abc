//! One event of the agent CLI, read as far as it is needed.
//!
//! An event may be megabytes long, nearly all of it the output of a tool. So strings are borrowed, what is not asked for
//! is passed over, and what is asked for only now and then stays raw until then. Nothing here fails on a field of the
//! wrong type: it counts as absent, for one odd field must not cost the run its result.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The fields of all kinds of event.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) subtype: Text<'a>,
    #[serde(borrow)]
    pub(crate) session_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) model: Text<'a>,
    #[serde(borrow)]
    pub(crate) parent_tool_use_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) message: Maybe<Message<'a>>,
    #[serde(borrow)]
    pub(crate) mcp_servers: List<Maybe<Server<'a>>>,
    pub(crate) is_error: Flag,
    pub(crate) api_error_status: Count,
    #[serde(borrow)]
    pub(crate) terminal_reason: Text<'a>,
    #[serde(borrow)]
    pub(crate) result: Text<'a>,
    #[serde(borrow)]
    pub(crate) errors: List<Text<'a>>,
    pub(crate) num_turns: Count,
    pub(crate) total_cost_usd: Amount,
    pub(crate) duration_ms: Count,
    pub(crate) usage: Maybe<Usage>,
    #[serde(borrow, rename = "modelUsage")]
    pub(crate) model_usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) permission_denials: List<Maybe<Denial<'a>>>,
    #[serde(borrow)]
    pub(crate) rate_limit_info: Maybe<RateLimit<'a>>,
    pub(crate) attempt: Count,
    pub(crate) retry_delay_ms: Count,
    #[serde(borrow)]
    pub(crate) error: Text<'a>,
    #[serde(borrow)]
    pub(crate) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) tool_use_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) status: Text<'a>,
    #[serde(borrow)]
    pub(crate) summary: Text<'a>,
    #[serde(borrow)]
    pub(crate) tool_use_result: Maybe<ToolResult<'a>>,
}

/// What the CLI knows of a tool's result beside its text.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct ToolResult<'a> {
    /// `async_launched` where a subagent goes on in the background.
    #[serde(borrow)]
    pub(crate) status: Text<'a>,
}

/// The message of an `assistant` or `user` event.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    #[serde(borrow)]
    pub(crate) content: List<Maybe<Block<'a>>>,
    pub(crate) usage: Maybe<Usage>,
}

/// A part of a message.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) tool_use_id: Text<'a>,
    #[serde(borrow)]
    pub(crate) content: Option<&'a RawValue>,
    pub(crate) is_error: Flag,
}

/// Tokens, as the API names them.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub(crate) input_tokens: Count,
    pub(crate) output_tokens: Count,
    pub(crate) cache_read_input_tokens: Count,
    pub(crate) cache_creation_input_tokens: Count,
}

/// Tokens, as the CLI names them in `modelUsage`.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ModelUsage {
    pub(crate) input_tokens: Count,
    pub(crate) output_tokens: Count,
    pub(crate) cache_read_input_tokens: Count,
    pub(crate) cache_creation_input_tokens: Count,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Server<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) status: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Denial<'a> {
    #[serde(borrow)]
    pub(crate) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(crate) tool_use_id: Text<'a>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RateLimit<'a> {
    #[serde(borrow)]
    pub(crate) status: Text<'a>,
    pub(crate) resets_at: Count,
    #[serde(borrow)]
    pub(crate) rate_limit_type: Text<'a>,
}

/// What a call of a tool is about, for a person.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Input<'a> {
    #[serde(borrow)]
    pub(crate) subagent_type: Text<'a>,
    #[serde(borrow)]
    pub(crate) description: Text<'a>,
    #[serde(borrow)]
    pub(crate) command: Text<'a>,
    #[serde(borrow, alias = "filePath")]
    pub(crate) file_path: Text<'a>,
    #[serde(borrow)]
    pub(crate) notebook_path: Text<'a>,
    #[serde(borrow)]
    pub(crate) path: Text<'a>,
    #[serde(borrow)]
    pub(crate) url: Text<'a>,
    #[serde(borrow)]
    pub(crate) pattern: Text<'a>,
    #[serde(borrow)]
    pub(crate) query: Text<'a>,
    #[serde(borrow)]
    pub(crate) element: Text<'a>,
    #[serde(borrow)]
    pub(crate) filename: Text<'a>,
    #[serde(borrow)]
    pub(crate) skill: Text<'a>,
    #[serde(borrow)]
    pub(crate) function: Text<'a>,
    #[serde(borrow)]
    pub(crate) text: Text<'a>,
    #[serde(borrow)]
    pub(crate) prompt: Text<'a>,
}

/// Why a line is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoEvent;

/// Reads a line. An object that is nothing like an event is an event of no kind.
pub(crate) fn read(line: &str) -> Result<Event<'_>, NoEvent> {
    // A list would be read as well, its items for the fields in their order.
    if !line.trim_start().starts_with('{') {
        return Err(NoEvent);
    }
    match serde_json::from_str(line) {
        Ok(event) => Ok(event),
        // JSON all the same, as where a name stands twice: passed on, and not understood.
        Err(error) if error.is_data() && serde_json::from_str::<IgnoredAny>(line).is_ok() => {
            Ok(Event::default())
        }
        Err(_) => Err(NoEvent),
    }
}

/// Reads what there is of an event whose end is missing: the fields up to where it was cut off.
pub(crate) fn read_head(head: &[u8]) -> Head {
    let mut found = Head::default();
    // The error is the end of the head.
    let _ = serde_json::Deserializer::from_slice(head).deserialize_map(HeadVisitor(&mut found));
    found
}

/// The beginning of an event that is too long to be read as a whole.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) kind: Option<String>,
    pub(crate) subtype: Option<String>,
    pub(crate) is_error: bool,
    pub(crate) num_turns: u64,
    pub(crate) duration_ms: u64,
}

struct HeadVisitor<'h>(&'h mut Head);

impl<'de> Visitor<'de> for HeadVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "type" => self.0.kind = map.next_value::<Text<'_>>()?.into_owned(),
                "subtype" => self.0.subtype = map.next_value::<Text<'_>>()?.into_owned(),
                "is_error" => self.0.is_error = map.next_value::<Flag>()?.0,
                "num_turns" => self.0.num_turns = map.next_value::<Count>()?.get(),
                "duration_ms" => self.0.duration_ms = map.next_value::<Count>()?.get(),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// The text of a block or a tool's result: a string, or a list of blocks of which those with text count.
pub(crate) fn text_of(raw: &RawValue) -> String {
    let json = raw.get();
    text_in(json).or_else(|| text_in(&with_whole_characters(json))).unwrap_or_default()
}

fn text_in(json: &str) -> Option<String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Text<'a>,
    }
    if let Text(Some(text)) = serde_json::from_str(json).ok()? {
        return Some(text.into_owned());
    }
    let parts: List<Maybe<Part<'_>>> = serde_json::from_str(json).ok()?;
    Some(parts.objects().filter_map(|part| part.text.get()).collect::<Vec<_>>().join("\n"))
}

/// JSON whose strings were cut in the middle of a character: JavaScript writes the half that is left as `\ud83d`, which is
/// JSON and no text. Each such half becomes U+FFFD.
pub(crate) fn with_whole_characters(json: &str) -> String {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(json.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        at += next;
        match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
            Some(0xD800..=0xDFFF) => {
                out.push_str(&json[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // The byte behind the backslash is escaped by it; JSON escapes nothing of more than a byte.
            _ => at = (at + 2).min(json.len()),
        }
    }
    out.push_str(&json[copied..]);
    out
}

/// A string; anything else counts as absent.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    pub(crate) fn into_owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }
}

/// A number that is not negative; anything else counts as absent.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Count(Option<u64>);

impl Count {
    pub(crate) fn get(self) -> u64 {
        self.0.unwrap_or(0)
    }

    pub(crate) fn known(self) -> Option<u64> {
        self.0
    }
}

/// A sum of money.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Amount(Option<f64>);

impl Amount {
    pub(crate) fn known(self) -> Option<f64> {
        self.0.filter(|amount| amount.is_finite() && *amount >= 0.0)
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Flag(pub(crate) bool);

/// An object; anything else counts as absent.
#[derive(Debug)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A list; anything else counts as empty.
#[derive(Debug)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> List<Maybe<T>> {
    /// The items that are objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|item| item.0.as_ref())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What a lenient reader makes of each kind of JSON value: nothing, unless it overrides it.
struct Lenient<T>(PhantomData<T>);

/// Makes a type of whatever JSON value there is.
trait FromAny<'de>: Sized + Default {
    fn borrowed(_: &'de str) -> Self {
        Self::default()
    }
    fn string(_: &str) -> Self {
        Self::default()
    }
    fn boolean(_: bool) -> Self {
        Self::default()
    }
    fn unsigned(_: u64) -> Self {
        Self::default()
    }
    fn float(_: f64) -> Self {
        Self::default()
    }
    fn map<M: MapAccess<'de>>(mut map: M) -> Result<Self, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
    fn list<S: SeqAccess<'de>>(mut list: S) -> Result<Self, S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'de, T: FromAny<'de>> Visitor<'de> for Lenient<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<T, E> {
        Ok(T::borrowed(text))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::string(text))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Ok(T::boolean(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        Ok(T::unsigned(value))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Ok(T::float(value))
    }
    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
        T::map(map)
    }
    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<T, S::Error> {
        T::list(list)
    }
}

impl<'de: 'a, 'a> FromAny<'de> for Text<'a> {
    fn borrowed(text: &'de str) -> Self {
        Self(Some(Cow::Borrowed(text)))
    }
    fn string(text: &str) -> Self {
        Self(Some(Cow::Owned(text.to_owned())))
    }
}

impl FromAny<'_> for Count {
    fn unsigned(value: u64) -> Self {
        Self(Some(value))
    }
    fn float(value: f64) -> Self {
        // Saturates, and makes nothing of what is no number.
        Self((value >= 0.0).then_some(value as u64))
    }
}

impl FromAny<'_> for Amount {
    fn unsigned(value: u64) -> Self {
        Self(Some(value as f64))
    }
    fn float(value: f64) -> Self {
        Self(Some(value))
    }
}

impl FromAny<'_> for Flag {
    fn boolean(value: bool) -> Self {
        Self(value)
    }
}

impl<'de, T: Deserialize<'de>> FromAny<'de> for Maybe<T> {
    fn map<M: MapAccess<'de>>(map: M) -> Result<Self, M::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|value| Self(Some(value)))
    }
}

impl<'de, T: Deserialize<'de>> FromAny<'de> for List<T> {
    fn list<S: SeqAccess<'de>>(mut list: S) -> Result<Self, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Self(items))
    }
}

macro_rules! lenient {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<'de, $($generics)*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Lenient(PhantomData))
            }
        }
    )*};
}

lenient!([] Count, [] Amount, [] Flag, [T: Deserialize<'de>] Maybe<T>, [T: Deserialize<'de>] List<T>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}
