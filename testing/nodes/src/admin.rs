//! Commands to a node, over the socket that its command line uses.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;
use xks_test_client::{Connection, Prepared, Target};

use crate::judge::Returned;

/// A command that takes longer has a fault: each wait of a node has an end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a command went.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) returned: Returned,
    /// The answer's body.
    pub(crate) body: Value,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node took no connection: nothing was sent.
    NotSent,
    /// The connection has ended before the answer.
    Lost,
    /// There is none in a time in which there should be.
    Hangs,
}

/// Sends a command to the node with this socket.
pub(crate) async fn post(socket: &Path, path: &str, body: &Value) -> Result<Done, Failure> {
    let sends = async {
        let target = Target::plain(([127, 0, 0, 1], 80).into(), "");
        let mut connection = Connection::unix(socket, &target).await.map_err(|_| Failure::NotSent)?;
        let headers = [
            ("host".to_owned(), "localhost".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let path = format!("/admin/v1/{path}");
        let request = Prepared::new(&target, "POST", &path, &headers, body.to_string().as_bytes());
        let status = connection.exchange(&request).await.map_err(|_| Failure::Lost)?;
        let body = serde_json::from_slice(connection.body()).unwrap_or(Value::Null);
        Ok(Done {
            returned: returned(status, &body),
            body,
        })
    };
    timeout(PATIENCE, sends).await.unwrap_or(Err(Failure::Hangs))
}

/// What an answer promises.
fn returned(status: u16, body: &Value) -> Returned {
    let is_confirmed = body.pointer("/confirmation/confirmed").and_then(Value::as_bool);
    match (status, is_confirmed) {
        (200..300, Some(true)) => Returned::Confirmed,
        (200..300, _) => Returned::NotConfirmed,
        _ => Returned::Failed,
    }
}

/// The body of a command without parameters.
pub(crate) fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_says_so_is_a_confirmation() {
        let said = |confirmed: Value| json!({"confirmation": {"confirmed": confirmed}});
        for (status, body, expected) in [
            (200, said(json!(true)), Returned::Confirmed),
            (201, said(json!(true)), Returned::Confirmed),
            (200, said(json!(false)), Returned::NotConfirmed),
            (200, said(json!(["node-1"])), Returned::NotConfirmed),
            (200, json!({"id": "x"}), Returned::NotConfirmed),
            (503, said(json!(true)), Returned::Failed),
            (409, Value::Null, Returned::Failed),
        ] {
            assert_eq!(returned(status, &body), expected, "{status} {body}");
        }
    }
}
