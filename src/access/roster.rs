//! What can be done to the list of users, as changes to the document. Whether somebody may is asked elsewhere.

use chrono::{DateTime, Utc};

use crate::controller::ControllerError;
use crate::model::UserName;
use crate::model::document::{self, Document as _};
use crate::model::users::{EndedVouched, Grant, PasswordHash, RevokedSession, SessionId, Token, TokenId, User, Users};

/// The most users of a list.
const MOST_USERS: usize = 1_000;

/// The most tokens of one user.
const MOST_TOKENS: usize = 100;

/// The most grants of a user or a token.
const MOST_GRANTS: usize = 50;

/// The most sessions that are remembered as ended, and of one user.
const MOST_REVOKED: usize = 1_000;
const MOST_REVOKED_OF_ONE: usize = 50;

/// The most ends of sessions that other services vouched for.
const MOST_ENDED_VOUCHED: usize = 100;

/// So large may be made what anybody makes: tokens, and sessions that ended. The rest of the document is for admins, so
/// that nobody keeps them from changing it.
const MOST_BYTES_OF_ALL: u64 = Users::MAX_BYTES / 4 * 3;

/// Adds somebody.
///
/// # Errors
/// When the name is taken, or there are too many.
pub fn add(
    users: &mut Users,
    name: &UserName,
    password_hash: PasswordHash,
    grants: &[Grant],
) -> Result<(), ControllerError> {
    if users.user(name).is_some() {
        return Err(ControllerError::Exists { what: format!("user {name}"), differs: "it is another user".to_owned() });
    }
    check_grants(&format!("user {name}"), grants)?;
    if users.users.len() >= MOST_USERS {
        return Err(invalid(name, &format!("there are {MOST_USERS} users already; delete some")));
    }
    let session_epoch = users.revision.get();
    users.users.push(User {
        name: name.clone(),
        password_hash,
        grants: grants.to_vec(),
        session_epoch,
        disabled: false,
    });
    users.users.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

/// Gives somebody another password, and ends their sessions.
///
/// # Errors
/// When there is no such user.
pub fn set_password(users: &mut Users, name: &UserName, password_hash: PasswordHash) -> Result<(), ControllerError> {
    let revision = users.revision.get();
    let user = find(users, name)?;
    user.password_hash = password_hash;
    user.session_epoch = revision;
    Ok(())
}

/// Keeps the same password as another hash, unless they have another password by now. No session ends.
pub(super) fn renew_hash(users: &mut Users, name: &UserName, from: &PasswordHash, to: &PasswordHash) {
    if let Some(user) = users.users.iter_mut().find(|user| user.name == *name && user.password_hash == *from) {
        user.password_hash = to.clone();
    }
}

/// Changes what somebody may do. It counts at their next request.
///
/// # Errors
/// When there is no such user.
pub fn set_grants(users: &mut Users, name: &UserName, grants: &[Grant]) -> Result<(), ControllerError> {
    check_grants(&format!("user {name}"), grants)?;
    find(users, name)?.grants = grants.to_vec();
    Ok(())
}

/// Keeps somebody out, and ends their sessions; or lets them in again.
///
/// # Errors
/// When there is no such user.
pub fn set_disabled(users: &mut Users, name: &UserName, disabled: bool) -> Result<(), ControllerError> {
    let revision = users.revision.get();
    let user = find(users, name)?;
    if disabled && !user.disabled {
        user.session_epoch = revision;
    }
    user.disabled = disabled;
    Ok(())
}

/// Ends all sessions of somebody.
///
/// # Errors
/// When there is no such user.
pub fn end_sessions(users: &mut Users, name: &UserName) -> Result<(), ControllerError> {
    let revision = users.revision.get();
    find(users, name)?.session_epoch = revision;
    Ok(())
}

/// Deletes somebody, and their tokens.
///
/// # Errors
/// When there is no such user.
pub fn remove(users: &mut Users, name: &UserName) -> Result<(), ControllerError> {
    find(users, name)?;
    users.users.retain(|user| user.name != *name);
    users.tokens.retain(|token| token.user != *name);
    Ok(())
}

/// Adds a token, and forgets those that ran out long ago.
///
/// # Errors
/// When it was made already, its user has too many, or there is no room.
pub fn add_token(users: &mut Users, token: Token, now: DateTime<Utc>) -> Result<(), ControllerError> {
    check_grants(&format!("token {}", token.id), &token.grants)?;
    users.tokens.retain(|token| now < token.expires_at);
    match users.token(&token.id) {
        // An earlier try whose answer was lost.
        Some(there) if *there == token => return Ok(()),
        Some(_) => {
            let problem =
                "it was made when this was confirmed first, and its text is not kept; begin again for another";
            return Err(invalid(format!("token {}", token.id), problem));
        }
        None => {}
    }
    if users.tokens.iter().filter(|other| other.user == token.user).count() >= MOST_TOKENS {
        return Err(invalid(&token.user, &format!("it has {MOST_TOKENS} tokens already; revoke some")));
    }
    users.tokens.push(token);
    if !leaves_room(users) {
        return Err(invalid("the list of users", "it is nearly full; revoke tokens that nobody needs, or wait"));
    }
    Ok(())
}

fn leaves_room(users: &Users) -> bool {
    document::render(users).len() as u64 <= MOST_BYTES_OF_ALL
}

/// Takes a token back. It stays in the list until it would have run out.
///
/// # Errors
/// When there is none.
pub fn revoke_token(users: &mut Users, id: &TokenId) -> Result<(), ControllerError> {
    let token = users.tokens.iter_mut().find(|token| token.id == *id);
    token.ok_or_else(|| no_such(format!("token {id}")))?.revoked = true;
    Ok(())
}

/// Ends one session of somebody; all of theirs if the list is to hold no more of them. Whether it did: it cannot for
/// somebody who is not in the list once that is full.
pub fn revoke_session(users: &mut Users, user: &UserName, session: &RevokedSession, now: DateTime<Utc>) -> bool {
    users.revoked_sessions.retain(|revoked| now < revoked.until);
    if is_revoked(&users.revoked_sessions, &session.id) {
        return true;
    }
    let is_theirs = |revoked: &RevokedSession| revoked.user.as_ref() == Some(user);
    let theirs = users.revoked_sessions.iter().filter(|revoked| is_theirs(revoked)).count();
    users.revoked_sessions.push(session.clone());
    if theirs < MOST_REVOKED_OF_ONE && users.revoked_sessions.len() <= MOST_REVOKED && leaves_room(users) {
        return true;
    }
    users.revoked_sessions.pop();
    if end_sessions(users, user).is_err() {
        return false;
    }
    // None of them could count any more.
    users.revoked_sessions.retain(|revoked| !is_theirs(revoked));
    true
}

/// Ends all sessions of somebody whom another service vouches for; of everybody such, if nobody is named.
pub fn end_vouched(users: &mut Users, whose: Option<&UserName>) {
    let before = users.revision.get();
    users.ended_vouched.retain(|ended| whose.is_some() && ended.user.as_ref() != whose);
    users.ended_vouched.push(EndedVouched { user: whose.cloned(), before });
    // They stand in the order of their revisions. What began before the oldest of many is most likely over anyway.
    if let [_, second, ..] = &*users.ended_vouched
        && users.ended_vouched.len() > MOST_ENDED_VOUCHED
    {
        let of_everybody = EndedVouched { user: None, before: second.before };
        users.ended_vouched.splice(..2, [of_everybody]);
    }
}

/// Whether the sessions of `name` that began at the revision `epoch` were ended.
#[must_use]
pub fn has_ended_vouched(users: &Users, name: &UserName, epoch: u64) -> bool {
    let is_theirs = |ended: &EndedVouched| ended.user.as_ref().is_none_or(|user| user == name);
    users.ended_vouched.iter().any(|ended| is_theirs(ended) && epoch < ended.before)
}

/// Whether a session is among those that were ended.
#[must_use]
pub fn is_revoked(revoked: &[RevokedSession], id: &SessionId) -> bool {
    revoked.iter().any(|session| session.id == *id)
}

fn check_grants(what: &str, grants: &[Grant]) -> Result<(), ControllerError> {
    if grants.len() > MOST_GRANTS {
        return Err(invalid(what, &format!("it has {} grants; {MOST_GRANTS} are allowed", grants.len())));
    }
    Ok(())
}

fn find<'a>(users: &'a mut Users, name: &UserName) -> Result<&'a mut User, ControllerError> {
    let user = users.users.iter_mut().find(|user| user.name == *name);
    user.ok_or_else(|| no_such(format!("user {name}")))
}

fn no_such(what: String) -> ControllerError {
    ControllerError::NotFound {
        what,
        help: "there is none; `fleetman user ls` and `fleetman token ls` list them".to_owned(),
    }
}

fn invalid(what: impl std::fmt::Display, problem: &str) -> ControllerError {
    ControllerError::Invalid { what: what.to_string(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Generation, Sha256Digest};

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn hash(salt: &str) -> PasswordHash {
        PasswordHash::new(format!("$argon2id$v=19$m=8,t=1,p=1${salt}$aGFzaA")).unwrap()
    }

    /// A list at a revision, with the admin ada and the viewer bob.
    fn users(revision: u64) -> Users {
        let mut users = Users::empty(Uuid::from_u128(1), DateTime::UNIX_EPOCH, name("ada"));
        add(&mut users, &name("bob"), hash("Ym9i"), &["viewer".parse().unwrap()]).unwrap();
        add(&mut users, &name("ada"), hash("YWRh"), &["admin".parse().unwrap()]).unwrap();
        users.revision = Generation::new(revision).unwrap();
        users
    }

    fn token(id: &str, user: &str, expires: i64) -> Token {
        Token {
            id: id.parse().unwrap(),
            name: "t".to_owned(),
            user: name(user),
            sha256: Sha256Digest::of(id.as_bytes()),
            grants: vec![],
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(expires),
            revoked: false,
        }
    }

    #[test]
    fn users_are_kept_by_name_and_no_name_twice() {
        let mut users = users(1);
        assert_eq!(users.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
        let again = add(&mut users, &name("bob"), hash("eA"), &[]).unwrap_err();
        assert_eq!(again.code(), "exists");
        let grants = vec!["viewer".parse().unwrap(); MOST_GRANTS + 1];
        assert_eq!(add(&mut users, &name("eve"), hash("eA"), &grants).unwrap_err().code(), "invalid");
        assert_eq!(set_grants(&mut users, &name("eve"), &[]).unwrap_err().code(), "not_found");
    }

    #[test]
    fn what_ends_sessions_moves_the_epoch_to_the_revision() {
        let epoch = |change: &dyn Fn(&mut Users) -> Result<(), ControllerError>| {
            let mut users = users(9);
            change(&mut users).unwrap();
            users.user(&name("bob")).unwrap().session_epoch
        };
        let bob = name("bob");
        assert_eq!(epoch(&|users| set_password(users, &bob, hash("eA"))), 9);
        assert_eq!(epoch(&|users| set_disabled(users, &bob, true)), 9);
        assert_eq!(epoch(&|users| end_sessions(users, &bob)), 9);
        assert_eq!(epoch(&|users| set_grants(users, &bob, &[])), 1);
        assert_eq!(epoch(&|users| set_disabled(users, &bob, false)), 1);
        let mut users = users(9);
        remove(&mut users, &bob).unwrap();
        add(&mut users, &bob, hash("eA"), &[]).unwrap();
        assert_eq!(users.user(&bob).unwrap().session_epoch, 9, "a namesake takes over no session");
    }

    #[test]
    fn sessions_that_began_before_their_end_are_over_and_the_ends_are_bounded() {
        let mut users = users(9);
        let ends = |users: &mut Users, revision, whose: Option<&str>| {
            users.revision = Generation::new(revision).unwrap();
            end_vouched(users, whose.map(name).as_ref());
        };
        let is_over = |users: &Users, user: &str, epoch| has_ended_vouched(users, &name(user), epoch);
        ends(&mut users, 9, Some("carol"));
        assert!(is_over(&users, "carol", 8) && !is_over(&users, "carol", 9) && !is_over(&users, "dan", 8));
        ends(&mut users, 12, Some("carol"));
        assert_eq!(users.ended_vouched.len(), 1);
        for number in 0..MOST_ENDED_VOUCHED as u64 + 5 {
            ends(&mut users, 20 + number, Some(&format!("user{number}")));
        }
        assert_eq!(users.ended_vouched.len(), MOST_ENDED_VOUCHED);
        assert!(is_over(&users, "carol", 11) && is_over(&users, "user0", 19), "no end is forgotten");
        assert!(is_over(&users, "user104", 123) && !is_over(&users, "dan", 100));
        ends(&mut users, 200, None);
        assert_eq!(users.ended_vouched.len(), 1);
        assert!(is_over(&users, "dan", 199) && !is_over(&users, "dan", 200));
    }

    #[test]
    fn a_deleted_user_leaves_no_token_behind() {
        let mut users = users(1);
        let now = DateTime::UNIX_EPOCH;
        add_token(&mut users, token("aaaaaaaaaa", "bob", 10), now).unwrap();
        add_token(&mut users, token("bbbbbbbbbb", "ada", 10), now).unwrap();
        revoke_token(&mut users, &"bbbbbbbbbb".parse().unwrap()).unwrap();
        remove(&mut users, &name("bob")).unwrap();
        assert_eq!(users.tokens.len(), 1);
        assert!(users.tokens[0].revoked);
        assert_eq!(revoke_token(&mut users, &"aaaaaaaaaa".parse().unwrap()).unwrap_err().code(), "not_found");
    }

    #[test]
    fn tokens_that_ran_out_make_room() {
        let mut users = users(1);
        let now = DateTime::UNIX_EPOCH;
        for at in 0..MOST_TOKENS {
            add_token(&mut users, token(&format!("{at:010}"), "bob", 10), now).unwrap();
        }
        assert_eq!(add_token(&mut users, token("xxxxxxxxxx", "bob", 10), now).unwrap_err().code(), "invalid");
        add_token(&mut users, token("yyyyyyyyyy", "ada", 20), now).unwrap();
        add_token(&mut users, token("xxxxxxxxxx", "bob", 20), now + TimeDelta::seconds(10)).unwrap();
        assert_eq!(users.tokens.len(), 2);
    }

    fn ended(number: u128, user: &str, secs: i64) -> RevokedSession {
        let until = DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        RevokedSession { id: SessionId::from(number.to_be_bytes()), user: Some(name(user)), until }
    }

    #[test]
    fn ended_sessions_are_remembered_until_they_would_have_ended() {
        let mut users = users(9);
        let now = DateTime::UNIX_EPOCH;
        assert!(revoke_session(&mut users, &name("bob"), &ended(0, "bob", 5), now));
        assert!(revoke_session(&mut users, &name("bob"), &ended(0, "bob", 5), now));
        assert_eq!(users.revoked_sessions.len(), 1);
        assert!(revoke_session(&mut users, &name("bob"), &ended(1, "bob", 50), now + TimeDelta::seconds(5)));
        assert_eq!(users.revoked_sessions, [ended(1, "bob", 50)]);
    }

    #[test]
    fn whoever_ends_one_session_after_another_ends_all_of_their_own_and_takes_no_more_room() {
        let mut users = users(9);
        let now = DateTime::UNIX_EPOCH;
        assert!(revoke_session(&mut users, &name("ada"), &ended(0, "ada", 50), now));
        for number in 1..=MOST_REVOKED_OF_ONE as u128 {
            assert!(revoke_session(&mut users, &name("bob"), &ended(number, "bob", 50), now));
        }
        assert_eq!(users.user(&name("bob")).unwrap().session_epoch, 1);
        assert!(revoke_session(&mut users, &name("bob"), &ended(999, "bob", 50), now));
        assert_eq!(users.user(&name("bob")).unwrap().session_epoch, 9);
        assert_eq!(users.revoked_sessions, [ended(0, "ada", 50)]);
    }

    #[test]
    fn those_who_are_in_no_list_fill_it_only_so_far_and_admins_still_change_it() {
        let mut users = users(9);
        let now = DateTime::UNIX_EPOCH;
        let mut number = 0;
        let mut ends = |users: &mut Users, user: &str| {
            number += 1;
            revoke_session(users, &name(user), &ended(number, user, 50), now)
        };
        for _ in 0..MOST_REVOKED_OF_ONE {
            assert!(ends(&mut users, "eve"));
        }
        assert!(!ends(&mut users, "eve") && ends(&mut users, "mallory"));
        for other in 0..5_000 {
            ends(&mut users, &format!("somebody-else-with-a-name-as-long-as-names-may-be-here-{other}"));
        }
        assert_eq!(users.revoked_sessions.len(), MOST_REVOKED);
        assert!(!ends(&mut users, "trent") && ends(&mut users, "bob"));
        assert_eq!(users.user(&name("bob")).unwrap().session_epoch, 9, "he is in the list: all of his ended");

        let long = "operator:a-name-that-is-quite-long-*/another-name-that-is-quite-long-*".parse::<Grant>().unwrap();
        let grants = vec![long; MOST_GRANTS];
        let token = |at| Token { grants: grants.clone(), ..token(&format!("{at:010}"), &format!("u{}", at / 99), 10) };
        let made = (0..MOST_TOKENS * 50).take_while(|at| add_token(&mut users, token(*at), now).is_ok()).count();
        assert!((50..1_000).contains(&made), "{made}");
        users.tokens.pop();
        add(&mut users, &name("new"), hash("eA"), &grants).unwrap();
        assert!(document::render(&users).len() as u64 <= Users::MAX_BYTES);
    }
}
