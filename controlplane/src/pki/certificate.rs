//! X.509: the authority, what it issues, and what an issued certificate says.

use super::{Error, files};
use api::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509CertificationRequest};

const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Certificates are valid from a little earlier on: edge devices have wrong clocks. Short-lived ones are not, as in
/// kube-controller-manager's signers.
const BACKDATE: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// A certificate and its private key, both PEM (PKCS #8).
#[derive(Clone)]
pub struct Pair {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What a serving certificate is valid for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

/// The built-in signers of certificate signing requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// `kubernetes.io/kube-apiserver-client`.
    Client,
    /// `kubernetes.io/kube-apiserver-client-kubelet`.
    KubeletClient,
    /// `kubernetes.io/kubelet-serving`.
    KubeletServing,
}

/// What an authority is called, and its files.
pub(super) struct Place {
    pub(super) subject: &'static str,
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
}

/// A certificate authority of the cluster.
pub(super) struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

// === impl Names ===

impl Names {
    /// Adds the names under which clients on this machine and pods call the API.
    #[must_use]
    pub(super) fn with_usual(mut self) -> Names {
        let usual = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        self.dns.extend(usual.map(str::to_owned));
        self.ips.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        self.dns.sort();
        self.dns.dedup();
        self.ips.sort();
        self.ips.dedup();
        self
    }
}

// === impl Signer ===

impl Signer {
    #[must_use]
    pub fn from_name(name: &str) -> Option<Signer> {
        match name {
            "kubernetes.io/kube-apiserver-client" => Some(Signer::Client),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Signer::KubeletClient),
            "kubernetes.io/kubelet-serving" => Some(Signer::KubeletServing),
            _ => None,
        }
    }
}

// === impl Authority ===

impl Authority {
    pub(super) fn open_or_create(dir: &Path, place: &Place, now: Timestamp) -> Result<Authority, Error> {
        let (certificate, key) = (dir.join(place.certificate), dir.join(place.key));
        let malformed = |what, path: &Path, why: &dyn std::fmt::Display| Error::Malformed {
            what,
            path: path.to_owned(),
            why: why.to_string(),
        };
        let pair = match files::read(&key)? {
            Some(pem) => Some(KeyPair::from_pem(&pem).map_err(|why| malformed("private key", &key, &why))?),
            None => None,
        };
        match (files::read(&certificate)?, pair) {
            (Some(pem), Some(pair)) => {
                Authority::new(pem, pair).map_err(|why| malformed("certificate", &certificate, &why))
            }
            // Someone lost the key; a new authority would lock everybody out.
            (Some(_), None) => Err(malformed("half of the authority", &key, &"it is missing")),
            // A crash before the certificate was written; whoever trusts an earlier one of this key trusts this one.
            (None, Some(pair)) => Authority::create(place.subject, pair, now)?.keep(&certificate),
            (None, None) => {
                let pair =
                    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|why| unsigned(place.subject, &why))?;
                files::write_private(&key, pair.serialize_pem().as_bytes())?;
                Authority::create(place.subject, pair, now)?.keep(&certificate)
            }
        }
    }

    fn create(subject: &str, key: KeyPair, now: Timestamp) -> Result<Authority, Error> {
        let mut params = params(subject, None, now, CA_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(|why| unsigned(subject, &why))?;
        Authority::new(certificate.pem(), key).map_err(|why| unsigned(subject, &why))
    }

    fn keep(self, certificate: &Path) -> Result<Authority, Error> {
        files::write_private(certificate, self.pem.as_bytes())?;
        Ok(self)
    }

    fn new(pem: String, key: KeyPair) -> Result<Authority, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| why.to_string())?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|why| why.to_string())?;
        Ok(Authority { pem, der, issuer })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(super) fn spki_pin(&self) -> String {
        let (_, parsed) = X509Certificate::from_der(&self.der).expect("the issuer was read from the same bytes");
        format!("sha256:{}", hex::encode(Sha256::digest(parsed.public_key().raw)))
    }

    pub(super) fn client(
        &self,
        cn: &str,
        organization: Option<&str>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Pair, Error> {
        let mut params = params(cn, organization, now, lifetime);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(cn, &params)
    }

    pub(super) fn server(&self, cn: &str, names: &Names, now: Timestamp, lifetime: Duration) -> Result<Pair, Error> {
        let mut params = params(cn, None, now, lifetime);
        for name in &names.dns {
            let name = name.as_str().try_into().map_err(|why| unsigned(name, &why))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(names.ips.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(cn, &params)
    }

    /// The requested subject and names are kept; usages and lifetime are the signer's.
    pub(super) fn sign_request(
        &self,
        request_pem: &str,
        signer: Signer,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let mut request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(|why| Error::Request(why.to_string()))?;
        let usage = match signer {
            Signer::Client | Signer::KubeletClient => ExtendedKeyUsagePurpose::ClientAuth,
            Signer::KubeletServing => ExtendedKeyUsagePurpose::ServerAuth,
        };
        request.params.is_ca = IsCa::NoCa;
        request.params.extended_key_usages = vec![usage];
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        request.params.use_authority_key_identifier_extension = true;
        set_validity(&mut request.params, now, lifetime);
        let certificate = request.signed_by(&self.issuer).map_err(|why| Error::Request(why.to_string()))?;
        Ok(certificate.pem())
    }

    fn issue(&self, subject: &str, params: &CertificateParams) -> Result<Pair, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|why| unsigned(subject, &why))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|why| unsigned(subject, &why))?;
        Ok(Pair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.spki_pin()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// Whether a serving certificate is of this authority, covers all the names, and is valid until then.
pub(super) fn serves(certificate_pem: &str, names: &Names, until: Timestamp, authority: &Authority) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let Ok((_, ca)) = X509Certificate::from_der(&authority.der) else { return false };
    if certificate.verify_signature(Some(ca.public_key())).is_err() {
        return false;
    }
    let Ok(Some(have)) = certificate.subject_alternative_name() else { return false };
    let has = |wanted: &GeneralName<'_>| have.value.general_names.contains(wanted);
    certificate.validity().not_after.timestamp() > until.as_second()
        && names.dns.iter().all(|name| has(&GeneralName::DNSName(name)))
        && names.ips.iter().all(|ip| match ip {
            IpAddr::V4(ip) => has(&GeneralName::IPAddress(&ip.octets())),
            IpAddr::V6(ip) => has(&GeneralName::IPAddress(&ip.octets())),
        })
}

/// `sha256:<hex>` of the public key of a certificate: what a join token pins. `None` if it is no certificate.
#[must_use]
pub fn spki_pin(pem: &[u8]) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    Some(format!("sha256:{}", hex::encode(Sha256::digest(parsed.public_key().raw))))
}

/// What a certificate request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The common name.
    pub user: String,
    /// The organizations.
    pub groups: Vec<String>,
    /// The alternative names. Those that are of no DNS name are shown with what they are.
    pub names: Vec<String>,
}

/// `None` if it is no request, in PEM, for a certificate of somebody.
#[must_use]
pub fn requested(request_pem: &str) -> Option<Requested> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(request_pem.as_bytes()).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let name = &request.certification_request_info.subject;
    let common = name.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = name.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect();
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
            names.extend(alternative.general_names.iter().map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                other => other.to_string(),
            }));
        }
    }
    Some(Requested { user: common, groups, names })
}

/// Who shows a verified client certificate, and for how long that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The common name.
    pub name: String,
    /// The organizations.
    pub groups: Vec<String>,
    pub until: Timestamp,
}

// === impl Subject ===

impl Subject {
    /// `None` if it is no certificate, or names nobody.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Subject> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect();
        let until = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
        Some(Subject { name, groups, until })
    }

    /// How long a connection that was opened with it may last.
    #[must_use]
    pub fn valid_for(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.until.duration_since(now)).unwrap_or_default()
    }
}

fn params(cn: &str, organization: Option<&str>, now: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, cn);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, lifetime);
    params
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    params.not_before = epoch + if lifetime < SHORT { now } else { now.saturating_sub(BACKDATE) };
    params.not_after = epoch + now + lifetime;
}

fn unsigned(subject: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Sign { subject: subject.to_owned(), why: why.to_string() }
}
