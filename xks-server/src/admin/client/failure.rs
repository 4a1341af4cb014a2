//! Why a command did not do what it was given for, and the status that tells scripts.

use std::{error::Error, fmt, path::PathBuf};

use serde_json::{Value, json};

use super::{
    nodes_say::{NOT_CONFIRMED, NodesSay},
    show::{field, plain},
};

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server's answer: problem details.
    Problem(Value),
    /// What was typed does not allow it: nothing was sent.
    Usage(String),
    /// It was not confirmed: nothing was changed.
    NotConfirmed(String),
    /// No object has this name, or several have.
    NotFound(String),
    /// The server does not listen, or does not answer.
    Unreachable {
        socket: PathBuf,
        error: Box<dyn Error + Send + Sync>,
    },
    /// What came after a command that was done: what the nodes say of that, and why the rest failed.
    After(String, Box<Self>),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// 1: it failed. 2: the command line is wrong. 3: it was refused, and nothing was changed. 4: the object
    /// has changed meanwhile; look at it, and give the command again. 5: the server cannot be reached. 6: not
    /// every node can use a version that is to be promoted.
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Problem(problem) => {
                let code = field(problem, "code").as_str().unwrap_or_default();
                match field(problem, "status").as_u64() {
                    _ if matches!(code, "changed" | "conflict") => 4,
                    _ if code == "not-confirmed" => NOT_CONFIRMED,
                    Some(400..=499) => 3,
                    _ => 1,
                }
            }
            Self::Usage(_) => 2,
            Self::NotConfirmed(_) | Self::NotFound(_) => 3,
            Self::Unreachable { .. } => 5,
            Self::After(_, failure) => failure.exit_status(),
            Self::Other(_) => 1,
        }
    }

    /// What the nodes say of what was committed before the command failed. Where they are why it failed, the
    /// problem says it.
    pub(super) fn nodes_say(&self) -> Option<NodesSay<'_>> {
        match self {
            Self::Problem(problem) if field(problem, "code") != "not-confirmed" => NodesSay::of(problem),
            _ => None,
        }
    }

    /// Problem details: the server's, or those of an object that was not found.
    pub(super) fn json(&self) -> Option<Value> {
        match self {
            Self::Problem(problem) => Some(problem.clone()),
            Self::NotFound(detail) => Some(json!({"code": "not-found", "detail": detail})),
            Self::After(_, failure) => failure.json(),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => {
                let text = |name: &str| plain(field(problem, name));
                write!(f, "{} ({})", text("detail"), text("code"))
            }
            Self::Usage(text) | Self::NotConfirmed(text) | Self::NotFound(text) | Self::Other(text) => {
                f.write_str(text)
            }
            Self::After(nodes_say, failure) => write!(f, "{failure}\n{nodes_say}"),
            Self::Unreachable { socket, error } => write!(
                f,
                "cannot reach the server at {}: {error}; name its socket with --socket, or its settings with --config",
                socket.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_learn_what_to_do_next() {
        let problem = |status: u16, code: &str| Failure::Problem(json!({"status": status, "code": code}));
        for (failure, status) in [
            (problem(500, "internal"), 1),
            (problem(503, "store-unavailable"), 1),
            (Failure::Problem(Value::Null), 1),
            (Failure::Other(String::new()), 1),
            (Failure::Usage(String::new()), 2),
            (problem(403, "not-allowed"), 3),
            (problem(409, "key-state"), 3),
            (Failure::NotFound(String::new()), 3),
            (Failure::NotConfirmed(String::new()), 3),
            (problem(412, "changed"), 4),
            (problem(409, "changed"), 4),
            (problem(409, "conflict"), 4),
            (problem(503, "not-confirmed"), 6),
        ] {
            assert_eq!(failure.exit_status(), status, "{failure:?}");
        }
    }
}
