//! The IAM policy of an account's user or role.

use serde_json::{Value, json};
use xks_lifecycle::Region;

use crate::aws::{Operation, Purpose};

/// What an account is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Configured {
    /// The partition: `aws` unless it is another one, such as `aws-cn` or `aws-eusc`.
    pub partition: String,
    /// The account, 12 digits, once it is known.
    pub account: Option<String>,
    /// The Regions; all where there is none.
    pub regions: Vec<String>,
    /// External key stores and KMS keys in them.
    pub external_key_stores: bool,
    /// Whether some of them are reached by a VPC endpoint service.
    pub vpc_endpoint_services: bool,
    /// KMS keys with imported material.
    pub import: bool,
    /// Whether users and roles are picked from a list.
    pub principals: bool,
    /// Whether the access key of the account is rotated.
    pub access_key_rotation: bool,
    /// Keys and key stores that others made are found and shown.
    pub adoption: bool,
}

impl Configured {
    /// Nothing, in partition `aws`.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            partition: "aws".into(),
            account: None,
            regions: Vec::new(),
            external_key_stores: false,
            vpc_endpoint_services: false,
            import: false,
            principals: false,
            access_key_rotation: false,
            adoption: false,
        }
    }

    fn has(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::ExternalKeyStore => self.external_key_stores,
            Purpose::Import => self.import,
            Purpose::Principals => self.principals,
            Purpose::AccessKeyRotation => self.access_key_rotation,
            Purpose::Adoption => self.adoption,
        }
    }
}

/// Returns the smallest IAM policy for what is configured, as AWS reads it: one statement for each purpose,
/// whose `Sid` is [`Purpose::sid`].
///
/// Statements on AWS KMS hold for all resources, since making and listing keys and key stores knows no
/// smaller one; where Regions are given, they hold in these alone. The statement on access keys holds for the
/// user that calls, and for no other one.
#[must_use]
pub fn iam_policy(configured: &Configured) -> Value {
    let statements = Purpose::ALL.into_iter().filter(|purpose| configured.has(*purpose));
    let statements: Vec<_> = statements.map(|purpose| statement(configured, purpose)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn statement(configured: &Configured, purpose: Purpose) -> Value {
    let operations = Operation::ALL.iter().filter(|it| it.purposes().contains(&purpose));
    let mut actions: Vec<_> = operations.map(|operation| operation.action()).collect();
    if purpose == Purpose::ExternalKeyStore && configured.vpc_endpoint_services {
        // AWS KMS looks at the endpoint service with the permissions of its caller.
        actions.push("ec2:DescribeVpcEndpointServices");
    }
    actions.sort_unstable();
    let mut statement = json!({ "Sid": purpose.sid(), "Effect": "Allow", "Action": actions });
    let Value::Object(fields) = &mut statement else {
        return statement;
    };
    let resource = match purpose {
        Purpose::AccessKeyRotation => {
            let account = configured.account.as_deref().unwrap_or("*");
            let user = format!("arn:{}:iam::{account}:user/", configured.partition);
            // The user that calls, without a path and with one.
            json!([format!("{user}${{aws:username}}"), format!("{user}*/${{aws:username}}")])
        }
        _ => json!("*"),
    };
    fields.insert("Resource".into(), resource);
    let is_regional = !matches!(purpose, Purpose::AccessKeyRotation | Purpose::Principals);
    if is_regional && !configured.regions.is_empty() {
        let condition = json!({ "StringEquals": { "aws:RequestedRegion": configured.regions } });
        fields.insert("Condition".into(), condition);
    }
    statement
}

/// Returns the partition that a Region belongs to, which its name tells: what stands in an ARN after `arn:`.
/// (AWS General Reference, ARN format; `partitions.json` of botocore.)
#[must_use]
pub fn partition(region: &Region) -> &'static str {
    PARTITIONS
        .iter()
        .find(|(start, _)| region.as_str().starts_with(start))
        .map_or("aws", |(_, partition)| partition)
}

/// How the names of Regions begin, and their partitions. All others are in `aws`.
const PARTITIONS: &[(&str, &str)] = &[
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("eusc-", "aws-eusc"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_region_tells_its_partition() {
        for (region, expected) in [
            ("us-east-1", "aws"),
            ("eu-central-1", "aws"),
            ("il-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(&region.parse().unwrap()), expected, "{region}");
        }
    }

    #[test]
    fn nothing_that_is_configured_needs_no_statement() {
        let expected = json!({ "Version": "2012-10-17", "Statement": [] });
        assert_eq!(iam_policy(&Configured::nothing()), expected);
    }

    /// The whole policy, as a reader has to accept it.
    #[test]
    fn the_policy_has_a_statement_for_each_purpose() {
        let mut all = Configured::nothing();
        all.account = Some("111122223333".into());
        all.regions = vec!["eu-central-1".into(), "eu-west-1".into()];
        all.external_key_stores = true;
        all.vpc_endpoint_services = true;
        all.import = true;
        all.principals = true;
        all.access_key_rotation = true;
        all.adoption = true;
        let golden: Value = serde_json::from_str(include_str!("policy.json")).unwrap();
        assert_eq!(iam_policy(&all), golden, "{:#}", iam_policy(&all));
    }

    #[test]
    fn each_operation_is_allowed_by_the_statements_that_errors_name() {
        for purpose in Purpose::ALL {
            let mut one = Configured::nothing();
            *match purpose {
                Purpose::ExternalKeyStore => &mut one.external_key_stores,
                Purpose::Import => &mut one.import,
                Purpose::Principals => &mut one.principals,
                Purpose::AccessKeyRotation => &mut one.access_key_rotation,
                Purpose::Adoption => &mut one.adoption,
            } = true;
            let policy = iam_policy(&one);
            let statement = &policy["Statement"][0];
            assert_eq!(statement["Sid"], purpose.sid());
            assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
            for operation in Operation::ALL {
                let is_allowed = statement["Action"]
                    .as_array()
                    .unwrap()
                    .contains(&json!(operation.action()));
                assert_eq!(
                    is_allowed,
                    operation.purposes().contains(&purpose),
                    "{operation} {purpose}"
                );
            }
        }
        // STS asks for no permission.
        let without: Vec<_> = Operation::ALL.iter().filter(|it| it.purposes().is_empty()).collect();
        assert_eq!(without, [&Operation::GetCallerIdentity]);
    }
}
