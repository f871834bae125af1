//! Managing users and tokens. Users are everybody's affair or nobody's, so it takes an admin of everything; their own
//! password and tokens everybody manages.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::token::TokenText;
use super::{AccessError, Authorized, Denied, Via, roster};
use crate::clock::to_seconds;
use crate::controller::{ControllerError, UsersChange};
use crate::model::users::{Grant, PasswordHash, Role, Token, TokenId, User, Users, is_admin};
use crate::model::{Sha256Digest, UserName};

/// How long a token is good for unless its maker says otherwise.
pub const TOKEN_GOOD_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The longest that a token is good for.
pub const TOKEN_GOOD_FOR_AT_MOST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The most characters of what a token is called.
const MOST_NAME_CHARS: usize = 64;

/// A token that is to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// Its public half, where it was looked at before: a second confirmation makes no second token.
    pub id: Option<TokenId>,
    /// What it is for.
    pub name: String,
    /// In whose name it acts.
    pub user: UserName,
    /// What it may do at most.
    pub grants: Vec<Grant>,
    /// How long it is good for.
    pub good_for: Duration,
}

/// What can be done to somebody in the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum UserChange {
    /// They are new.
    Add {
        /// What their password is checked against.
        password_hash: PasswordHash,
        /// What they may do.
        grants: Vec<Grant>,
    },
    /// They get another password, and their sessions end.
    Password(PasswordHash),
    /// They may do something else.
    Grants(Vec<Grant>),
    /// They are kept out.
    Disable,
    /// They are let in again.
    Enable,
    /// Their sessions end.
    EndSessions,
    /// They are deleted, and their tokens.
    Delete,
}

impl UserChange {
    fn action(&self) -> &'static str {
        match self {
            Self::Add { .. } => "user-add",
            Self::Password(_) => "user-passwd",
            Self::Grants(_) => "user-grant",
            Self::Disable => "user-disable",
            Self::Enable => "user-enable",
            Self::EndSessions => "user-end-sessions",
            Self::Delete => "user-rm",
        }
    }

    fn after(&self) -> Option<String> {
        match self {
            Self::Add { grants, .. } | Self::Grants(grants) => Some(listed(grants)),
            _ => None,
        }
    }

    /// For the audit.
    #[must_use]
    pub fn described(&self, name: &UserName) -> UsersChange {
        UsersChange { action: self.action(), object: format!("user/{name}"), after: self.after() }
    }

    /// Makes the change, and refuses one that would leave nobody to manage users. `others_manage` tells that somebody
    /// outside of the list does.
    ///
    /// # Errors
    /// See [`roster`].
    pub fn make(&self, users: &mut Users, name: &UserName, others_manage: bool) -> Result<(), ControllerError> {
        let had_admin = users.users.iter().any(User::is_admin);
        match self {
            Self::Add { password_hash, grants } => roster::add(users, name, password_hash.clone(), grants),
            Self::Password(hash) => roster::set_password(users, name, hash.clone()),
            Self::Grants(grants) => roster::set_grants(users, name, grants),
            Self::Disable => roster::set_disabled(users, name, true),
            Self::Enable => roster::set_disabled(users, name, false),
            Self::EndSessions => roster::end_sessions(users, name),
            Self::Delete => roster::remove(users, name),
        }?;
        if had_admin && !others_manage && !users.users.iter().any(User::is_admin) {
            let by = "nobody else could manage users; make another admin first".to_owned();
            return Err(ControllerError::InUse { what: format!("user {name}"), by });
        }
        Ok(())
    }
}

/// The end of sessions that another service vouched for, for the audit.
#[must_use]
pub fn ended_vouched(whose: Option<&UserName>) -> UsersChange {
    let object = whose.map_or_else(|| "users".to_owned(), |name| format!("user/{name}"));
    let after = Some("those that another service vouched for".to_owned());
    UsersChange { action: "user-end-sessions", object, after }
}

/// What a change would make of somebody.
#[derive(Debug, Clone)]
pub struct PlannedUser {
    /// As they are; None if they are new.
    pub before: Option<User>,
    /// As they would be; None if they were deleted.
    pub after: Option<User>,
    /// What the change has to be made to, so that it is the one that was looked at.
    pub seen: Sha256Digest,
}

/// Names an entry of the list as it is, also that there is none.
fn fingerprint<T: Serialize>(entry: Option<&T>) -> Sha256Digest {
    Sha256Digest::of(&serde_json::to_vec(&entry).unwrap_or_default())
}

/// Refuses a change of what is not what its maker saw.
fn check_seen<T: Serialize>(
    what: impl FnOnce() -> String,
    entry: Option<&T>,
    seen: Option<Sha256Digest>,
) -> Result<(), ControllerError> {
    match seen {
        Some(seen) if seen != fingerprint(entry) => Err(ControllerError::Changed { what: what() }),
        _ => Ok(()),
    }
}

/// Grants in one line.
#[must_use]
pub fn listed(grants: &[Grant]) -> String {
    let texts: Vec<String> = grants.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}

impl NewToken {
    /// The token, and the entry of the list that is kept of it.
    ///
    /// # Errors
    /// When its name or its life makes no sense.
    pub fn make(&self, now: chrono::DateTime<Utc>) -> Result<(TokenText, Token), ControllerError> {
        let invalid =
            |problem: &str| Err(ControllerError::Invalid { what: "the token".into(), problem: problem.into() });
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MOST_NAME_CHARS || name.chars().any(char::is_control) {
            return invalid("a name of 1 to 64 characters says what it is for");
        }
        if self.good_for.is_zero() || self.good_for > TOKEN_GOOD_FOR_AT_MOST {
            return invalid("it is good for at most 366 days");
        }
        if self.grants.is_empty() {
            return invalid("it may do nothing; give at least one role");
        }
        let text = match &self.id {
            Some(id) => TokenText::generate_as(id.clone()),
            None => TokenText::generate(),
        };
        let text = text.map_err(ControllerError::Entropy)?;
        let created_at = to_seconds(now);
        let entry = Token {
            id: text.id.clone(),
            name: name.to_owned(),
            user: self.user.clone(),
            sha256: text.sha256(),
            grants: self.grants.clone(),
            created_at,
            expires_at: created_at + TimeDelta::from_std(self.good_for).unwrap_or_default(),
            revoked: false,
        };
        Ok((text, entry))
    }

    /// For the audit.
    #[must_use]
    pub fn described(&self, id: &TokenId) -> UsersChange {
        let after = format!("{} in the name of {}: {}", self.name.trim(), self.user, listed(&self.grants));
        UsersChange { action: "token-add", object: format!("token/{id}"), after: Some(after) }
    }
}

impl Authorized {
    /// Whether the user may change users.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_user_changes(&self) -> Result<(), Denied> {
        self.check_users()?;
        self.check_in_person("users")
    }

    /// Whether the user may see users.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_users(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "users")
    }

    /// Somebody who may sign in, and what names them as they are.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn user(&self, directory: &Directory, name: &UserName) -> Result<(User, Sha256Digest), AccessError> {
        self.check_users()?;
        let Some(user) = directory.user(name) else {
            let help = "there is nobody of this name".to_owned();
            return Err(ControllerError::NotFound { what: format!("user {name}"), help }.into());
        };
        let seen = fingerprint(Some(&user));
        Ok((user, seen))
    }

    /// Changes somebody in the list.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn change_user(
        &self,
        directory: &Directory,
        name: &UserName,
        change: &UserChange,
    ) -> Result<(), AccessError> {
        self.check_user_changes()?;
        self.make_change(directory, name, change, None).await
    }

    /// The same, if they are still as [`Self::user`] or [`Self::plan_user`] saw them.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] if they are not; see [`AccessError`] for others.
    pub async fn change_seen_user(
        &self,
        directory: &Directory,
        name: &UserName,
        change: &UserChange,
        seen: Sha256Digest,
    ) -> Result<(), AccessError> {
        self.check_user_changes()?;
        self.make_change(directory, name, change, Some(seen)).await
    }

    /// What a change would make of somebody: of oneself, or of anybody for who manages users. Nothing is written.
    ///
    /// # Errors
    /// What would keep the change from being made; see [`AccessError`].
    pub fn plan_user(
        &self,
        directory: &Directory,
        name: &UserName,
        change: &UserChange,
    ) -> Result<PlannedUser, AccessError> {
        if *name != self.identity().user {
            self.check_user_changes()?;
        }
        Self::check_changeable(directory, name)?;
        let list = directory.list();
        let mut users = match &list {
            Some(list) => (**list).clone(),
            None => Users::empty(directory.controller().fleet(), directory.now(), name.clone()),
        };
        let before = users.user(name).cloned();
        change.make(&mut users, name, Self::others_manage(directory))?;
        Ok(PlannedUser { seen: fingerprint(before.as_ref()), before, after: users.user(name).cloned() })
    }

    /// Gives the user another password. Whoever asks has checked the present one.
    ///
    /// # Errors
    /// As [`Self::change_seen_user`].
    pub async fn change_own_password(
        &self,
        directory: &Directory,
        hash: PasswordHash,
        seen: Option<Sha256Digest>,
    ) -> Result<(), AccessError> {
        self.check_in_person("passwords")?;
        let name = self.identity().user.clone();
        self.make_change(directory, &name, &UserChange::Password(hash), seen).await
    }

    /// Ends all sessions of the user.
    ///
    /// # Errors
    /// As [`Self::change_seen_user`].
    pub async fn end_own_sessions(&self, directory: &Directory, seen: Option<Sha256Digest>) -> Result<(), AccessError> {
        self.check_in_person("sessions")?;
        let name = self.identity().user.clone();
        if self.identity().via == Via::Oidc {
            return self.make_end_of_vouched(directory, Some(&name)).await;
        }
        self.make_change(directory, &name, &UserChange::EndSessions, seen).await
    }

    fn check_changeable(directory: &Directory, name: &UserName) -> Result<(), ControllerError> {
        if directory.of_config().iter().any(|user| user.name == *name) {
            let by = "the config of this controller names it; change it there".to_owned();
            return Err(ControllerError::InUse { what: format!("user {name}"), by });
        }
        Ok(())
    }

    /// Whether somebody outside of the list manages users.
    fn others_manage(directory: &Directory) -> bool {
        directory.of_config().iter().any(|user| is_admin(&user.grants))
    }

    /// Ends all sessions of somebody whom another service vouches for; of everybody such, if nobody is named.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn end_vouched(&self, directory: &Directory, whose: Option<&UserName>) -> Result<(), AccessError> {
        self.check_user_changes()?;
        self.make_end_of_vouched(directory, whose).await
    }

    async fn make_end_of_vouched(&self, directory: &Directory, whose: Option<&UserName>) -> Result<(), AccessError> {
        let ended = directory.change_list(self.actor(), ended_vouched(whose), |users| {
            roster::end_vouched(users, whose);
            Ok(())
        });
        Ok(ended.await?)
    }

    async fn make_change(
        &self,
        directory: &Directory,
        name: &UserName,
        change: &UserChange,
        seen: Option<Sha256Digest>,
    ) -> Result<(), AccessError> {
        Self::check_changeable(directory, name)?;
        let others_manage = Self::others_manage(directory);
        let made = directory.change_list(self.actor(), change.described(name), |users| {
            check_seen(|| format!("user {name}"), users.user(name), seen)?;
            change.make(users, name, others_manage)
        });
        Ok(made.await?)
    }

    /// The tokens that the user may see: their own; those of all for who manages users.
    ///
    /// # Errors
    /// [`Denied`] for a token: it manages none.
    pub fn tokens(&self, directory: &Directory) -> Result<Vec<Token>, Denied> {
        self.check_in_person("tokens")?;
        let sees_all = self.check_users().is_ok();
        let tokens = directory.list().map(|users| users.tokens.clone()).unwrap_or_default();
        Ok(tokens.into_iter().filter(|token| sees_all || token.user == self.identity().user).collect())
    }

    /// Whether [`Self::add_token`] would make this token, as far as that can be told before.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn check_new_token(&self, directory: &Directory, new: &NewToken) -> Result<(), AccessError> {
        self.check_in_person("tokens")?;
        if new.user != self.identity().user {
            return Err(self.denied(Role::Admin, format!("tokens in the name of {}", new.user)).into());
        }
        if self.identity().via == Via::Oidc || directory.user(&new.user).is_none() {
            let problem = "somebody whom another service vouches for has no tokens: nobody would take them back";
            let (what, problem) = (format!("a token of {}", new.user), problem.to_owned());
            return Err(ControllerError::Invalid { what, problem }.into());
        }
        new.make(directory.now()).map(drop).map_err(AccessError::from)
    }

    /// Makes a token in the user's own name. Its text is not kept.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn add_token(&self, directory: &Directory, new: &NewToken) -> Result<TokenText, AccessError> {
        self.check_new_token(directory, new)?;
        let now = directory.now();
        let (text, entry) = new.make(now)?;
        let added = directory
            .change_list(self.actor(), new.described(&entry.id), |users| roster::add_token(users, entry.clone(), now));
        added.await?;
        Ok(text)
    }

    /// A token that the user may take back, and what names it as it is.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn token(&self, directory: &Directory, id: &TokenId) -> Result<(Token, Sha256Digest), AccessError> {
        let token = self.tokens(directory)?.into_iter().find(|token| token.id == *id);
        let Some(token) = token else {
            let help = "there is none of yours".to_owned();
            return Err(ControllerError::NotFound { what: format!("token {id}"), help }.into());
        };
        let seen = fingerprint(Some(&token));
        Ok((token, seen))
    }

    /// Takes a token back: one's own, or anybody's for who manages users. With `seen` only if it is still what was
    /// seen.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] if it is not; see [`AccessError`] for others.
    pub async fn revoke_token(
        &self,
        directory: &Directory,
        id: &TokenId,
        seen: Option<Sha256Digest>,
    ) -> Result<(), AccessError> {
        self.token(directory, id)?;
        let what = UsersChange { action: "token-revoke", object: format!("token/{id}"), after: None };
        let revoked = directory.change_list(self.actor(), what, |users| {
            check_seen(|| format!("token {id}"), users.token(id), seen)?;
            roster::revoke_token(users, id)
        });
        Ok(revoked.await?)
    }

    /// Refuses a token: a leaked one must neither let its finder in for longer than it is good, by another token, user
    /// or password, nor lock anybody out.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_in_person(&self, what: &'static str) -> Result<(), Denied> {
        match self.identity().via {
            Via::Password | Via::Oidc => Ok(()),
            Via::Token { .. } => Err(Denied::Token { user: self.identity().user.clone(), what }),
        }
    }
}
