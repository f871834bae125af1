//! Values as people write them: `10s`, `512MiB`, `"0644"`, `TERM`.
//!
//! A refusal's first line says what is wrong; what follows it is the help that [`yaml`] shows.

mod calendar;
mod capability;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

pub use self::calendar::Calendar;
pub use self::capability::Capability;
use crate::model::health::StatusRange;
use crate::model::manifest::Mode;
use crate::model::run_spec::StopSignal;
use crate::yaml::quantity::quantities;
use crate::yaml::{self, HumanDuration};

/// Implements `Deserialize` through a function from text; a bare number is refused with its help.
macro_rules! written_as_text {
    ($type:ty, $expecting:literal, $parse:path, $number:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Written;

                impl Visitor<'_> for Written {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        $parse(text).map_err(E::custom)
                    }

                    fn visit_u64<E: Error>(self, number: u64) -> Result<$type, E> {
                        let refuse: fn(u64) -> Result<$type, String> = $number;
                        refuse(number).map_err(E::custom)
                    }
                }

                deserializer.deserialize_any(Written)
            }
        }
    };
}

/// An amount of bytes, written with its unit: `512MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanBytes(pub u64);

impl HumanBytes {
    fn parse(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not an amount of bytes\nwrite it as 64KiB, 512MiB, 2GiB or 2GB");
        let [(number, unit)] = quantities(text).ok_or_else(refuse)?[..] else { return Err(refuse()) };
        let bytes: u64 = match unit {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refuse()),
        };
        number.checked_mul(bytes).map(Self).ok_or_else(|| format!("`{text}` is more than a computer can count"))
    }
}

written_as_text!(HumanBytes, "an amount of bytes such as 512MiB", HumanBytes::parse, |number| match number {
    0 => Ok(HumanBytes(0)),
    _ => Err(format!("the amount {number} has no unit\nwrite {number}MiB, or {number}B for bytes")),
});

/// Permissions, four octal digits in quotes: `"0644"`. Without quotes YAML readers take `0644` for 420, for 644 or for
/// text, and `420` may have been meant as decimal, so neither is guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenMode(pub Mode);

impl WrittenMode {
    fn parse(text: &str) -> Result<Self, String> {
        let hint = match text.len() {
            3 if text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) => format!("write \"0{text}\""),
            4 if text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) => {
                "setuid, setgid and sticky bits are never set".to_owned()
            }
            _ => "write \"0644\" for a file that is read, \"0755\" for a program".to_owned(),
        };
        text.parse().map(Self).map_err(|error| format!("{error}\n{hint}"))
    }
}

written_as_text!(WrittenMode, "a mode such as \"0644\"", WrittenMode::parse, |number| {
    let hint = if number <= 777 { format!("{number:04}") } else { "0644".to_owned() };
    Err(format!("the mode {number} is not in quotes, so it could be octal or decimal\nwrite \"{hint}\""))
});

/// The permissions that files do not get, four octal digits in quotes: `"0022"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umask(pub Mode);

impl Umask {
    fn parse(text: &str) -> Result<Self, String> {
        let help =
            "write \"0022\" for files that only their owner writes, \"0077\" for files that only their owner reads";
        text.parse().map(Self).map_err(|error| format!("{error}\n{help}"))
    }
}

written_as_text!(Umask, "a umask such as \"0022\"", Umask::parse, |number| {
    let hint = if number <= 777 { format!("{number:04}") } else { "0022".to_owned() };
    Err(format!("the umask {number} is not in quotes, so it could be octal or decimal\nwrite \"{hint}\""))
});

/// A share of something: `20%`. In percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    fn parse(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = percent.and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= 100);
        percent.map(Self).ok_or_else(|| format!("`{text}` is not a share\nwrite it as 20%, from 0% to 100%"))
    }
}

written_as_text!(Share, "a share such as 20%", Share::parse, |number| Err(format!(
    "the share {number} has no unit\nwrite {number}%"
)));

/// Statuses of HTTP: `204`, `200-399`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses(pub StatusRange);

impl Statuses {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{error}\nwrite one as 204, several as 200-399"))
    }
}

written_as_text!(Statuses, "a status such as 204, or 200-399", Statuses::parse, |number| Statuses::parse(
    &number.to_string()
));

/// How many times as long each wait is as the one before: `2`, `1.5`. In percent, so that it stays exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor(pub u32);

impl Factor {
    /// More than that is a slip.
    const MOST: f64 = 100.0;

    fn new(number: f64) -> Result<Self, String> {
        let percent = (number * 100.0).round();
        if !(1.0..=Self::MOST).contains(&number) {
            return Err(format!("the factor {number} is not from 1 to {}\nwrite 2 to double it", Self::MOST));
        }
        if (number * 100.0 - percent).abs() > 1e-6 {
            return Err(format!("the factor {number} has more than two digits after the point"));
        }
        // It is from 100 to 10,000.
        Ok(Self(percent as u32))
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Factor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a factor such as 2 or 1.5")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Factor, E> {
                Factor::new(number as f64).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Factor, E> {
                Factor::new(number as f64).map_err(E::custom)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Factor, E> {
                Factor::new(number).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Written)
    }
}

/// A signal by its name, with or without `SIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub StopSignal);

impl Signal {
    const NAMES: [(&'static str, StopSignal); 7] = [
        ("TERM", StopSignal::Term),
        ("INT", StopSignal::Int),
        ("QUIT", StopSignal::Quit),
        ("HUP", StopSignal::Hup),
        ("USR1", StopSignal::Usr1),
        ("USR2", StopSignal::Usr2),
        ("KILL", StopSignal::Kill),
    ];

    fn parse(text: &str) -> Result<Self, String> {
        let short = text.strip_prefix("SIG").unwrap_or(text);
        let named = Self::NAMES.iter().find(|(name, _)| *name == short);
        let names = || Self::NAMES.iter().map(|(name, _)| *name);
        named.map(|(_, signal)| Self(*signal)).ok_or_else(|| {
            let upper = short.to_uppercase();
            let upper = upper.strip_prefix("SIG").unwrap_or(&upper);
            let help = match names().find(|name| *name == upper).or_else(|| yaml::nearest(upper, names())) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
            };
            format!("unknown signal `{text}`\n{help}")
        })
    }
}

written_as_text!(Signal, "a signal such as TERM", Signal::parse, |number| Err(format!(
    "the signal {number} is a number, which differs between systems\nwrite its name, such as TERM"
)));

/// A value that a template may use: text, a whole number, true or false, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum VarValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// A list of the three above.
    List(Vec<VarValue>),
}

/// Reads a variable's value; within a list no other `list` may stand.
pub(super) struct VarVisitor {
    pub(super) list: bool,
}

impl<'de> Visitor<'de> for VarVisitor {
    type Value = VarValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.list {
            "text, a whole number, true, false or a list"
        } else {
            "text, a whole number, true or false"
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<VarValue, E> {
        Ok(VarValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<VarValue, E> {
        Ok(VarValue::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<VarValue, E> {
        i64::try_from(value).map(VarValue::Integer).map_err(|_| E::custom("the number is too large\nquote it"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<VarValue, E> {
        // `1.10` would become 1.1 in a template.
        Err(E::custom("a number with a fraction loses its form\nquote it"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<VarValue, E> {
        Ok(VarValue::Text(text.to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<VarValue, A::Error> {
        if !self.list {
            return Err(A::Error::custom("a list cannot hold lists"));
        }
        let mut values = Vec::new();
        while let Some(Item(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(VarValue::List(values))
    }
}

struct Item(VarValue);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VarVisitor { list: false }).map(Self)
    }
}

impl<'de> Deserialize<'de> for VarValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VarVisitor { list: true })
    }
}

/// Gives a type its JSON Schema, inlined where it is used.
macro_rules! inline_schema {
    ($type:ty, $name:literal, $($schema:tt)+) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)+)
            }
        }
    };
}

inline_schema!(HumanDuration, "Duration", {
    "type": "string",
    "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "minLength": 2,
    "examples": ["500ms", "10s", "1h30m"],
});
inline_schema!(HumanBytes, "Bytes", {
    "type": ["string", "integer"],
    "pattern": "^[0-9]+([kMGT]?B|[KMGT]iB)$",
    "minimum": 0,
    "maximum": 0,
    "examples": ["512MiB"],
});
inline_schema!(WrittenMode, "Mode", {
    "type": "string",
    "pattern": "^0[0-7]{3}$",
    "examples": ["0644", "0755"],
});
inline_schema!(Umask, "Umask", {
    "type": "string",
    "pattern": "^0[0-7]{3}$",
    "examples": ["0022", "0077"],
});
inline_schema!(Share, "Share", {
    "type": "string",
    "pattern": "^([0-9]|[1-9][0-9]|100)%$",
    "examples": ["20%"],
});
inline_schema!(Factor, "Factor", {
    "type": "number",
    "minimum": 1,
    "maximum": 100,
    "examples": [2],
});
inline_schema!(Statuses, "Statuses", {
    "type": ["string", "integer"],
    "pattern": "^[1-9][0-9]{2}(-[1-9][0-9]{2})?$",
    "minimum": 100,
    "maximum": 999,
    "examples": [204, "200-399"],
});
inline_schema!(Signal, "Signal", {
    "type": "string",
    "pattern": "^(SIG)?(TERM|INT|QUIT|HUP|USR1|USR2|KILL)$",
    "examples": ["TERM"],
});
inline_schema!(Calendar, "Calendar", {
    "type": "string",
    "minLength": 3,
    "maxLength": 200,
    "examples": ["daily", "*-*-* 03:00", "Mon..Fri 08:30"],
});
inline_schema!(Capability, "Capability", {"type": "string", "enum": Capability::names().collect::<Vec<_>>()});
inline_schema!(VarValue, "VarValue", {
    "type": ["string", "integer", "boolean", "array"],
    "items": {"type": ["string", "integer", "boolean"]},
});

/// Text that may be written without quotes even where it looks like a number.
pub(super) struct Scalar;
inline_schema!(Scalar, "Scalar", {"type": ["string", "number", "boolean"]});

/// A name of [`model`](crate::model).
pub(super) struct Name;
inline_schema!(Name, "Name", {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"});

/// One of [`ServiceType`](crate::model::systemd::ServiceType).
pub(super) struct ServiceTypeText;
inline_schema!(ServiceTypeText, "ServiceType", {"type": "string", "enum": ["exec", "simple", "notify", "oneshot"]});

/// One of [`ProtectSystem`](crate::model::systemd::ProtectSystem).
pub(super) struct ProtectSystemText;
inline_schema!(ProtectSystemText, "ProtectSystem", {"type": "string", "enum": ["no", "yes", "full", "strict"]});

/// One of [`ProtectHome`](crate::model::systemd::ProtectHome).
pub(super) struct ProtectHomeText;
inline_schema!(ProtectHomeText, "ProtectHome", {"type": "string", "enum": ["no", "yes", "read-only", "tmpfs"]});

/// A [`UnitName`](crate::model::UnitName).
pub(super) struct UnitText;
inline_schema!(UnitText, "Unit", {
    "type": "string",
    "pattern": "^[A-Za-z0-9:_.@-]+\\.(automount|device|mount|path|scope|service|slice|socket|swap|target|timer)$",
    "examples": ["postgresql.service", "network-online.target"],
});

/// A [`CredentialName`](crate::model::CredentialName).
pub(super) struct CredentialText;
inline_schema!(CredentialText, "Credential", {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$"});

/// A [`CellId`](crate::model::CellId).
pub(super) struct CellText;
inline_schema!(CellText, "Cell", {
    "type": "string",
    "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "examples": ["n1/web"],
});

/// A [`Cron`](crate::model::window::Cron).
pub(super) struct CronText;
inline_schema!(CronText, "Cron", {
    "type": "string",
    "maxLength": 200,
    "pattern": "^\\s*([0-9a-zA-Z*,/-]+\\s+){4}[0-9a-zA-Z*,/-]+\\s*$",
    "examples": ["0 2 * * *", "30 22 * * mon-fri"],
});

/// A [`Zone`](crate::model::window::Zone).
pub(super) struct ZoneText;
inline_schema!(ZoneText, "TimeZone", {"type": "string", "examples": ["Europe/Berlin", "UTC"]});

/// A time in RFC 3339.
pub(super) struct Time;
inline_schema!(Time, "Time", {"type": "string", "format": "date-time", "examples": ["2026-11-20T14:00:00Z"]});

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: fmt::Debug>(result: Result<T, String>) -> String {
        result.unwrap_err()
    }

    #[test]
    fn bytes_need_a_unit() {
        let bytes = |text| HumanBytes::parse(text).map(|bytes| bytes.0);
        for (text, expected) in [("1B", 1), ("2kB", 2_000), ("512MiB", 512 << 20), ("3GB", 3_000_000_000)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "1", "1mb", "1MiB1KiB", "1.5GiB", "99999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_four_octal_digits_without_special_bits() {
        assert_eq!(WrittenMode::parse("0640").unwrap().0.bits(), 0o640);
        assert!(help(WrittenMode::parse("755")).ends_with("\nwrite \"0755\""));
        assert!(help(WrittenMode::parse("4755")).ends_with("\nsetuid, setgid and sticky bits are never set"));
        assert!(help(WrittenMode::parse("rwxr-xr-x")).contains("\"0755\" for a program"));
        assert!(WrittenMode::parse("0o755").is_err());
    }

    #[test]
    fn umasks_are_four_octal_digits() {
        assert_eq!(Umask::parse("0027").unwrap().0.bits(), 0o027);
        assert!(help(Umask::parse("22")).contains("four octal digits"));
        assert!(Umask::parse("1000").is_err());
    }

    #[test]
    fn shares_have_a_percent_sign() {
        for (text, percent) in [("0%", 0), ("20%", 20), ("100%", 100)] {
            assert_eq!(Share::parse(text), Ok(Share(percent)));
        }
        for text in ["20", "%", "101%", "-1%", "1.5%", "+1%", "99999999999%"] {
            assert!(help(Share::parse(text)).contains("write it as 20%"), "{text}");
        }
    }

    #[test]
    fn factors_are_from_1_to_100_and_exact() {
        for (number, percent) in [(1.0, 100), (1.5, 150), (1.15, 115), (2.0, 200), (100.0, 10_000)] {
            assert_eq!(Factor::new(number), Ok(Factor(percent)));
        }
        for number in [0.0, 0.99, -2.0, 100.01, 1.555, f64::NAN, f64::INFINITY] {
            assert!(Factor::new(number).is_err(), "{number}");
        }
    }

    #[test]
    fn signals_are_names() {
        assert_eq!(Signal::parse("SIGHUP").unwrap().0, StopSignal::Hup);
        assert_eq!(Signal::parse("USR1").unwrap().0, StopSignal::Usr1);
        assert!(help(Signal::parse("sigterm")).ends_with("did you mean `TERM`?"));
        assert!(help(Signal::parse("TREM")).ends_with("did you mean `TERM`?"));
        assert!(help(Signal::parse("WINCHESTER")).contains("known here: TERM, INT"));
    }
}
