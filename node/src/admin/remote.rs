//! A node that is reached over TCP: its URL, the token that it wants, and whom its certificate must come from.
//!
//! **Invariant:** a token leaves this host only inside TLS.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderValue, Uri};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::identity;

/// The largest file with a token: one line.
const MAX_TOKEN: u64 = 4096;
/// The largest file of authorities: ten times all that browsers trust.
const MAX_AUTHORITIES: u64 = 4 << 20;

/// What keeps a node from being asked; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No URL of a node.
    #[error("{url:?} is no URL of a node: {problem}")]
    Url {
        /// What was given.
        url: String,
        /// What is allowed.
        problem: &'static str,
    },
    /// Others than the owner may use the file.
    #[error("{path}: mode {mode:04o} lets others use this token; if nobody has, run: chmod 600 {path}")]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system refused.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// No authorities, or no TLS at all.
    #[error("{0}")]
    Tls(String),
}

/// A node's URL, and what opens it.
#[derive(Clone)]
pub(crate) struct Remote {
    /// Scheme, host and port, as the user wrote them.
    pub(super) shown: String,
    /// What the Host field says.
    pub(crate) authority: String,
    /// What stands before `/v1`.
    pub(super) prefix: String,
    /// The Authorization field.
    pub(super) bearer: Option<HeaderValue>,
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A way to the node.
pub(crate) enum Way {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Remote {
    /// Reads what is needed; opens no connection.
    pub(super) fn new(url: &str, token: Option<&Path>, ca: Option<&Path>) -> Result<Self, RemoteError> {
        Self::read(url, token, ca, false)
    }

    /// The collector of traces at `url`. It is shown no token, so it may be reached over a network of the operator's own
    /// without TLS.
    #[cfg(feature = "otlp")]
    pub(crate) fn of_collector(url: &str, ca: Option<&Path>) -> Result<Self, RemoteError> {
        Self::read(url, None, ca, true)
    }

    fn read(url: &str, token: Option<&Path>, ca: Option<&Path>, plain_afar: bool) -> Result<Self, RemoteError> {
        let wrong = |problem| RemoteError::Url { url: url.to_owned(), problem };
        let uri: Uri = url.parse().map_err(|_| wrong("such as https://fra.example.net:8053"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("it begins with https:// or, on this host, http://"));
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("scheme, host and port are expected, such as https://fra.example.net:8053"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let (default_port, tls) = match scheme {
            "https" => {
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| wrong("no certificate can be for this host"))?;
                (443, Some((client_config(ca)?, name)))
            }
            "http" if local || plain_afar => (80, None),
            "http" => return Err(wrong("everybody on the way could read along; use https://")),
            _ => return Err(wrong("it begins with https:// or, on this host, http://")),
        };
        Ok(Self {
            shown: format!("{scheme}://{authority}"),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            bearer: token.map(bearer).transpose()?,
            port: authority.port_u16().unwrap_or(default_port),
            host,
            tls,
        })
    }

    pub(crate) async fn connect(&self) -> io::Result<Way> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Way::Plain(stream)),
            Some((config, name)) => {
                let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
                Ok(Way::Tls(Box::new(stream)))
            }
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("Remote").field("url", &self.shown).finish_non_exhaustive()
    }
}

fn bearer(path: &Path) -> Result<HeaderValue, RemoteError> {
    let io = |source| RemoteError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    // A pipe, as of a password manager, has no others.
    if metadata.is_file() && metadata.mode() & identity::forbidden(path) != 0 {
        return Err(RemoteError::Loose { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_TOKEN).read_to_string(&mut text).map_err(io)?;
    let damaged =
        || RemoteError::Damaged { path: path.to_owned(), problem: "one token on one line is expected".into() };
    if text.trim().is_empty() || text.trim().contains(char::is_whitespace) {
        return Err(damaged());
    }
    let line = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut field = HeaderValue::from_str(&line).map_err(|_| damaged())?;
    field.set_sensitive(true);
    Ok(field)
}

fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, RemoteError> {
    let certificates = match ca {
        Some(path) => {
            let io = |source| RemoteError::Io { path: path.to_owned(), source };
            let mut text = Vec::new();
            File::open(path).map_err(io)?.take(MAX_AUTHORITIES).read_to_end(&mut text).map_err(io)?;
            CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect()
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates);
    match ca {
        _ if good > 0 => {}
        Some(path) => {
            return Err(RemoteError::Damaged { path: path.to_owned(), problem: "no certificate in PEM in it".into() });
        }
        None => {
            let problem = "this system has no certificate authorities: install ca-certificates, or name one with --ca";
            return Err(RemoteError::Tls(problem.into()));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| RemoteError::Tls(format!("no TLS on this machine: {error}")))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_is_read_or_the_mistake_is_told() {
        let read = |url: &str| Remote::new(url, None, None).map_err(|error| error.to_string());
        let remote = read("http://127.0.0.1:8053/").unwrap();
        assert_eq!((remote.authority.as_str(), remote.port, remote.prefix.as_str()), ("127.0.0.1:8053", 8053, ""));
        let remote = read("http://[::1]/nigh/").unwrap();
        assert_eq!((remote.host.as_str(), remote.port, remote.prefix.as_str()), ("::1", 80, "/nigh"));
        assert!(read("http://localhost:1").is_ok());
        for (wrong, words) in [
            ("http://192.0.2.1:8053", "everybody on the way"),
            ("http://localhost.example.com", "everybody on the way"),
            ("127.0.0.1:8053", "it begins with"),
            ("/run/nigh/nigh.sock", "it begins with"),
            ("ftp://fra", "it begins with"),
            ("https://me:pw@fra.example.net", "scheme, host and port"),
            ("not a url", "such as https://"),
        ] {
            let problem = read(wrong).unwrap_err();
            assert!(problem.contains(words), "{wrong}: {problem}");
        }
    }
}
