//! What is around a signed payload. Read more strictly than serde's derive would: objects only, where it takes
//! arrays for structs, too.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Deserialize, RawValue, fmt};

/// The most signatures that are looked at.
const MAX_SIGNATURES: usize = 8;

/// A signed document before anything in it is believed.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    /// The payload's bytes as they stand in the document.
    pub(super) signed: &'a RawValue,
    pub(super) signatures: Vec<Entry<'a>>,
}

/// One signature.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key_id: Cow<'a, str>,
    pub(super) sig: Cow<'a, str>,
}

/// An object with two known members, neither twice.
struct Members<'a, A, B, T> {
    expecting: &'static str,
    names: (&'static str, &'static str),
    build: fn(A, B) -> T,
    lifetime: PhantomData<&'a ()>,
}

impl<'de: 'a, 'a, A: Deserialize<'de>, B: Deserialize<'de>, T> Visitor<'de> for Members<'a, A, B, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let (mut first, mut second) = (None, None);
        let (first_name, second_name) = self.names;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == first_name {
                if first.replace(map.next_value()?).is_some() {
                    return Err(M::Error::duplicate_field(first_name));
                }
            } else if name == second_name {
                if second.replace(map.next_value()?).is_some() {
                    return Err(M::Error::duplicate_field(second_name));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let first = first.ok_or_else(|| M::Error::missing_field(first_name))?;
        let second = second.ok_or_else(|| M::Error::missing_field(second_name))?;
        Ok((self.build)(first, second))
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members {
            expecting: "an object with \"signed\" and \"signatures\"",
            names: ("signed", "signatures"),
            build: |signed, Entries(signatures)| Envelope { signed, signatures },
            lifetime: PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members {
            expecting: "an object with \"key_id\" and \"sig\"",
            names: ("key_id", "sig"),
            build: |key_id, sig| Entry { key_id, sig },
            lifetime: PhantomData,
        })
    }
}

/// At most [`MAX_SIGNATURES`] entries.
struct Entries<'a>(Vec<Entry<'a>>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_SIGNATURES} signatures")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Entries<'de>, S::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    if entries.len() == MAX_SIGNATURES {
                        return Err(S::Error::invalid_length(MAX_SIGNATURES + 1, &self));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}
