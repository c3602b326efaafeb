//! Tokens of providers: who signs them, what they claim and when.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::jwks::KeySet;
use super::*;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://id.example.com/realm";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "sub": "build-7", "aud": "strata", "exp": NOW + 600, "iat": NOW - 5, "nbf": NOW - 5 })
}

/// What is signed of a token.
fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encoded(header.to_string()),
        encoded(claims.to_string())
    )
}

fn curve_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn curve_jwk(key: &EcdsaKeyPair, curve: &str, id: &str) -> Value {
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "kid": id, "use": "sig", "x": encoded(x), "y": encoded(y) })
}

fn signed_on_curve(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let text = unsigned(header, claims);
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", encoded(signature))
}

fn trusting(keys: Vec<Value>) -> WebIdentity {
    let set = json!({ "keys": keys }).to_string();
    let keys = KeySet::parse(set.as_bytes()).unwrap();
    let audiences = vec!["strata".to_owned(), "sts.amazonaws.com".to_owned()];
    WebIdentity {
        providers: vec![Provider::new(ISSUER.to_owned(), audiences, keys)],
    }
}

fn refusal(trusted: &WebIdentity, token: &str) -> Code {
    trusted.verify(token, NOW).expect_err("refused").code
}

#[test]
fn a_token_is_known_by_the_keys_of_its_issuer() {
    let (p256, other) = (curve_key(), curve_key());
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey in DER: heads of the sequence and of the modulus, a zero, the modulus; the exponent is 65,537.
    let n = &rsa.public_key().as_ref()[9..265];
    let e = [1, 0, 1];
    let trusted = trusting(vec![
        curve_jwk(&p256, "P-256", "a"),
        curve_jwk(&p384, "P-384", "b"),
        json!({ "kty": "RSA", "kid": "c", "n": encoded(n), "e": encoded(e) }),
        json!({ "kty": "oct", "k": "AAAA" }),
    ]);
    let header = |algorithm: &str, id: &str| json!({ "alg": algorithm, "kid": id, "typ": "JWT" });
    let by_rsa = |algorithm, name| {
        let text = unsigned(&header(name, "c"), &claims());
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(
            algorithm,
            &SystemRandom::new(),
            text.as_bytes(),
            &mut signature,
        )
        .unwrap();
        format!("{text}.{}", encoded(signature))
    };
    for token in [
        signed_on_curve(&p256, &header("ES256", "a"), &claims()),
        signed_on_curve(&p256, &json!({ "alg": "ES256" }), &claims()),
        signed_on_curve(&p384, &header("ES384", "b"), &claims()),
        by_rsa(&RSA_PKCS1_SHA256, "RS256"),
        by_rsa(&RSA_PKCS1_SHA512, "RS512"),
    ] {
        let vouched = trusted.verify(&token, NOW).unwrap();
        assert_eq!(vouched.provider.name(), "id.example.com/realm");
        assert_eq!(
            (&*vouched.claims.subject, &*vouched.audience),
            ("build-7", "strata")
        );
    }
    for token in [
        signed_on_curve(&other, &header("ES256", "a"), &claims()),
        signed_on_curve(&p256, &header("ES256", "b"), &claims()),
        signed_on_curve(&p256, &header("ES256", "gone"), &claims()),
        signed_on_curve(&p256, &header("ES384", "a"), &claims()),
        signed_on_curve(&p256, &header("RS256", "a"), &claims()),
        signed_on_curve(&p256, &header("none", "a"), &claims()),
        signed_on_curve(&p256, &header("HS256", "a"), &claims()),
        signed_on_curve(
            &p256,
            &json!({ "alg": "ES256", "crit": ["b64"], "b64": false }),
            &claims(),
        ),
        by_rsa(&RSA_PKCS1_SHA256, "RS512"),
        format!("{}.", unsigned(&header("none", "a"), &claims())),
    ] {
        assert_eq!(
            refusal(&trusted, &token),
            Code::InvalidIdentityToken,
            "{token}"
        );
    }
}

/// With the point of a key as the secret of an HMAC, which those who take a token at its word would verify.
#[test]
fn a_public_key_is_no_shared_secret() {
    let key = curve_key();
    let trusted = trusting(vec![curve_jwk(&key, "P-256", "a")]);
    let text = unsigned(&json!({ "alg": "HS256", "kid": "a" }), &claims());
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.public_key().as_ref());
    let tag = aws_lc_rs::hmac::sign(&secret, text.as_bytes());
    let token = format!("{text}.{}", encoded(tag));
    assert_eq!(refusal(&trusted, &token), Code::InvalidIdentityToken);
}

#[test]
fn claims_are_checked() {
    let key = curve_key();
    let trusted = trusting(vec![curve_jwk(&key, "P-256", "a")]);
    let with = |name: &str, value: Value| {
        let mut all = claims();
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        signed_on_curve(&key, &json!({ "alg": "ES256", "kid": "a" }), &all)
    };
    for (name, value) in [
        ("aud", json!(["other", "sts.amazonaws.com"])),
        ("exp", json!(NOW as f64 + 0.5 + 1.0)),
        ("nbf", json!(NOW + 60)),
        ("iat", Value::Null),
        ("nbf", Value::Null),
        ("azp", json!("strata")),
        ("email", json!("a@example.com")),
    ] {
        let token = with(name, value.clone());
        assert!(trusted.verify(&token, NOW).is_ok(), "{name} {value}");
    }
    use Code::{ExpiredTokenException as Expired, InvalidIdentityToken as Invalid};
    for (name, value, code) in [
        ("iss", json!("https://id.example.com/other"), Invalid),
        ("iss", json!("http://id.example.com/realm"), Invalid),
        ("iss", Value::Null, Invalid),
        ("sub", Value::Null, Invalid),
        ("sub", json!(""), Invalid),
        ("sub", json!(7), Invalid),
        ("aud", json!("other"), Invalid),
        ("aud", json!([]), Invalid),
        ("aud", Value::Null, Invalid),
        ("azp", json!("other"), Invalid),
        ("exp", Value::Null, Invalid),
        ("exp", json!("soon"), Invalid),
        ("exp", json!(NOW), Expired),
        ("exp", json!(-1), Expired),
        ("exp", json!(1e300), Invalid),
        ("nbf", json!(NOW + 61), Invalid),
        ("iat", json!(NOW + 3_600), Invalid),
    ] {
        assert_eq!(
            refusal(&trusted, &with(name, value.clone())),
            code,
            "{name} {value}"
        );
    }
}

#[test]
fn keys_are_replaced() {
    let (old, new) = (curve_key(), curve_key());
    let trusted = trusting(vec![curve_jwk(&old, "P-256", "a")]);
    let by = |key: &EcdsaKeyPair| signed_on_curve(key, &json!({ "alg": "ES256" }), &claims());
    let set = json!({ "keys": [curve_jwk(&new, "P-256", "b")] }).to_string();
    trusted.providers[0].replace_keys(KeySet::parse(set.as_bytes()).unwrap());
    assert!(trusted.verify(&by(&new), NOW).is_ok());
    assert_eq!(refusal(&trusted, &by(&old)), Code::InvalidIdentityToken);
}

/// A signature takes time to check, and nobody needs a key to ask: a set of many keys is not tried through.
#[test]
fn few_keys_are_tried_for_a_token_that_names_none() {
    let keys: Vec<EcdsaKeyPair> = (0..6).map(|_| curve_key()).collect();
    let set = keys.iter().enumerate();
    let set = set.map(|(at, key)| curve_jwk(key, "P-256", &at.to_string()));
    let trusted = trusting(set.collect());
    for (at, key) in keys.iter().enumerate() {
        let named = json!({ "alg": "ES256", "kid": at.to_string() });
        assert!(
            trusted
                .verify(&signed_on_curve(key, &named, &claims()), NOW)
                .is_ok()
        );
        let unnamed = signed_on_curve(key, &json!({ "alg": "ES256" }), &claims());
        assert_eq!(trusted.verify(&unnamed, NOW).is_ok(), at < 4, "{at}");
    }
}

#[test]
fn sets_that_cannot_be_used_are_refused() {
    let key = curve_jwk(&curve_key(), "P-256", "a");
    let short = json!({ "kty": "RSA", "n": encoded([255; 128]), "e": "AQAB" });
    let mut bent = key.clone();
    bent["x"] = json!("AAAA");
    let mut padded = key.clone();
    padded["y"] = json!("AA==");
    for (keys, why) in [
        (json!({ "keys": [] }), "no RSA or EC key"),
        (
            json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }),
            "no RSA or EC key",
        ),
        (json!({ "keys": [short] }), "2,048 bits"),
        (json!({ "keys": [key, bent] }), "number 2"),
        (json!({ "keys": [padded] }), "base64url"),
        (
            json!({ "keys": [{ "kty": "EC", "crv": "P-256" }] }),
            "lacks a part",
        ),
        (
            json!({ "keys": vec![json!({ "kty": "oct" }); 65] }),
            "more than 64",
        ),
        (json!([]), "no JSON Web Key Set"),
    ] {
        let error = KeySet::parse(keys.to_string().as_bytes()).expect_err("unusable");
        assert!(error.contains(why), "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_a_panic(text in ".{0,200}", header in ".{0,40}", claims in ".{0,80}", set in any::<Vec<u8>>()) {
        let token = format!("{}.{}.{}", encoded(header), encoded(claims), encoded(&set));
        let trusted = WebIdentity::default();
        prop_assert!(trusted.verify(&text, NOW).is_err() && trusted.verify(&token, NOW).is_err());
        prop_assert!(KeySet::parse(&set).is_err());
    }
}
