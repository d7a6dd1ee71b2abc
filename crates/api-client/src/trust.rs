//! The certificate authorities that are trusted: the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

use piece::Fault;
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The TLS side of an agent. It reads the roots, which costs some milliseconds: to be called for https only, and once.
///
/// # Errors
/// Where there is no authority to trust.
pub fn config() -> Result<TlsConfig, Fault> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let why = loaded.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(Fault::failed(format!("no certificate authorities to trust were found{why}"))
            .hint("install the package ca-certificates, or set SSL_CERT_FILE to a file with them"));
    }
    let roots = loaded.certs.iter().map(|root| Certificate::from_der(root).to_owned());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::from(roots))
        .build())
}
