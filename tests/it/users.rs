//! Who may sign in: two controllers on one bucket, and a bucket that lies.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use fleetman::access::oidc::Vouched;
use fleetman::access::{
    AccessError, Authorized, Directory, Gate, NewToken, Passwords, Problem, SealKey, SessionEnd, Sessions, SignInError,
    SignedIn, SignedOut, Source, StateFolder, TOKEN_GOOD_FOR, UserChange, Visitor,
};
use fleetman::config::{ConfigUser, SessionSettings};
use fleetman::controller::{Actor, Controller, UsersSeen};
use fleetman::model::UserName;
use fleetman::model::fleet::Conditions;
use fleetman::model::sign::{Signer, Trust, sign, verify};
use fleetman::model::users::{Grant, PasswordHash, Users};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::support::fleet::{Bench, KEY, TestKey, code};

const USERS: &str = "auth/users.json";
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery staple";

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn grants(texts: &[&str]) -> Vec<Grant> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const ISSUER: &str = "https://id.example.com";

/// Somebody whom another service vouches for.
fn vouched(user: &str) -> Vouched {
    let (issuer, subject) = (ISSUER.to_owned(), "7".to_owned());
    Vouched { user: name(user), grants: grants(&["viewer:*"]), issuer, subject, next: "/".to_owned() }
}

/// A bucket, and the folder of a controller.
struct Place {
    bench: Bench,
    state: TempDir,
}

impl Place {
    async fn new() -> Self {
        let bench = Bench::empty().await;
        bench.controller().await.init().await.unwrap();
        Self { bench, state: tempfile::tempdir().unwrap() }
    }

    /// The gate of a controller that keeps its state in `folder`. All share one key of sessions.
    async fn gate_in(&self, folder: &Path, of_config: Vec<ConfigUser>) -> Gate {
        self.gate_of(self.bench.controller().await, folder, of_config).await
    }

    async fn gate_of(&self, controller: Controller, folder: &Path, of_config: Vec<ConfigUser>) -> Gate {
        let folder = StateFolder::open(folder).unwrap();
        let clock = self.bench.clock.clone();
        let directory = Directory::open(Arc::new(controller), clock.clone(), folder, of_config).unwrap();
        directory.look().await;
        let SessionSettings { idle, absolute, .. } = SessionSettings::default();
        let sessions = Sessions { key: SealKey::new([5; 32]), idle, absolute };
        Gate::new(directory, sessions, clock)
    }

    /// A gate over this place's own folder, with ada as its first admin, signed in.
    async fn with_ada(&self) -> (Gate, SignedIn) {
        let gate = self.gate_in(self.state.path(), Vec::new()).await;
        let token = gate.first_admin().unwrap().unwrap();
        let ada = gate.claim_first_admin(token.reveal(), "ada", PASSWORD, HOME).await.unwrap();
        (gate, ada)
    }

    async fn authorized(&self, gate: &Gate, signed_in: &SignedIn) -> Authorized {
        let identity = gate.by_cookie(&signed_in.cookie).unwrap().identity;
        Authorized::new(Arc::new(self.bench.controller().await), Arc::new(identity), Source::Portal, "192.0.2.1")
    }

    /// What lies in the bucket.
    async fn users(&self) -> Users {
        self.users_by(&[KEY]).await
    }

    async fn users_by(&self, keys: &[TestKey]) -> Users {
        let trust = Trust::Keys(keys.iter().map(|key| key.pinned()).collect());
        (*verify::<Users>(&self.bench.read(USERS).await.unwrap(), &trust).unwrap()).clone()
    }
}

fn actor() -> Actor {
    Actor { user: name("ada"), source: "portal".to_owned(), host: "192.0.2.1".to_owned(), reason: None }
}

async fn hash(user: &str) -> PasswordHash {
    Passwords::default().hash(&name(user), PASSWORD).await.unwrap()
}

async fn add(authorized: &Authorized, gate: &Gate, user: &str, roles: &[&str]) {
    let change = UserChange::Add { password_hash: hash(user).await, grants: grants(roles) };
    authorized.change_user(gate.directory(), &name(user), &change).await.unwrap();
}

fn not_believed(gate: &Gate) -> String {
    match gate.directory().problem() {
        Some(Problem::NotBelieved(why)) => why,
        other => panic!("expected a list that is not believed, got {other:?}"),
    }
}

#[tokio::test]
async fn the_first_admin_comes_in_by_the_one_time_token_and_then_by_password() {
    let place = Place::new().await;
    let gate = place.gate_in(place.state.path(), Vec::new()).await;
    let token = gate.first_admin().unwrap().unwrap();
    let other_process = place.gate_in(&place.state.path().join("b"), Vec::new()).await;
    let other_token = other_process.first_admin().unwrap().unwrap();

    let weak = gate.claim_first_admin(token.reveal(), "ada", "password123", HOME).await;
    assert!(matches!(weak, Err(SignInError::Password(_))));
    assert!(gate.is_first_admin(token.reveal()), "what was not used is still good");
    let ada = gate.claim_first_admin(token.reveal(), "ada", PASSWORD, HOME).await.unwrap();
    assert_eq!(gate.by_cookie(&ada.cookie).unwrap().identity.grants, grants(&["admin"]));

    let again = gate.claim_first_admin(token.reveal(), "eve", PASSWORD, HOME).await;
    assert!(matches!(again, Err(SignInError::LinkSpent)));
    let elsewhere = other_process.claim_first_admin(other_token.reveal(), "eve", PASSWORD, HOME).await;
    assert!(matches!(elsewhere, Err(SignInError::LinkSpent)), "there is an admin by now");
    assert!(gate.first_admin().unwrap().is_none());
    assert!(gate.sign_in("ada", PASSWORD, HOME).await.is_ok());
    assert!(matches!(gate.sign_in("ada", "something else", HOME).await, Err(SignInError::Wrong)));
    assert!(matches!(gate.sign_in("eve", PASSWORD, HOME).await, Err(SignInError::Wrong)));
    assert!(matches!(gate.sign_in("No Name!", PASSWORD, HOME).await, Err(SignInError::Wrong)));
    assert_eq!(place.bench.outcomes("user-add").await, [("user/ada".to_owned(), true)]);
}

#[tokio::test]
async fn a_claim_that_is_given_up_midway_leaves_the_link_good() {
    let place = Place::new().await;
    let gate = place.gate_in(place.state.path(), Vec::new()).await;
    let token = gate.first_admin().unwrap().unwrap();
    let claim = || gate.claim_first_admin(token.reveal(), "ada", PASSWORD, HOME);
    let mut given_up = Box::pin(claim());
    assert!(given_up.as_mut().now_or_never().is_none());
    assert!(matches!(claim().await, Err(SignInError::LinkSpent)), "not twice at once");
    drop(given_up);
    claim().await.unwrap();
    assert!(matches!(claim().await, Err(SignInError::LinkSpent)));
}

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

#[tokio::test]
async fn only_an_admin_of_everything_manages_users_and_the_last_one_stays() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let authorized = place.authorized(&gate, &ada).await;
    add(&authorized, &gate, "bob", &["admin:n1/*", "editor"]).await;
    let bob = gate.sign_in("bob", PASSWORD, HOME).await.unwrap();
    let by_bob = place.authorized(&gate, &bob).await;
    let directory = gate.directory();
    let more = UserChange::Grants(grants(&["admin"]));
    let refused = by_bob.change_user(directory, &name("bob"), &more).await;
    assert!(matches!(refused, Err(AccessError::Denied(_))), "{refused:?}");
    by_bob.change_own_password(directory, hash("bob").await, None).await.unwrap();

    for change in [UserChange::Disable, UserChange::Delete, UserChange::Grants(grants(&["editor"]))] {
        match authorized.change_user(directory, &name("ada"), &change).await {
            Err(AccessError::Controller(error)) => assert_eq!(error.code(), "in_use", "{change:?}"),
            other => panic!("{change:?}: {other:?}"),
        }
    }
    authorized.change_user(directory, &name("bob"), &more).await.unwrap();
    authorized.change_user(directory, &name("ada"), &UserChange::Disable).await.unwrap();
}

#[tokio::test]
async fn a_token_is_shown_once_and_acts_for_its_user_until_it_is_taken_back() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let authorized = place.authorized(&gate, &ada).await;
    let directory = gate.directory();
    let new =
        |grants| NewToken { id: None, name: "ci".to_owned(), user: name("ada"), grants, good_for: TOKEN_GOOD_FOR };
    let token = authorized.add_token(directory, &new(grants(&["editor:n1/*"]))).await.unwrap();
    let document = String::from_utf8(place.bench.read(USERS).await.unwrap()).unwrap();
    assert!(!document.contains(token.reveal()), "only its digest is kept");

    let identity = gate.by_token(token.reveal()).unwrap();
    let may = |cell: &str| identity.may(fleetman::model::users::Role::Editor, &cell.parse().unwrap());
    assert!(may("n1/web") && !may("n2/web"), "an admin's token may no more than it says");
    assert!(gate.by_token(&token.reveal().replace(char::is_numeric, "x")).is_none());

    let controller = Arc::new(place.bench.controller().await);
    let by_token = Authorized::new(controller, Arc::new(identity), Source::Api, "192.0.2.1");
    let made = by_token.add_token(directory, &new(grants(&["viewer"]))).await;
    assert!(matches!(made, Err(AccessError::Denied(_))), "a token makes no token");
    let changed = by_token.change_own_password(directory, hash("ada").await, None).await;
    assert!(matches!(changed, Err(AccessError::Denied(_))), "nor does it lock anybody out");

    let short = NewToken { good_for: std::time::Duration::from_secs(60), ..new(grants(&["viewer"])) };
    let short = authorized.add_token(directory, &short).await.unwrap();
    place.bench.clock.pass(TimeDelta::seconds(61));
    assert!(gate.by_token(short.reveal()).is_none());
    authorized.revoke_token(directory, &token.id, None).await.unwrap();
    assert!(gate.by_token(token.reveal()).is_none());
}

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

/// A stranger's guess.
async fn is_looked_at(gate: &Gate, from: u8) -> bool {
    match gate.sign_in("ada", "a wrong guess", IpAddr::V4(Ipv4Addr::new(192, 0, 2, from))).await {
        Err(SignInError::Wrong) => true,
        Err(SignInError::Throttled { .. }) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn guessing_gets_slow_and_the_right_password_gets_in_after_the_wait() {
    let place = Place::new().await;
    let (gate, _) = place.with_ada().await;
    for _ in 0..6 {
        assert!(matches!(gate.sign_in("ada", "a wrong guess", HOME).await, Err(SignInError::Wrong)));
    }
    let early = gate.sign_in("ada", PASSWORD, HOME).await;
    assert!(matches!(early, Err(SignInError::Throttled { .. })), "{early:?}");
    let elsewhere = gate.sign_in("ada", PASSWORD, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))).await;
    assert!(elsewhere.is_ok(), "whoever guesses keeps nobody out who comes from elsewhere: {elsewhere:?}");
    let gets_in = async || gate.sign_in("ada", PASSWORD, HOME).await.is_ok();
    crate::support::wait_for(gets_in, "the wait to be over").await;
}

#[tokio::test]
async fn guesses_at_once_are_no_more_than_guesses_in_turn() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let guesses = (0..30).map(|_| is_looked_at(&gate, 1));
    let looked_at = join_all(guesses).await.into_iter().filter(|is_looked_at| *is_looked_at).count();
    assert_eq!(looked_at, 6);
    let present = (0..30).map(|_| gate.check_password(&ada.session, "a wrong guess"));
    let looked_at = join_all(present).await.into_iter().filter(|came| matches!(came, Err(SignInError::Wrong))).count();
    assert_eq!(looked_at, 6);
}

#[tokio::test]
async fn whoever_hangs_up_has_guessed() {
    let place = Place::new().await;
    let (gate, _) = place.with_ada().await;
    for _ in 0..6 {
        // Polled once: it is under way, and then nobody waits for it any more.
        assert!(is_looked_at(&gate, 1).now_or_never().is_none());
    }
    assert!(!is_looked_at(&gate, 1).await);
}

#[tokio::test]
async fn a_browser_that_is_known_gets_in_while_all_the_world_guesses() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let mut guesses = 0;
    for from in 0..=255 {
        guesses += u32::from(is_looked_at(&gate, from).await);
    }
    assert!(guesses < 100, "{guesses}");
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let stranger = gate.sign_in("ada", PASSWORD, address).await;
    assert!(matches!(stranger, Err(SignInError::Throttled { .. })), "{stranger:?}");
    let known = Visitor { address, browser: ada.browser.as_deref() };
    assert!(gate.sign_in("ada", PASSWORD, known).await.is_ok());
    assert!(matches!(gate.sign_in("ada", "a wrong guess", known).await, Err(SignInError::Wrong)));
    let no_cookie_of_a_browser = Visitor { address, browser: Some(&ada.cookie) };
    assert!(matches!(gate.sign_in("ada", PASSWORD, no_cookie_of_a_browser).await, Err(SignInError::Throttled { .. })));
    assert!(gate.by_cookie(ada.browser.as_deref().unwrap()).is_err(), "it is no session");
}
