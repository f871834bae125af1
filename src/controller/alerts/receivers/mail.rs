//! Mail by SMTP. Plain text: there is no markup in it that a stranger's words could be.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{self, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::{Letter, ReceiverError, text};
use crate::controller::alerts::batch::Fate;
use crate::outbound::OutboundError;
use crate::store::{Secret, in_full};

/// For one command of SMTP, and for all of a message.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// In the clear at first; a server that does not go over to TLS gets nothing.
    StartTls,
    /// Over TLS from the first byte.
    Implicit,
    /// In the clear. Only for a server on this machine.
    None,
}

impl MailTls {
    /// The usual port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The server's name, which its certificate must have.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// With what name and password, if it wants any.
    pub login: Option<(String, Secret)>,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mail(from {}, to {:?})", self.from, self.to)
    }
}

impl Mail {
    pub(super) fn new(receiver: &str, settings: MailSettings) -> Result<Self, ReceiverError> {
        let smtp = |source| ReceiverError::Smtp { receiver: receiver.to_owned(), source };
        let mailbox = |address: &String| {
            address.parse::<Mailbox>().map_err(|source| ReceiverError::Address {
                receiver: receiver.to_owned(),
                address: address.clone(),
                source,
            })
        };
        let mut parameters = TlsParameters::builder(settings.server.clone());
        if let Some(path) = &settings.ca_file {
            let unusable = |why: String| ReceiverError::Outbound {
                receiver: receiver.to_owned(),
                source: OutboundError::Certificates { path: path.clone(), why },
            };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| unusable(in_full(&error)))?;
            parameters = parameters.add_root_certificate(certificate);
        }
        let tls = match settings.tls {
            MailTls::StartTls => Tls::Required(parameters.build().map_err(smtp)?),
            MailTls::Implicit => Tls::Wrapper(parameters.build().map_err(smtp)?),
            MailTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.server)
            .port(settings.port)
            .tls(tls)
            // The machine's own name is nobody's business.
            .hello_name(ClientId::Domain("fleetman".to_owned()))
            .timeout(Some(COMMAND_DEADLINE));
        if let Some((user, password)) = settings.login {
            transport = transport.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        let to = settings.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        Ok(Self { transport: transport.build(), from: mailbox(&settings.from)?, to })
    }

    pub(super) async fn send(&self, letter: &Letter<'_>) -> Fate {
        let message = match self.message(letter) {
            Ok(message) => message,
            Err(error) => return Fate::Never(in_full(&error)),
        };
        match tokio::time::timeout(DEADLINE, self.transport.send(message)).await {
            Ok(Ok(_)) => Fate::Sent,
            Ok(Err(error)) if error.is_permanent() => Fate::Never(in_full(&error)),
            Ok(Err(error)) => Fate::Later(in_full(&error)),
            Err(_) => Fate::Later(format!("it took more than {} s", DEADLINE.as_secs())),
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Result<Message, lettre::error::Error> {
        let mut message: MessageBuilder = Message::builder()
            .from(self.from.clone())
            .subject(format!("[fleetman] {}", text::headline(letter)))
            // The same however often it is sent, so that mail programs show it once.
            .message_id(Some(format!("<{}@fleetman>", letter.id.to_string().to_lowercase())))
            .date(letter.sent_at.into())
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            message = message.to(to.clone());
        }
        let body = text::body(letter, ToOwned::to_owned);
        message.header(header::ContentType::TEXT_PLAIN).body(body)
    }
}
