//! A mail server that speaks as much of SMTP (RFC 5321, 3207, 4954) as a client needs to hand over mail.

use std::sync::{Arc, Mutex};

use fleetman::config::TlsFiles;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// One that runs until it goes.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    noted: Arc<Mutex<Noted>>,
    _tasks: JoinSet<()>,
}

/// What was said to it.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Every line that a client said, of the mail too, and whether that was over TLS.
    pub(crate) lines: Vec<(bool, String)>,
    /// The whole mails.
    pub(crate) mails: Vec<String>,
    /// What is answered to a whole mail instead of yes, once each.
    pub(crate) refusals: Vec<String>,
}

impl MailServer {
    /// One that offers STARTTLS if it has files for it.
    pub(crate) async fn start(tls: Option<&TlsFiles>) -> Self {
        let acceptor = tls.map(acceptor);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, noted) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Noted>>::default());
        let mut tasks = JoinSet::new();
        let shared = noted.clone();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that breaks off is no failure of the server's.
                let _ = speak(stream, acceptor.clone(), &shared).await;
            }
        });
        Self { port, noted, _tasks: tasks }
    }

    pub(crate) fn noted<T>(&self, look: impl FnOnce(&mut Noted) -> T) -> T {
        look(&mut self.noted.lock().unwrap())
    }
}

fn acceptor(files: &TlsFiles) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn speak(mut stream: TcpStream, acceptor: Option<TlsAcceptor>, noted: &Mutex<Noted>) -> std::io::Result<()> {
    stream.write_all(b"220 mail.test ESMTP\r\n").await?;
    if !talk(&mut stream, acceptor.is_some(), false, noted).await? {
        return Ok(());
    }
    let Some(acceptor) = acceptor else { return Ok(()) };
    let mut stream = acceptor.accept(stream).await?;
    talk(&mut stream, false, true, noted).await.map(|_| ())
}

/// Answers until the client ends, or goes over to TLS.
async fn talk<S>(stream: &mut S, offers_tls: bool, is_tls: bool, noted: &Mutex<Noted>) -> std::io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut mail: Option<String> = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        noted.lock().unwrap().lines.push((is_tls, line.trim_end().to_owned()));
        if let Some(text) = &mut mail {
            if line != ".\r\n" {
                text.push_str(&line);
                continue;
            }
            let answer = {
                let mut noted = noted.lock().unwrap();
                if noted.refusals.is_empty() {
                    let text = mail.take().unwrap_or_default();
                    noted.mails.push(text);
                    "250 taken".to_owned()
                } else {
                    mail = None;
                    noted.refusals.remove(0)
                }
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            continue;
        }
        let answer = match line.split_whitespace().next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" if offers_tls => "250-mail.test\r\n250 STARTTLS",
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
            "STARTTLS" if offers_tls => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(true);
            }
            "AUTH" => "235 welcome",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok",
            "DATA" => {
                mail = Some(String::new());
                "354 say it"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(false);
            }
            _ => "500 what?",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}
