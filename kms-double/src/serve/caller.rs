//! The caller of a request. The signature is not verified: on loopback every client may do everything, under
//! any name.

use http::{HeaderMap, header};

use crate::kms::Caller;

/// By the access key id in the `Authorization` header: `arn:aws:iam::ACCOUNT:user/ACCESSKEYID`; none, where
/// there is no signature.
pub(super) fn caller(headers: &HeaderMap, account: &str) -> Option<Caller> {
    let (access_key_id, _) = credential(headers)?.split_once('/')?;
    // What a user may be called in IAM, so that the ARN is one.
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=.@_-".contains(&byte);
    let is_name = (1..=128).contains(&access_key_id.len()) && access_key_id.bytes().all(is_legal);
    is_name.then(|| Caller::new(format!("arn:aws:iam::{account}:user/{access_key_id}")))
}

/// The Region that the request is signed for.
pub(super) fn region(headers: &HeaderMap) -> Option<&str> {
    credential(headers)?.split('/').nth(2)
}

/// The service that the request is signed for.
pub(super) fn service(headers: &HeaderMap) -> Option<&str> {
    credential(headers)?.split('/').nth(3)
}

/// `ACCESSKEYID/DATE/REGION/SERVICE/aws4_request`.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let parameters = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let mut parameters = parameters.split(',').map(str::trim);
    parameters.find_map(|parameter| parameter.strip_prefix("Credential="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(authorization: &str) -> Option<Caller> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        caller(&headers, "111122223333")
    }

    #[test]
    fn the_access_key_is_the_principal() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261125/us-east-1/kms/aws4_request, \
            SignedHeaders=host;x-amz-date, Signature=00";
        let expected = Caller::new("arn:aws:iam::111122223333:user/AKIAEXAMPLE");
        assert_eq!(of(signed), Some(expected));
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, signed.parse().unwrap())]);
        assert_eq!((region(&headers), service(&headers)), (Some("us-east-1"), Some("kms")));
        for unsigned in [
            "",
            "Basic YTpi",
            "AWS4-HMAC-SHA256 Credential=",
            "AWS4-HMAC-SHA256 Credential=/2026/us-east-1/kms/aws4_request",
            "AWS4-HMAC-SHA256 Credential=a b/2026/us-east-1/kms/aws4_request",
        ] {
            assert_eq!(of(unsigned), None, "{unsigned}");
        }
        assert_eq!(caller(&HeaderMap::new(), "111122223333"), None);
    }
}
