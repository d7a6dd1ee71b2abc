//! JSON in which a key that stands twice is seen. A parser keeps the last one in silence, and a person who pasted a second
//! server of the same name never learns where the first one went.

use crate::problem::Problem;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;

/// The document in `text`, and a problem for every key that stands twice.
///
/// # Errors
/// Where it is no JSON, with line and column.
pub(crate) fn parse(text: &[u8]) -> Result<(Value, Vec<Problem>), serde_json::Error> {
    let twice = RefCell::new(Vec::new());
    let mut source = serde_json::Deserializer::from_slice(text);
    let value = Node { path: Vec::new(), twice: &twice }.deserialize(&mut source)?;
    source.end()?;
    let problems = twice.into_inner().iter().map(|path| doubled(path)).collect();
    Ok((value, problems))
}

fn doubled(path: &[String]) -> Problem {
    match path {
        [servers, server] if servers == "mcpServers" => {
            Problem::of(server, "", "stands twice; only the last one would count")
        }
        [servers, server, field @ ..] if servers == "mcpServers" => {
            Problem::of(server, field.join("."), "stands twice; only the last one would count")
        }
        other => Problem::around(other.join("."), "stands twice; only the last one would count"),
    }
}

struct Node<'a> {
    path: Vec<String>,
    twice: &'a RefCell<Vec<Vec<String>>>,
}

impl Node<'_> {
    fn below(&self, key: impl Into<String>) -> Node<'_> {
        let mut path = self.path.clone();
        path.push(key.into());
        Node { path, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(list.len().to_string()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let node = self.below(key.as_str());
            let path = node.path.clone();
            let value = entries.next_value_seed(node)?;
            if map.insert(key, value).is_some() {
                self.twice.borrow_mut().push(path);
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap().1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_that_stands_twice_is_named_at_every_depth() {
        let text = r#"{"mcpServers":{"a":{"command":"x","command":"y","env":{"T":"1","T":"2"}},"a":{}},"mcpServers":{}}"#;
        assert_eq!(
            told(text),
            [
                "server 'a', field 'command': stands twice; only the last one would count",
                "server 'a', field 'env.T': stands twice; only the last one would count",
                "server 'a': stands twice; only the last one would count",
                "field 'mcpServers': stands twice; only the last one would count",
            ]
        );
    }

    #[test]
    fn the_value_is_what_any_parser_makes_of_it() {
        let text = r#"{"a":[1,-2,3.5,true,null,"x\n"],"b":{}}"#;
        let (value, problems) = parse(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert!(problems.is_empty());
        assert!(parse(b"{} {}").is_err());
        assert!(parse(b"").is_err());
    }
}
