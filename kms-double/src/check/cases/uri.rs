//! Paths: key ids, prefixes, and what is none of them.

use serde_json::Value;

use crate::check::{
    body::{self, Operation},
    case::{Case, Stop},
    errors::{AUTHENTICATION_OR_PATH, KEY_NOT_FOUND, PATH},
    subject::Subject,
};
use crate::wire::Raw;

const MEANS_PATH: &str = "only this error tells the key store's owner that the path is wrong \
                          (XksProxyInvalidConfigurationException)";
const MEANS_ID: &str = "a legal key id cannot be used, or selects another key";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::must("uri/unknown-prefix", &["URI-5"])
            .sends("a health request to an unknown prefix, signed with this key store's credential")
            .means(MEANS_PATH)
            .refused(PATH, |subject| {
                signed_for(subject, "/kms-double-no-such-prefix/kms/xks/v1/health")
            }),
        Case::must("uri/another-prefixs-path", &["SIG-6", "URI-5"])
            .sends("a metadata request under a longer prefix, signed with this key store's credential")
            .means("a credential is valid for paths of other key stores")
            .refused(AUTHENTICATION_OR_PATH, |subject| {
                let path = Operation::Metadata.path(subject.key());
                signed_for(subject, &format!("{}-2/kms/xks/v1/{path}", subject.endpoint().prefix()))
            }),
        Case::must("uri/id-of-128-characters", &["URI-3"])
            .sends("GetKeyMetadata of a key id of 128 characters that does not exist")
            .means(MEANS_ID)
            .refused(KEY_NOT_FOUND, |subject| metadata_of(subject, &"k".repeat(128))),
        Case::must("uri/id-with-every-kind-of-character", &["URI-3"])
            .sends("GetKeyMetadata of a key id with letters, digits, - . and _ that does not exist")
            .means(MEANS_ID)
            .refused(KEY_NOT_FOUND, |subject| metadata_of(subject, "kms-double.aZ09-._x")),
        Case::should("uri/id-of-129-characters", &["URI-3"])
            .sends("GetKeyMetadata of a key id of 129 characters")
            .means("none with KMS, which rejects such an id itself")
            .refused(
                &["InvalidUriPathException", "KeyNotFoundException", "ValidationException"],
                |subject| metadata_of(subject, &"k".repeat(129)),
            ),
        Case::must("uri/of-256-characters", &["URI-2"])
            .sends("GetKeyMetadata of a key id that makes the whole URI 256 characters long")
            .means(MEANS_ID)
            .refused(KEY_NOT_FOUND, |subject| {
                let (endpoint, id_of_one) = (subject.endpoint(), Operation::Metadata.path("k"));
                let rest = format!("https://{}{}/{id_of_one}", endpoint.authority(), endpoint.uri_path()).len() - 1;
                match 256_usize.checked_sub(rest) {
                    Some(length @ 1..=128) => metadata_of(subject, &"k".repeat(length)),
                    _ => Err(Stop::not_tried("no legal key id makes this URL 256 characters long")),
                }
            }),
        Case::must("uri/id-is-case-sensitive", &["URI-3"])
            .sends("GetKeyMetadata of the key's id with its letters in the other case")
            .means(MEANS_ID)
            .refused(KEY_NOT_FOUND, |subject| {
                let key = subject.key();
                let swapped: String = key.chars().map(swap).collect();
                match swapped == key || subject.setup().keys.contains(&swapped) {
                    true => Err(Stop::not_tried("the key's id has no letters, or such a key exists")),
                    false => metadata_of(subject, &swapped),
                }
            }),
        Case::should("uri/unknown-and-unsigned", &["URI-5", "SIG-9"])
            .sends("a POST to a path that does not exist, without a signature")
            .means("none with KMS, which signs")
            .refused(AUTHENTICATION_OR_PATH, |subject| subject.unsigned("keys", b"{}")),
    ];
    let unknown = [
        ("unknown-operation", "keys/KEY/rotate"),
        ("trailing-slash", "keys/KEY/metadata/"),
        ("without-operation", "keys/KEY"),
        ("without-key", "keys/metadata"),
        ("doubled-slash", "keys//KEY/metadata"),
        ("operation-in-capitals", "keys/KEY/METADATA"),
    ];
    for (name, path) in unknown {
        cases.push(
            Case::must(format!("uri/{name}"), &["URI-5"])
                .sends(format!("a signed POST to {path}"))
                .means(MEANS_PATH)
                // The signer would make one slash of two.
                .refused(PATH, move |subject| {
                    let path = path.replace("KEY", subject.key());
                    signed_for(subject, &format!("{}/{path}", subject.endpoint().uri_path()))
                }),
        );
    }
    cases.push(
        Case::must("uri/query", &["SIG-3", "URI-5"])
            .sends("a request with ?a=b after its path, signed without it")
            .means("the signature does not cover the whole request")
            .refused(AUTHENTICATION_OR_PATH, |subject| {
                let (mut request, recipe) = subject.to_be_signed()?;
                recipe.sign(&mut request)?;
                request.target.push_str("?a=b");
                Ok(request)
            }),
    );
    cases
}

fn swap(char: char) -> char {
    if char.is_ascii_lowercase() {
        char.to_ascii_uppercase()
    } else {
        char.to_ascii_lowercase()
    }
}

fn metadata_of(subject: &Subject, key: &str) -> Result<Raw, Stop> {
    let body: Value = body::plain(subject.setup(), Operation::Metadata);
    subject.request(&Operation::Metadata.path(key), &body)
}

/// A request whose path is signed just as it is.
fn signed_for(subject: &Subject, target: &str) -> Result<Raw, Stop> {
    let (mut request, recipe) = subject.to_be_signed()?;
    request.target = target.to_owned();
    recipe.sign(&mut request)?;
    Ok(request)
}
