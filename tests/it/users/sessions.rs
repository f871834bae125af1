//! How long a session lasts, where it counts, and what ends it.

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use chrono::TimeDelta;
use fleetman::access::{
    AccessError, Gate, NewToken, Problem, SessionEnd, SignInError, SignedOut, TOKEN_GOOD_FOR, UserChange,
};
use fleetman::config::ConfigUser;
use fleetman::model::UserName;
use fleetman::model::users::PasswordHash;

use super::{HOME, ISSUER, PASSWORD, Place, actor, add, grants, hash, name, vouched};

#[tokio::test]
async fn a_session_counts_at_every_controller_and_a_sign_out_ends_it_at_all() {
    let place = Place::new().await;
    let (a, ada) = place.with_ada().await;
    let b = place.gate_in(&place.state.path().join("b"), Vec::new()).await;
    assert_eq!(b.by_cookie(&ada.cookie).unwrap().identity.user, name("ada"));
    let second = b.sign_in("ada", PASSWORD, HOME).await.unwrap();

    assert_eq!(a.sign_out(&ada.session, actor()).await, SignedOut::Everywhere);
    assert_eq!(a.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
    b.directory().look().await;
    assert_eq!(b.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
    assert!(a.by_cookie(&second.cookie).is_ok(), "another session of the same user goes on");

    let restarted = place.gate_in(place.state.path(), Vec::new()).await;
    assert_eq!(restarted.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
    assert!(restarted.by_cookie(&second.cookie).is_ok(), "sessions outlive a restart");
}

#[tokio::test]
async fn a_sign_out_counts_here_and_after_a_restart_while_the_bucket_is_away() {
    let mut place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    place.bench.server.stop().await;
    assert!(gate.by_cookie(&ada.cookie).is_ok(), "a bucket that is away keeps nobody out");
    assert!(matches!(gate.sign_out(&ada.session, actor()).await, SignedOut::Here { .. }));
    assert_eq!(gate.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
    let restarted = place.gate_in(place.state.path(), Vec::new()).await;
    assert!(matches!(restarted.directory().problem(), Some(Problem::Unread(_))));
    assert_eq!(restarted.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
    assert!(restarted.sign_in("ada", PASSWORD, HOME).await.is_ok(), "the remembered list counts");
    assert!(restarted.first_admin().unwrap().is_none());
}

#[tokio::test]
async fn whoever_comes_and_goes_in_a_loop_keeps_no_admin_from_changing_users() {
    let place = Place::new().await;
    let root = ConfigUser { name: name("root"), password_hash: hash("root").await, grants: grants(&["viewer"]) };
    place.with_ada().await;
    let gate = place.gate_in(place.state.path(), vec![root]).await;
    let ada = gate.sign_in("ada", PASSWORD, HOME).await.unwrap();
    let victim = gate.sign_in("ada", PASSWORD, HOME).await.unwrap();
    assert_eq!(gate.sign_out(&victim.session, actor()).await, SignedOut::Everywhere);
    let mut came = Vec::new();
    for _ in 0..52 {
        let root = gate.sign_in("root", PASSWORD, HOME).await.unwrap();
        came.push(gate.sign_out(&root.session, actor()).await);
        assert_eq!(gate.by_cookie(&root.cookie).unwrap_err(), SessionEnd::Revoked);
    }
    assert!(matches!(came.last(), Some(SignedOut::Here { .. })) && came[0] == SignedOut::Everywhere, "{came:?}");
    assert_eq!(place.users().await.revoked_sessions.len(), 51);
    add(&place.authorized(&gate, &ada).await, &gate, "bob", &["viewer"]).await;
    assert_eq!(gate.by_cookie(&victim.cookie).unwrap_err(), SessionEnd::Revoked);
}

#[tokio::test]
async fn sessions_end_when_their_user_is_kept_out_or_gets_another_password() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let authorized = place.authorized(&gate, &ada).await;
    add(&authorized, &gate, "bob", &["viewer"]).await;
    let directory = gate.directory();
    for change in
        [UserChange::Disable, UserChange::EndSessions, UserChange::Password(hash("bob").await), UserChange::Delete]
    {
        let bob = gate.sign_in("bob", PASSWORD, HOME).await.unwrap();
        authorized.change_user(directory, &name("bob"), &change).await.unwrap();
        assert_eq!(gate.by_cookie(&bob.cookie).unwrap_err(), SessionEnd::Revoked, "{change:?}");
        if matches!(change, UserChange::Disable) {
            assert!(matches!(gate.sign_in("bob", PASSWORD, HOME).await, Err(SignInError::Wrong)));
            authorized.change_user(directory, &name("bob"), &UserChange::Enable).await.unwrap();
            assert_eq!(gate.by_cookie(&bob.cookie).unwrap_err(), SessionEnd::Revoked, "what ended does not come again");
        }
    }
    add(&authorized, &gate, "bob", &["viewer"]).await;
    let bob = gate.sign_in("bob", PASSWORD, HOME).await.unwrap();
    let change = UserChange::Grants(grants(&["editor:n1/*"]));
    authorized.change_user(directory, &name("bob"), &change).await.unwrap();
    assert_eq!(gate.by_cookie(&bob.cookie).unwrap().identity.grants, grants(&["editor:n1/*"]), "grants count at once");
}

#[tokio::test]
async fn a_password_that_was_hashed_at_other_costs_is_hashed_anew_at_the_next_sign_in() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8_192, 1, 1, None).unwrap());
    let cheap = cheap.hash_password_with_salt(PASSWORD.as_bytes(), b"0123456789abcdef").unwrap();
    let cheap = PasswordHash::new(cheap.to_string()).unwrap();
    let change = UserChange::Add { password_hash: cheap.clone(), grants: grants(&["viewer"]) };
    place.authorized(&gate, &ada).await.change_user(gate.directory(), &name("bob"), &change).await.unwrap();
    let hash_of_bob = async || place.users().await.user(&name("bob")).unwrap().password_hash.clone();
    assert!(matches!(gate.sign_in("bob", "something else", HOME).await, Err(SignInError::Wrong)));
    assert_eq!(hash_of_bob().await, cheap);

    let bob = gate.sign_in("bob", PASSWORD, HOME).await.unwrap();
    let renewed = hash_of_bob().await;
    assert!(renewed.reveal().contains("m=19456,t=2,p=1"), "{}", renewed.reveal());
    assert!(gate.by_cookie(&bob.cookie).is_ok(), "no session ends by it");
    let revision = place.users().await.revision;
    gate.sign_in("bob", PASSWORD, HOME).await.unwrap();
    assert_eq!((hash_of_bob().await, place.users().await.revision), (renewed, revision), "once is enough");
    assert_eq!(place.bench.outcomes("user-rehash").await, [("user/bob".to_owned(), true)]);
}

#[tokio::test]
async fn whom_another_service_vouches_for_never_acts_as_a_user_of_the_same_name() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let gate = gate.vouched_by(ISSUER.to_owned());
    let vouched = vouched("bob");
    let bob = gate.sign_in_vouched(&vouched, HOME).await.unwrap();
    let before = place.authorized(&gate, &bob).await;

    add(&place.authorized(&gate, &ada).await, &gate, "bob", &["admin"]).await;
    assert_eq!(gate.by_cookie(&bob.cookie).unwrap_err(), SessionEnd::Revoked);
    assert!(gate.sign_in_vouched(&vouched, HOME).await.is_err());
    // Not even by a request that was let in a moment before.
    let (name, grants) = ("t".to_owned(), grants(&["admin:*"]));
    let new = NewToken { id: None, name, user: UserName::new("bob").unwrap(), grants, good_for: TOKEN_GOOD_FOR };
    let refused = before.add_token(gate.directory(), &new).await.unwrap_err();
    assert!(matches!(&refused, AccessError::Controller(error) if error.code() == "invalid"), "{refused}");
}

#[tokio::test]
async fn sessions_that_another_service_vouched_for_end_with_it_or_by_an_admin() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let gate = gate.vouched_by(ISSUER.to_owned());
    let other = place.gate_in(&place.state.path().join("b"), Vec::new()).await.vouched_by(ISSUER.to_owned());
    let comes = async |gate: &Gate, user: &str| gate.sign_in_vouched(&vouched(user), HOME).await.unwrap().cookie;
    let (carol, dan) = (comes(&gate, "carol").await, comes(&other, "dan").await);
    let admin = place.authorized(&gate, &ada).await;
    let denied = place.authorized(&gate, &gate.sign_in_vouched(&vouched("eve"), HOME).await.unwrap()).await;
    let denied = denied.end_vouched(gate.directory(), None).await;
    assert!(matches!(denied, Err(AccessError::Denied(_))), "{denied:?}");

    admin.end_vouched(gate.directory(), Some(&name("carol"))).await.unwrap();
    assert_eq!(gate.by_cookie(&carol).unwrap_err(), SessionEnd::Revoked);
    assert!(gate.by_cookie(&dan).is_ok());
    other.directory().look().await;
    assert_eq!(other.by_cookie(&carol).unwrap_err(), SessionEnd::Revoked);
    let carol = comes(&other, "carol").await;
    assert!(gate.by_cookie(&carol).is_ok(), "whom the service still vouches for may come again");
    admin.end_vouched(gate.directory(), None).await.unwrap();
    assert!(gate.by_cookie(&carol).is_err() && gate.by_cookie(&dan).is_err() && gate.by_cookie(&ada.cookie).is_ok());

    // The config names another service, or none.
    let carol = comes(&gate, "carol").await;
    let without = place.gate_in(place.state.path(), Vec::new()).await;
    assert_eq!(without.by_cookie(&carol).unwrap_err(), SessionEnd::Revoked);
    let moved = without.vouched_by("https://id.example.net".to_owned());
    assert_eq!(moved.by_cookie(&carol).unwrap_err(), SessionEnd::Revoked);
    assert!(moved.vouched_by(ISSUER.to_owned()).by_cookie(&carol).is_ok());
}

#[tokio::test]
async fn a_session_rests_and_lasts_only_so_long() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    place.bench.clock.pass(TimeDelta::minutes(29));
    let renewed = gate.by_cookie(&ada.cookie).unwrap().renewed.expect("a cookie that says that it was used");
    assert!(gate.by_cookie(&renewed).unwrap().renewed.is_none(), "once a minute");
    place.bench.clock.pass(TimeDelta::minutes(2));
    assert_eq!(gate.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Idle);
    assert!(gate.by_cookie(&renewed).is_ok());
    place.bench.clock.pass(TimeDelta::hours(12));
    assert_eq!(gate.by_cookie(&renewed).unwrap_err(), SessionEnd::Expired);
}
