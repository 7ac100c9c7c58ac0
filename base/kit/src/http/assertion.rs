//! What a client says of itself to a token server instead of a secret: a signed JSON Web Token
//! (RFC 7523, section 2.1).
//!
//! RSA only, as in Prometheus; the signature is made by the library that TLS is made of.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::config::{AssertionConfig, OAuth2Config, SignatureAlgorithm};

/// How long a token server may take our word.
const LIFETIME_S: i64 = 600;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// What was read is no private key in PEM.
    #[error("client certificate key is not a private key in PEM")]
    NoKey,
    /// The key is none for RSA.
    #[error("client certificate key is not an RSA key")]
    NotRsa,
    /// The library refuses.
    #[error("sign the assertion")]
    Sign(#[source] rustls::Error),
    /// The machine has no random numbers.
    #[error("no random numbers")]
    Random,
}

/// The token that `key_pem` signs, valid from `now_s` (seconds since the epoch).
pub(super) fn sign(
    oauth2: &OAuth2Config,
    assertion: &AssertionConfig,
    key_pem: &str,
    now_s: i64,
) -> Result<String, AssertionError> {
    let AssertionConfig { key: _, key_id, algorithm, iss, audience, claims } = assertion;
    let (name, scheme) = match algorithm {
        SignatureAlgorithm::Rs256 => ("RS256", SignatureScheme::RSA_PKCS1_SHA256),
        SignatureAlgorithm::Rs384 => ("RS384", SignatureScheme::RSA_PKCS1_SHA384),
        SignatureAlgorithm::Rs512 => ("RS512", SignatureScheme::RSA_PKCS1_SHA512),
    };
    let mut header = json!({ "alg": name, "typ": "JWT" });
    if !key_id.is_empty() {
        header["kid"] = json!(key_id);
    }
    let first = |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { one.into() };
    let mut said = Map::new();
    said.insert("iss".into(), json!(first(iss, &oauth2.client_id)));
    said.insert("sub".into(), json!(oauth2.client_id));
    said.insert("jti".into(), json!(unique()?));
    said.insert("aud".into(), json!(first(audience, oauth2.token_url.as_str())));
    said.insert("iat".into(), json!(now_s));
    said.insert("exp".into(), json!(now_s + LIFETIME_S));
    if !oauth2.scopes.is_empty() {
        said.insert("scope".into(), json!(oauth2.scopes.join(" ")));
    }
    said.extend(claims.iter().map(|(name, value)| (name.clone(), value.clone())));
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&Value::Object(said)));
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes());
    let key = key.map_err(|_| AssertionError::NoKey)?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(AssertionError::Sign)?;
    let signer = key.choose_scheme(&[scheme]).ok_or(AssertionError::NotRsa)?;
    let signature = signer.sign(signed.as_bytes()).map_err(AssertionError::Sign)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A random number in the form of a UUID of version 4.
fn unique() -> Result<String, AssertionError> {
    let mut bytes = [0_u8; 16];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| AssertionError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| &hex[from..to];
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests;
