//! The certificate that the TCP listener shows.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::access::AccessError;
use super::tokens::guarded;
use super::watched::Watched;

/// The largest file: a chain of certificates has a few KiB.
const MAX_FILE: u64 = 1 << 20;

/// The server's side of TLS, as its files say now.
pub(super) type Tls = Watched<Arc<ServerConfig>>;

/// Reads certificate and key, in this order.
pub(super) fn open(certificate: PathBuf, key: PathBuf) -> Result<Tls, AccessError> {
    Watched::open(vec![certificate, key], read)
}

fn read(paths: &[PathBuf]) -> Result<Arc<ServerConfig>, AccessError> {
    let [certificate, key] = paths else {
        return Err(AccessError::Tokens("a certificate and a key are needed".into()));
    };
    let damaged = |path: &PathBuf, problem: String| AccessError::Certificate { path: path.clone(), problem };
    let size =
        std::fs::metadata(certificate).map_err(|source| AccessError::Io { path: certificate.clone(), source })?;
    if size.len() > MAX_FILE {
        return Err(damaged(certificate, format!("larger than {} KiB", MAX_FILE >> 10)));
    }
    let text = std::fs::read(certificate).map_err(|source| AccessError::Io { path: certificate.clone(), source })?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(certificate, format!("no certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(damaged(certificate, "no certificate in PEM in it".into()));
    }
    let private = PrivateKeyDer::from_pem_slice(&guarded(key, MAX_FILE)?)
        .map_err(|error| damaged(key, format!("no private key in PEM: {error}")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| damaged(certificate, format!("does not go with the key {}: {error}", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
