//! Browsers that somebody signed in with before. Their cookie lets nobody in: it only tells them from strangers, so that
//! those who guess at an account from elsewhere do not keep its user out.

use std::time::Duration;

use chrono::serde::ts_seconds;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::seal::{Purpose, SealKey};
use super::session::Session;
use crate::model::UserName;
use crate::model::users::{SessionId, User};

/// For so long a browser is known after a sign-in.
pub const KNOWN_FOR: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// A browser, by the session that somebody began with it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Browser {
    #[serde(rename = "u")]
    user: UserName,
    /// Whatever ends all sessions of a user makes their browsers strange, too.
    #[serde(rename = "e")]
    epoch: u64,
    #[serde(rename = "s")]
    id: SessionId,
    #[serde(rename = "b", with = "ts_seconds")]
    began: DateTime<Utc>,
}

impl Browser {
    /// The value of the cookie for the browser that `session` began with.
    pub(super) fn seal(key: &SealKey, session: &Session) -> Option<String> {
        let Session { user, epoch, id, began, .. } = session.clone();
        key.seal(Purpose::Browser, &Self { user, epoch, id, began })
    }

    /// Which of the browsers of `user` a cookie is of.
    pub(super) fn of(key: &SealKey, cookie: &str, user: &User, now: DateTime<Utc>) -> Option<SessionId> {
        let Self { user: name, epoch, id, began } = key.open(Purpose::Browser, cookie)?;
        let is_fresh = now < began + TimeDelta::from_std(KNOWN_FOR).ok()?;
        (name == user.name && epoch == user.session_epoch && is_fresh).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::users::PasswordHash;

    #[test]
    fn a_browser_is_known_for_its_user_alone_and_not_for_ever() {
        let (key, now) = (SealKey::new([1; 32]), DateTime::UNIX_EPOCH);
        let user = |name: &str, session_epoch| User {
            name: UserName::new(name).unwrap(),
            password_hash: PasswordHash::new("$argon2id$v=19$m=8,t=1,p=1$eA$eA").unwrap(),
            grants: Vec::new(),
            session_epoch,
            disabled: false,
        };
        let (name, id) = (UserName::new("ada").unwrap(), SessionId::from([3; 16]));
        let session = Session { user: name, id: id.clone(), epoch: 4, began: now, seen: now, vouched: None };
        let cookie = Browser::seal(&key, &session).unwrap();
        let known = |user: &User, now| Browser::of(&key, &cookie, user, now);
        let ada = user("ada", 4);
        assert_eq!(known(&ada, now + KNOWN_FOR - TimeDelta::seconds(1)), Some(id));
        assert_eq!(known(&ada, now + KNOWN_FOR), None);
        assert_eq!(known(&user("bob", 4), now), None);
        assert_eq!(known(&user("ada", 5), now), None, "all her sessions were ended");
        let as_session = key.seal(Purpose::Session, &session).unwrap();
        assert_eq!(Browser::of(&key, &as_session, &ada, now), None);
        assert_eq!(key.open::<Session>(Purpose::Session, &cookie), None, "it lets nobody in");
    }
}
