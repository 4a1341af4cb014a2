//! Aliases, policies, tags and the last use, by the AWS CLI.

use std::fs;

use crate::{Folder, aws::Aws, serve};

#[test]
fn a_key_is_administered_by_the_aws_cli() {
    let folder = Folder::new();
    let (_program, address) = serve(&["--user", "Carol", "--role", "Admins"]);
    let aws = Aws::new(&address);
    let tags = ["--tags", "TagKey=job,TagValue=1"];
    let create = || aws.kms(&[&["create-key", "--origin", "EXTERNAL"], &tags[..]].concat())["KeyMetadata"].clone();
    let (first, second) = (create(), create());
    let id = |key: &serde_json::Value| key["KeyId"].as_str().unwrap().to_owned();
    let (first, second) = (id(&first), id(&second));
    let by_key = ["--key-id", &*first];

    aws.kms(&["create-alias", "--alias-name", "alias/a", "--target-key-id", &first]);
    aws.kms(&["update-alias", "--alias-name", "alias/a", "--target-key-id", &second]);
    let described = aws.kms(&["describe-key", "--key-id", "alias/a"]);
    assert_eq!(described["KeyMetadata"]["KeyId"], *second);

    let policy = |user: &str| {
        let statement = format!(
            "{{\"Effect\": \"Allow\", \"Principal\": {{\"AWS\": [\"arn:aws:iam::111122223333:root\", \
             \"arn:aws:iam::111122223333:{user}\"]}}, \"Action\": \"kms:*\", \"Resource\": \"*\"}}"
        );
        let path = folder.path("policy");
        fs::write(
            &path,
            format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{statement}]}}"),
        )
        .unwrap();
        format!("file://{}", path.display())
    };
    let put = |policy: &str| {
        [&["put-key-policy", "--policy", policy], &by_key[..]]
            .concat()
            .join(" ")
    };
    for user in ["user/Carol", "role/Admins"] {
        aws.kms(&put(&policy(user)).split(' ').collect::<Vec<_>>());
    }
    let unknown = put(&policy("user/Dave"));
    let unknown: Vec<_> = unknown.split(' ').collect();
    assert_eq!(aws.refused(&unknown).0, "MalformedPolicyDocumentException");
    let read = aws.kms(&[&["get-key-policy", "--policy-name", "default"], &by_key[..]].concat());
    assert!(read["Policy"].as_str().unwrap().contains("role/Admins"), "{read}");
    assert_eq!(
        aws.kms(&[&["list-key-policies"], &by_key[..]].concat())["PolicyNames"][0],
        "default"
    );

    aws.kms(&[&["tag-resource", "--tags", "TagKey=job,TagValue=2"], &by_key[..]].concat());
    let listed = aws.kms(&[&["list-resource-tags"], &by_key[..]].concat());
    assert_eq!(listed["Tags"][0]["TagValue"], "2");
    aws.kms(&[&["untag-resource", "--tag-keys", "job"], &by_key[..]].concat());
    let listed = aws.kms(&[&["list-resource-tags"], &by_key[..]].concat());
    assert_eq!(listed["Tags"].as_array().unwrap().len(), 0);
    aws.kms(&[&["update-key-description", "--description", "another"], &by_key[..]].concat());
    let described = aws.kms(&[&["describe-key"], &by_key[..]].concat());
    assert_eq!(described["KeyMetadata"]["Description"], "another");
}
