//! `auth/users.json`: reading it, and changing it without losing what others change at the same time.
//!
//! A damaged, foreign or older document is never believed, and never in the way: the next change puts what was
//! believed last back in its place.

use tracing::warn;

use super::{Controller, ControllerError};
use crate::entropy;
use crate::model::document::Document as _;
use crate::model::name::NameError;
use crate::model::sign::{SignError, Signer, Trust, Verified, sign, verify};
use crate::model::users::Users;
use crate::model::{CellId, CellName, Floor, Generation, NodeName, ObjectKey};
use crate::store::{ETag, Fetched, StoreError};

/// What a signed document of users may have, its signatures included.
pub(super) const USERS_BYTES: u64 = Users::MAX_BYTES + (8 << 10);

/// How often a change is made again on top of another's.
const TRIES: u32 = 20;

/// The longest wait after a conflict, times the number of tries so far.
const BACKOFF: std::time::Duration = std::time::Duration::from_millis(50);

/// The users as they lie in the bucket.
#[derive(Debug, Clone)]
pub struct UsersObject {
    /// What was verified.
    pub users: Verified<Users>,
    /// The store's name for its bytes.
    pub etag: ETag,
}

impl UsersObject {
    /// How far the document has come.
    #[must_use]
    pub fn floor(&self) -> Floor {
        users_floor(&self.users)
    }
}

/// How far a document has come: a key of a higher epoch outranks every revision of a lower one.
#[must_use]
pub fn users_floor(users: &Verified<Users>) -> Floor {
    Floor::new(users.epoch(), users.revision)
}

/// What a look at the users found.
#[derive(Debug, Clone)]
pub enum UsersFound {
    /// The bytes that the reader has already.
    Unchanged,
    /// Others.
    Changed(Box<UsersObject>),
    /// None.
    Absent,
}

/// What a reader of users has seen, and does not go back behind.
#[derive(Debug, Clone, Default)]
pub struct UsersSeen {
    /// How far the newest document was.
    pub floor: Option<Floor>,
    /// The newest document.
    pub users: Option<Verified<Users>>,
}

impl UsersSeen {
    /// Refuses a document that is older than what was seen.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`].
    pub fn check(&self, found: &Verified<Users>) -> Result<(), ControllerError> {
        let at = users_floor(found);
        let problem = match (self.floor, &self.users) {
            (Some(floor), _) if at < floor => {
                format!(": it is revision {at}, and revision {floor} was there before: somebody put an old one back")
            }
            (Some(floor), Some(seen)) if at == floor && seen.signed_sha256() != found.signed_sha256() => {
                format!(": there are two of revision {at}, and the one that was seen first counts")
            }
            _ => return Ok(()),
        };
        Err(ControllerError::Untrusted { key: ObjectKey::Users.to_string(), problem, source: None })
    }
}

/// What a change is made to.
enum Base {
    /// What lies in the bucket.
    There(UsersObject),
    /// What was seen before, if anything: nothing lies there, or nothing that is believed.
    Seen { users: Option<Verified<Users>>, replaces: Option<ETag> },
}

impl Base {
    fn users(&self) -> Option<&Verified<Users>> {
        match self {
            Self::There(there) => Some(&there.users),
            Self::Seen { users, .. } => users.as_ref(),
        }
    }

    /// The tag of the bytes that a change replaces.
    fn replaced(&self) -> Option<&ETag> {
        match self {
            Self::There(there) => Some(&there.etag),
            Self::Seen { replaces, .. } => replaces.as_ref(),
        }
    }
}

/// What is about to be changed, for the audit.
#[derive(Debug, Clone)]
pub struct UsersChange {
    /// The verb, such as `user-add`.
    pub action: &'static str,
    /// What it is done to, such as `user/ada`.
    pub object: String,
    /// What that is to be, in short.
    pub after: Option<String>,
}

impl Controller {
    /// Reads the users unless their bytes are those that `known` names.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`] when what is there is not believed. Whether it is too old only its reader knows.
    pub async fn find_users(&self, known: Option<&ETag>) -> Result<UsersFound, ControllerError> {
        let fetched = match self.store().get_if_changed(&ObjectKey::Users, known, USERS_BYTES).await {
            Err(StoreError::TooLarge { limit_bytes, .. }) => {
                return Err(untrusted(&format!(": it is larger than {limit_bytes} bytes"), None));
            }
            fetched => fetched?,
        };
        Ok(match fetched {
            Fetched::Unchanged => UsersFound::Unchanged,
            Fetched::Absent => UsersFound::Absent,
            Fetched::Changed(object) => {
                let users = self.verify_users(&object.bytes)?;
                UsersFound::Changed(Box::new(UsersObject { users, etag: object.etag }))
            }
        })
    }

    /// Checks the signature of a document of users, and that it is of this fleet.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`]. Where signatures are off none is believed: whoever may write to the bucket
    /// could make themselves an admin.
    pub fn verify_users(&self, document: &[u8]) -> Result<Verified<Users>, ControllerError> {
        if self.settings.trust == Trust::Unsigned {
            return Err(untrusted(": this fleet is unsigned, and then users are only those of the config", None));
        }
        let users = verify::<Users>(document, &self.settings.trust).map_err(|source| untrusted("", Some(source)))?;
        if users.fleet != self.fleet() {
            return Err(untrusted(&format!(": it is of fleet {}", users.fleet), None));
        }
        if let Some(feature) = users.requires.first() {
            return Err(untrusted(&format!(": it requires {feature:?}, which this version does not support"), None));
        }
        Ok(users)
    }

    /// Why this controller cannot change users, if so.
    #[must_use]
    pub fn users_are_fixed(&self) -> Option<&'static str> {
        match (&self.settings.trust, &self.settings.signer) {
            (Trust::Unsigned, _) => Some("this fleet is unsigned; give users in the config of the controller"),
            (Trust::Keys(_), Signer::Unsigned) => {
                Some("this controller has no key to sign with; change users where there is one, or in its config")
            }
            (Trust::Keys(_), Signer::Key(..)) => None,
        }
    }

    /// Changes the users: `change` is made to what is there, again if others change it meanwhile. Within it `revision`
    /// is that of the change. `seen` is what the caller does not go back behind. A change that comes to nothing writes
    /// nothing.
    ///
    /// # Errors
    /// What `change` says; [`ControllerError::Untrusted`] when what is there is not believed and nothing was seen
    /// before that could be put in its place.
    pub async fn change_users<T>(
        &self,
        seen: &UsersSeen,
        what: UsersChange,
        mut change: impl FnMut(&mut Users) -> Result<T, ControllerError>,
    ) -> Result<(T, UsersObject), ControllerError> {
        if let Some(why) = self.users_are_fixed() {
            return Err(ControllerError::invalid(&what.object, why));
        }
        let mut turn = self.take_turn(&as_cell()?).await?;
        let changed = async {
            let mut tries = 1;
            loop {
                let base = self.base(seen).await?;
                let mut users = self.draft(seen, base.users())?;
                let before = users.clone();
                let told = change(&mut users)?;
                if let Base::There(there) = &base
                    && users == before
                {
                    return Ok((told, there.clone()));
                }
                let signed = sign(&users, &self.settings.signer).map_err(|error| unsignable(&what, error))?;
                turn.keep().await?;
                match self.replace_users(&signed, base.replaced(), &what).await {
                    Ok(etag) => return Ok((told, UsersObject { users: signed, etag })),
                    Err(error) if is_conflict(&error) && tries < TRIES => {
                        self.clock.sleep(entropy::up_to(BACKOFF * tries)).await;
                        tries += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        .await;
        turn.end().await;
        changed
    }

    /// What a change is made to.
    async fn base(&self, seen: &UsersSeen) -> Result<Base, ControllerError> {
        let key = &ObjectKey::Users;
        let not_believed = match self.find_users(None).await {
            Ok(UsersFound::Changed(found)) => match seen.check(&found.users) {
                Ok(()) => return Ok(Base::There(*found)),
                Err(error) => error,
            },
            Ok(UsersFound::Absent | UsersFound::Unchanged) => {
                return Ok(Base::Seen { users: seen.users.clone(), replaces: None });
            }
            Err(error @ ControllerError::Untrusted { .. }) => error,
            Err(error) => return Err(error),
        };
        if seen.users.is_none() {
            return Err(not_believed);
        }
        warn!(%key, error = &not_believed as &dyn std::error::Error, "not believed; what was seen before is put back");
        let replaces = self.store().head(key).await?.map(|meta| meta.etag);
        Ok(Base::Seen { users: seen.users.clone(), replaces })
    }

    /// The next revision, before the change is made to it.
    fn draft(&self, seen: &UsersSeen, base: Option<&Verified<Users>>) -> Result<Users, ControllerError> {
        let newest = base.map(users_floor).max(seen.floor);
        let ours = self.epoch();
        let revision = match newest {
            None => Generation::FIRST,
            Some(newest) if newest.epoch > ours => {
                return Err(ControllerError::Outranked { cell: as_cell()?, ours, theirs: newest.epoch });
            }
            Some(newest) => {
                let next = newest.generation.next();
                next.ok_or(ControllerError::Exhausted { cell: as_cell()?, epoch: ours })?
            }
        };
        let (at, by) = (self.now(), self.actor().user.clone());
        Ok(match base {
            Some(base) => Users { revision, changed_at: at, changed_by: by, ..(**base).clone() },
            None => Users { revision, ..Users::empty(self.fleet(), at, by) },
        })
    }

    async fn replace_users(
        &self,
        signed: &Verified<Users>,
        known: Option<&ETag>,
        what: &UsersChange,
    ) -> Result<ETag, ControllerError> {
        let act = self.intend(what.action, what.object.clone(), None, what.after.clone(), None).await?;
        let document = signed.document().to_vec().into();
        let written = self.writer().await?.replace_if(&ObjectKey::Users, document, known).await;
        self.conclude(act, written.map_err(ControllerError::from)).await
    }
}

/// Turns are those of cells, so the users take the place of a cell that has their key.
fn as_cell() -> Result<CellId, ControllerError> {
    let cell = || Ok(CellId::new(NodeName::new("auth")?, CellName::new("users")?));
    cell().map_err(|error: NameError| ControllerError::invalid(ObjectKey::Users, error))
}

fn is_conflict(error: &ControllerError) -> bool {
    matches!(error.of_store(), Some(StoreError::Conflict { .. }))
}

fn untrusted(problem: &str, source: Option<SignError>) -> ControllerError {
    let (key, problem) = (ObjectKey::Users.to_string(), problem.to_owned());
    ControllerError::Untrusted { key, problem, source: source.map(Box::new) }
}

fn unsignable(what: &UsersChange, source: SignError) -> ControllerError {
    match source {
        SignError::TooLarge { limit, size, .. } => {
            let problem =
                format!("the list of users would have {size} bytes, more than {limit}; delete users or tokens");
            ControllerError::invalid(&what.object, problem)
        }
        source => ControllerError::Sign { what: what.object.clone(), source },
    }
}
