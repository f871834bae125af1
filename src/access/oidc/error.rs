//! Why signing in elsewhere came to nothing.

use std::io;

use crate::outbound::OutboundError;

/// Why signing in elsewhere came to nothing, named by what helps.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// Begin again: the cookie is missing, too old, or of another way there.
    #[error("this sign-in was not begun in this browser, or more than 10 minutes ago: begin again")]
    Began,
    /// The person or the service said no.
    #[error("{issuer} did not let you sign in: {}", quoted(why))]
    Refused {
        /// Who.
        issuer: String,
        /// Its words.
        why: String,
    },
    /// Try again later, or have the service looked at.
    #[error("{url} does not answer: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// Have the service or its settings here looked at.
    #[error("{url} answered with something that cannot be used: {why}")]
    Unusable {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Have the service or its settings here looked at: what it says of the person is not to be believed.
    #[error("the ID token of {issuer} is not believed: {why}")]
    Token {
        /// Who is said to have issued it.
        issuer: String,
        /// What is wrong with it.
        why: String,
    },
    /// Have a name set at the service.
    #[error("{issuer} tells no name for you that can be one here: {why}")]
    Name {
        /// Who.
        issuer: String,
        /// What is missing.
        why: String,
    },
    /// Give other certificates as `ca_file`, or see what is wrong with TLS here.
    #[error("oidc cannot be set up")]
    Outbound(#[from] OutboundError),
    /// The operating system has no randomness.
    #[error("asking the system for randomness")]
    Entropy(#[source] io::Error),
}

/// A text of somebody else's, cut, in quotes, and without characters that do something.
pub(super) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 200;
    let cut: String = text.chars().take(MOST_CHARS).collect();
    format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
}
