use super::*;

#[test]
fn tokens() {
    let pin = "a".repeat(64);
    let good = Token::parse(&format!("abcdef.0123456789abcdef::sha256:{pin}")).unwrap();
    assert_eq!(good.bearer(), "abcdef.0123456789abcdef");
    assert!(good.pins(&pin) && !good.pins(&"b".repeat(64)));
    assert!(!format!("{good:?}").contains("0123"), "no secret in logs");
    for bad in ["", "abcdef.0123456789abcdef", "ABCDEF.0123456789abcdef::sha256:aa", "abcdef::sha256:aa"] {
        assert!(Token::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_certificate_of_seconds_is_replaced_near_its_end() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = params.not_before + Duration::from_secs(20);
    let pem = params.self_signed(&key).unwrap().pem();
    let identity = Identity { ca_pem: pem.clone(), chain_pem: pem, key_pem: key.serialize_pem() };
    for node in ["a", "b", "c", "d"] {
        let due = renew_at(&identity, node).unwrap();
        let of = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(due >= of("2030-01-01T00:00:14Z") && due <= of("2030-01-01T00:00:18Z"), "{due}");
        assert_eq!(retry_after(&identity, of("2030-01-01T00:00:12Z")), Duration::from_secs(2));
    }
}

#[test]
fn an_identity_is_kept_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 11);
    let pem = params.self_signed(&key).unwrap().pem();
    let identity = Identity { ca_pem: pem.clone(), chain_pem: pem, key_pem: key.serialize_pem() };
    let at = |text: &str| {
        let now: Timestamp = text.parse().unwrap();
        Config {
            server: "https://127.0.0.1:1".to_owned(),
            node: "n".to_owned(),
            dir: dir.path().to_owned(),
            serving_name: "n".to_owned(),
            clock: Clock::from_fn(move || now),
        }
    };
    let during = at("2030-01-05T00:00:00Z");
    assert_eq!(load(&during, Purpose::Client).unwrap(), None);
    save(&during, Purpose::Client, &identity).unwrap();
    assert_eq!(load(&during, Purpose::Client).unwrap(), Some(identity.clone()));
    assert_eq!(load(&at("2030-01-12T00:00:00Z"), Purpose::Client).unwrap(), None);
    let due = renew_at(&identity, "n").unwrap();
    assert!(due >= "2030-01-08T00:00:00Z".parse().unwrap() && due <= "2030-01-10T00:00:00Z".parse().unwrap());
}
