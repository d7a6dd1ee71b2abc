//! Amounts of a cluster's resources, as people write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What an amount looks like: a number, and behind it at most a unit.
const PATTERN: &str = "^[0-9]+([.][0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?$";

/// What a container asks for, and may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// What the node must have free, as `cpu: 500m`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Amount>,
    /// What the container may use at most, as `memory: 4Gi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Amount>,
}

/// An amount, as `500m`, `4Gi` or `2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Amount(String);

impl Amount {
    /// As Kubernetes takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount, as 500m, 4Gi or 2")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                if is_amount(text) {
                    Ok(Amount(text.to_owned()))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "pattern": PATTERN,
        })
    }
}

/// [`PATTERN`], read by hand: the one expression in the pieces is no reason for an engine.
fn is_amount(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &text[..text.len() - unit.len()];
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    };
    let is_unit = match unit.as_bytes() {
        [] | [b'K' | b'M' | b'G' | b'T' | b'P' | b'E', b'i'] => true,
        [b'n' | b'u' | b'm' | b'k' | b'M' | b'G' | b'T' | b'P' | b'E'] => true,
        [b'e' | b'E', exponent @ ..] => exponent.len() <= 2 && digits(&unit[1..]),
        _ => false,
    };
    is_number && is_unit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K1
    #[test]
    fn amounts_are_written_as_in_kubernetes() {
        let read = |json: &str| serde_json::from_str::<Amount>(json).map(|amount| amount.0);
        for (json, amount) in [("2", "2"), ("\"500m\"", "500m"), ("\"1.5Gi\"", "1.5Gi"), ("\"1e3\"", "1e3")] {
            assert_eq!(read(json).unwrap(), amount);
        }
        for bad in [
            "-1",
            "\"\"",
            "\"lots\"",
            "\"1 Gi\"",
            "\"1.Gi\"",
            "\"1.2.3\"",
            "\"1GiB\"",
            "\"-1Gi\"",
            "\"1e\"",
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
