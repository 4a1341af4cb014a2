//! The built-in authorizer: a list of rules with patterns.
//!
//! A denial wins over every permission, the order of rules does not matter, a pattern does not match an
//! absent value, and a request that no rule allows is denied. The Region of a rule is the KMS key's, or the
//! signature's where KMS names no key yet.

use std::{fmt, sync::Arc};

use crate::{
    api::KeyOperation,
    authorize::{Authorizer, Decision, Subject},
    dependency::Reply,
};

/// A list of [`Rule`]s. A request is allowed when at least one rule that allows matches it and no rule that
/// denies does; their order does not matter. What no rule speaks of is denied.
///
/// ```
/// use xks_core::{api::KeyOperation, authorize::{Rule, Rules}};
///
/// let rules = Rules::new([
///     Rule::allow("backup service").principal("arn:aws:iam::111122223333:role/Backup*").key("backup-*"),
///     Rule::allow("s3 in Europe").kms_via_service("s3*").region("eu-*").account("111122223333"),
///     Rule::allow("anybody may look").operation(KeyOperation::GetKeyMetadata),
///     Rule::deny("nothing from the test network").vpc("vpc-0123456789abcdef0"),
/// ]);
/// # let _ = rules;
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    unmatched: Arc<str>,
}

impl Rules {
    /// Creates an authorizer of these rules and no others.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            unmatched: "no rule allows it".into(),
        }
    }
}

impl Rules {
    /// Decides at once.
    #[must_use]
    pub fn decide(&self, subject: &Subject<'_>) -> Decision {
        let mut allowed = None;
        for rule in self.rules.iter().filter(|rule| rule.matches(subject)) {
            match rule.effect {
                Effect::Deny => return Decision::deny(Arc::clone(&rule.name)),
                Effect::Allow => allowed = allowed.or(Some(rule)),
            }
        }
        match allowed {
            Some(rule) => Decision::allow_by(Arc::clone(&rule.name)),
            None => Decision::deny(Arc::clone(&self.unmatched)),
        }
    }
}

impl Authorizer for Rules {
    fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
        Reply::Now(self.decide(subject))
    }
}

/// One rule: a name for the log, and what it matches.
///
/// Each method adds a condition; conditions on different things must all hold, of several on the same thing
/// one must. In a pattern `*` stands for any characters, also none, and `?` for exactly one; letters match
/// their own case only. A condition on something that the request does not have does not hold. A rule without
/// conditions matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    name: Arc<str>,
    effect: Effect,
    operations: Vec<KeyOperation>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    attribute: Attribute,
    patterns: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Account,
    Key,
    KmsKeyArn,
    KmsOperation,
    KmsViaService,
    Principal,
    Region,
    Vpc,
    VpcEndpoint,
}

impl Rule {
    /// Creates a rule that allows what it matches.
    #[must_use]
    pub fn allow(name: impl Into<Arc<str>>) -> Self {
        Self::new(name.into(), Effect::Allow)
    }

    /// Creates a rule that denies what it matches, whatever other rules say.
    #[must_use]
    pub fn deny(name: impl Into<Arc<str>>) -> Self {
        Self::new(name.into(), Effect::Deny)
    }

    const fn new(name: Arc<str>, effect: Effect) -> Self {
        Self {
            name,
            effect,
            operations: Vec::new(),
            conditions: Vec::new(),
        }
    }

    /// Matches the principal that called KMS (`awsPrincipalArn`).
    #[must_use]
    pub fn principal(self, pattern: &str) -> Self {
        self.condition(Attribute::Principal, pattern)
    }

    /// Matches the account of that principal. Service principals have none.
    #[must_use]
    pub fn account(self, pattern: &str) -> Self {
        self.condition(Attribute::Account, pattern)
    }

    /// Matches the KMS key (`kmsKeyArn`), which is not there yet when a KMS key is created.
    #[must_use]
    pub fn kms_key_arn(self, pattern: &str) -> Self {
        self.condition(Attribute::KmsKeyArn, pattern)
    }

    /// Matches the Region of the KMS key, or else of the calling KMS.
    #[must_use]
    pub fn region(self, pattern: &str) -> Self {
        self.condition(Attribute::Region, pattern)
    }

    /// Matches the AWS service that called KMS for its user (`kmsViaService`).
    #[must_use]
    pub fn kms_via_service(self, pattern: &str) -> Self {
        self.condition(Attribute::KmsViaService, pattern)
    }

    /// Matches the VPC from which KMS was called (`awsSourceVpc`).
    #[must_use]
    pub fn vpc(self, pattern: &str) -> Self {
        self.condition(Attribute::Vpc, pattern)
    }

    /// Matches the VPC endpoint through which KMS was called (`awsSourceVpce`).
    #[must_use]
    pub fn vpc_endpoint(self, pattern: &str) -> Self {
        self.condition(Attribute::VpcEndpoint, pattern)
    }

    /// Matches what KMS was asked to do (`kmsOperation`), such as `GenerateDataKey*`.
    #[must_use]
    pub fn kms_operation(self, pattern: &str) -> Self {
        self.condition(Attribute::KmsOperation, pattern)
    }

    /// Matches what KMS asks of the key store.
    #[must_use]
    pub fn operation(mut self, operation: KeyOperation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Matches the external key id.
    #[must_use]
    pub fn key(self, pattern: &str) -> Self {
        self.condition(Attribute::Key, pattern)
    }

    fn condition(mut self, attribute: Attribute, pattern: &str) -> Self {
        let pattern = Pattern(pattern.into());
        match self
            .conditions
            .iter_mut()
            .find(|condition| condition.attribute == attribute)
        {
            Some(condition) => condition.patterns.push(pattern),
            None => self.conditions.push(Condition {
                attribute,
                patterns: vec![pattern],
            }),
        }
        self
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        (self.operations.is_empty() || self.operations.contains(&subject.operation))
            && self.conditions.iter().all(|condition| condition.holds(subject))
    }
}

impl Condition {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        self.attribute
            .of(subject)
            .is_some_and(|value| self.patterns.iter().any(|pattern| pattern.matches(value)))
    }
}

impl Attribute {
    fn of<'a>(self, subject: &Subject<'a>) -> Option<&'a str> {
        let metadata = subject.request_metadata;
        match self {
            Self::Account => subject.account(),
            Self::Key => Some(subject.key.as_str()),
            Self::KmsKeyArn => metadata.kms_key_arn(),
            Self::KmsOperation => metadata.kms_operation(),
            Self::KmsViaService => metadata.kms_via_service(),
            Self::Principal => Some(subject.principal),
            Self::Region => Some(subject.region()),
            Self::Vpc => metadata.aws_source_vpc(),
            Self::VpcEndpoint => metadata.aws_source_vpce(),
        }
    }
}

/// `*` any characters, `?` one, all others themselves.
#[derive(Clone, PartialEq, Eq)]
struct Pattern(Box<str>);

impl Pattern {
    /// Takes time proportional to the product of both lengths at the worst.
    fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut text) = (self.0.chars(), text.chars());
        // After the last `*`: the pattern behind it, and where in the text it was last tried.
        let mut retry = None;
        loop {
            let before = text.clone();
            match (pattern.next(), text.next()) {
                (Some('*'), _) => {
                    text = before;
                    retry = Some((pattern.clone(), text.clone()));
                }
                (Some('?'), Some(_)) => {}
                (Some(expected), Some(found)) if expected == found => {}
                (None, None) => return true,
                _ => {
                    let Some((behind, tried)) = &mut retry else {
                        return false;
                    };
                    if tried.next().is_none() {
                        return false;
                    }
                    (pattern, text) = (behind.clone(), tried.clone());
                }
            }
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Request,
        api::RequestMetadata,
        context::RequestContext,
        testing::{ACCESS_KEY_ID, region},
    };

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern(pattern.into()).matches(text)
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("**", "abc"),
            ("abc", "abc"),
            ("a?c", "abc"),
            ("a?c", "aüc"),
            ("a*", "a"),
            ("*c", "abc"),
            ("a*c", "ac"),
            ("a*c", "abcbc"),
            ("*b*", "abc"),
            ("a*b?d*", "aXXbbcd"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("a", ""),
            ("a", "A"),
            ("a", "ab"),
            ("ab", "a"),
            ("a*c", "ab"),
            ("*b", "abc"),
            ("a?c", "ac"),
            ("*?", ""),
            ("s3", "s3.amazonaws.com"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    /// The definition, word for word and slow.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| reference(rest, &text[skip..])),
            (['?', pattern @ ..], [_, text @ ..]) => reference(pattern, text),
            ([p, pattern @ ..], [t, text @ ..]) => p == t && reference(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_definition_does(pattern in "[ab?*]{0,8}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text), reference(&chars(&pattern), &chars(&text)));
        }
    }

    const METADATA: &str = r#"{
        "awsPrincipalArn": "arn:aws:iam::111122223333:role/Backup",
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-2",
        "kmsKeyArn": "arn:aws:kms:eu-west-1:444455556666:key/1234",
        "kmsOperation": "GenerateDataKey",
        "kmsRequestId": "id",
        "kmsViaService": "s3"
    }"#;

    /// Makes a subject, signed for a Region, and does something with it.
    fn asked<T>(
        signed: &str,
        operation: KeyOperation,
        metadata: &RequestMetadata<'_>,
        with: impl FnOnce(&Subject<'_>) -> T,
    ) -> T {
        let (request, key_store) = (Request::new("POST", "/", b""), "/store".parse().unwrap());
        let (id, region) = (ACCESS_KEY_ID.parse().unwrap(), region(signed));
        let context = RequestContext::new(&request, &key_store, &id, &region);
        with(&Subject::new(&context, &"key-1".parse().unwrap(), operation, metadata))
    }

    fn decide(rules: impl IntoIterator<Item = Rule>, metadata: &str, operation: KeyOperation) -> Decision {
        let metadata = RequestMetadata::from_json(metadata).unwrap();
        asked("us-east-1", operation, &metadata, |subject| {
            Rules::new(rules).decide(subject)
        })
    }

    fn is_allowed(rule: Rule, metadata: &str) -> bool {
        matches!(decide([rule], metadata, KeyOperation::Encrypt), Decision::Allow { .. })
    }

    /// AUZ-1: every attribute can be asked for, and a pattern that does not fit does not allow.
    #[test]
    fn every_attribute_can_be_asked_for() {
        type Condition = fn(Rule, &str) -> Rule;
        let attributes: [(Condition, &str, &str); 9] = [
            (Rule::principal, "arn:aws:iam::*:role/Back??", "arn:aws:iam::*:user/*"),
            (Rule::account, "111122223333", "444455556666"),
            (
                Rule::kms_key_arn,
                "arn:aws:kms:*:444455556666:key/1234",
                "arn:aws:kms:*:key/12",
            ),
            (Rule::region, "eu-*", "us-*"),
            (Rule::kms_via_service, "s3", "ebs"),
            (Rule::vpc, "vpc-?", "vpc-2"),
            (Rule::vpc_endpoint, "vpce-2", "vpce-1"),
            (Rule::kms_operation, "GenerateDataKey*", "Decrypt"),
            (Rule::key, "key-*", "other"),
        ];
        for (condition, good, bad) in attributes {
            assert!(is_allowed(condition(Rule::allow("r"), good), METADATA), "{good}");
            assert!(!is_allowed(condition(Rule::allow("r"), bad), METADATA), "{bad}");
            assert!(
                is_allowed(condition(condition(Rule::allow("r"), bad), good), METADATA),
                "one of two is enough"
            );
        }
        assert!(is_allowed(Rule::allow("r").operation(KeyOperation::Encrypt), METADATA));
        assert!(!is_allowed(Rule::allow("r").operation(KeyOperation::Decrypt), METADATA));
        assert!(
            !is_allowed(Rule::allow("r").vpc("vpc-1").region("us-*"), METADATA),
            "both must hold"
        );
    }

    /// MD-6: a principal that is no ARN has no account, and a condition on what is absent does not hold.
    #[test]
    fn what_is_absent_matches_nothing() {
        let metadata = r#"{"awsPrincipalArn": "AWS Internal", "kmsOperation": "CreateKey", "kmsRequestId": "id"}"#;
        for rule in [
            Rule::allow("r").account("*"),
            Rule::allow("r").vpc("*"),
            Rule::allow("r").vpc_endpoint("*"),
            Rule::allow("r").kms_via_service("*"),
            Rule::allow("r").kms_key_arn("*"),
        ] {
            assert!(!is_allowed(rule, metadata));
        }
        assert!(is_allowed(Rule::allow("r").principal("AWS Internal"), metadata));
        assert!(
            is_allowed(Rule::allow("r").region("us-east-1"), metadata),
            "the signed Region serves"
        );
    }

    /// MD-6: what only looks like an ARN has no account and no Region.
    #[test]
    fn only_arns_have_parts() {
        for (arn, account, region) in [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/a:b",
                Some("111122223333"),
                "eu-west-1",
            ),
            ("arn:aws:iam::111122223333:user/Alice", Some("111122223333"), "signed"),
            ("arn:aws:s3:::bucket", None, "signed"),
            ("arn:aws:kms:eu-west-1:111122223333", None, "signed"),
            ("xrn:aws:kms:eu-west-1:111122223333:key/a", None, "signed"),
            ("ec2.amazonaws.com", None, "signed"),
            ("", None, "signed"),
        ] {
            let json = format!(r#"{{"awsPrincipalArn":"{arn}","kmsKeyArn":"{arn}"}}"#);
            let metadata = RequestMetadata::from_json(&json).unwrap();
            asked("signed", KeyOperation::Encrypt, &metadata, |subject| {
                assert_eq!((subject.account(), subject.region()), (account, region), "{arn}");
            });
        }
    }

    /// AUZ-1: a denial names its rule.
    #[test]
    fn denials_win_and_name_their_rule() {
        let rules = || {
            [
                Rule::allow("all"),
                Rule::deny("not for s3").kms_via_service("s3"),
                Rule::allow("more"),
            ]
        };
        assert_eq!(
            decide(rules(), METADATA, KeyOperation::Decrypt),
            Decision::deny("not for s3")
        );
        assert_eq!(
            decide([Rule::allow("all")], METADATA, KeyOperation::Decrypt),
            Decision::allow_by("all")
        );
        assert_eq!(
            decide([], METADATA, KeyOperation::Decrypt),
            Decision::deny("no rule allows it")
        );
    }
}
