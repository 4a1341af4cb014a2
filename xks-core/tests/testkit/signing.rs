//! The kit's signer against AWS's own.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use xks_core::{Credential, testkit::Signer};
use xks_test_client as aws;

fn signers() -> (Signer, aws::Signer) {
    let credential = Credential::new(aws::ACCESS_KEY_ID, aws::SECRET_ACCESS_KEY.to_owned()).unwrap();
    (
        Signer::new(credential, aws::REGION.parse().unwrap()),
        aws::Signer::at(UNIX_EPOCH),
    )
}

proptest! {
    /// SIG-3, SIG-4: both make the same signature of the same request.
    #[test]
    fn it_signs_as_aws_does(
        method in "GET|POST|PUT",
        path in "(/[a-zA-Z0-9_-]{1,20}){1,6}",
        value in "[ -~]{0,40}",
        again in prop::option::of("[a-z]{1,9}"),
        body in prop::collection::vec(any::<u8>(), 0..300),
        seconds in 0_u64..4_000_000_000,
    ) {
        let (ours, mut theirs) = signers();
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        theirs.time = time;
        let mut headers = vec![("x-some-header", value.trim())];
        headers.extend(again.as_deref().map(|again| ("x-some-header", again)));
        let expected = theirs.sign(&method, aws::HOST, &path, &headers, &body);
        headers.insert(0, ("Host", aws::HOST));
        let signed = ours.sign(&method, &path, &headers, &body, time);
        let of = |headers: &[(String, String)], name: &str| {
            headers.iter().find(|(header, _)| header == name).unwrap().1.clone()
        };
        for name in ["x-amz-date", "authorization"] {
            prop_assert_eq!(of(&signed, name), of(&expected, name));
        }
    }
}
