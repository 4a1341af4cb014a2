//! What the row of this node tells the others: its version, its view of the HSMs, and its certificate.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::sleep;
use xks_lifecycle::nodes::{Facts, Node};

use crate::{certificates::Certificates, reconciler::Reconciler};

/// Between two looks. The row has it with the next renewal.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps the facts current, without end.
pub(super) async fn keep(node: Arc<Node>, reconciler: Arc<Reconciler>, version: &'static str, address: String) {
    loop {
        node.set_facts(look(&reconciler, version, &address));
        sleep(LOOK).await;
    }
}

pub(super) fn look(reconciler: &Reconciler, version: &str, address: &str) -> Facts {
    let mut facts: BTreeMap<Box<str>, Box<str>> = BTreeMap::new();
    let mut tell = |name: String, value: String| drop(facts.insert(name.into(), value.into()));
    tell("version".to_owned(), version.to_owned());
    tell("address".to_owned(), address.to_owned());
    for (name, configured, backend) in reconciler.backends().configured() {
        let state = if backend.works() { "up" } else { "down" };
        let device = configured.device().map(|device| format!(", {device}"));
        tell(
            format!("backend.{name}"),
            format!("{state}{}", device.unwrap_or_default()),
        );
    }
    certificate(&reconciler.certificates, &mut tell);
    Arc::new(facts)
}

/// That of the API's own listener.
fn certificate(certificates: &Certificates, tell: &mut impl FnMut(String, String)) {
    let greeting = certificates.greetings().api.load_full();
    let Some(own) = greeting.and_then(|tls| tls.own.clone()) else {
        return; // plain HTTP
    };
    let chain = if own.has_whole_chain { "complete" } else { "incomplete" };
    for (name, value) in [
        ("names", own.names.join(", ")),
        ("issuer", own.issuer.clone()),
        ("end", own.end.clone()),
        ("chain", chain.to_owned()),
    ] {
        tell(format!("certificate.{name}"), value);
    }
}
