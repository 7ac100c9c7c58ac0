//! What an assertion says, and that the signature under it is good.

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::{Auth, HttpClientSpec, yaml};

/// Made for these tests alone.
const KEY: &str = include_str!("test_key.pem");
const PUBLIC_KEY: &str = include_str!("test_public_key.pem");

/// Signs as this section says: header and claims.
fn signed(more: &str) -> Result<(Value, Value), AssertionError> {
    let text = format!(
        "{{oauth2: {{client_id: me, token_url: 'http://t/', \
         grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'{more}}}}}"
    );
    let spec: HttpClientSpec = yaml::from_str("f", &text).unwrap();
    let Auth::OAuth2(oauth2) = spec.check().unwrap().auth else { panic!("{text}") };
    let token = sign(&oauth2, oauth2.assertion.as_ref().unwrap(), KEY, 1000)?;
    let (said, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = said.split_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    let scheme = match header["alg"].as_str().unwrap() {
        "RS256" => SignatureScheme::RSA_PKCS1_SHA256,
        "RS384" => SignatureScheme::RSA_PKCS1_SHA384,
        _ => SignatureScheme::RSA_PKCS1_SHA512,
    };
    assert!(is_good(scheme, said.as_bytes(), &decode(signature)), "{token}");
    assert!(!is_good(scheme, b"something else", &decode(signature)), "{token}");
    Ok((header, serde_json::from_slice(&decode(claims)).unwrap()))
}

fn is_good(scheme: SignatureScheme, said: &[u8], signature: &[u8]) -> bool {
    let lines = PUBLIC_KEY.lines().filter(|line| !line.starts_with('-'));
    let key = STANDARD.decode(lines.collect::<String>()).unwrap();
    let known = aws_lc_rs::default_provider().signature_verification_algorithms;
    let (_, algorithms) = known.mapping.iter().find(|(known, _)| *known == scheme).unwrap();
    algorithms.iter().any(|algorithm| algorithm.verify_signature(&key, said, signature).is_ok())
}

#[test]
fn an_assertion_says_who_to_whom_and_until_when() {
    let (header, mut claims) = signed("").unwrap();
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
    let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 36);
    let want = json!({ "iss": "me", "sub": "me", "aud": "http://t/", "iat": 1000, "exp": 1600 });
    assert_eq!(claims, want);
    assert_ne!(id, signed("").unwrap().1["jti"]);
}

#[test]
fn the_section_can_say_more() {
    let more = ", signature_algorithm: RS384, client_certificate_key_id: k1, iss: i, \
                audience: a, scopes: [s, t], claims: { tenant: x, sub: other }";
    let (header, claims) = signed(more).unwrap();
    assert_eq!(header, json!({ "alg": "RS384", "typ": "JWT", "kid": "k1" }));
    for (name, want) in
        [("iss", "i"), ("aud", "a"), ("scope", "s t"), ("tenant", "x"), ("sub", "other")]
    {
        assert_eq!(claims[name], want, "{name}");
    }
    signed(", signature_algorithm: RS512").unwrap();
}
