//! Sessions. All of one is in its cookie, so it outlives a restart and counts at every controller that has the key.
//! What ends one before its time is in the list of users: the epoch of its user, and the sessions that were signed out.

use std::time::Duration;

use chrono::serde::ts_seconds;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::seal::{Purpose, SealKey};
use crate::clock::to_seconds;
use crate::model::UserName;
use crate::model::users::{Grant, RevokedSession, SessionId};

/// Between two renewals of a cookie.
const RENEWED_AFTER: TimeDelta = TimeDelta::minutes(1);

/// How far the clocks of two controllers may be apart.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    #[serde(rename = "u")]
    pub user: UserName,
    /// Which of their sessions.
    #[serde(rename = "s")]
    pub id: SessionId,
    /// The user's epoch when it began; the revision of the list, where another service vouched for them.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// When it began.
    #[serde(rename = "b", with = "ts_seconds")]
    pub began: DateTime<Utc>,
    /// When it was used last, to a minute.
    #[serde(rename = "n", with = "ts_seconds")]
    pub seen: DateTime<Utc>,
    /// Who else says who they are, if they are in no list.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<Voucher>,
}

/// What another service vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The service.
    #[serde(rename = "i")]
    pub issuer: String,
    /// What its user may do.
    #[serde(rename = "g")]
    pub grants: Vec<Grant>,
}

/// Why a cookie is no session, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// It is none of ours.
    #[error("the session is not known here")]
    Unknown,
    /// It was not used for too long.
    #[error("the session was not used for too long")]
    Idle,
    /// It lasted as long as one may.
    #[error("the session lasted as long as one may")]
    Expired,
    /// It was signed out, or an admin ended it.
    #[error("the session was ended")]
    Revoked,
}

/// Makes sessions and looks at them.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// What cookies are sealed with.
    pub key: SealKey,
    /// After so long without a request a session is over.
    pub idle: Duration,
    /// After so long it is over in any case.
    pub absolute: Duration,
}

impl Sessions {
    /// The cookie's value; None for a session with more grants than one holds.
    #[must_use]
    pub fn seal(&self, session: &Session) -> Option<String> {
        self.key.seal(Purpose::Session, session)
    }

    /// The session of a cookie. Whether it was ended before its time is for the list of users to say.
    ///
    /// # Errors
    /// See [`SessionEnd`].
    pub fn open(&self, cookie: &str, now: DateTime<Utc>) -> Result<Session, SessionEnd> {
        let session: Session = self.key.open(Purpose::Session, cookie).ok_or(SessionEnd::Unknown)?;
        self.check(&session, now)?;
        Ok(session)
    }

    /// Whether a session has not ended by itself.
    ///
    /// # Errors
    /// See [`SessionEnd`].
    pub fn check(&self, session: &Session, now: DateTime<Utc>) -> Result<(), SessionEnd> {
        if session.began > now + SKEW || session.seen > now + SKEW || session.seen < session.began {
            return Err(SessionEnd::Unknown);
        }
        if now >= self.ends(session) {
            return Err(SessionEnd::Expired);
        }
        if now >= session.seen + span(self.idle) {
            return Err(SessionEnd::Idle);
        }
        Ok(())
    }

    /// The session as used now, if its cookie has to say so: at most once a minute.
    #[must_use]
    pub fn renew(&self, session: &Session, now: DateTime<Utc>) -> Option<Session> {
        (now - session.seen >= RENEWED_AFTER).then(|| Session { seen: to_seconds(now), ..session.clone() })
    }

    /// When a session is over in any case.
    #[must_use]
    pub fn ends(&self, session: &Session) -> DateTime<Utc> {
        session.began + span(self.absolute)
    }

    /// How a session is remembered that was ended: for as long as a cookie of it could count anywhere.
    #[must_use]
    pub fn revoked(&self, session: &Session) -> RevokedSession {
        let (id, user) = (session.id.clone(), Some(session.user.clone()));
        RevokedSession { id, user, until: self.ends(session) + SKEW }
    }
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(366))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::SessionSettings;

    fn sessions() -> Sessions {
        let SessionSettings { idle, absolute, .. } = SessionSettings::default();
        Sessions { key: SealKey::new([1; 32]), idle, absolute }
    }

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn session(began: i64, seen: i64) -> Session {
        Session {
            user: UserName::new("ada").unwrap(),
            id: SessionId::from([3; 16]),
            epoch: 4,
            began: at(began),
            seen: at(seen),
            vouched: None,
        }
    }

    fn opened(session: &Session, now: i64) -> Result<Session, SessionEnd> {
        sessions().open(&sessions().seal(session).unwrap(), at(now))
    }

    #[test]
    fn a_session_ends_by_rest_and_by_age() {
        assert_eq!(opened(&session(0, 0), 1_799), Ok(session(0, 0)));
        assert_eq!(opened(&session(0, 0), 1_800), Err(SessionEnd::Idle));
        assert_eq!(opened(&session(0, 43_000), 43_199), Ok(session(0, 43_000)));
        assert_eq!(opened(&session(0, 43_000), 43_200), Err(SessionEnd::Expired));
    }

    #[test]
    fn a_session_of_the_future_or_of_somebody_else_is_none() {
        assert_eq!(opened(&session(301, 301), 0), Err(SessionEnd::Unknown));
        assert_eq!(opened(&session(300, 300), 0), Ok(session(300, 300)), "another controller's clock may be ahead");
        assert_eq!(opened(&session(10, 0), 20), Err(SessionEnd::Unknown));
        let other = Sessions { key: SealKey::new([2; 32]), ..sessions() };
        assert_eq!(sessions().open(&other.seal(&session(0, 0)).unwrap(), at(1)), Err(SessionEnd::Unknown));
        assert_eq!(sessions().open("", at(1)), Err(SessionEnd::Unknown));
    }

    #[test]
    fn a_cookie_is_renewed_once_a_minute_and_never_made_older() {
        assert_eq!(sessions().renew(&session(0, 100), at(159)), None);
        assert_eq!(sessions().renew(&session(0, 100), at(160)), Some(session(0, 160)));
        assert_eq!(sessions().renew(&session(0, 300), at(0)), None);
    }

    #[test]
    fn an_ended_session_is_remembered_for_as_long_as_its_cookie_could_count() {
        let revoked = sessions().revoked(&session(0, 0));
        assert!(opened(&session(0, 43_199), 43_199).is_ok() && revoked.until > at(43_199));
    }

    proptest! {
        #[test]
        fn a_session_reads_back_as_it_was_written(epoch: u64, id: [u8; 16], began in 0..1_000_i64, grants in 0..9_usize) {
            let grants = vec![Grant::everywhere(crate::model::users::Role::Viewer); grants];
            let vouched = Some(Voucher { issuer: "https://id.example.com".to_owned(), grants });
            let session = Session { epoch, id: id.into(), vouched, ..session(began, began + 5) };
            prop_assert_eq!(opened(&session, began + 6), Ok(session));
        }
    }
}
