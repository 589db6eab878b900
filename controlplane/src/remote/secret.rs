//! What proves to etcd who we are, and to us that it is the right etcd.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Certificates and key, checked as far as that is possible without an etcd.
#[derive(Clone, Default)]
pub struct Secret {
    /// `None`: the authorities that this machine trusts.
    authorities: Option<Vec<u8>>,
    /// Certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {file}")]
    Read { file: String, source: std::io::Error },
    #[error("{file} holds no PEM {what}")]
    Pem { file: String, what: &'static str },
    #[error("a certificate for etcd needs its key, and a key its certificate")]
    Half,
}

// === impl Secret ===

impl Secret {
    /// From PEM files.
    ///
    /// # Errors
    /// They cannot be read, or hold something else.
    pub fn load(ca: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> Result<Secret, SecretError> {
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificates(certificate)?, private_key(key)?)),
            (None, None) => None,
            _ => return Err(SecretError::Half),
        };
        Ok(Secret { authorities: ca.map(certificates).transpose()?, own })
    }

    pub(super) fn tls(&self) -> ClientTlsConfig {
        let tls = match &self.authorities {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match &self.own {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<u8>, SecretError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(SecretError::Pem { file: file.display().to_string(), what: "certificate" }),
    }
}

fn private_key(file: &Path) -> Result<Vec<u8>, SecretError> {
    let pem = read(file)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(SecretError::Pem { file: file.display().to_string(), what: "private key" }),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, SecretError> {
    std::fs::read(file).map_err(|source| SecretError::Read { file: file.display().to_string(), source })
}
