//! Amounts with their units: `500ms`, `1h30m`, `512MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The longest duration that is taken: anything longer is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A duration, written with its unit: `500ms`, `10s`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// In milliseconds, as documents write it.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    /// Lines of the error after the first are its help.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a duration\nwrite it as 500ms, 10s, 5m, 1h30m or 2d");
        let mut total = Duration::ZERO;
        let mut smallest = u64::MAX;
        for (number, unit) in quantities(text).ok_or_else(refuse)? {
            let millis = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(refuse()),
            };
            // Falling units only: `5m1h` is more likely a slip than a duration.
            if millis >= smallest {
                return Err(refuse());
            }
            smallest = millis;
            let part = number.checked_mul(millis).map(Duration::from_millis);
            total = part.and_then(|part| total.checked_add(part)).ok_or_else(refuse)?;
        }
        if total > LONGEST { Err(format!("`{text}` is longer than 366 days")) } else { Ok(Self(total)) }
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 10s")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<HumanDuration, E> {
                let help = format!("write {number}s for seconds, or {number}ms for milliseconds");
                Err(E::custom(format!("the duration {number} has no unit\n{help}")))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

/// The numbers and units of `1h30m`; `None` where that is not what the text is.
pub(crate) fn quantities(text: &str) -> Option<Vec<(u64, &str)>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, behind) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        found.push((number.parse().ok()?, unit));
        rest = behind;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_fall() {
        let millis = |text: &str| text.parse().map(HumanDuration::as_millis);
        for (text, expected) in
            [("0s", 0), ("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000), ("1d1ms", 86_400_001)]
        {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "10", "10 s", "-1s", "1.5s", "1m1h", "1s1s", "1w", "99999999999999999999s", "400d", "1é"]
        {
            assert!(millis(text).is_err(), "{text}");
        }
        assert!(millis("18446744073709551615d").is_err(), "no overflow");
    }
}
