//! The list of users in the bucket: two controllers that write it, and a bucket that lies.

use fleetman::access::{AccessError, Authorized, Gate, Passwords, SessionEnd, SignInError, SignedOut, UserChange};
use fleetman::config::ConfigUser;
use fleetman::controller::UsersSeen;
use fleetman::model::fleet::Conditions;
use fleetman::model::sign::{Signer, sign};
use fleetman::model::users::Users;

use super::{HOME, PASSWORD, Place, USERS, actor, add, grants, hash, name, not_believed};
use crate::support::fleet::{KEY, TestKey, code};

#[tokio::test]
async fn changes_of_two_controllers_at_once_are_all_kept() {
    let place = Place::new().await;
    let (a, ada) = place.with_ada().await;
    let b = place.gate_in(&place.state.path().join("b"), Vec::new()).await;
    let (by_a, by_b) = (place.authorized(&a, &ada).await, place.authorized(&b, &ada).await);
    let many = async |authorized: &Authorized, gate: &Gate, prefix: &str| {
        for number in 0..8 {
            add(authorized, gate, &format!("{prefix}{number}"), &["viewer"]).await;
        }
    };
    tokio::join!(many(&by_a, &a, "a"), many(&by_b, &b, "b"));
    let users = place.users().await;
    assert_eq!((users.users.len(), users.revision.get()), (17, 17), "no change is lost, and each is a revision");
    assert_eq!(place.bench.outcomes("user-add").await.iter().filter(|(_, done)| *done).count(), 17);
}

#[tokio::test]
async fn writers_take_turns_where_the_store_keeps_no_conditions() {
    let place = Place::new().await;
    let controller = async |user: &str| {
        let controller = place.bench.controller_of(user, KEY, &[KEY], Conditions::Ignored).await;
        place.gate_of(controller, &place.state.path().join(user), Vec::new()).await
    };
    let (a, b) = (controller("ada").await, controller("bob").await);
    let add = async |gate: &Gate, user: &str| {
        let change = UserChange::Add { password_hash: hash(user).await, grants: grants(&["viewer"]) };
        let what = change.described(&name(user));
        let changed = gate.directory().change_list(actor(), what, |users| change.make(users, &name(user), true));
        changed.await.unwrap();
    };
    tokio::join!(
        async {
            add(&a, "a1").await;
            add(&a, "a2").await;
        },
        async {
            add(&b, "b1").await;
            add(&b, "b2").await;
        },
    );
    let users = place.users().await;
    let names: Vec<&str> = users.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!((names, users.revision.get()), (vec!["a1", "a2", "b1", "b2"], 4));
}

#[tokio::test]
async fn an_older_list_that_is_put_back_changes_nothing_also_after_a_restart() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let authorized = place.authorized(&gate, &ada).await;
    add(&authorized, &gate, "eve", &["admin"]).await;
    let with_eve = place.bench.read(USERS).await.unwrap();
    authorized.change_user(gate.directory(), &name("eve"), &UserChange::Delete).await.unwrap();

    place.bench.overwrite(USERS, with_eve.clone()).await;
    gate.directory().look().await;
    assert!(not_believed(&gate).contains("revision 2"), "{}", not_believed(&gate));
    assert!(matches!(gate.sign_in("eve", PASSWORD, HOME).await, Err(SignInError::Wrong)));
    let restarted = place.gate_in(place.state.path(), Vec::new()).await;
    assert!(not_believed(&restarted).contains("put an old one back"));
    assert!(matches!(restarted.sign_in("eve", PASSWORD, HOME).await, Err(SignInError::Wrong)));

    let authorized = place.authorized(&restarted, &ada).await;
    add(&authorized, &restarted, "bob", &["viewer"]).await;
    let users = place.users().await;
    assert!(users.user(&name("eve")).is_none() && users.user(&name("bob")).is_some(), "a change mends it");
    assert_eq!((users.revision.get(), restarted.directory().problem()), (4, None));
}

#[tokio::test]
async fn a_list_that_is_unsigned_foreign_forged_or_gone_changes_nothing_also_after_a_restart() {
    let place = Place::new().await;
    let (gate, _) = place.with_ada().await;
    let evil = |fleet: uuid::Uuid, signer: &Signer| {
        let mut users = Users::empty(fleet, chrono::DateTime::UNIX_EPOCH, name("eve"));
        users.revision = fleetman::model::Generation::new(99).unwrap();
        sign(&users, signer).unwrap().document().to_vec()
    };
    let fleet = crate::support::fleet::FLEET;
    let (unsigned, foreign) = (evil(fleet, &Signer::Unsigned), evil(uuid::Uuid::from_u128(8), &KEY.signer()));
    let forged = evil(fleet, &TestKey(9, 1).signer());
    for (bytes, part) in [
        (Some(unsigned), "signed by nobody"),
        (Some(foreign), "of fleet"),
        (Some(forged), "none of its signatures"),
        (Some(b"{}".to_vec()), "not a valid signed"),
        (Some(vec![b' '; 2 << 20]), "larger than"),
        (None, "is gone"),
    ] {
        match bytes {
            Some(bytes) => place.bench.overwrite(USERS, bytes).await,
            None => place.bench.delete(USERS).await,
        }
        gate.directory().look().await;
        assert!(not_believed(&gate).contains(part), "{}", not_believed(&gate));
        assert!(gate.sign_in("ada", PASSWORD, HOME).await.is_ok(), "{part}");
        let restarted = place.gate_in(place.state.path(), Vec::new()).await;
        assert!(not_believed(&restarted).contains(part), "{}", not_believed(&restarted));
        assert!(restarted.sign_in("ada", PASSWORD, HOME).await.is_ok(), "{part}");
        assert!(restarted.first_admin().unwrap().is_none(), "no admin is made because of it");
        let fresh = place.gate_in(&place.state.path().join("fresh"), Vec::new()).await;
        assert!(fresh.directory().list().is_none(), "{part}");
    }
}

#[tokio::test]
async fn nothing_is_written_over_a_list_that_nobody_here_has_ever_believed() {
    let place = Place::new().await;
    let (_, ada) = place.with_ada().await;
    let theirs = place.bench.read(USERS).await.unwrap();
    place.bench.overwrite(USERS, b"{}".to_vec()).await;
    let controller = place.bench.controller().await;
    let change = UserChange::EndSessions;
    let what = change.described(&ada.session.user);
    let changed =
        controller.change_users(&UsersSeen::default(), what, |users| change.make(users, &ada.session.user, true)).await;
    assert_eq!(code(changed), "untrusted");
    assert_eq!(place.bench.read(USERS).await.unwrap(), b"{}");
    assert_ne!(theirs, b"{}");
}

#[tokio::test]
async fn a_key_of_a_higher_epoch_outranks_every_revision_of_a_lower_one() {
    let place = Place::new().await;
    let newer = TestKey(2, 2);
    let (_, ada) = place.with_ada().await;
    let both = [KEY, newer];
    let controller = place.bench.controller_of("ada", newer, &both, Conditions::Honoured).await;
    let gate = place.gate_of(controller, place.state.path(), Vec::new()).await;
    let authorized = place.authorized(&gate, &ada).await;
    add(&authorized, &gate, "bob", &["viewer"]).await;

    let stolen = place.bench.controller_of("eve", KEY, &both, Conditions::Honoured).await;
    let change = UserChange::Delete;
    let what = change.described(&name("bob"));
    let changed =
        stolen.change_users(&UsersSeen::default(), what, |users| change.make(users, &name("bob"), true)).await;
    assert_eq!(code(changed), "outranked");
    let mut users = place.users_by(&both).await;
    users.revision = fleetman::model::Generation::new(1_000).unwrap();
    place.bench.overwrite(USERS, sign(&users, &KEY.signer()).unwrap().document().to_vec()).await;
    gate.directory().look().await;
    assert!(not_believed(&gate).contains("revision 2-2"), "{}", not_believed(&gate));
}

#[tokio::test]
async fn without_signatures_only_the_config_says_who_comes_in() {
    let place = Place::new().await;
    let users = Users::empty(crate::support::fleet::FLEET, chrono::DateTime::UNIX_EPOCH, name("eve"));
    place.bench.overwrite(USERS, sign(&users, &Signer::Unsigned).unwrap().document().to_vec()).await;
    let ada = ConfigUser { name: name("ada"), password_hash: hash("ada").await, grants: grants(&["admin"]) };
    let controller = place.bench.unsigned().await;
    let gate = place.gate_of(controller, place.state.path(), vec![ada]).await;
    assert!(not_believed(&gate).contains("unsigned"));
    let ada = gate.sign_in("ada", PASSWORD, HOME).await.unwrap();
    let authorized = place.authorized(&gate, &ada).await;
    let change = UserChange::Add { password_hash: hash("bob").await, grants: vec![] };
    match authorized.change_user(gate.directory(), &name("bob"), &change).await {
        Err(AccessError::Controller(error)) => assert!(error.to_string().contains("config"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(gate.sign_out(&ada.session, actor()).await, SignedOut::Here { .. }));
    assert_eq!(gate.by_cookie(&ada.cookie).unwrap_err(), SessionEnd::Revoked);
}

#[tokio::test]
async fn a_user_of_the_config_is_changed_in_the_config_and_a_new_password_ends_old_sessions() {
    let place = Place::new().await;
    let of_config = async |password: &str| ConfigUser {
        name: name("root"),
        password_hash: Passwords::default().hash(&name("root"), password).await.unwrap(),
        grants: grants(&["admin"]),
    };
    let root = of_config(PASSWORD).await;
    let gate = place.gate_in(place.state.path(), vec![root.clone()]).await;
    assert!(gate.first_admin().unwrap().is_none(), "the config has an admin");
    let signed_in = gate.sign_in("root", PASSWORD, HOME).await.unwrap();
    let authorized = place.authorized(&gate, &signed_in).await;
    let refused = authorized.change_user(gate.directory(), &name("root"), &UserChange::Disable).await;
    assert!(matches!(refused, Err(AccessError::Controller(error)) if error.code() == "in_use"));
    let same = place.gate_in(place.state.path(), vec![root]).await;
    assert!(same.by_cookie(&signed_in.cookie).is_ok());
    let other = place.gate_in(place.state.path(), vec![of_config("another long password").await]).await;
    assert_eq!(other.by_cookie(&signed_in.cookie).unwrap_err(), SessionEnd::Revoked);
}
