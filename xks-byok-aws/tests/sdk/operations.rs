//! What each operation sends and reads.

use std::time::SystemTime;

use xks_byok::aws::Operation;
use xks_test_aws::{TestProxy, suite};

use crate::{REGION, alice, builder, simulator};

#[tokio::test]
async fn each_operation_does_what_it_says() {
    let simulator = simulator("operations");
    let connector = builder(simulator.url()).build().unwrap();
    let proxy = TestProxy::start(REGION).await;
    suite::every_operation(&connector, &alice(), REGION, &proxy, SystemTime::now().into()).await;
    for operation in Operation::ALL {
        assert!(simulator.calls(operation.name()) > 0, "{operation} was not called");
    }
}
