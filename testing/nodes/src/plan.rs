//! The plan of a run: its faults and their order, decided by the seed alone.

use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    // of a process
    Kill,
    KillCommander,
    Terminate,
    Stop,
    StopInRenewal,
    SlowJoin,
    // of the network
    Partition,
    PartitionOneWay,
    PartitionAll,
    KillPooler,
    // of the database
    CrashDatabase,
    StopDatabase,
    Promote,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Kill,
        Self::KillCommander,
        Self::Terminate,
        Self::Stop,
        Self::StopInRenewal,
        Self::SlowJoin,
        Self::Partition,
        Self::PartitionOneWay,
        Self::PartitionAll,
        Self::KillPooler,
        Self::CrashDatabase,
        Self::StopDatabase,
        Self::Promote,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9, restart",
            Self::KillCommander => "kill -9 in a command, restart",
            Self::Terminate => "SIGTERM, restart",
            Self::Stop => "SIGSTOP, SIGCONT",
            Self::StopInRenewal => "SIGSTOP in a renewal",
            Self::SlowJoin => "slow join",
            Self::Partition => "partition of a node",
            Self::PartitionOneWay => "partition, one direction",
            Self::PartitionAll => "partition of all nodes",
            Self::KillPooler => "pgbouncer killed",
            Self::CrashDatabase => "database crash, restart",
            Self::StopDatabase => "database stopped",
            Self::Promote => "standby promoted",
        }
    }

    /// The shortest and the longest disturbance, in leases.
    const fn hold(self) -> (f64, f64) {
        match self {
            Self::Stop => (0.1, 3.0),
            Self::StopInRenewal => (1.5, 2.5),
            Self::Partition | Self::PartitionOneWay => (0.3, 3.0),
            Self::PartitionAll | Self::StopDatabase => (0.1, 2.0),
            Self::Kill | Self::KillCommander | Self::KillPooler => (0.0, 1.5),
            Self::Terminate => (0.0, 0.5),
            Self::SlowJoin => (1.3, 1.8), // its lease ends
            Self::CrashDatabase | Self::Promote => (0.0, 0.3),
        }
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The node that it is of, where it is of one.
    pub(crate) node: usize,
    /// Of two ways, which: the direction of a partition, how the old primary ends.
    pub(crate) is_other_way: bool,
    /// How long it lasts, in leases.
    pub(crate) hold: f64,
    /// How long it is calm afterwards, in leases.
    pub(crate) calm: f64,
}

impl Fault {
    /// How long it lasts.
    pub(crate) fn held(&self, lease: Duration) -> Duration {
        lease.mul_f64(self.hold)
    }
}

/// The faults of a run: each kind once in an order by the seed, then any, without end.
#[derive(Debug)]
pub(crate) struct Plan {
    rng: fastrand::Rng,
    kinds: Vec<Kind>,
    next: Vec<Kind>,
    nodes: usize,
}

impl Plan {
    /// A plan of these kinds of faults for so many nodes.
    pub(crate) fn new(seed: u64, kinds: &[Kind], nodes: usize) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            kinds: kinds.to_vec(),
            next: Vec::new(),
            nodes,
        }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.next.is_empty() {
            self.next.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.next);
        }
        let kind = self.next.pop()?;
        let (least, most) = kind.hold();
        Some(Fault {
            kind,
            node: self.rng.usize(..self.nodes),
            is_other_way: self.rng.bool(),
            hold: least + self.rng.f64() * (most - least),
            calm: 0.2 + self.rng.f64() * 0.8,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn faults(seed: u64, number: usize) -> Vec<Fault> {
        Plan::new(seed, &Kind::ALL, 3).take(number).collect()
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(faults(7, 200), faults(7, 200));
        assert_ne!(faults(7, 200), faults(8, 200));
    }

    #[test]
    fn each_kind_comes_before_any_comes_again() {
        for seed in 0..20 {
            for round in faults(seed, 13 * 5).chunks(13) {
                let kinds: BTreeSet<_> = round.iter().map(|fault| fault.kind).collect();
                assert_eq!(kinds, Kind::ALL.into(), "{seed}");
            }
        }
    }

    #[test]
    fn a_stopped_process_is_stopped_for_less_and_for_more_than_a_lease() {
        let stops: Vec<_> = faults(1, 2000)
            .into_iter()
            .filter(|fault| fault.kind == Kind::Stop)
            .collect();
        assert!(stops.iter().all(|fault| (0.1..=3.0).contains(&fault.hold)));
        assert!(stops.iter().any(|fault| fault.hold < 0.5) && stops.iter().any(|fault| fault.hold > 2.5));
        let nodes: BTreeSet<_> = stops.iter().map(|fault| fault.node).collect();
        assert_eq!(nodes, [0, 1, 2].into());
    }

    #[test]
    fn names_differ() {
        let names: BTreeSet<_> = Kind::ALL.map(Kind::name).into();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
