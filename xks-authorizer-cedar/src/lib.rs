//! Secondary authorization by [Cedar](https://www.cedarpolicy.com) policies for [`xks_core`]: an
//! [`Authorizer`] that decides by text which people can read, review and test.
//!
//! AWS decides first whether a call is allowed, by key policies and IAM. An external key store may then
//! refuse what AWS allows. The core's own [`Rules`](xks_core::authorize::Rules) do that with patterns; take
//! this crate where conditions have to be combined, where callers or keys are in groups, or where policies
//! are in Cedar already.
//!
//! # Getting started
//! ```
//! use std::sync::Arc;
//!
//! use xks_authorizer_cedar::CedarAuthorizer;
//! # use xks_backend_soft::SoftBackend;
//! use xks_core::{Credential, KeyStore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policies = r#"
//!     // An account may use the keys whose names begin with "backup-".
//!     @id("backup")
//!     permit (principal, action, resource)
//!     when { principal has account && principal.account == "111122223333" && resource.id like "backup-*" };
//!
//!     // Amazon S3 may use one key for anybody, in Europe.
//!     @id("s3-in-europe")
//!     permit (principal, action, resource == Xks::Key::"documents")
//!     when { context has kmsViaService && context.kmsViaService == "s3" && context.region like "eu-*" };
//!
//!     // KMS creates KMS keys, and looks at their external keys, for one role.
//!     @id("administrators")
//!     permit (
//!         principal == Xks::Principal::"arn:aws:iam::111122223333:role/KeyAdministrator",
//!         action == Xks::Action::"GetKeyMetadata",
//!         resource in Xks::KeyStore::"/example/tenant-a"
//!     );
//!
//!     // Payroll is decrypted through one VPC endpoint only, whatever else is permitted.
//!     @id("payroll-endpoint")
//!     forbid (principal, action == Xks::Action::"Decrypt", resource == Xks::Key::"payroll")
//!     unless { context has awsSourceVpce && context.awsSourceVpce == "vpce-0123456789abcdef0" };
//! "#;
//! let authorizer = CedarAuthorizer::new(policies)?;
//!
//! let key_store = KeyStore::builder("/example/tenant-a".parse()?, Arc::new(SoftBackend::new()))
//!     .region("eu-central-1".parse()?)
//!     .credential(Credential::new("AAAAAAAAAAAAAAAAAAAA", "s".repeat(43))?)
//!     .all_keys_of_backend()
//!     .authorizer(authorizer)
//!     .build()?;
//! # drop(key_store);
//! # Ok(())
//! # }
//! ```
//!
//! # What policies can ask for
//! | Cedar | what it is |
//! |---|---|
//! | `principal` | `Xks::Principal::"<awsPrincipalArn>"`: an ARN, a service principal like `ec2.amazonaws.com`, or `AWS Internal` |
//! | `principal.id` | the same text, for `like` |
//! | `principal.account` | the account of an ARN; optional, as service principals have none |
//! | `action` | `Xks::Action::"GetKeyMetadata"`, `"Encrypt"` or `"Decrypt"`; health is not put under authorization |
//! | `resource` | `Xks::Key::"<external key id>"` |
//! | `resource.id` | the same text, for `like` |
//! | `resource in Xks::KeyStore::"<prefix>"` | the key store that the request came to, by its URI path prefix: `"/example/tenant-a"`, or `""` |
//! | `context.kmsOperation`, `.kmsRequestId` | the fields of `requestMetadata` that are always there |
//! | `context.kmsKeyArn`, `.kmsViaService`, `.awsSourceVpc`, `.awsSourceVpce` | those that may be absent: ask `context has ...` first |
//! | `context.region` | the Region of the KMS key, or `signingRegion` where KMS names no key |
//! | `context.signingRegion` | the Region that the request was signed for |
//!
//! A key id alone means the key of that id in every key store that has these policies; say
//! `resource in Xks::KeyStore::"..."` as well to mean one. [`SCHEMA`] says the same in Cedar's terms.
//!
//! # What is decided
//! * What no policy permits is denied, and a `forbid` wins over every `permit`.
//! * A policy that cannot be evaluated denies. Validated policies hardly ever fail: a number may overflow, or
//!   an entity that a policy names may not be there. Cedar goes on without such a policy, and would allow
//!   what it was meant to forbid. An event of level ERROR with the target `xks::authorize` tells of it.
//! * The audit record names the policies that decided, by their `@id`. For a denial it may also say
//!   `no policy allows it`, `cannot be evaluated: <names>`, or that the request does not fit the schema.
//!
//! # What is refused when it is read
//! Policies are validated strictly: an attribute, action or entity type that is not in the schema, a
//! comparison of different types, and an optional attribute that is not asked for with `has` are errors, with
//! line and column. So are a `has` of what nothing has, names that no key or key store can have, policies
//! that can never apply, characters that look like others, templates, two policies of one `@id`, and a text
//! without policies.
//! ```
//! # use xks_authorizer_cedar::CedarAuthorizer;
//! let policies = r#"
//! @id("s3")
//! permit (principal, action, resource) when { context.kmsViaServise == "s3" };
//! "#;
//! let error = CedarAuthorizer::new(policies).unwrap_err().to_string();
//! assert!(error.contains("policy `s3`, line 3, column "), "{error}");
//! ```
//!
//! # Groups
//! [`entities`](CedarAuthorizerBuilder::entities) say which principals are in which `Xks::PrincipalGroup`,
//! and which keys or key stores in which `Xks::KeyGroup`, in [Cedar's JSON format]. Attributes may be left
//! out: `id` and `account` are known.
//! ```
//! # use xks_authorizer_cedar::{CedarAuthorizer, CedarError};
//! let entities = r#"[
//!     {
//!         "uid": { "type": "Xks::Principal", "id": "arn:aws:iam::111122223333:role/Payroll" },
//!         "parents": [{ "type": "Xks::PrincipalGroup", "id": "finance" }]
//!     },
//!     {
//!         "uid": { "type": "Xks::Key", "id": "payroll" },
//!         "parents": [{ "type": "Xks::KeyGroup", "id": "finance" }]
//!     }
//! ]"#;
//! let policies = r#"
//!     @id("finance")
//!     permit (principal in Xks::PrincipalGroup::"finance", action, resource in Xks::KeyGroup::"finance");
//! "#;
//! let authorizer = CedarAuthorizer::builder(policies).entities(entities).build()?;
//! # Ok::<(), CedarError>(())
//! ```
//! What a decision costs does not depend on how many entities there are, but on how many can be got at from
//! its principal, its key, its key store, and the entities that policies name.
//!
//! # Fields that KMS may add
//! `requestMetadata` may come to have more fields than these. A policy can ask for one when the
//! [`schema`](CedarAuthorizerBuilder::schema) declares it, as an optional attribute of the context: a
//! `String`, `Long` or `Bool`, or a set or record of these. Fields that are not declared are left out, also
//! within a record. A request whose field holds something else than declared is denied, since no policy can
//! say whether it would have forbidden it; the audit record names the field.
//! ```
//! # use xks_authorizer_cedar::{CedarAuthorizer, CedarError, SCHEMA};
//! let schema = SCHEMA.replace("type Call = {", "type Call = { sourceIdentity?: String,");
//! let policies = r#"
//!     @id("not-for-mallory")
//!     forbid (principal, action, resource) when { context has sourceIdentity && context.sourceIdentity == "mallory" };
//!     @id("all-others")
//!     permit (principal, action, resource);
//! "#;
//! let authorizer = CedarAuthorizer::builder(policies).schema(&schema).build()?;
//! # Ok::<(), CedarError>(())
//! ```
//!
//! # Testing policies
//! A [`Subject`](xks_core::authorize::Subject) can be made of a piece of JSON, so a unit test says who may do
//! what. With `xks.cedarschema`, Cedar's command line (`cedar validate`) and editors check the same text.
//! ```
//! use xks_authorizer_cedar::CedarAuthorizer;
//! use xks_core::{
//!     Request,
//!     api::{JsonError, KeyOperation, RequestMetadata},
//!     authorize::{Decision, Subject},
//!     context::RequestContext,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let authorizer = CedarAuthorizer::new(
//!     r#"@id("ec2") permit (principal == Xks::Principal::"ec2.amazonaws.com", action, resource);"#,
//! )?;
//! let (key_store, key) = ("/example/tenant-a".parse()?, "payroll".parse()?);
//! let request = Request::new("POST", "/", b"");
//! let (access_key_id, region) = ("BETWEEN2TENAND3TENCHARACTERS".parse()?, "eu-central-1".parse()?);
//! let context = RequestContext::new(&request, &key_store, &access_key_id, &region);
//! let ask = |metadata: &str| -> Result<Decision, JsonError> {
//!     let metadata = RequestMetadata::from_json(metadata)?;
//!     let subject = Subject::new(&context, &key, KeyOperation::Encrypt, &metadata);
//!     Ok(authorizer.decide(&subject))
//! };
//!
//! let ec2 = r#"{ "awsPrincipalArn": "ec2.amazonaws.com", "kmsOperation": "CreateGrant", "kmsRequestId": "1" }"#;
//! assert_eq!(ask(ec2)?, Decision::allow_by("ec2"));
//! let rds = r#"{ "awsPrincipalArn": "rds.amazonaws.com", "kmsOperation": "Decrypt", "kmsRequestId": "2" }"#;
//! assert_eq!(ask(rds)?, Decision::deny("no policy allows it"));
//! # Ok(())
//! # }
//! ```
//!
//! # Build time
//! Cedar's engine takes a minute to build, so this is a crate of its own, and a feature of the server.
//!
//! [`Authorizer`]: xks_core::authorize::Authorizer
//! [Cedar's JSON format]: https://docs.cedarpolicy.com/auth/entities-syntax.html

#![forbid(unsafe_code)]

mod authorizer;
mod builder;
mod context;
mod declared;
mod entities;
mod error;
mod extra;
mod known;
mod listed;
mod misfit;
mod model;
mod policies;
mod schema;

pub use self::{authorizer::CedarAuthorizer, builder::CedarAuthorizerBuilder, error::CedarError};

/// The built-in schema, in Cedar's schema syntax: the file `xks.cedarschema` of this crate. A schema of one's
/// own begins as a copy of it.
///
/// ```text
#[doc = include_str!("xks.cedarschema")]
/// ```
pub const SCHEMA: &str = include_str!("xks.cedarschema");
