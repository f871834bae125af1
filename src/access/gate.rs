//! Who comes in: passwords, sessions, tokens, the first admin. A portal has one, and asks it about every request.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{info, warn};

use super::Source;
use super::browser::Browser;
use super::directory::Directory;
use super::identity::{Identity, Via};
use super::ledger::Ledger;
use super::oidc::Vouched;
use super::once::Once;
use super::password::{PasswordError, Passwords, is_outdated};
use super::roster;
use super::session::{Session, SessionEnd, Sessions, Voucher};
use super::throttle::{Attempt, Throttle};
use super::token::{TokenText, counts};
use crate::clock::SharedClock;
use crate::controller::{Actor, ControllerError, UsersChange};
use crate::entropy;
use crate::model::UserName;
use crate::model::users::{Grant, PasswordHash, Role, Token, User, Users};

/// Why somebody does not come in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name or password, nobody says which.
    #[error("the name or the password is not right")]
    Wrong,
    /// Too many failures came before.
    #[error("too many failures; try again in {} s", wait.as_secs() + 1)]
    Throttled {
        /// How long to wait.
        wait: Duration,
    },
    /// The token was used, is too old, or is of another process.
    #[error(
        "this sign-in link was used or is too old; every start of the controller prints a new one until there is an admin"
    )]
    LinkSpent,
    /// The password cannot be taken, or not be checked at present.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The name is no name, or the one of somebody else.
    #[error("{0}")]
    Name(String),
    /// Another service vouched for somebody, and it is of no use.
    #[error("{0}")]
    Vouched(String),
    /// The list of users could not be changed.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The operating system has no randomness.
    #[error("asking the system for randomness")]
    Entropy(#[source] std::io::Error),
}

/// Somebody who asks to come in.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// Where they come from.
    pub address: IpAddr,
    /// The cookie of a browser that is known.
    pub browser: Option<&'a str>,
}

impl From<IpAddr> for Visitor<'_> {
    fn from(address: IpAddr) -> Self {
        Self { address, browser: None }
    }
}

/// Somebody who came in, and the cookies that say so.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// What began.
    pub session: Session,
    /// The value of the session's cookie.
    pub cookie: String,
    /// That of the cookie by which the browser is known from now on; none where the password is another service's
    /// affair.
    pub browser: Option<String>,
}

/// Whose session a cookie is.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who it is, as far as rights go.
    pub identity: Identity,
    /// Their session.
    pub session: Session,
    /// What the cookie is to be from now on, if it is to change.
    pub renewed: Option<String>,
}

/// How far a sign-out reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedOut {
    /// The session is over at every controller, within seconds.
    Everywhere,
    /// It is over at this controller. Others that share its key would take the cookie until it ends by itself.
    Here {
        /// Why no further.
        why: String,
    },
}

/// Lets people and programs in.
#[derive(Debug)]
pub struct Gate {
    directory: Directory,
    sessions: Sessions,
    passwords: Passwords,
    throttle: Throttle,
    once: Once,
    ledger: Ledger,
    clock: SharedClock,
    /// The service that may vouch for people.
    issuer: Option<String>,
}

impl Gate {
    /// A gate for the users of `directory`.
    #[must_use]
    pub fn new(directory: Directory, sessions: Sessions, clock: SharedClock) -> Self {
        let (passwords, throttle, once) = (Passwords::default(), Throttle::default(), Once::default());
        let ledger = Ledger::new(directory.controller().clone(), clock.clone());
        Self { directory, sessions, passwords, throttle, once, ledger, clock, issuer: None }
    }

    /// The same gate where people may come for whom `issuer` vouches.
    #[must_use]
    pub fn vouched_by(self, issuer: String) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// Everybody who may sign in.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What hashes passwords.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// What makes and reads sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Checks the name and the password of a visitor.
    ///
    /// # Errors
    /// See [`SignInError`]. A user who is not there takes as long as a wrong password.
    pub async fn sign_in<'v>(
        &self,
        name: &str,
        password: &str,
        visitor: impl Into<Visitor<'v>>,
    ) -> Result<SignedIn, SignInError> {
        let Visitor { address, browser } = visitor.into();
        let name = UserName::new(name.trim()).ok();
        let known = name.as_ref().and_then(|name| self.directory.user(name));
        let known = known.and_then(|user| Browser::of(&self.sessions.key, browser?, &user, self.clock.now()));
        let now = self.clock.monotonic();
        let attempt = match (known, &name) {
            (Some(browser), Some(name)) => self.throttle.begin_known(browser, name, now),
            (_, name) => self.throttle.begin(address, name.as_ref(), now),
        };
        let attempt = attempt.map_err(|wait| SignInError::Throttled { wait })?;
        // Whoever was kept out a moment ago stays out.
        self.directory.look_soon().await;
        let user = name.as_ref().and_then(|name| self.directory.user(name));
        let (attempt, fits) = self.fits(attempt, user.as_ref().map(|user| &user.password_hash), password).await?;
        let Some(user) = user.filter(|user| fits && !user.disabled) else {
            if let Some(name) = name {
                self.note_sign_in(&name, address, false, &SignInError::Wrong.to_string());
            }
            return Err(SignInError::Wrong);
        };
        attempt.succeeded();
        self.note_sign_in(&user.name, address, true, "by password");
        self.renew_hash(&user, password, address).await;
        self.begin(user.name, user.session_epoch, None)
    }

    /// Hashes a password that was right as it is done today, if that was another way when it was chosen. Whoever signs
    /// in does so either way.
    async fn renew_hash(&self, user: &User, password: &str, address: IpAddr) {
        let (name, from) = (&user.name, &user.password_hash);
        let is_of_config = self.directory.of_config().iter().any(|user| user.name == *name);
        if is_of_config || self.directory.is_fixed().is_some() || !is_outdated(from) {
            return;
        }
        let renewed = async {
            let to = self.passwords.hash_again(password).await?;
            let what = UsersChange {
                action: "user-rehash",
                object: format!("user/{name}"),
                after: Some("the same password, hashed as it is done today".to_owned()),
            };
            let change = |users: &mut Users| {
                roster::renew_hash(users, name, from, &to);
                Ok(())
            };
            Ok::<_, SignInError>(self.directory.change_list(actor(name, address), what, change).await?)
        };
        if let Err(error) = renewed.await {
            warn!(user = %name, error = &error as &dyn std::error::Error, "a password could not be hashed anew");
        }
    }

    /// Checks the present password of whose session it is, and who wants another.
    ///
    /// # Errors
    /// See [`SignInError`].
    pub async fn check_password(&self, session: &Session, password: &str) -> Result<(), SignInError> {
        let attempt = self.throttle.begin_known(session.id.clone(), &session.user, self.clock.monotonic());
        let attempt = attempt.map_err(|wait| SignInError::Throttled { wait })?;
        let hash = self.directory.user(&session.user).map(|user| user.password_hash);
        let (attempt, fits) = self.fits(attempt, hash.as_ref(), password).await?;
        if !fits {
            return Err(SignInError::Wrong);
        }
        attempt.succeeded();
        Ok(())
    }

    /// Whether the password that is tried is right. A try that nobody could look at is none.
    async fn fits<'t>(
        &self,
        attempt: Attempt<'t>,
        hash: Option<&PasswordHash>,
        password: &str,
    ) -> Result<(Attempt<'t>, bool), SignInError> {
        match self.passwords.fits(hash, password).await {
            Ok(fits) => Ok((attempt, fits)),
            Err(error) => {
                attempt.take_back();
                Err(error.into())
            }
        }
    }

    /// Begins a session of somebody whom another service vouched for.
    ///
    /// # Errors
    /// [`SignInError::Vouched`] when the name is that of a user of ours, or there is nothing that they may do.
    pub async fn sign_in_vouched(&self, vouched: &Vouched, address: IpAddr) -> Result<SignedIn, SignInError> {
        // An end of their sessions is not to end this one, too.
        self.directory.look_soon().await;
        let Vouched { user, grants, issuer, subject, next: _ } = vouched;
        // Names change hands: only these two say who it was.
        let who = format!("by OpenID Connect: subject {subject:?} of {issuer}");
        let refused = if self.directory.user(user).is_some() {
            Some(format!(
                "the name {user} is that of a user of this portal; sign in with the password, or have it deleted"
            ))
        } else if grants.is_empty() {
            Some(format!("no group of {user} has a role here, so there is nothing to see"))
        } else {
            None
        };
        self.note_sign_in(user, address, refused.is_none(), &who);
        match refused {
            Some(why) => Err(SignInError::Vouched(why)),
            None => {
                let voucher = Voucher { issuer: issuer.clone(), grants: grants.clone() };
                self.begin(user.clone(), self.directory.revision(), Some(voucher))
            }
        }
    }

    /// A new session for somebody whose password was changed by themselves, which ended the one that they had.
    ///
    /// # Errors
    /// [`SignInError::Wrong`] when they are no longer let in.
    pub fn begin_again(&self, user: &UserName) -> Result<SignedIn, SignInError> {
        let user = self.directory.user(user).filter(|user| !user.disabled).ok_or(SignInError::Wrong)?;
        self.begin(user.name, user.session_epoch, None)
    }

    fn begin(&self, user: UserName, epoch: u64, vouched: Option<Voucher>) -> Result<SignedIn, SignInError> {
        let id = entropy::bytes::<16>().map_err(SignInError::Entropy)?.into();
        let now = crate::clock::to_seconds(self.clock.now());
        let session = Session { user, id, epoch, began: now, seen: now, vouched };
        let cookie = self.sessions.seal(&session).ok_or_else(|| {
            SignInError::Vouched(format!("{} has more roles than a cookie holds; give patterns with `*`", session.user))
        })?;
        let browser = session.vouched.is_none().then(|| Browser::seal(&self.sessions.key, &session)).flatten();
        Ok(SignedIn { session, cookie, browser })
    }

    /// Whose session a cookie is.
    ///
    /// # Errors
    /// See [`SessionEnd`].
    pub fn by_cookie(&self, cookie: &str) -> Result<Known, SessionEnd> {
        let now = self.clock.now();
        let session = self.sessions.open(cookie, now)?;
        let identity = self.of_session(&session)?;
        let renewed = self.sessions.renew(&session, now).and_then(|session| self.sessions.seal(&session));
        Ok(Known { identity, session, renewed })
    }

    /// Who acts in a session that has not ended by itself.
    fn of_session(&self, session: &Session) -> Result<Identity, SessionEnd> {
        if self.directory.is_revoked(&session.id) {
            return Err(SessionEnd::Revoked);
        }
        let (grants, via) = match &session.vouched {
            Some(voucher) => {
                // A user of ours got the name meanwhile: what is done under it has to be theirs alone.
                let is_ours = self.directory.user(&session.user).is_some();
                let is_trusted = self.issuer.as_ref() == Some(&voucher.issuer);
                if is_ours || !is_trusted || self.directory.has_ended_vouched(&session.user, session.epoch) {
                    return Err(SessionEnd::Revoked);
                }
                (voucher.grants.clone(), Via::Oidc)
            }
            None => {
                let user = self.directory.user(&session.user).ok_or(SessionEnd::Revoked)?;
                if user.disabled || user.session_epoch != session.epoch {
                    return Err(SessionEnd::Revoked);
                }
                (user.grants, Via::Password)
            }
        };
        Ok(Identity { user: session.user.clone(), grants, via })
    }

    /// In whose name a token acts, if it is one that counts.
    #[must_use]
    pub fn by_token(&self, text: &str) -> Option<Identity> {
        let token = TokenText::read(text)?;
        let users = self.directory.list()?;
        let identity = self.of_token(token.find(&users, self.clock.now())?)?;
        self.directory.note_use(&token.id);
        Some(identity)
    }

    fn of_token(&self, entry: &Token) -> Option<Identity> {
        let user = self.directory.user(&entry.user).filter(|user| !user.disabled)?;
        let via = Via::Token { id: entry.id.clone(), grants: entry.grants.clone() };
        Some(Identity { user: user.name, grants: user.grants, via })
    }

    /// Whether somebody who was let in before would be let in now, and may do the same: for what goes on for long after
    /// it was asked for. `session` is theirs, unless a token spoke for them.
    #[must_use]
    pub fn still_knows(&self, identity: &Identity, session: Option<&Session>) -> bool {
        let now = self.clock.now();
        let now_is = match (session, &identity.via) {
            (Some(session), _) => self.sessions.check(session, now).and_then(|()| self.of_session(session)).ok(),
            (None, Via::Token { id, .. }) => self.directory.list().and_then(|users| {
                let entry = users.token(id).filter(|entry| counts(entry, now))?;
                self.of_token(entry)
            }),
            (None, Via::Password | Via::Oidc) => None,
        };
        now_is.as_ref() == Some(identity)
    }

    /// Ends a session: here at once, elsewhere as soon as the list of users says so.
    pub async fn sign_out(&self, session: &Session, actor: Actor) -> SignedOut {
        let revoked = self.sessions.revoked(session);
        self.directory.revoke_here(revoked.clone()).await;
        if let Some(why) = self.directory.is_fixed() {
            return SignedOut::Here { why: why.to_owned() };
        }
        let what = UsersChange { action: "sign-out", object: format!("user/{}", session.user), after: None };
        let now = self.clock.now();
        let changed = self
            .directory
            .change_list(actor, what, |users| Ok(roster::revoke_session(users, &session.user, &revoked, now)));
        match changed.await {
            Ok(true) => SignedOut::Everywhere,
            Ok(false) => {
                SignedOut::Here { why: "the list of users has no room for more sessions that ended".to_owned() }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a sign-out could not be put into the list of users");
                SignedOut::Here { why: error.to_string() }
            }
        }
    }

    /// A token by which the first admin gets in; none where there is an admin already, or where the list of users
    /// cannot be changed. It is good for [`GOOD_FOR`](super::ONCE_GOOD_FOR), once, and in this process alone.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn first_admin(&self) -> std::io::Result<Option<TokenText>> {
        if self.directory.has_admin() != Some(false) || self.directory.is_fixed().is_some() {
            return Ok(None);
        }
        self.once.issue(self.clock.monotonic()).map(Some)
    }

    /// Whether a one-time token would let its bearer in. It still does afterwards.
    #[must_use]
    pub fn is_first_admin(&self, token: &str) -> bool {
        self.once.opens(token, self.clock.monotonic())
    }

    /// Makes the bearer of a one-time token the first admin, with a name and a password of their choice.
    ///
    /// # Errors
    /// See [`SignInError`]. The token stays good unless it was used.
    pub async fn claim_first_admin(
        &self,
        token: &str,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<SignedIn, SignInError> {
        let name = UserName::new(name.trim()).map_err(|error| SignInError::Name(error.to_string()))?;
        let now = self.clock.monotonic();
        let attempt = self.throttle.begin(address, None, now).map_err(|wait| SignInError::Throttled { wait })?;
        let taken = self.once.take(token, now).ok_or(SignInError::LinkSpent)?;
        attempt.take_back();
        match self.make_first_admin(&name, password, address).await {
            Ok(()) => taken.spend(),
            // Somebody else was first.
            Err(error @ SignInError::LinkSpent) => {
                taken.spend();
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        info!(user = %name, "made the first admin");
        self.note_sign_in(&name, address, true, "by the one-time link");
        self.begin_again(&name)
    }

    async fn make_first_admin(&self, name: &UserName, password: &str, address: IpAddr) -> Result<(), SignInError> {
        let hash = self.passwords.hash(name, password).await?;
        let grants = [Grant::everywhere(Role::Admin)];
        let what = UsersChange {
            action: "user-add",
            object: format!("user/{name}"),
            after: Some("the first admin, by the one-time link".to_owned()),
        };
        let has_admin = |users: &Users| users.users.iter().any(User::is_admin);
        let made = self.directory.change_list(actor(name, address), what, |users| {
            if has_admin(users) {
                return Ok(false);
            }
            roster::add(users, name, hash.clone(), &grants).map(|()| true)
        });
        if made.await? { Ok(()) } else { Err(SignInError::LinkSpent) }
    }

    /// Puts into the audit that somebody asked for a change that they may not make: `asked` is method and path.
    pub fn note_denial(&self, actor: Actor, asked: String, why: &str) {
        self.ledger.note(actor, "denied", asked, false, why);
    }

    fn note_sign_in(&self, user: &UserName, address: IpAddr, done: bool, message: &str) {
        let actor = actor(user, address);
        self.ledger.note(actor, "sign-in", format!("user/{user}"), done, message);
    }
}

/// Somebody at a browser, for the audit.
fn actor(user: &UserName, address: IpAddr) -> Actor {
    Actor { user: user.clone(), source: Source::Portal.as_str().to_owned(), host: address.to_string(), reason: None }
}
