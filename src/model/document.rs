//! JSON documents: each says which schema it follows, and none is read before its size is known.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A document of one schema.
pub trait Document: Serialize + DeserializeOwned {
    /// The schema's name and number, such as `fleetman/manifest/1`.
    const SCHEMA: &'static str;

    /// The most bytes that such a document may have.
    const MAX_BYTES: u64;
}

/// Why bytes are not the expected document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than the schema allows.
    #[error("expected at most {limit} bytes of {schema}, got {size}")]
    TooLarge {
        /// The expected schema.
        schema: &'static str,
        /// The most bytes allowed.
        limit: u64,
        /// The size found.
        size: u64,
    },
    /// Not the JSON that the schema describes.
    #[error("not a valid {schema} document")]
    Invalid {
        /// The expected schema.
        schema: &'static str,
        /// What the parser found, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A document of another schema, perhaps of a newer program.
    #[error("expected schema {expected}, found {found:?}; a newer fleetman may have written it")]
    UnknownSchema {
        /// The expected schema.
        expected: &'static str,
        /// The schema that it names, cut to a printable length.
        found: String,
    },
    /// The document needs a feature that this program does not have.
    #[error("the document requires {feature:?}, which this version does not support")]
    Unsupported {
        /// The feature's name.
        feature: String,
    },
}

/// Reads a document: size, schema, then content. Unknown fields of a known schema are ignored.
///
/// # Errors
/// See [`DocumentError`].
pub fn parse<T: Document>(bytes: &[u8]) -> Result<T, DocumentError> {
    check_head::<T>(bytes)?;
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Invalid { schema: T::SCHEMA, source })
}

/// Checks size and schema of a document before anything else of it is believed.
pub(super) fn check_head<T: Document>(bytes: &[u8]) -> Result<(), DocumentError> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let size = bytes.len() as u64;
    if size > T::MAX_BYTES {
        return Err(DocumentError::TooLarge { schema: T::SCHEMA, limit: T::MAX_BYTES, size });
    }
    let invalid = |source| DocumentError::Invalid { schema: T::SCHEMA, source };
    // serde would take an array for a struct, too.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(invalid(serde::de::Error::custom("expected an object")));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(invalid)?;
    if head.schema != T::SCHEMA {
        return Err(DocumentError::UnknownSchema { expected: T::SCHEMA, found: super::name::shown(&head.schema) });
    }
    Ok(())
}

/// The document as people read it in an S3 console: indented, its schema first, ended by a newline.
#[must_use]
pub fn render<T: Document>(document: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Tagged<'a, T> {
        schema: &'static str,
        #[serde(flatten)]
        document: &'a T,
    }
    // Only a map with keys that are no strings cannot be written, and no document has one; each kind's golden file
    // shows that it can.
    let mut bytes = serde_json::to_vec_pretty(&Tagged { schema: T::SCHEMA, document }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Sample {
        a: u32,
    }

    impl Document for Sample {
        const SCHEMA: &'static str = "fleetman/sample/1";
        const MAX_BYTES: u64 = 100;
    }

    #[test]
    fn a_document_reads_back_what_it_wrote() {
        let bytes = render(&Sample { a: 1 });
        assert_eq!(String::from_utf8_lossy(&bytes), "{\n  \"schema\": \"fleetman/sample/1\",\n  \"a\": 1\n}\n");
        assert_eq!(parse::<Sample>(&bytes).unwrap(), Sample { a: 1 });
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_schemas_refused_by_name() {
        assert!(parse::<Sample>(br#"{"schema":"fleetman/sample/1","a":1,"new":{}}"#).is_ok());
        let error = parse::<Sample>(br#"{"schema":"fleetman/sample/2","a":1}"#).unwrap_err();
        assert!(error.to_string().contains("\"fleetman/sample/2\""), "{error}");
    }

    #[test]
    fn what_is_no_object_or_too_large_is_refused() {
        assert!(matches!(parse::<Sample>(br#"["fleetman/sample/1",1]"#), Err(DocumentError::Invalid { .. })));
        assert!(matches!(parse::<Sample>(b"{"), Err(DocumentError::Invalid { .. })));
        let long = format!(r#"{{"schema":"fleetman/sample/1","a":1,"b":"{}"}}"#, "x".repeat(100));
        assert!(matches!(parse::<Sample>(long.as_bytes()), Err(DocumentError::TooLarge { size: 138.., .. })));
    }
}
