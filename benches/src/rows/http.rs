//! The adapter on bare hyper beside a service that reads the same body and answers the same number of bytes.

use std::time::Duration;

use crate::{
    BareHyper, Row, Service,
    load::{Best, Load, Operation},
    measure::is_wanted,
};

/// Over loopback HTTP/1.1 with keep-alive and software keys: by the rates, and by what both cost.
///
/// # Errors
/// When a server does not start, or does not answer.
pub fn http() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (operation, what, bar) in [
        (Operation::EncryptCdiv, "encrypt with CDIV", 0.75),
        (Operation::Metadata, "metadata", 0.85),
    ] {
        let [ours, constant] = beside(operation)?;
        let rates = format!("{:.0} of {:.0}/s", ours.rate, constant.rate);
        let costs = format!("{:.1} of {:.1} µs", constant.cost, ours.cost);
        for (by, both, ratio) in [
            ("rate", rates, ours.rate / constant.rate),
            ("processor time", costs, constant.cost / ours.cost),
        ] {
            let what = format!("{what} on bare hyper, software keys: share of a constant answer's {by} ({both})");
            rows.push(Row::at_least(&what, bar, ratio));
        }
    }
    Ok(rows)
}

fn beside(operation: Operation) -> anyhow::Result<[Best; 2]> {
    let (rounds, time) = if is_wanted() { (9, 400) } else { (1, 100) };
    let load = Load {
        operation,
        connections: 16,
        time: Duration::from_millis(time),
        ..Load::default()
    };
    let ours = BareHyper::start(Service::Ours)?;
    let size = load.sample(&ours.measured()?.0)?.len();
    let constant = BareHyper::start(Service::Constant(size))?;
    load.in_turn(rounds, [&ours.measured()?, &constant.measured()?])
}
