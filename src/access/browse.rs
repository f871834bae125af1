//! The objects of the bucket, for whoever may see every cell.

use super::{AccessError, Authorized, Denied, StoreUse};
use crate::controller::{BrowsePage, Preview, References, UsageBoard, UsageState};
use crate::model::ObjectKey;
use crate::model::fleet::{Conditions, Finding};
use crate::model::users::Role;
use crate::store::{Meta, ObjectStream};

/// The largest object that is digested while somebody waits for it.
const DIGESTED_BYTES: u64 = 256 << 20;

/// What is known of a bucket without asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFacts {
    /// Bucket, prefix and endpoint in words.
    pub location: String,
    /// Whose it is, by the config.
    pub fleet: uuid::Uuid,
    /// How several writers get along, in words.
    pub writes: &'static str,
    /// How many requests were sent so far.
    pub requests: u64,
}

impl Authorized {
    /// What is known of the bucket without asking it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn bucket_facts(&self) -> Result<BucketFacts, AccessError> {
        let StoreUse { place: location, requests, .. } = self.store()?;
        let controller = self.reading();
        let writes = match controller.conditions() {
            Conditions::Honoured => "the store keeps its conditions: whoever writes first wins",
            Conditions::Ignored | Conditions::Refused => "the store keeps no conditions: writers take turns",
            Conditions::Unknown => "not found out yet; the first change does, or the doctor",
        };
        Ok(BucketFacts { location, fleet: controller.fleet(), writes, requests: requests.total() })
    }

    /// One page of what lies in a folder; see [`Controller::browse`](crate::controller::Controller::browse).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn browse(&self, path: &str, after: Option<&str>, limit: u16) -> Result<BrowsePage, AccessError> {
        self.check_bucket()?;
        Ok(self.reading().browse(path, after, limit).await?)
    }

    /// Whether the user may read what an object holds: the list of users, with its hashes, only admins may, and what
    /// nodes answered of what their cells write only operators.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_object(&self, key: &ObjectKey) -> Result<(), Denied> {
        self.check_bucket()?;
        match key {
            ObjectKey::Users => self.need_everywhere(Role::Admin, "the list of users"),
            ObjectKey::Answer(..) | ObjectKey::AnswerChunk(..) => {
                self.need_everywhere(Role::Operator, "what cells write")
            }
            _ => Ok(()),
        }
    }

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn object(&self, key: &ObjectKey) -> Result<Meta, AccessError> {
        self.check_bucket()?;
        Ok(self.reading().object(key).await?)
    }

    /// The first `most_bytes` of an object.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn preview(&self, key: &ObjectKey, most_bytes: u64) -> Result<Preview, AccessError> {
        self.check_object(key)?;
        Ok(self.reading().preview(key, most_bytes).await?)
    }

    /// An object as it comes.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn open_object(&self, key: &ObjectKey) -> Result<(Meta, ObjectStream), AccessError> {
        self.check_object(key)?;
        Ok(self.reading().open(key).await?)
    }

    /// Compares an object with what the rest of the bucket says that it is; see
    /// [`Controller::verify`](crate::controller::Controller::verify).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn verify_object(&self, key: &ObjectKey) -> Result<Vec<Finding>, AccessError> {
        self.check_bucket()?;
        Ok(self.reading().verify(key, DIGESTED_BYTES).await?)
    }

    /// What an object names, and what names it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn references(&self, key: &ObjectKey) -> Result<References, AccessError> {
        self.check_bucket()?;
        Ok(self.reading().references(key).await?)
    }

    /// What `board` knows of the bucket's usage.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn usage(&self, board: &UsageBoard) -> Result<UsageState, AccessError> {
        self.check_bucket()?;
        Ok(board.state())
    }

    /// Counts the bucket's usage for `board`, unless somebody does already.
    ///
    /// # Errors
    /// See [`AccessError`]. That the count failed the board says.
    pub async fn count_usage(&self, board: &UsageBoard) -> Result<(), AccessError> {
        self.check_bucket()?;
        board.count(self.reading()).await;
        Ok(())
    }
}
