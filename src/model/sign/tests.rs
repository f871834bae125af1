use super::*;
use crate::model::generation::Generation;
use crate::model::trigger::{Action, Trigger, TriggerOptions};
use crate::model::{CellName, NodeName, UserName};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn pin(seed: u8, epoch: u32) -> PinnedKey {
    PinnedKey { key: key(seed).public(), epoch: Epoch::new(epoch).unwrap() }
}

fn trigger() -> Trigger {
    Trigger {
        requires: vec![],
        fleet: uuid::Uuid::from_u128(1),
        node: NodeName::new("n1").unwrap(),
        cell: CellName::new("web").unwrap(),
        generation: Generation::FIRST,
        action: Action::Stop,
        options: TriggerOptions::default(),
        issued_at: chrono::DateTime::UNIX_EPOCH,
        issued_by: UserName::new("alice").unwrap(),
        reason: Some("because \"…\"".to_owned()),
    }
}

fn signed(seed: u8) -> String {
    let document = sign(&trigger(), &Signer::Key(key(seed), Epoch::FIRST)).unwrap();
    String::from_utf8(document.document().to_vec()).unwrap()
}

fn read(text: &str, pinned: &[PinnedKey]) -> Result<Verified<Trigger>, SignError> {
    verify(text.as_bytes(), &Trust::Keys(pinned.to_vec()))
}

#[test]
fn a_signed_document_reads_back_and_keeps_its_bytes() {
    let text = signed(1);
    let verified = read(&text, &[pin(2, 1), pin(1, 3)]).unwrap();
    assert_eq!(*verified, trigger());
    assert_eq!(verified.epoch(), Epoch::new(3).unwrap());
    assert_eq!(verified.signed_by(), Some(key(1).public().id()));
    assert_eq!(verified.document(), text.as_bytes());
}

#[test]
fn every_changed_byte_of_the_payload_breaks_the_signature() {
    let text = signed(1);
    let start = text.find('{').unwrap() + 1 + text[1..].find('{').unwrap();
    let end = text.find(",\n\"signatures\"").unwrap();
    for at in start..end {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        assert!(verify::<Trigger>(&bytes, &Trust::Keys(vec![pin(1, 1)])).is_err(), "byte {at}");
    }
}

#[test]
fn a_document_that_was_indented_again_says_so() {
    let text = signed(1).replacen("  \"requires\"", "\t\"requires\"", 1);
    let error = read(&text, &[pin(1, 1)]).unwrap_err();
    assert!(matches!(error, SignError::Mismatch { .. }));
    assert!(error.to_string().contains("re-indented"), "{error}");
}

#[test]
fn a_stranger_or_nobody_is_not_believed() {
    let error = read(&signed(9), &[pin(1, 1)]).unwrap_err();
    assert!(error.to_string().contains(&key(9).public().id().to_string()), "{error}");
    let unsigned = sign(&trigger(), &Signer::Unsigned).unwrap();
    assert!(verify::<Trigger>(unsigned.document(), &Trust::Keys(vec![pin(1, 1)])).is_err());
    assert!(verify::<Trigger>(unsigned.document(), &Trust::Unsigned).is_ok());
    // Naming another's key does not help.
    let forged = signed(9).replace(&key(9).public().id().to_string(), &key(1).public().id().to_string());
    assert!(matches!(read(&forged, &[pin(1, 1)]), Err(SignError::Mismatch { .. })));
}

#[test]
fn the_highest_epoch_among_valid_signatures_counts() {
    let first = signed(1);
    let second = signed(2);
    let entry = |text: &str| text[text.find("[{").unwrap() + 1..text.rfind(']').unwrap()].to_owned();
    let both = first.replace(&entry(&first), &format!("{}, {}", entry(&first), entry(&second)));
    assert_eq!(read(&both, &[pin(1, 1), pin(2, 2)]).unwrap().epoch(), Epoch::new(2).unwrap());
    // A broken signature of the higher key does not lend its epoch.
    let broken = both.replace(&entry(&second), &entry(&second).replace("\"sig\": \"", "\"sig\": \"AA"));
    assert_eq!(read(&broken, &[pin(1, 1), pin(2, 2)]).unwrap().epoch(), Epoch::FIRST);
}

#[test]
fn envelopes_that_are_not_plain_objects_are_refused() {
    let text = signed(1);
    let payload = &text[text.find(": ").unwrap() + 2..text.find(",\n\"signatures\"").unwrap()];
    let list = &text[text.find("[{").unwrap()..=text.rfind(']').unwrap()];
    for bad in [
        format!("[{payload},{list}]"),
        format!("{{\"signed\":{payload},\"signed\":{payload},\"signatures\":{list}}}"),
        format!("{{\"signed\":{payload},\"signatures\":{list},\"signatures\":{list}}}"),
        format!("{{\"signed\":{payload},\"signatures\":[[\"k\",\"s\"]]}}"),
        format!("{{\"signed\":{payload}}}"),
        format!("{{\"signatures\":{list}}}"),
        format!("{text}{text}"),
    ] {
        assert!(matches!(read(&bad, &[pin(1, 1)]), Err(SignError::Envelope { .. })), "{bad}");
    }
    let entry = &list[1..list.len() - 1];
    let many = |count: usize| text.replace(list, &format!("[{}]", vec![entry; count].join(",")));
    assert!(read(&many(8), &[pin(1, 1)]).is_ok());
    assert!(matches!(read(&many(9), &[pin(1, 1)]), Err(SignError::Envelope { .. })));
    assert!(matches!(read(&" ".repeat(80_000), &[pin(1, 1)]), Err(SignError::TooLarge { .. })));
}

#[test]
fn a_signature_of_one_kind_is_worthless_for_another() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Other(Trigger);
    impl Document for Other {
        const SCHEMA: &'static str = Trigger::SCHEMA;
        const MAX_BYTES: u64 = Trigger::MAX_BYTES;
    }
    impl Signed for Other {
        const KIND: &'static str = "other";
        const FEATURES: &'static [&'static str] = &[];
        fn requires(&self) -> &[String] {
            &self.0.requires
        }
    }
    let trust = Trust::Keys(vec![pin(1, 1)]);
    assert!(verify::<Trigger>(signed(1).as_bytes(), &trust).is_ok());
    assert!(matches!(verify::<Other>(signed(1).as_bytes(), &trust), Err(SignError::Mismatch { .. })));
}

#[test]
fn keys_have_one_text_and_the_private_one_is_never_shown() {
    let private = key(7);
    let file = private.to_file_text();
    assert_eq!(PrivateKey::from_file_text(&file).unwrap().public(), private.public());
    assert!(!format!("{private:?}").contains(&file[16..40]));
    let public = private.public().to_string();
    assert_eq!(public.parse::<PublicKey>().unwrap(), private.public());
    for bad in ["", "ed25519:", "ed25519:AAAA", &public[8..], &public.replace("ed25519", "rsa")] {
        assert_eq!(bad.parse::<PublicKey>(), Err(KeyTextError::Public), "{bad}");
    }
    // The identity point, for which anyone can make signatures.
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(format!("ed25519:{}", BASE64.encode(identity)).parse::<PublicKey>(), Err(KeyTextError::Weak));
    let error = PrivateKey::from_file_text("ed25519-private:c2VjcmV0").unwrap_err().to_string();
    assert!(!error.contains("c2VjcmV0"));
}
