//! What each node may suffer when, and which answers are right for that. Pure, as the judge is.
//!
//! A fault begins and ends; for two leases more its nodes may be without a lease. Outside of that every node
//! serves, and a fault of one node is no excuse for another one.

use std::{collections::BTreeMap, time::Duration};

use crate::judge::{Answer, At, Request};

/// How a fault is felt at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Felt {
    /// Its process ends, or is not there: connections fail.
    Down,
    /// Its process is stopped, and answers later.
    Stopped,
    /// It does not reach the database.
    Alone,
}

#[derive(Clone, Debug)]
struct Window {
    nodes: Vec<usize>,
    felt: Felt,
    begin: At,
    /// None while the fault lasts.
    end: Option<At>,
    /// By node: from the end of the fault until it has served again.
    recovered: BTreeMap<usize, Duration>,
}

/// The faults of a run.
#[derive(Debug)]
pub(crate) struct Weather {
    /// How long a node may take to serve again.
    patience: Duration,
    windows: Vec<Window>,
}

/// The number of a fault.
pub(crate) type FaultId = usize;

impl Weather {
    pub(crate) const fn new(patience: Duration) -> Self {
        Self {
            patience,
            windows: Vec::new(),
        }
    }

    /// A fault is about to begin, at these nodes.
    pub(crate) fn begin(&mut self, felt: Felt, nodes: &[usize], at: At) -> FaultId {
        self.windows.push(Window {
            nodes: nodes.to_vec(),
            felt,
            begin: at,
            end: None,
            recovered: BTreeMap::new(),
        });
        self.windows.len() - 1
    }

    /// A fault has ended.
    pub(crate) fn end(&mut self, fault: FaultId, at: At) {
        if let Some(window) = self.windows.get_mut(fault) {
            window.end = Some(at);
        }
    }

    /// Whether an answer that no command explains is explained by a fault.
    pub(crate) fn allows(&self, request: &Request) -> bool {
        let felt: &[Felt] = match request.answer {
            Answer::Served | Answer::Refused => return true,
            Answer::Unleased => &[Felt::Down, Felt::Stopped, Felt::Alone],
            Answer::NoConnection => &[Felt::Down],
            Answer::Silence => &[Felt::Stopped],
            Answer::Wrong(_) => return false,
        };
        self.windows.iter().rev().any(|window| {
            // A connection fails as long as the process is gone; a lease may come later.
            let after = match request.answer {
                Answer::NoConnection => Duration::ZERO,
                _ => self.patience,
            };
            let is_over = window.end.is_some_and(|end| request.start > end + after);
            felt.contains(&window.felt)
                && window.nodes.contains(&request.node)
                && window.begin <= request.end
                && !is_over
        })
    }

    /// Whether a process ends or has ended, or has just started again.
    pub(crate) fn is_down(&self, node: usize, at: At) -> bool {
        self.windows.iter().any(|window| {
            let is_over = window.end.is_some_and(|end| at > end + self.patience);
            window.felt == Felt::Down && window.nodes.contains(&node) && !is_over
        })
    }

    /// Whether something else than this fault explains that a node does not serve.
    pub(crate) fn is_excused(&self, node: usize, fault: FaultId, at: At) -> bool {
        self.windows.iter().enumerate().any(|(number, window)| {
            let is_over = window.end.is_some_and(|end| at > end + self.patience);
            number != fault && window.nodes.contains(&node) && window.begin <= at && !is_over
        })
    }

    /// Notes that a node has served, and so has recovered from faults that were over when the request began.
    pub(crate) fn served(&mut self, request: &Request) {
        if request.answer != Answer::Served {
            return;
        }
        for window in self.windows.iter_mut().rev().take(8) {
            if let Some(end) = window.end.filter(|end| request.start >= *end)
                && window.nodes.contains(&request.node)
            {
                window.recovered.entry(request.node).or_insert(request.end - end);
            }
        }
    }

    /// How long each node of a fault took to serve again; none for one that has not yet.
    pub(crate) fn recovery(&self, fault: FaultId) -> Vec<(usize, Option<Duration>)> {
        let window = self.windows.get(fault);
        let of = |window: &Window| {
            let nodes = window.nodes.iter();
            nodes.map(|node| (*node, window.recovered.get(node).copied())).collect()
        };
        window.map(of).unwrap_or_default()
    }

    /// How long a node may take to serve again.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> At {
        Duration::from_millis(ms)
    }

    fn request(node: usize, start: u64, answer: Answer) -> Request {
        Request {
            subject: 0,
            node,
            start: at(start),
            end: at(start + 5),
            answer,
        }
    }

    /// A fault of node 1 from 100 to 200; two leases are 50.
    fn weather(felt: Felt) -> Weather {
        let mut weather = Weather::new(at(50));
        let fault = weather.begin(felt, &[1], at(100));
        weather.end(fault, at(200));
        weather
    }

    #[test]
    fn in_calm_weather_every_node_serves() {
        let weather = weather(Felt::Down);
        for (node, start) in [(1, 90), (1, 251), (0, 150), (2, 210)] {
            for answer in [
                Answer::Unleased,
                Answer::NoConnection,
                Answer::Silence,
                Answer::Wrong("x".to_owned()),
            ] {
                assert!(
                    !weather.allows(&request(node, start, answer.clone())),
                    "{node} {start} {answer:?}"
                );
            }
            for answer in [Answer::Served, Answer::Refused] {
                assert!(weather.allows(&request(node, start, answer)));
            }
        }
    }

    #[test]
    fn each_fault_excuses_what_it_makes() {
        use Felt::{Alone, Down, Stopped};
        for (felt, answer, is_allowed) in [
            (Down, Answer::NoConnection, true),
            (Down, Answer::Unleased, true),
            (Down, Answer::Silence, false),
            (Stopped, Answer::NoConnection, false),
            (Stopped, Answer::Unleased, true),
            (Stopped, Answer::Silence, true),
            (Alone, Answer::NoConnection, false),
            (Alone, Answer::Unleased, true),
            (Alone, Answer::Silence, false),
            (Down, Answer::Wrong("x".to_owned()), false),
        ] {
            let request = request(1, 150, answer);
            assert_eq!(weather(felt).allows(&request), is_allowed, "{felt:?} {request:?}");
        }
    }

    /// Two leases after a process is there again it may still be without a lease, but not without a socket.
    #[test]
    fn what_comes_after_a_fault_is_excused_for_two_leases() {
        let weather = weather(Felt::Down);
        assert!(weather.allows(&request(1, 250, Answer::Unleased)));
        assert!(!weather.allows(&request(1, 251, Answer::Unleased)));
        assert!(weather.allows(&request(1, 200, Answer::NoConnection)));
        assert!(!weather.allows(&request(1, 201, Answer::NoConnection)));
        // What had begun before the fault, and was not over.
        assert!(weather.allows(&request(1, 96, Answer::NoConnection)));
    }

    #[test]
    fn a_fault_that_lasts_excuses_until_it_ends() {
        let mut weather = Weather::new(at(50));
        let fault = weather.begin(Felt::Alone, &[0, 2], at(100));
        assert!(weather.allows(&request(2, 9_999, Answer::Unleased)));
        weather.end(fault, at(200));
        assert!(!weather.allows(&request(2, 9_999, Answer::Unleased)));
    }

    #[test]
    fn a_node_that_something_else_keeps_from_serving_is_excused() {
        let mut weather = weather(Felt::Alone);
        assert!(!weather.is_excused(1, 0, at(240)));
        let other = weather.begin(Felt::Alone, &[1], at(220));
        assert!(weather.is_excused(1, 0, at(240)) && !weather.is_excused(0, 0, at(240)));
        weather.end(other, at(230));
        assert!(weather.is_excused(1, 0, at(280)) && !weather.is_excused(1, 0, at(281)));
    }

    #[test]
    fn a_node_has_recovered_when_it_serves_what_was_asked_since() {
        let mut weather = Weather::new(at(50));
        let fault = weather.begin(Felt::Alone, &[0, 1], at(100));
        weather.served(&request(0, 150, Answer::Served));
        weather.end(fault, at(200));
        weather.served(&request(0, 199, Answer::Served));
        weather.served(&request(0, 205, Answer::Refused));
        assert_eq!(weather.recovery(fault), [(0, None), (1, None)]);
        weather.served(&request(0, 210, Answer::Served));
        weather.served(&request(0, 220, Answer::Served));
        weather.served(&request(2, 220, Answer::Served));
        assert_eq!(weather.recovery(fault), [(0, Some(at(15))), (1, None)]);
    }
}
