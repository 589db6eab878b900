use super::*;
use api::time::Timestamp;
use certificate::Subject;
use rcgen::{CertificateParams, DnType, KeyPair};
use std::os::unix::fs::PermissionsExt as _;
use token::{Bound, BoundObject, TokenError};

fn clock(second: i64) -> Clock {
    Clock::from_fn(move || Timestamp::from_second(second).unwrap())
}

const NOW: i64 = 1_800_000_000;

fn open(dir: &Path, second: i64) -> Pki {
    let names = Names { dns: vec!["edge-1".to_owned()], ips: vec!["10.0.0.1".parse().unwrap()] };
    Pki::open_or_create(dir, names, clock(second)).unwrap()
}

#[test]
fn keys_are_kept_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), NOW);
    let (pin, serving) = (first.spki_pin(), std::fs::read(dir.path().join("serving.crt")).unwrap());
    let again = open(dir.path(), NOW + 100);
    assert_eq!(again.spki_pin(), pin);
    assert_eq!(std::fs::read(dir.path().join("serving.crt")).unwrap(), serving);
    for file in ["ca.key", "ca.crt", "front-proxy-ca.key", "front-proxy-ca.crt", "serving.key", "serving.crt", "sa.key"]
    {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(pin.len(), "sha256:".len() + 64);
    first.server_tls(None, &[]).unwrap();
}

#[test]
fn the_serving_certificate_is_renewed_before_its_end_and_for_new_names() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), NOW);
    let read = || std::fs::read(dir.path().join("serving.crt")).unwrap();
    let first = read();
    open(dir.path(), NOW + 300 * 24 * 3600);
    let second = read();
    assert_ne!(first, second);
    let names = Names { dns: vec!["edge-2".to_owned()], ips: vec![] };
    Pki::open_or_create(dir.path(), names, clock(NOW + 300 * 24 * 3600)).unwrap();
    assert_ne!(second, read());
}

#[test]
fn an_authority_without_its_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), NOW);
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Pki::open_or_create(dir.path(), Names::default(), clock(NOW)).err().unwrap().to_string();
    assert!(error.contains("half of the authority") && error.contains("ca.key"), "{error}");
}

#[test]
fn a_crash_before_the_certificate_of_an_authority_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let pin = open(dir.path(), NOW).spki_pin();
    for certificate in ["ca.crt", "front-proxy-ca.crt"] {
        std::fs::remove_file(dir.path().join(certificate)).unwrap();
        assert_eq!(open(dir.path(), NOW).spki_pin(), pin, "whoever trusts the key still does, without {certificate}");
        assert!(dir.path().join(certificate).exists());
    }
}

#[test]
fn members_have_the_front_proxys_authority_in_common() {
    let (first, second, third) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pki = open(first.path(), NOW);
    assert_ne!(pki.front_proxy_ca_pem(), pki.ca_pem());
    let keys = pki.cluster_keys().unwrap();
    ClusterKeys::from_json(&keys.to_json()).unwrap().store(second.path()).unwrap();
    assert_eq!(open(second.path(), NOW).front_proxy_ca_pem(), pki.front_proxy_ca_pem());
    // Of a cluster that is older than it.
    let mut old: serde_json::Value = serde_json::from_slice(&keys.to_json()).unwrap();
    old.as_object_mut().unwrap().remove("front_proxy");
    ClusterKeys::from_json(old.to_string().as_bytes()).unwrap().store(third.path()).unwrap();
    let other = open(third.path(), NOW);
    assert_ne!(other.front_proxy_ca_pem(), pki.front_proxy_ca_pem());
    assert_eq!(other.ca_pem(), pki.ca_pem());
}

#[test]
fn certificates_name_their_user() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), NOW);
    let user_of = |pem: &str| {
        let subject = Subject::of(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        (subject.name, subject.groups)
    };
    let pair = pki.client_certificate("alice", Some("dev")).unwrap();
    assert_eq!(user_of(&pair.certificate_pem), ("alice".to_owned(), vec!["dev".to_owned()]));

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "system:node:a");
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let signed = pki.sign_csr(&request, Signer::KubeletClient, Duration::from_secs(3600)).unwrap();
    assert_eq!(user_of(&signed), ("system:node:a".to_owned(), vec!["system:nodes".to_owned()]));
    assert!(pki.sign_csr("rubbish", Signer::Client, Duration::from_secs(1)).is_err());
}

#[test]
fn tokens_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), NOW);
    let account = BoundObject { name: "default".to_owned(), uid: "u".to_owned() };
    let claims = Claims {
        aud: vec!["api".to_owned()],
        exp: NOW + 600,
        iat: NOW,
        iss: "i".to_owned(),
        jti: String::new(),
        kubernetes: Bound { namespace: "a".to_owned(), serviceaccount: account, ..Bound::default() },
        nbf: NOW,
        sub: "system:serviceaccount:a:default".to_owned(),
    };
    let token = pki.tokens().sign(&claims);
    let check = |token: &str, second: i64| pki.tokens().verify(token, Timestamp::from_second(second).unwrap());
    assert_eq!(check(&token, NOW), Ok(claims));
    assert_eq!(check(&token, NOW + 600), Err(TokenError::Expired));
    assert_eq!(check(&token, NOW - 1), Err(TokenError::Early));
    assert_eq!(check("admin-token", NOW), Err(TokenError::Foreign));
    assert_eq!(check("a.b.c", NOW), Err(TokenError::Foreign));
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(check(&format!("{signed}.AAAA"), NOW), Err(TokenError::Signature));
}

#[test]
fn the_kubeconfig_holds_what_a_client_needs() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path(), NOW);
    let path = dir.path().join("admin.kubeconfig");
    pki.write_admin_kubeconfig(&path, "https://127.0.0.1:6443").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("server: https://127.0.0.1:6443\n") && text.contains("client-key-data: "));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
