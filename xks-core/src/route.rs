//! From a request target to a prefix and an operation: `[/<prefix>]/kms/xks/v1/keys/<id>/<operation>` and
//! `[/<prefix>]/kms/xks/v1/health` (section 2 of the specification).
//!
//! The alphabets hold nothing that needs percent-encoding and the API has no query, so a target with `%` or
//! `?` is none of ours, and the signature verifier needs no URI encoder. No path is normalised.
//!
//! A 405 response has no `errorName`, for which the specification has none; its body is JSON with an
//! `errorMessage`.

use crate::{
    api::{ErrorName, KeyOperation, Operation},
    error::Error,
    key_id,
};

/// The part of every API path between the prefix and the operation.
pub(crate) const API_ROOT: &str = "/kms/xks/v1";
// URI-2, in characters.
const MAX_PATH: usize = 256;

/// Where a request wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    /// Before `/kms/xks/v1`: empty, or starting with a slash.
    pub(crate) prefix: &'a str,
    pub(crate) target: Target<'a>,
}

/// The target of a path: health, or an operation on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Health,
    /// `id` is a legal one.
    // URI-3
    Key {
        id: &'a str,
        operation: KeyOperation,
    },
}

/// The error for a target that is none of the API's. A query comes before all other reasons: it makes the
/// rest look wrong.
pub(crate) fn invalid(target: &str, why: &str) -> Error {
    let why = match target.contains('?') {
        true => "the path must not have a query",
        false => why,
    };
    Error::from(ErrorName::InvalidUriPath).because(why)
}

impl<'a> Route<'a> {
    /// Reads a request target from its end, so that no prefix can be mistaken for the API's own words.
    pub(crate) fn parse(target: &'a str) -> Result<Self, Error> {
        let invalid = |why: &str| invalid(target, why); // URI-5
        if target.len() > MAX_PATH {
            return Err(invalid("the path is longer than 256 characters")); // URI-2
        }
        let (rest, last) = target
            .rsplit_once('/')
            .ok_or_else(|| invalid("the path has no slash"))?;
        let (root, target) = if last == "health" {
            (rest, Target::Health)
        } else {
            let operation = match last {
                // TRN-11; TRN-9: none of them changes a key.
                "metadata" => KeyOperation::GetKeyMetadata,
                "encrypt" => KeyOperation::Encrypt,
                "decrypt" => KeyOperation::Decrypt,
                _ => return Err(invalid("the path names no operation")),
            };
            let (rest, id) = rest.rsplit_once('/').ok_or_else(|| invalid("the path names no key"))?;
            key_id::check(id).map_err(|error| invalid(&error.to_string()))?;
            let root = rest
                .strip_suffix("/keys")
                .ok_or_else(|| invalid("the path does not have /keys before the key"))?;
            (root, Target::Key { id, operation })
        };
        let prefix = root
            .strip_suffix(API_ROOT)
            .ok_or_else(|| invalid("the path has no /kms/xks/v1 at its place"))?;
        Ok(Self { prefix, target })
    }

    pub(crate) const fn operation(&self) -> Operation {
        match self.target {
            Target::Health => Operation::GetHealthStatus,
            Target::Key { operation, .. } => Operation::Key(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(prefix: &'static str, id: &'static str, operation: KeyOperation) -> Option<Route<'static>> {
        Some(Route {
            prefix,
            target: Target::Key { id, operation },
        })
    }

    /// URI-5, TRN-9, TRN-11: what is a path of the API and what is not.
    #[test]
    fn paths_of_the_api_are_found_and_no_others() {
        let health = |prefix| {
            Some(Route {
                prefix,
                target: Target::Health,
            })
        };
        for (path, expected) in [
            ("/kms/xks/v1/health", health("")),
            ("/a/kms/xks/v1/health", health("/a")),
            ("/kms/xks/v1/kms/xks/v1/health", health("/kms/xks/v1")),
            ("/kms/xks/v1/keys/k/encrypt", key("", "k", KeyOperation::Encrypt)),
            (
                "/t/u/kms/xks/v1/keys/k/decrypt",
                key("/t/u", "k", KeyOperation::Decrypt),
            ),
            (
                "/kms/xks/v1/keys/health/metadata",
                key("", "health", KeyOperation::GetKeyMetadata),
            ),
            (
                "/kms/xks/v1/keys/keys/metadata",
                key("", "keys", KeyOperation::GetKeyMetadata),
            ),
            ("", None),
            ("/", None),
            ("*", None),
            ("/ping", None),
            ("/health", None),
            ("kms/xks/v1/health", None),
            ("/kms/xks/v1/health/", None),
            ("/kms/xks/v1/health?a=b", None),
            ("/kms/xks/v1/health#x", None),
            ("/kms/xks/v1//health", None),
            ("/kms/xks/v2/health", None),
            ("/KMS/xks/v1/health", None),
            ("/kms/xks/v1/Health", None),
            ("/kms/xks/v1/keys//encrypt", None),
            ("/kms/xks/v1/keys/../encrypt", None),
            ("/kms/xks/v1/keys/./encrypt", None),
            ("/kms/xks/v1/keys/a%2Fb/encrypt", None),
            ("/kms/xks/v1/keys/k/encrypt/", None),
            ("/kms/xks/v1/keys/k/encrypt?", None),
            ("/kms/xks/v1/keys/k/delete", None),
            ("/kms/xks/v1/keys/k", None),
            ("/kms/xks/v1/k/encrypt", None),
        ] {
            let route = Route::parse(path);
            assert_eq!(route.as_ref().ok().copied(), expected, "{path}");
            if let Err(error) = route {
                assert_eq!(error.name, ErrorName::InvalidUriPath);
            }
        }
    }

    /// URI-5: the reason is the query, wherever it is.
    #[test]
    fn a_query_is_named_as_the_reason() {
        for target in [
            "/kms/xks/v1/health?a=b",
            "/kms/xks/v1/keys/k/encrypt?",
            "/kms/xks/v1/keys/k?a/encrypt",
        ] {
            let reason = Route::parse(target).unwrap_err().reason.unwrap();
            assert!(reason.contains("query"), "{target}: {reason}");
        }
        let reason = Route::parse("/kms/xks/v1/healthy").unwrap_err().reason.unwrap();
        assert!(!reason.contains("query"), "{reason}");
    }

    /// URI-2: 256 characters pass, 257 do not.
    #[test]
    fn long_paths_are_refused() {
        let path = |prefix: usize| format!("/{}/kms/xks/v1/keys/{}/metadata", "p".repeat(prefix), "k".repeat(128));
        assert_eq!(path(101).len(), 256);
        assert!(Route::parse(&path(101)).is_ok());
        assert!(Route::parse(&path(102)).is_err());
    }

    /// The grammar, written once more and independently, as one pattern.
    const GRAMMAR: &str = "(/[a-zA-Z0-9/_-]{0,20})?/kms/xks/v1/(health|keys/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}/(metadata|encrypt|decrypt))";

    proptest! {
        /// URI-5: everything that the grammar makes is routed, and to the place it names.
        #[test]
        fn all_that_the_grammar_makes_is_routed(path in GRAMMAR) {
            prop_assume!(path.len() <= 256);
            let route = Route::parse(&path).unwrap();
            let rebuilt = match route.target {
                Target::Health => format!("{}/kms/xks/v1/health", route.prefix),
                Target::Key { id, operation } => {
                    let last = match operation {
                        KeyOperation::GetKeyMetadata => "metadata",
                        KeyOperation::Encrypt => "encrypt",
                        KeyOperation::Decrypt => "decrypt",
                    };
                    format!("{}/kms/xks/v1/keys/{id}/{last}", route.prefix)
                }
            };
            prop_assert_eq!(rebuilt, path);
        }

        /// URI-5: a path with one character changed is routed only if it is still of the grammar.
        #[test]
        fn nothing_else_is_routed(path in GRAMMAR, at in any::<prop::sample::Index>(), to in any::<char>()) {
            let mut characters: Vec<char> = path.chars().collect();
            let at = at.index(characters.len());
            characters[at] = to;
            let changed: String = characters.into_iter().collect();
            if let Ok(route) = Route::parse(&changed) {
                let after = changed.strip_prefix(route.prefix).unwrap();
                let words: Vec<&str> = after.strip_prefix("/kms/xks/v1/").unwrap().split('/').collect();
                match words[..] {
                    ["health"] => {}
                    ["keys", id, "metadata" | "encrypt" | "decrypt"] => {
                        prop_assert!(crate::KeyId::new(id).is_ok());
                    }
                    _ => prop_assert!(false, "{changed} was routed"),
                }
            }
        }
    }
}
