//! From nodes to typed values. Every fault leaves here with the place and the field that it is about.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::error::nearest;
use super::tree::{Entry, Kind, Meaning, Node, Place, Scalar};
use super::{Field, Source, Step, YamlError};

// What values are called in errors.
const TEXT: &str = "text";
const TRUE_OR_FALSE: &str = "true or false";
const A_NUMBER: &str = "a number";
const A_LIST: &str = "a list";
const A_MAP: &str = "a map";

/// What is wrong with a value; the place is filled in on the way up, by the innermost reader that knows one.
#[derive(Debug)]
pub(super) struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
    /// The steps from the root, last one first, as they are met on the way up.
    steps: Vec<Step>,
}

impl Fault {
    fn new(message: impl Into<String>, help: Option<String>) -> Self {
        Self { message: message.into(), help, place: None, steps: Vec::new() }
    }

    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    fn below(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(super) fn into_error(mut self, source: Source<'_>, root: &Node) -> YamlError {
        self.steps.reverse();
        let field = Field(self.steps).to_string();
        source.error(self.place.unwrap_or(root.place), &field, &self.message, self.help)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    /// A type's own refusal. Lines after the first are the help.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.split_once('\n') {
            Some((message, help)) => Self::new(message, Some(help.to_owned())),
            None => Self::new(text, None),
        }
    }

    /// Without the value itself, which may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(_) | Unexpected::Char(_) => TEXT,
            Unexpected::Bool(_) => TRUE_OR_FALSE,
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => A_NUMBER,
            Unexpected::Seq => A_LIST,
            Unexpected::Map => A_MAP,
            _ => "something else",
        };
        Self::new(format!("expected {expected}, found {found}"), None)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key `{field}`"), Some(suggestion(field, expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown choice `{variant}`"), Some(suggestion(variant, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is missing"), None)
    }
}

fn suggestion(given: &str, expected: &[&str]) -> String {
    match nearest(given, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if expected.is_empty() => "no key is known here".to_owned(),
        None => format!("known here: {}", listed(expected)),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub(super) fn from_node<T: DeserializeOwned>(root: &Node) -> Result<T, Fault> {
    T::deserialize(At(root))
}

/// A node that is being read.
#[derive(Clone, Copy)]
struct At<'n>(&'n Node);

impl At<'_> {
    fn expected(self, what: &str, help: Option<String>) -> Fault {
        let found = match &self.0.kind {
            Kind::List(_) => A_LIST,
            Kind::Map(_) => A_MAP,
            Kind::Scalar(scalar) => match scalar.meaning {
                Meaning::Null => return self.no_value(),
                Meaning::Bool(_) => TRUE_OR_FALSE,
                Meaning::Unsigned(_) | Meaning::Negative(_) | Meaning::Float(_) => A_NUMBER,
                Meaning::Text => TEXT,
            },
        };
        Fault::new(format!("expected {what}, found {found}"), help).at(self.0.place)
    }

    fn no_value(self) -> Fault {
        let help = "give it a value, or remove the line: null is not a value here";
        Fault::new("there is no value", Some(help.to_owned())).at(self.0.place)
    }

    fn scalar(self) -> Option<Meaning> {
        match &self.0.kind {
            Kind::Scalar(scalar) => Some(scalar.meaning),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Refuses what YAML 1.1 and 1.2 take for different values, unless it is wanted as text.
    fn refuse_ambiguous(self) -> Result<(), Fault> {
        match &self.0.kind {
            Kind::Scalar(Scalar { text, plain: true, .. }) if differs_by_yaml_version(text) => {
                let help = format!("quote it: \"{text}\"");
                Err(Fault::new(format!("ambiguous: YAML readers differ on `{text}`"), Some(help)).at(self.0.place))
            }
            _ => Ok(()),
        }
    }
}

/// Whether YAML 1.1 takes a plain scalar for a boolean or a number that YAML 1.2 does not see, or the reverse.
fn differs_by_yaml_version(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let numeric = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b':');
    matches!(text.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off")
        || (digits.len() > 1 && digits.starts_with('0') && numeric(digits))
        || (digits.contains(['_', ':']) && digits.starts_with(|c: char| c.is_ascii_digit()) && numeric(digits))
        || digits.starts_with("0o")
        || digits.starts_with("0b")
}

macro_rules! whole_numbers {
    ($($method:ident, $visit:ident, $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.refuse_ambiguous()?;
            let number = match self.scalar() {
                Some(Meaning::Unsigned(number)) => <$type>::try_from(number).ok(),
                Some(Meaning::Negative(number)) => <$type>::try_from(number).ok(),
                _ => None,
            };
            let what = || format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
            let number = number.ok_or_else(|| self.expected(&what(), None))?;
            visitor.$visit(number).map_err(|fault: Fault| fault.at(self.0.place))
        }
    )*};
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.refuse_ambiguous()?;
        let value = match &self.0.kind {
            Kind::List(items) => return visit_list(visitor, items).map_err(|fault| fault.at(self.0.place)),
            Kind::Map(entries) => return visit_map(visitor, entries).map_err(|fault| fault.at(self.0.place)),
            Kind::Scalar(scalar) => match scalar.meaning {
                Meaning::Null => return Err(self.no_value()),
                Meaning::Bool(value) => visitor.visit_bool(value),
                Meaning::Unsigned(value) => visitor.visit_u64(value),
                Meaning::Negative(value) => visitor.visit_i64(value),
                Meaning::Float(value) => visitor.visit_f64(value),
                Meaning::Text => visitor.visit_str(&scalar.text),
            },
        };
        value.map_err(|fault: Fault| fault.at(self.0.place))
    }

    /// Keeps the characters as written, whatever they would mean untyped. A map or a list goes to the visitor too:
    /// some types are text or a map.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Scalar(scalar) if scalar.meaning != Meaning::Null => {
                visitor.visit_str(&scalar.text).map_err(|fault: Fault| fault.at(self.0.place))
            }
            Kind::Scalar(_) => Err(self.no_value()),
            Kind::List(_) | Kind::Map(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(Meaning::Bool(value)) => visitor.visit_bool(value).map_err(|fault: Fault| fault.at(self.0.place)),
            _ => Err(self.expected(TRUE_OR_FALSE, None)),
        }
    }

    whole_numbers! {
        deserialize_u8, visit_u8, u8;
        deserialize_u16, visit_u16, u16;
        deserialize_u32, visit_u32, u32;
        deserialize_u64, visit_u64, u64;
        deserialize_i8, visit_i8, i8;
        deserialize_i16, visit_i16, i16;
        deserialize_i32, visit_i32, i32;
        deserialize_i64, visit_i64, i64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault: Fault| fault.at(self.0.place))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::List(items) => visit_list(visitor, items).map_err(|fault| fault.at(self.0.place)),
            Kind::Scalar(_) | Kind::Map(_) => {
                let help = "write [one, two], or each item on a line of its own after `- `";
                Err(self.expected(A_LIST, Some(help.to_owned())))
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Map(entries) => visit_map(visitor, entries).map_err(|fault| fault.at(self.0.place)),
            _ => Err(self.expected("a map of `key: value`", None)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Map(_) => self.deserialize_map(visitor),
            _ if fields.is_empty() => Err(self.expected(A_MAP, Some("write {}".to_owned()))),
            _ => Err(self.expected(A_MAP, Some(format!("its keys are {}", listed(fields))))),
        }
    }

    /// A choice is a keyed map, `{deploy: {…}}`, or where it carries nothing a word.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let choice = match &self.0.kind {
            Kind::Scalar(Scalar { meaning: Meaning::Null, .. }) => return Err(self.no_value()),
            Kind::Scalar(scalar) => Choice { name: &scalar.text, place: self.0.place, value: None },
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => Choice { name: &entry.key, place: entry.key_place, value: Some(&entry.value) },
                [] => return Err(self.expected(&format!("one of {}", listed(variants)), None)),
                [_, second, ..] => {
                    let help = format!("give only one of {}", listed(variants));
                    let fault = Fault::new("a second choice", Some(help)).at(second.key_place);
                    return Err(fault.below(Step::Key(second.key.clone())));
                }
            },
            Kind::List(_) => return Err(self.expected(&format!("one of {}", listed(variants)), None)),
        };
        visitor.visit_enum(choice).map_err(|fault: Fault| fault.at(self.0.place))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 bytes byte_buf unit unit_struct tuple_struct
    }
}

fn visit_list<'de, V: Visitor<'de>>(visitor: V, items: &[Node]) -> Result<V::Value, Fault> {
    visitor.visit_seq(Items { items, next: 0 })
}

fn visit_map<'de, V: Visitor<'de>>(visitor: V, entries: &[Entry]) -> Result<V::Value, Fault> {
    visitor.visit_map(Entries { entries, next: 0 })
}

struct Items<'n> {
    items: &'n [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let index = self.next;
        let Some(item) = self.items.get(index) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(At(item)).map(Some).map_err(|fault| fault.at(item.place).below(Step::Index(index)))
    }
}

struct Entries<'n> {
    entries: &'n [Entry],
    /// The entry whose key comes next; its value follows the key.
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key = seed.deserialize(entry.key.as_str().into_deserializer());
        key.map(Some).map_err(|fault: Fault| fault.at(entry.key_place).below(Step::Key(entry.key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.entries.get(self.next).ok_or_else(|| Fault::new("a value is read before its key", None))?;
        self.next += 1;
        let value = seed.deserialize(At(&entry.value));
        value.map_err(|fault| fault.at(entry.value.place).below(Step::Key(entry.key.clone())))
    }
}

struct Choice<'n> {
    name: &'n str,
    place: Place,
    /// Absent where only the name was written.
    value: Option<&'n Node>,
}

impl Choice<'_> {
    fn value(&self) -> Result<At<'_>, Fault> {
        let name = self.name;
        let bare =
            || Fault::new(format!("`{name}` takes settings"), Some(format!("write {{{name}: {{}}}}"))).at(self.place);
        self.value.map(At).ok_or_else(bare)
    }

    fn locate<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        // A bare name is the whole value, not a step below it.
        result.map_err(|fault| if self.value.is_some() { fault.below(Step::Key(self.name.to_owned())) } else { fault })
    }
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let named = seed.deserialize(self.name.into_deserializer());
        let named = self.locate(named.map_err(|fault: Fault| fault.at(self.place)))?;
        Ok((named, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(value) => {
                let help = format!("write `{}` alone", self.name);
                let fault = Fault::new(format!("`{}` takes no settings", self.name), Some(help)).at(value.place);
                self.locate(Err(fault))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let value = self.value()?;
        self.locate(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let value = self.value()?;
        self.locate(value.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let value = self.value()?;
        self.locate(value.deserialize_struct("", fields, visitor))
    }
}
