//! The byte stream under a connection: TCP, TCP with TLS, or a Unix socket.
//!
//! It is the same for SQL and for replication, and what is agreed with the server before its start-up packet is
//! agreed here: whether there is TLS, and who the server is.

use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::tls::{Negotiation, TlsFileError, TlsOptions};
use super::{ConnectConfig, Endpoint, Host, Keepalive, certificate, tls};

/// Length and code of the message that asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// An open stream to a server.
#[derive(Debug)]
pub struct Stream(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Tls(Box<Encrypted<TcpStream>>),
    Unix(UnixStream),
}

/// Whether a stream is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It is not.
    Plain,
    /// By TLS.
    Tls,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is nobody at the address.
    #[error("reach the server at {address}")]
    Unreachable {
        /// Host and port, or the socket's path.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers in time.
    #[error("reach the server at {address}: no answer within {} s", .after.as_secs_f32())]
    TimedOut {
        /// Host and port, or the socket's path.
        address: String,
        /// The limit.
        after: std::time::Duration,
    },
    /// The server has no TLS.
    #[error(
        "encrypt the connection to {address}: the server does not offer TLS (`ssl = on` is missing there)"
    )]
    NoTls {
        /// Host and port.
        address: String,
    },
    /// TLS failed, or the server is not who it should be.
    #[error("encrypt the connection to {address}: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate or key of ours.
    #[error("encrypt the connection")]
    TlsFile {
        /// Which, and why.
        #[source]
        source: TlsFileError,
        /// Nobody asked for it, nor for encryption.
        optional: bool,
    },
}

impl Stream {
    /// Opens it. Without a limit of time.
    ///
    /// # Errors
    /// [`StreamError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes it.
    pub async fn open(
        config: &ConnectConfig,
        endpoint: &Endpoint,
        encryption: Encryption,
    ) -> Result<Self, StreamError> {
        let unreachable = |source| StreamError::Unreachable {
            address: address(endpoint),
            source,
        };
        if let Some(path) = endpoint.socket() {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok(Stream(Kind::Unix(stream)));
        }
        let stream = tcp(endpoint, &config.keepalive).await.map_err(unreachable)?;
        match encryption {
            Encryption::Plain => Ok(Stream(Kind::Tcp(stream))),
            Encryption::Tls => {
                let stream = encrypted(stream, endpoint, &config.tls).await?;
                Ok(Stream(Kind::Tls(Box::new(stream))))
            }
        }
    }

    /// Where it leads, of those that a name stands for.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let stream = match &self.0 {
            Kind::Tcp(stream) => stream,
            Kind::Tls(stream) => stream.get_ref().0,
            Kind::Unix(_) => return None,
        };
        stream.peer_addr().ok().map(|address| address.ip())
    }

    /// What a SCRAM exchange over it can be bound to (`tls-server-end-point`).
    pub fn end_point(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Kind::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates()?;
                certificate::end_point(certificates.first()?)
            }
            Kind::Tcp(_) | Kind::Unix(_) => None,
        }
    }
}

/// The server's address, for messages.
pub(super) fn address(endpoint: &Endpoint) -> String {
    match endpoint.socket() {
        Some(path) => path.display().to_string(),
        None => endpoint.to_string(),
    }
}

async fn tcp(endpoint: &Endpoint, keepalive: &Keepalive) -> io::Result<TcpStream> {
    let stream = match (endpoint.address, &endpoint.host) {
        (Some(address), _) => TcpStream::connect((address, endpoint.port)).await?,
        (None, host) => {
            let host = host.to_string();
            let all: Vec<_> = lookup_host((host.as_str(), endpoint.port)).await?.collect();
            TcpStream::connect(all.as_slice()).await?
        }
    };
    // A status update is tiny and must not wait for the next one.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    if keepalive.on {
        let keepalive = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(keepalive.user_timeout)?;
    Ok(stream)
}

async fn encrypted(
    mut stream: TcpStream,
    endpoint: &Endpoint,
    options: &TlsOptions,
) -> Result<Encrypted<TcpStream>, StreamError> {
    let address = || address(endpoint);
    if options.negotiation == Negotiation::Postgres {
        let lost = |source| StreamError::Unreachable {
            address: address(),
            source,
        };
        stream.write_all(&SSL_REQUEST).await.map_err(lost)?;
        // One byte and no more: what follows it is TLS, or somebody's in between.
        if stream.read_u8().await.map_err(lost)? != b'S' {
            return Err(StreamError::NoTls { address: address() });
        }
    }
    let refused = |reason| StreamError::Tls {
        address: address(),
        reason,
    };
    let config = options.client_config();
    let config = config.map_err(|source| StreamError::TlsFile {
        source,
        optional: options.files_are_optional(),
    })?;
    let Host::Tcp(host) = &endpoint.host else {
        return Err(StreamError::NoTls { address: address() });
    };
    let name = ServerName::try_from(host.clone());
    let name = name.map_err(|_| refused(format!("`{host}` is no name that a certificate can be for")))?;
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    let shaken = shaken.map_err(|error| refused(explain(&error, host)))?;
    // A server that knows nothing of it may be another service altogether.
    if options.negotiation == Negotiation::Direct && shaken.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
        return Err(refused(
            "it is no PostgreSQL that takes TLS at once (sslnegotiation=direct)".to_owned(),
        ));
    }
    Ok(shaken)
}

/// What a failed handshake means, in words.
fn explain(error: &io::Error, host: &str) -> String {
    match of_tls(error) {
        Some(Error::InvalidCertificate(error)) => about_the_server(error, host),
        Some(_) => tls_reason(error).unwrap_or_default(),
        None if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ) =>
        {
            "the server closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}

/// What an error of an encrypted stream means, in words; `None` if it is none of TLS's own. In TLS 1.3 a server may say
/// after the handshake what it thinks of our certificate.
pub fn tls_reason(error: &io::Error) -> Option<String> {
    Some(match of_tls(error)? {
        Error::AlertReceived(alert) => about_us(*alert),
        Error::NoApplicationProtocol => {
            "the server takes no TLS at once (sslnegotiation=direct needs PostgreSQL 17)".to_owned()
        }
        other => other.to_string(),
    })
}

fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

fn about_the_server(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate comes from nobody that sslrootcert trusts".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: look at the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate is not for `{host}`, which sslmode=verify-full asks for")
        }
        CertificateError::Revoked => "the server's certificate is revoked by sslcrl".to_owned(),
        CertificateError::BadEncoding => {
            "the server's certificate cannot be read: verification needs X.509 version 3".to_owned()
        }
        // Of rustls's only by its name.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows a certificate that is made for an authority, and sslrootcert does not hold it"
                .to_owned()
        }
        other => format!("the server's certificate is not valid: {other}"),
    }
}

/// What the server says of our certificate, or of our lack of one.
fn about_us(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "the server refused our certificate (sslcert): it has expired"
        }
        AlertDescription::CertificateRevoked => "the server refused our certificate (sslcert): it is revoked",
        AlertDescription::UnknownCA => {
            "the server refused our certificate (sslcert): it comes from nobody that the server trusts"
        }
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate: give sslcert and sslkey"
        }
        AlertDescription::ProtocolVersion => {
            "the server speaks no version of TLS that we do (look at ssl_min_protocol_version)"
        }
        alert => return format!("the server ended the handshake: {alert:?}"),
    }
    .to_owned()
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(context),
            Kind::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        match self.end_point() {
            Some(end_point) => ChannelBinding::tls_server_end_point(end_point),
            None => ChannelBinding::none(),
        }
    }
}

/// Hands over a stream whose TLS is agreed on already, where the client library would agree on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsItIs;

impl TlsConnect<Stream> for AsItIs {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(stream))
    }
}
