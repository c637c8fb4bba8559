//! TLS towards servers: what is trusted, and what a certificate says about itself.
//!
//! One configuration per way of checking is made and kept for `KEPT`, so that a renewed file of authorities is taken up
//! without a restart. Sessions are not resumed: a resumed one shows the certificate of yesterday, and a probe is there to
//! find out that today's has ended.
//!
//! A file of authorities is named by the catalogue, which comes from the network; so only its plain name is taken, within
//! the directory that the node's own configuration names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::measure::outcome::{Detail, Failure, Outcome};
use crate::measure::target::TlsSpec;

/// How long a configuration serves before the files are read again.
const KEPT: Duration = Duration::from_secs(300);
/// The same if it could not be made: someone is at work on it.
const KEPT_BROKEN: Duration = Duration::from_secs(10);
/// Ways of checking kept: more than a catalogue has; beyond it all are made anew.
const MOST_KEPT: usize = 64;
/// The largest file of authorities: ten times all that browsers trust.
const MAX_FILE: u64 = 4 << 20;

/// The certificates' side of a node's probes.
#[derive(Debug, Default)]
pub struct Tls {
    authorities: Option<PathBuf>,
    kept: Mutex<BTreeMap<(TlsSpec, bool), Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    made: Instant,
    config: Result<Arc<ClientConfig>, String>,
}

impl Kept {
    fn is_good(&self) -> bool {
        self.made.elapsed() < if self.config.is_ok() { KEPT } else { KEPT_BROKEN }
    }
}

impl Tls {
    /// With files of authorities in that directory, if there is one.
    pub fn new(authorities: Option<PathBuf>) -> Self {
        Self { authorities, kept: Mutex::default() }
    }

    /// Speaks TLS over `stream` to the server of that name; when its certificate ends comes with it.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        spec: &TlsSpec,
        http2: bool,
    ) -> Result<(TlsStream<TcpStream>, Option<u64>), Outcome> {
        let config = self.config(spec, http2).await.map_err(|why| Outcome::NotMade(format!("not probed: {why}")))?;
        let name = ServerName::try_from(without_port(host).to_owned()).map_err(|_| {
            Outcome::NotMade(format!("not probed: probe.host {host:?} is no name that a certificate can be for"))
        })?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(&error))?;
        let (_, session) = stream.get_ref();
        if http2 && session.alpn_protocol() != Some(b"h2") {
            return Err(Failure::of("tls", "the server does not speak HTTP/2"));
        }
        let ends = session.peer_certificates().and_then(|chain| ends(chain.first()?));
        Ok((stream, ends))
    }

    async fn config(&self, spec: &TlsSpec, http2: bool) -> Result<Arc<ClientConfig>, String> {
        let key = (spec.clone(), http2);
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(good) = kept.get(&key).filter(|kept| kept.is_good()) {
                return good.config.clone();
            }
        }
        let (wanted, directory) = (key.clone(), self.authorities.clone());
        // Reading files takes a moment that other tasks should not wait.
        let made = tokio::task::spawn_blocking(move || make(&wanted.0, wanted.1, directory.as_deref())).await;
        let config = made.unwrap_or_else(|_| Err("a bug while reading authorities, see the log".to_owned()));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, Kept { made: Instant::now(), config: config.clone() });
        config
    }
}

/// A host without the port that a `Host` field may have.
fn without_port(host: &str) -> &str {
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next().unwrap_or(v6);
    }
    host.split(':').next().unwrap_or(host)
}

fn make(spec: &TlsSpec, http2: bool, directory: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS on this machine: {error}"))?;
    let mut config = if spec.verify {
        builder.with_root_certificates(roots(spec.ca.as_deref(), directory)?).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone::new(&provider))).with_no_client_auth()
    };
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(file: Option<&str>, directory: Option<&Path>) -> Result<RootCertStore, String> {
    let certificates = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(name) => {
            let directory = directory.ok_or_else(|| {
                format!("probe.ca is {name:?}, and this node's configuration has no measure.authorities to find it in")
            })?;
            read(&directory.join(name))?
        }
    };
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates);
    match (good, file) {
        (1.., _) => Ok(roots),
        (0, None) => {
            Err("this system has no certificate authorities: install ca-certificates, or write probe.ca".into())
        }
        (0, Some(name)) => Err(format!("no certificate in {name:?} of measure.authorities; PEM is expected")),
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?.len();
    if size > MAX_FILE {
        return Err(format!("{shown} has {size} bytes, where at most {MAX_FILE} are allowed"));
    }
    let text = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    Ok(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect())
}

/// When a certificate ends, in Unix seconds.
fn ends(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// What was wrong with a handshake, in words for people.
fn failed(error: &io::Error) -> Outcome {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::of("tls", "closed in the handshake"),
            io::ErrorKind::ConnectionReset => Failure::of("tls", "reset in the handshake"),
            _ => Failure::of("tls", error),
        };
    };
    let words = match tls {
        rustls::Error::InvalidCertificate(problem) => certificate_problem(problem),
        rustls::Error::InvalidMessage(_) => Detail::new("no TLS spoken there"),
        rustls::Error::NoApplicationProtocol => Detail::new("the server does not speak the wanted HTTP version"),
        other => Detail::new(other),
    };
    Outcome::Failed(Failure::Protocol("tls", words))
}

fn certificate_problem(problem: &CertificateError) -> Detail {
    use CertificateError as Problem;
    match problem {
        Problem::Expired | Problem::ExpiredContext { .. } => Detail::new("the certificate has expired"),
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => Detail::new("the certificate is not valid yet"),
        Problem::Revoked => Detail::new("the certificate is revoked"),
        Problem::UnknownIssuer => Detail::new("the certificate is signed by an authority that is not trusted"),
        Problem::NotValidForName => Detail::new("the certificate is for another name"),
        Problem::NotValidForNameContext { expected, presented } => Detail::new(format_args!(
            "the certificate is not for {}, but for {}",
            expected.to_str(),
            presented.first().map_or("nobody", String::as_str)
        )),
        Problem::BadSignature => Detail::new("the certificate's signature is wrong"),
        other => Detail::new(format_args!("bad certificate: {other}")),
    }
}

/// Takes every certificate, as `verify = false` wants it; that its owner is there is still proven.
#[derive(Debug)]
struct Anyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anyone {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_without_its_port() {
        for (host, name) in [
            ("www.example.com", "www.example.com"),
            ("www.example.com:8443", "www.example.com"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
