//! Why a request has no answer: every code that programs may find in a problem, with its status.

/// A kind of failure.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Problem {
    /// The status that it comes under, mostly.
    pub(in crate::web) status: u16,
    /// What programs compare; it never changes.
    pub(in crate::web) code: &'static str,
    /// When it comes.
    pub(in crate::web) when: &'static str,
}

const fn problem(status: u16, code: &'static str, when: &'static str) -> Problem {
    Problem { status, code, when }
}

/// What each status means, whatever the code.
pub(super) const STATUSES: [(u16, &str); 16] = [
    (400, "The request makes no sense."),
    (401, "Nobody is signed in."),
    (403, "The user lacks the role, or the bucket holds what nobody signed."),
    (404, "There is no such thing."),
    (405, "The path does not take this method."),
    (409, "Somebody or something else was there first; nothing was changed."),
    (412, "It is no longer what the caller knows; nothing was changed."),
    (413, "The body is too large."),
    (415, "The body is of another kind."),
    (421, "The request was sent to a name that is not this server's."),
    (422, "What was sent makes no sense as it stands."),
    (428, "The request does not say what the caller knows."),
    (429, "Too many tries with a wrong password, or too soon after the last time; wait."),
    (500, "The controller failed, or the store answered what it must not."),
    (503, "The bucket cannot be reached, or this controller cannot sign."),
    (504, "It took longer than was allowed."),
];

/// Every code, by status.
pub(super) const PROBLEMS: &[Problem] = &[
    problem(400, "invalid_body", "the body does not arrive whole"),
    problem(400, "invalid_form", "an upload is no form with files"),
    problem(400, "invalid_idempotency_key", "an `Idempotency-Key` is empty, too long or not printable"),
    problem(400, "invalid_json", "a body is not the JSON that the operation takes"),
    problem(400, "invalid_name", "a name or path could never be one"),
    problem(400, "invalid_path", "the path of the request names no cell"),
    problem(400, "invalid_precondition", "`If-Match` or `If-None-Match` says what cannot be known"),
    problem(400, "invalid_query", "a parameter is none, or has no such value"),
    problem(400, "no_key", "it is not said which object"),
    problem(401, "unauthenticated", "nobody is signed in, and the token is missing, unknown, revoked or too old"),
    problem(403, "bad_credentials", "the store does not believe this controller's credentials"),
    problem(403, "corrupt", "the store gave other bytes than a signed document names"),
    problem(403, "cross_site", "a page of another site sent the request"),
    problem(403, "denied", "the user lacks the role, or this controller's credentials lack a right"),
    problem(403, "exhausted", "there is no higher generation"),
    problem(403, "no_credentials", "this controller has no credentials"),
    problem(403, "outranked", "a key of a higher epoch has spoken"),
    problem(403, "unreadable", "a document in the bucket is not what its kind says"),
    problem(403, "untrusted", "a document in the bucket is not believed"),
    problem(403, "version_tampered", "a version is not what was published under its name"),
    problem(404, "no_such_bucket", "the store has no such bucket"),
    problem(404, "not_found", "there is no such thing"),
    problem(405, "method_not_allowed", "the path does not take this method"),
    problem(409, "changed", "it was changed meanwhile; 412 if the request named an ETag"),
    problem(409, "conflict", "somebody else wrote first"),
    problem(409, "deleting", "it is being deleted; the answer says when the name is free"),
    problem(409, "exists", "the name is taken by something else"),
    problem(409, "foreign_fleet", "the bucket is another fleet's"),
    problem(409, "guard", "it is not at the `if_generation` or not the content that was expected; see `conflict`"),
    problem(409, "in_use", "something needs it"),
    problem(409, "inputs_moving", "its inputs change all the time"),
    problem(409, "lost", "somebody else issued a trigger first; see `conflict`"),
    problem(409, "paused", "the cell is paused"),
    problem(409, "source_changed", "a file changed while it was copied"),
    problem(409, "too_much_pruned", "more would be deleted than was allowed"),
    problem(409, "version_incomplete", "a version lacks files"),
    problem(413, "too_large", "a body is larger than the operation takes; 500 if it is an object of the bucket"),
    problem(413, "upload_too_large", "an upload brings more than the config allows"),
    problem(415, "unsupported_type", "a body comes as another `Content-Type`"),
    problem(421, "foreign_host", "the request names a host that is not this server"),
    problem(422, "clock_skew", "this controller's clock is too far from the store's"),
    problem(422, "idempotency_key_reused", "another request was sent under the same `Idempotency-Key`"),
    problem(422, "invalid", "a value fits its kind and still makes no sense"),
    problem(422, "invalid_files", "files of an upload cannot be those of a release; all of them are named"),
    problem(422, "invalid_folder", "what is to be uploaded is no folder of a release"),
    problem(422, "invalid_template", "a template cannot be filled in"),
    problem(422, "invalid_yaml", "a document has mistakes; see `errors`"),
    problem(422, "local", "this controller cannot use its own disk; 500 if that is not for the caller to mend"),
    problem(422, "misconfigured", "the store is configured in a way that cannot work"),
    problem(422, "password", "a password is wrong, too weak, or cannot be checked now; 429 after too many"),
    problem(428, "precondition_required", "a write does not say what the caller knows"),
    problem(429, "too_soon", "the same was done moments ago; `retry_in_secs` says when it may be done again"),
    problem(500, "entropy", "the system has no randomness"),
    problem(500, "internal", "the controller made a mistake"),
    problem(500, "refused", "the store refused a request in a way that is not known"),
    problem(500, "sign", "a document cannot be signed"),
    problem(500, "too_many", "there are more objects than can be handled"),
    problem(
        500,
        "unfinished",
        "it counts, but its copies lag; anything that comes by finishes it; or a status of its cause",
    ),
    problem(500, "unsupported", "the store lacks what is needed"),
    problem(500, "upload", "an upload ended without a word"),
    problem(500, "write_rule", "the controller was about to break a rule of the bucket"),
    problem(503, "bucket_unavailable", "the bucket was never read, or no longer answers"),
    problem(503, "no_room", "uploads have filled the disk of this controller; come back later"),
    problem(503, "read_only", "nothing can be changed from here at present"),
    problem(503, "throttled", "the store wants fewer requests"),
    problem(503, "unreachable", "the store does not answer"),
    problem(503, "uploads_busy", "too many uploads are under way; come back later"),
    problem(
        504,
        "busy",
        "other controllers did not end in time what they do with the cell; 503 if others ask for the same",
    ),
    problem(504, "no_answer", "a node has not answered in time what it was asked"),
    problem(504, "timed_out", "it took longer than was allowed"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Whatever could be a code in what stands behind `mark`.
    fn codes<'a>(source: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
        let words = source.split(mark).skip(1).filter_map(|rest| {
            let rest = rest.trim_start();
            let rest = match rest.strip_prefix("StatusCode::") {
                Some(rest) => rest.split_once(',')?.1.trim_start(),
                None => rest,
            };
            rest.strip_prefix('"')?.split('"').next()
        });
        words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    }

    #[test]
    fn every_code_that_the_sources_give_is_told_and_each_once() {
        let told: BTreeSet<&str> = PROBLEMS.iter().map(|problem| problem.code).collect();
        assert_eq!(told.len(), PROBLEMS.len(), "a code is told twice");
        assert!(PROBLEMS.is_sorted_by_key(|problem| (problem.status, problem.code)));
        assert!(PROBLEMS.iter().all(|problem| STATUSES.iter().any(|(status, _)| *status == problem.status)));
        let of_errors = [include_str!("../../controller/error.rs"), include_str!("../../store/error.rs")];
        let of_requests = [
            include_str!("answer.rs"),
            include_str!("bucket.rs"),
            include_str!("fleet.rs"),
            include_str!("idempotency.rs"),
            include_str!("inputs.rs"),
            include_str!("past.rs"),
            include_str!("request.rs"),
            include_str!("../caller.rs"),
            include_str!("../failure.rs"),
            include_str!("../guard.rs"),
            include_str!("../pages/bundles/mod.rs"),
            include_str!("../paths.rs"),
        ];
        let of_errors = of_errors.iter().flat_map(|source| codes(source, "=> ("));
        let of_requests = of_requests.iter().flat_map(|source| {
            ["Failure::new(", "Self::new(", "bad_request("].into_iter().flat_map(|mark| codes(source, mark))
        });
        let given: BTreeSet<&str> = of_errors.chain(of_requests).collect();
        assert!(given.len() > 50, "they are still found: {given:?}");
        // Failures of pages alone.
        let untold: Vec<_> = given.difference(&told).filter(|code| **code != "template").collect();
        assert!(untold.is_empty(), "{untold:?}");
    }
}
