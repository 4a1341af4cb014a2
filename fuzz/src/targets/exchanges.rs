//! Whole exchanges: the answer must be the judge's.

use xks_core::api::{KeyOperation, Operation};

use crate::{
    exchange::Exchange,
    judge::{self, Verdict, signature},
    proxy::{DATE, HOST, TENANTS, answer_to},
};

/// Any exchange at all, [written like HTTP](Exchange): what the proxy answers is what the judge says, from
/// route to ciphertext. Returns it.
pub fn handle(input: &[u8]) -> Verdict {
    let exchange = Exchange::parse(input);
    let (verdict, _) = answer_to(&exchange);
    assert_eq!(verdict, judge::exchange(&exchange));
    verdict
}

/// The `Authorization` header, the date and the signed headers of a request for health. The input is the
/// header lines, an empty line, and the body: without one, a body that is served.
///
/// 200 needs a signature that an independent reading of the header finds right, and with it 200 it is.
pub fn authorization(input: &[u8]) -> Verdict {
    const BODY: &[u8] = br#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"1"}}"#;
    let mut exchange = Exchange::parse(&[b"POST /fuzz/kms/xks/v1/health\n", input].concat());
    if exchange.body.is_empty() {
        exchange = Exchange::parse(&[b"POST /fuzz/kms/xks/v1/health\n", input, b"\n\n", BODY].concat());
    }
    let (verdict, _) = answer_to(&exchange);
    assert_eq!(verdict, judge::exchange(&exchange));
    assert_eq!(verdict.0 == 401, !signature::is_valid(&TENANTS[0], &exchange));
    verdict
}

/// A method and a target, with one blank in between; the rest of the request is in order for every operation.
/// Its destination, and whether it gets there, follow the rules of paths, and no tenant gets in with
/// another's credential.
pub fn route(input: &[u8]) -> Verdict {
    const BODY: &str = r#"{"requestMetadata":{"awsPrincipalArn":"a","kmsKeyArn":"k","kmsOperation":"o","kmsRequestId":"i"},
        "plaintext":"","ciphertext":"","initializationVector":"AAAAAAAAAAAAAAAA",
        "authenticationTag":"AAAAAAAAAAAAAAAAAAAAAA==","encryptionAlgorithm":"AES_GCM"}"#;
    let text = String::from_utf8_lossy(input);
    let (method, target) = text.split_once(' ').unwrap_or(("POST", &text));
    let exchange = |authorization: &str| {
        let headers = [("host", HOST), ("x-amz-date", DATE), ("authorization", authorization)];
        Exchange {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.into())).to_vec(),
            body: BODY.into(),
            unreadable: None,
        }
    };
    let destination = judge::destination(target);
    let expected = match &destination {
        None => Verdict(404, "InvalidUriPathException"),
        Some(_) if method != "POST" => Verdict::USE_POST,
        Some(destination) => match (destination.operation, destination.key) {
            (Operation::GetHealthStatus, _) => Verdict::OK,
            (_, key) if !["key-1", "encrypts", "decrypts", "disabled"].contains(&key) => {
                Verdict(404, "KeyNotFoundException")
            }
            (Operation::Key(KeyOperation::GetKeyMetadata), _) => Verdict::OK,
            (_, "disabled") => Verdict(400, "InvalidStateException"),
            (Operation::Key(KeyOperation::Encrypt), "decrypts")
            | (Operation::Key(KeyOperation::Decrypt), "encrypts") => Verdict(400, "InvalidKeyUsageException"),
            (Operation::Key(KeyOperation::Encrypt), _) => Verdict::OK,
            (Operation::Key(KeyOperation::Decrypt), _) => Verdict(400, "InvalidCiphertextException"),
        },
    };
    for tenant in &TENANTS {
        let authorization = signature::authorization(tenant.credentials[0], tenant.regions[0], &exchange(""));
        let (verdict, _) = answer_to(&exchange(&authorization));
        let is_its_own = destination
            .as_ref()
            .is_none_or(|destination| destination.tenant.prefix == tenant.prefix);
        if is_its_own || method != "POST" {
            assert_eq!(verdict, expected, "{method} {target:?}");
        } else {
            assert_eq!(
                verdict,
                Verdict(401, "AuthenticationFailedException"),
                "{method} {target:?}"
            );
        }
    }
    expected
}
