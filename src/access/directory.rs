//! The users of a portal: those of the config, and those of `auth/users.json`, which is kept in memory, looked at again
//! every few seconds, and remembered on disk, so that neither a bucket that is away nor one that was tampered with
//! changes who may do what.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::roster;
use super::state::{Kept, StateError, StateFolder};
use super::uses::{LastUse, TokenUses, Uses};
use crate::clock::SharedClock;
use crate::config::ConfigUser;
use crate::controller::{
    Actor, Controller, ControllerError, UsersChange, UsersFound, UsersObject, UsersSeen, users_floor,
};
use crate::entropy;
use crate::model::sign::Verified;
use crate::model::users::{RevokedSession, SessionId, Token, TokenId, User, Users, is_admin};
use crate::model::{ObjectKey, Sha256Digest, UserName};
use crate::store::ETag;
use crate::store::in_full;

/// Between two looks at the list, before jitter.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The longest that somebody waits for a look before something that must not be stale.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most sessions that ended here alone and are remembered.
const MOST_REVOKED: usize = 2_000;

/// A user of the config as one of the list. Another password makes another epoch, which ends the sessions that began
/// with the old one.
fn as_user(user: &ConfigUser) -> User {
    let digest = Sha256Digest::of(user.password_hash.reveal().as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    User {
        name: user.name.clone(),
        password_hash: user.password_hash.clone(),
        grants: user.grants.clone(),
        session_epoch: u64::from_be_bytes(first),
        disabled: false,
    }
}

/// What is wrong with the list of users in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Somebody may have tampered with it. It is shown in red until it is mended.
    NotBelieved(String),
    /// It could not be read. The list that was read last counts.
    Unread(String),
}

/// Everybody who may sign in.
#[derive(Debug)]
pub struct Directory {
    controller: Arc<Controller>,
    clock: SharedClock,
    folder: StateFolder,
    of_config: Vec<ConfigUser>,
    held: RwLock<Held>,
    uses: TokenUses,
    /// One look, change or write to the disk at a time.
    busy: Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    seen: UsersSeen,
    /// The name of the bytes that were looked at last.
    etag: Option<ETag>,
    problem: Option<Problem>,
    /// Whether the bucket has answered since this process began.
    has_looked: bool,
    /// Sessions that ended here and are not, or not yet, in the list.
    revoked: Vec<RevokedSession>,
}

impl Directory {
    /// The users of the fleet of `controller`, as they were remembered.
    ///
    /// # Errors
    /// When what is remembered cannot be read.
    pub fn open(
        controller: Arc<Controller>,
        clock: SharedClock,
        folder: StateFolder,
        of_config: Vec<ConfigUser>,
    ) -> Result<Self, StateError> {
        let kept = folder.kept(controller.fleet())?;
        let users = kept.users.as_deref().and_then(|text| match controller.verify_users(text.as_bytes()) {
            Ok(users) => Some(users),
            Err(error) => {
                // Its key is no longer pinned. The floor keeps on counting.
                warn!(error = &error as &dyn std::error::Error, "the remembered list of users is no longer believed");
                None
            }
        });
        let uses = folder.uses(controller.fleet()).unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "it is no longer known when tokens were used last");
            None
        });
        let seen = UsersSeen { floor: kept.floor, users };
        let held = RwLock::new(Held { seen, revoked: kept.revoked_sessions, ..Held::default() });
        Ok(Self { controller, clock, folder, of_config, held, uses: TokenUses::of(uses), busy: Mutex::new(()) })
    }

    /// The list as it counts now; None if there never was one.
    #[must_use]
    pub fn list(&self) -> Option<Verified<Users>> {
        self.with(|held| held.seen.users.clone())
    }

    /// The users of the config.
    #[must_use]
    pub fn of_config(&self) -> &[ConfigUser] {
        &self.of_config
    }

    /// Somebody by name. Those of the config come first.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<User> {
        if let Some(user) = self.of_config.iter().find(|user| user.name == *name) {
            return Some(as_user(user));
        }
        self.with(|held| held.seen.users.as_ref()?.user(name).cloned())
    }

    /// Whether anybody may manage users; None as long as that is not known.
    #[must_use]
    pub fn has_admin(&self) -> Option<bool> {
        if self.of_config.iter().any(|user| is_admin(&user.grants)) {
            return Some(true);
        }
        self.with(|held| match &held.seen.users {
            Some(users) => Some(users.users.iter().any(User::is_admin)),
            None if held.has_looked && held.problem.is_none() => Some(false),
            None => None,
        })
    }

    /// Whether a session was signed out.
    #[must_use]
    pub fn is_revoked(&self, id: &SessionId) -> bool {
        self.with(|held| {
            let in_list = held.seen.users.as_ref().is_some_and(|users| roster::is_revoked(&users.revoked_sessions, id));
            in_list || roster::is_revoked(&held.revoked, id)
        })
    }

    /// Whether the sessions of somebody whom another service vouched for were ended since they began.
    #[must_use]
    pub fn has_ended_vouched(&self, name: &UserName, epoch: u64) -> bool {
        self.with(|held| held.seen.users.as_ref().is_some_and(|users| roster::has_ended_vouched(users, name, epoch)))
    }

    /// The revision of the list that counts; 0 if there never was one.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.with(|held| held.seen.floor.map_or(0, |floor| floor.generation.get()))
    }

    /// What is wrong with the list in the bucket.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.with(|held| held.problem.clone())
    }

    /// Why the list cannot be changed from here, if so.
    #[must_use]
    pub fn is_fixed(&self) -> Option<&'static str> {
        self.controller.users_are_fixed()
    }

    /// Looks again and again until `ended`.
    pub async fn keep(&self, ended: CancellationToken) {
        if let Some(uses) = self.uses.begin(self.now()) {
            self.keep_uses(uses);
        }
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = self.look() => {}
            }
            tokio::select! {
                () = ended.cancelled() => return,
                () = self.clock.sleep(entropy::jittered(LOOK_AGAIN)) => {}
            }
        }
    }

    /// Looks before something that must not be stale, and not for long: a bucket that is away keeps nobody out.
    pub async fn look_soon(&self) {
        tokio::select! {
            () = self.look() => {}
            () = self.clock.sleep(PATIENCE) => {}
        }
    }

    /// Looks at the list in the bucket. One that is not believed changes nothing but [`Self::problem`].
    pub async fn look(&self) {
        let _one_at_a_time = self.busy.lock().await;
        let (known, seen) = self.with(|held| (held.etag.clone(), held.seen.clone()));
        let found = match self.controller.find_users(known.as_ref()).await {
            Ok(UsersFound::Changed(found)) => seen.check(&found.users).map(|()| UsersFound::Changed(found)),
            found => found,
        };
        match found {
            // The same bytes as before: whatever was wrong with them still is.
            Ok(UsersFound::Unchanged) => self.change(|held| {
                if matches!(held.problem, Some(Problem::Unread(_))) {
                    held.problem = None;
                }
                held.has_looked = true;
            }),
            Ok(UsersFound::Changed(found)) => self.believe(*found).await,
            Ok(UsersFound::Absent) => {
                let gone = seen.floor.map(|floor| {
                    let key = ObjectKey::Users;
                    let text = format!("{key} is gone; its revision {floor}, which was read before, counts");
                    Problem::NotBelieved(text)
                });
                self.note(gone, None);
            }
            Err(error @ ControllerError::Untrusted { .. }) => {
                self.note(Some(Problem::NotBelieved(self.not_believed(&error, &seen))), None);
            }
            Err(error) => self.note(Some(Problem::Unread(in_full(&error))), known),
        }
    }

    fn not_believed(&self, error: &ControllerError, seen: &UsersSeen) -> String {
        let counts = match (self.controller.users_are_fixed(), seen.floor) {
            (_, Some(floor)) => format!("revision {floor}, which was read before, counts until somebody changes it"),
            (Some(_), None) | (None, None) => "only users of the config can sign in".to_owned(),
        };
        format!("{}; {counts}", in_full(error))
    }

    /// Notes what came of a look, and logs it once.
    fn note(&self, problem: Option<Problem>, etag: Option<ETag>) {
        self.change(|held| {
            if problem != held.problem {
                match &problem {
                    Some(Problem::NotBelieved(why)) => error!(why, "the list of users is not believed"),
                    Some(Problem::Unread(why)) => warn!(why, "the list of users cannot be read"),
                    None => info!("the list of users is as it should be again"),
                }
            }
            held.has_looked |= !matches!(problem, Some(Problem::Unread(_)));
            held.problem = problem;
            held.etag = etag;
        });
    }

    /// Takes a list that was checked. It counts from now on, and is remembered before anything is done by it.
    async fn believe(&self, found: UsersObject) {
        let seen = UsersSeen { floor: Some(found.floor()), users: Some(found.users.clone()) };
        let is_missing = |revoked: &&RevokedSession| !roster::is_revoked(&found.users.revoked_sessions, &revoked.id);
        let kept = self.with(|held| {
            let is_new = held.seen.floor != seen.floor || held.seen.users.is_none();
            is_new.then(|| kept(&seen, held.revoked.iter().filter(is_missing).cloned().collect()))
        });
        if let Some(kept) = kept {
            info!(revision = %found.floor(), by = %found.users.changed_by, "read the list of users");
            self.remember(kept).await;
        }
        self.change(|held| {
            held.revoked.retain(|revoked| is_missing(&revoked));
            held.seen = seen;
        });
        self.note(None, Some(found.etag));
    }

    /// Writes to the disk. Without it only a restart forgets.
    async fn remember(&self, kept: Kept) {
        let (folder, fleet) = (self.folder.clone(), self.controller.fleet());
        let written = tokio::task::spawn_blocking(move || folder.keep(fleet, &kept)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                error!(error = &error as &dyn std::error::Error, "the list of users cannot be remembered")
            }
            Err(error) => error!(%error, "the list of users cannot be remembered"),
        }
    }

    /// Notes that a token of the list was used just now.
    pub(super) fn note_use(&self, id: &TokenId) {
        let is_listed =
            |id: &TokenId| self.with(|held| held.seen.users.as_ref().is_some_and(|users| users.token(id).is_some()));
        if let Some(uses) = self.uses.note(id, crate::clock::to_seconds(self.now()), is_listed) {
            self.keep_uses(uses);
        }
    }

    /// When a token was used last, as far as the portals of this machine know.
    #[must_use]
    pub fn last_use(&self, token: &Token) -> LastUse {
        self.uses.last(token)
    }

    /// Writes to the disk, and nobody waits for it: without it only a restart forgets.
    fn keep_uses(&self, uses: Uses) {
        let (folder, fleet) = (self.folder.clone(), self.controller.fleet());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = folder.keep_uses(fleet, uses) {
                warn!(error = &error as &dyn std::error::Error, "when tokens were used cannot be kept");
            }
        });
    }

    /// Changes the list in the name of `actor`; see [`Controller::change_users`].
    ///
    /// # Errors
    /// What `change` says, or why it could not be written.
    pub async fn change_list<T>(
        &self,
        actor: Actor,
        what: UsersChange,
        change: impl FnMut(&mut Users) -> Result<T, ControllerError>,
    ) -> Result<T, ControllerError> {
        let _one_at_a_time = self.busy.lock().await;
        let seen = self.with(|held| held.seen.clone());
        let (told, found) = self.controller.acting_as(actor).change_users(&seen, what, change).await?;
        self.believe(found).await;
        Ok(told)
    }

    /// Ends a session here, at once and also after a restart.
    pub async fn revoke_here(&self, session: RevokedSession) {
        let now = self.clock.now();
        let kept = self.change(|held| {
            held.revoked.retain(|revoked| now < revoked.until);
            if held.revoked.len() >= MOST_REVOKED {
                forget_one(&mut held.revoked);
            }
            held.revoked.push(session);
            kept(&held.seen, held.revoked.clone())
        });
        let _one_at_a_time = self.busy.lock().await;
        self.remember(kept).await;
    }

    /// What reads and writes the list.
    pub(super) fn controller(&self) -> &Arc<Controller> {
        &self.controller
    }

    /// Now, as sessions and tokens are judged.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn with<T>(&self, look: impl FnOnce(&Held) -> T) -> T {
        look(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Forgets the oldest session of who ended most, so that nobody who signs out again and again revives those of others.
fn forget_one(revoked: &mut Vec<RevokedSession>) {
    let mut counts: HashMap<_, usize> = HashMap::new();
    for session in &*revoked {
        *counts.entry(&session.user).or_default() += 1;
    }
    let user = counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(user, _)| user.clone());
    if let Some(oldest) = revoked.iter().position(|session| session.user == user) {
        revoked.remove(oldest);
    }
}

fn kept(seen: &UsersSeen, revoked_sessions: Vec<RevokedSession>) -> Kept {
    let text = |users: &Verified<Users>| String::from_utf8_lossy(users.document()).into_owned();
    let floor = seen.users.as_ref().map(users_floor).max(seen.floor);
    Kept { floor, users: seen.users.as_ref().map(text), revoked_sessions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_most_sessions_revives_none_of_others() {
        let session = |user: &str, number: u8| RevokedSession {
            id: [number; 16].into(),
            user: Some(UserName::new(user).unwrap()),
            until: DateTime::UNIX_EPOCH,
        };
        let mut revoked = vec![session("ada", 1), session("eve", 2), session("bob", 3), session("eve", 4)];
        forget_one(&mut revoked);
        assert_eq!(revoked, [session("ada", 1), session("bob", 3), session("eve", 4)]);
    }
}
