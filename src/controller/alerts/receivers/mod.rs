//! Who is told, and how: each channel sends one message and says what became of it.
//!
//! The words of an alert are mostly a node's own, and hostile. Each channel makes them harmless where it writes them:
//! JSON for programs (`webhook.rs`), text in which nothing is markup (`slack.rs`), mail that is plain text under
//! headers that hold none of them (`mail.rs`).

mod mail;
mod slack;
mod text;
mod webhook;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use http::{StatusCode, Uri};
use ulid::Ulid;
use uuid::Uuid;

pub use mail::{MailSettings, MailTls};

use self::mail::Mail;
use super::batch::{Fate, ReceiverRules};
use crate::model::alert::Notice;
use crate::outbound::{Client, OutboundError};
use crate::store::Secret;

/// How a receiver is reached.
#[derive(Debug, Clone)]
pub enum Channel {
    /// JSON by HTTP, signed if there is a secret.
    Webhook {
        /// Where to. May hold a secret itself.
        url: Secret,
        /// What the signature is made with.
        secret: Option<Secret>,
        /// PEM certificates to trust besides the system's.
        ca_file: Option<PathBuf>,
        /// Whether it may cross a network readable.
        plain_http: bool,
    },
    /// What Slack takes, and what is made like it.
    Slack {
        /// Where to; whoever knows it can write there.
        url: Secret,
        /// PEM certificates to trust besides the system's.
        ca_file: Option<PathBuf>,
        /// Whether it may cross a network readable.
        plain_http: bool,
    },
    /// Mail.
    Mail(MailSettings),
}

/// Why a receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Correct the URL.
    #[error("the url of receiver {receiver:?} is none: expected http(s)://host/path without user and password")]
    Url {
        /// The receiver.
        receiver: String,
    },
    /// Take https, or say that plain HTTP is meant.
    #[error(
        "the url of receiver {receiver:?} is plain HTTP, which crosses the network readable: take https, or set plain_http: true"
    )]
    Plain {
        /// The receiver.
        receiver: String,
    },
    /// Correct the address.
    #[error("receiver {receiver:?}: {address:?} is no mail address")]
    Address {
        /// The receiver.
        receiver: String,
        /// What was given.
        address: String,
        /// Why not.
        #[source]
        source: lettre::address::AddressError,
    },
    /// Correct the settings of TLS.
    #[error("receiver {receiver:?} cannot be set up")]
    Outbound {
        /// The receiver.
        receiver: String,
        /// Why not.
        #[source]
        source: OutboundError,
    },
    /// Correct the settings of mail.
    #[error("receiver {receiver:?} cannot be set up")]
    Smtp {
        /// The receiver.
        receiver: String,
        /// Why not.
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

/// Somebody who is told.
#[derive(Debug)]
pub struct Receiver {
    rules: ReceiverRules,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Webhook { client: Client, url: Uri, secret: Option<Secret> },
    Slack { client: Client, url: Uri },
    Mail(Box<Mail>),
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Its own id, the same however often it is sent.
    pub id: Ulid,
    /// The fleet.
    pub fleet: Uuid,
    /// Where people look at the fleet.
    pub portal: Option<&'a str>,
    /// When it is sent, by this controller's clock: receivers refuse what is old.
    pub sent_at: DateTime<Utc>,
    /// Whether it only tries whether messages arrive.
    pub is_test: bool,
    /// What it says.
    pub notice: &'a Notice,
}

impl Receiver {
    /// A receiver that is told of what `rules` say by way of `channel`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(rules: ReceiverRules, channel: Channel) -> Result<Self, ReceiverError> {
        let receiver = || rules.name.clone();
        let client = |ca_file: Option<&PathBuf>| {
            let client = Client::new(ca_file.map(PathBuf::as_path));
            client.map_err(|source| ReceiverError::Outbound { receiver: receiver(), source })
        };
        let parse = |url: &Secret, plain_http: bool| {
            let parsed = url.expose().trim().parse::<Uri>().ok();
            let is_http = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https"));
            let parsed = parsed.filter(|url| is_http(url) && crate::outbound::host(url).is_some());
            let url = parsed.ok_or_else(|| ReceiverError::Url { receiver: receiver() })?;
            if !plain_http && !crate::outbound::is_safe(&url) {
                return Err(ReceiverError::Plain { receiver: receiver() });
            }
            Ok(url)
        };
        let way = match channel {
            Channel::Webhook { url, secret, ca_file, plain_http } => {
                Way::Webhook { client: client(ca_file.as_ref())?, url: parse(&url, plain_http)?, secret }
            }
            Channel::Slack { url, ca_file, plain_http } => {
                Way::Slack { client: client(ca_file.as_ref())?, url: parse(&url, plain_http)? }
            }
            Channel::Mail(settings) => Way::Mail(Box::new(Mail::new(&rules.name, settings)?)),
        };
        Ok(Self { rules, way })
    }

    /// What it is told of.
    #[must_use]
    pub fn rules(&self) -> &ReceiverRules {
        &self.rules
    }

    /// How it is reached, in a word.
    #[must_use]
    pub fn channel(&self) -> &'static str {
        match self.way {
            Way::Webhook { .. } => "webhook",
            Way::Slack { .. } => "slack",
            Way::Mail(_) => "mail",
        }
    }

    /// Sends one message, within half a minute.
    pub async fn send(&self, letter: &Letter<'_>) -> Fate {
        match &self.way {
            Way::Webhook { client, url, secret } => webhook::send(client, url, secret.as_ref(), letter).await,
            Way::Slack { client, url } => slack::send(client, url, letter).await,
            Way::Mail(mail) => mail.send(letter).await,
        }
    }

    /// Sends a message that only tries whether messages arrive.
    pub async fn test(&self, id: Ulid, fleet: Uuid, portal: Option<&str>, now: DateTime<Utc>) -> Fate {
        let notice = Notice::default();
        self.send(&Letter { id, fleet, portal, sent_at: now, is_test: true, notice: &notice }).await
    }
}

/// What an answer over HTTP means.
fn fate(answer: Result<StatusCode, String>) -> Fate {
    match answer {
        Ok(status) if status.is_success() => Fate::Sent,
        // It is there, and says that it does not want this: it would say so again.
        Ok(status)
            if status.is_client_error()
                && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
                    .contains(&status) =>
        {
            Fate::Never(format!("it answered {status}"))
        }
        Ok(status) => Fate::Later(format!("it answered {status}")),
        Err(why) => Fate::Later(why),
    }
}
