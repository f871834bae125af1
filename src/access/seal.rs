//! Texts that a browser keeps for us and cannot change: cookies, and what a form confirms.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// The most characters of a cookie: browsers keep none above 4 KiB.
const COOKIE_CHARS: usize = 3_800;

/// The most characters of what goes with a form.
const FORM_CHARS: usize = 64 << 10;

/// What a sealed text is for. One made for another purpose is worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Who is signed in.
    Session,
    /// A sign-in elsewhere that is under way.
    OidcState,
    /// Which browser somebody signed in with before.
    Browser,
    /// A change of users or tokens that was looked at and is to be confirmed.
    Review,
}

impl Purpose {
    fn tag(self) -> &'static [u8] {
        match self {
            Self::Session => b"fleetman/session/2\n",
            Self::OidcState => b"fleetman/oidc-state/1\n",
            Self::Browser => b"fleetman/browser/1\n",
            Self::Review => b"fleetman/review/1\n",
        }
    }

    fn most_chars(self) -> usize {
        match self {
            Self::Session | Self::OidcState | Self::Browser => COOKIE_CHARS,
            Self::Review => FORM_CHARS,
        }
    }
}

/// A secret of the controllers that serve one portal. It never leaves their machines, and never the bucket.
#[derive(Clone)]
pub struct SealKey([u8; Self::BYTES]);

impl SealKey {
    /// How long it is.
    pub const BYTES: usize = 32;

    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// `value` as a text that only this key opens. It is signed, not hidden. None if it is too long for its purpose.
    #[must_use]
    pub fn seal<T: Serialize>(&self, purpose: Purpose, value: &T) -> Option<String> {
        let payload = BASE64.encode(serde_json::to_vec(value).ok()?);
        let mac = self.mac(purpose, &payload)?.finalize().into_bytes();
        let sealed = format!("{payload}.{}", BASE64.encode(mac));
        (sealed.len() <= purpose.most_chars()).then_some(sealed)
    }

    /// What was sealed, if it was by this key and for this purpose. Nothing is parsed before that is known.
    #[must_use]
    pub fn open<T: DeserializeOwned>(&self, purpose: Purpose, sealed: &str) -> Option<T> {
        if sealed.len() > purpose.most_chars() {
            return None;
        }
        let (payload, mac) = sealed.split_once('.')?;
        // In constant time.
        self.mac(purpose, payload)?.verify_slice(&BASE64.decode(mac).ok()?).ok()?;
        serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
    }

    fn mac(&self, purpose: Purpose, payload: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(purpose.tag());
        mac.update(payload.as_bytes());
        Some(mac)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SealKey {
        SealKey::new([7; 32])
    }

    #[test]
    fn a_text_for_one_purpose_or_by_another_key_is_worthless() {
        let sealed = key().seal(Purpose::Session, &"ada").unwrap();
        assert_eq!(key().open::<String>(Purpose::Session, &sealed).as_deref(), Some("ada"));
        assert_eq!(key().open::<String>(Purpose::OidcState, &sealed), None);
        assert_eq!(SealKey::new([8; 32]).open::<String>(Purpose::Session, &sealed), None);
        assert_eq!(key().seal(Purpose::Session, &"x".repeat(4_000)), None);
        assert!(!format!("{:?}", key()).contains('7'));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_in_a_sealed_text_it_opens_no_more(
            value in "\\PC{0,200}", at in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f,
        ) {
            let sealed = key().seal(Purpose::Session, &value).unwrap();
            prop_assert_eq!(key().open::<String>(Purpose::Session, &sealed), Some(value));
            let mut bytes = sealed.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            if changed != sealed {
                prop_assert_eq!(key().open::<String>(Purpose::Session, &changed), None);
            }
            prop_assert_eq!(key().open::<String>(Purpose::Session, &sealed[..at]), None);
            prop_assert_eq!(key().open::<String>(Purpose::Session, &format!("{sealed}A")), None);
        }

        #[test]
        fn no_text_whatever_makes_it_fail(text in "\\PC*") {
            prop_assert_eq!(key().open::<String>(Purpose::Session, &text), None);
        }
    }
}
