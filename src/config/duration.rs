//! Durations as people write them: `500ms`, `10s`, `1h30m`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A duration with its unit. A bare number is refused: nobody knows whether it meant seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenDuration(pub Duration);

const HOW: &str = "write it as 500ms, 10s, 5m, 1h30m or 2d";

fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, behind) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // Falling units only: `5m1h` is more likely a slip than a duration.
        if millis >= smallest {
            return None;
        }
        smallest = millis;
        total = total.checked_add(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))?;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

impl<'de> Deserialize<'de> for WrittenDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = WrittenDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 10s")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<WrittenDuration, E> {
                // Lines after the first are the help that `yaml` shows.
                parse(text).map(WrittenDuration).ok_or_else(|| E::custom(format!("`{text}` is not a duration\n{HOW}")))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<WrittenDuration, E> {
                Err(E::custom(format!("the duration {number} has no unit\nwrite {number}s for seconds")))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl std::str::FromStr for WrittenDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map(Self).ok_or_else(|| format!("{text:?} is not a duration: {HOW}"))
    }
}
