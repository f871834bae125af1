//! Who may sign in, and who says so.

mod documents;
mod guesses;
mod sessions;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use fleetman::access::oidc::Vouched;
use fleetman::access::{
    AccessError, Authorized, Directory, Gate, LastUse, NewToken, Passwords, Problem, SealKey, Sessions, SignInError,
    SignedIn, Source, StateFolder, TOKEN_GOOD_FOR, UserChange,
};
use fleetman::config::{ConfigUser, SessionSettings};
use fleetman::controller::{Actor, Controller};
use fleetman::model::UserName;
use fleetman::model::sign::{Trust, verify};
use fleetman::model::users::{Grant, PasswordHash, Users};
use futures_util::FutureExt as _;
use tempfile::TempDir;

use crate::support::fleet::{Bench, KEY, TestKey};
use crate::support::wait_for;

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
    let mut signed_in = Vec::new();
    let all = async || {
        signed_in = place.bench.outcomes("sign-in").await;
        signed_in.len() == 4
    };
    wait_for(all, "every try of a user in the audit").await;
    signed_in.sort();
    let expected = [("ada", false), ("ada", true), ("ada", true), ("eve", false)];
    assert_eq!(signed_in, expected.map(|(user, done)| (format!("user/{user}"), done)));
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
async fn when_a_token_was_used_last_is_known_to_the_hour_and_also_after_a_restart() {
    let place = Place::new().await;
    let (gate, ada) = place.with_ada().await;
    let authorized = place.authorized(&gate, &ada).await;
    let new = NewToken {
        id: None,
        name: "ci".to_owned(),
        user: name("ada"),
        grants: grants(&["viewer"]),
        good_for: TOKEN_GOOD_FOR,
    };
    let token = authorized.add_token(gate.directory(), &new).await.unwrap();
    let last_use = |gate: &Gate| {
        let users = gate.directory().list().unwrap();
        gate.directory().last_use(users.token(&token.id).unwrap())
    };
    assert_eq!(last_use(&gate), LastUse::Unknown);
    let ended = tokio_util::sync::CancellationToken::new();
    ended.cancel();
    gate.directory().keep(ended).await;
    let made = gate.directory().list().unwrap().token(&token.id).unwrap().created_at;
    // Who pays attention only from now on cannot say more of what was before.
    let LastUse::NotSince(since) = last_use(&gate) else { panic!("{:?}", last_use(&gate)) };
    assert!(made <= since && since <= gate.directory().now(), "{made} {since}");
    assert!(gate.by_token(&token.reveal().replace(char::is_numeric, "x")).is_none());
    assert_eq!(last_use(&gate), LastUse::NotSince(since), "a guess is no use");

    let revision = place.users().await.revision;
    let mut used = Vec::new();
    for _ in 0..3 {
        place.bench.clock.pass(TimeDelta::minutes(40));
        gate.by_token(token.reveal()).unwrap();
        used.push(last_use(&gate).at().unwrap());
    }
    assert!(used[0] == used[1] && used[2] - used[0] == TimeDelta::minutes(80), "{used:?}");
    assert_eq!(place.users().await.revision, revision, "the list is not written for it");
    let kept = async || last_use(&place.gate_in(place.state.path(), Vec::new()).await).at() == Some(used[2]);
    wait_for(kept, "what was used is kept on disk").await;
    place.bench.clock.pass(TimeDelta::days(89));
    let now = gate.directory().now();
    assert!(!last_use(&gate).is_long_ago(now) && last_use(&gate).is_long_ago(now + TimeDelta::days(1)));
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
