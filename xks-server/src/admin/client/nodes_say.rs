//! What the nodes say of a command that is committed: whether all of them serve it, in words.

use serde_json::Value;

use super::show::{field, plain};

/// The field of an answer that has it.
pub(super) const CONFIRMATION: &str = "confirmation";

/// The exit status where a command is committed, and not every node has confirmed it.
pub(super) const NOT_CONFIRMED: u8 = 6;

/// The confirmation in an answer.
pub(super) struct NodesSay<'a>(&'a Value);

impl<'a> NodesSay<'a> {
    /// None where the answer has none: it changes nothing.
    pub(super) fn of(answer: &'a Value) -> Option<Self> {
        let confirmation = field(answer, CONFIRMATION);
        confirmation.is_object().then_some(Self(confirmation))
    }

    pub(super) fn is_confirmed(&self) -> bool {
        field(self.0, "confirmed") == true
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let durable = match field(self.0, "durable") {
            Value::Null => String::new(),
            durable => format!("; durable: {}", plain(durable)),
        };
        if field(self.0, "is_one_process") == true {
            return format!("confirmed: the state belongs to this one process{durable}");
        }
        let time = time(field(self.0, "seconds").as_f64().unwrap_or_default());
        if self.is_confirmed() {
            let nodes = self.items("nodes").len();
            let nodes = format!("{nodes} node{}", if nodes == 1 { "" } else { "s" });
            return format!("confirmed by {nodes} in {time}{}{durable}", self.ended());
        }
        let missing = self.items("missing").iter().map(|missing| {
            let part = |name| plain(field(missing, name));
            format!("node {}: {}", part("node"), part("reason"))
        });
        let store = match field(self.0, "store") {
            Value::Null => None,
            problem => Some(format!("the store: {}", plain(problem))),
        };
        let obstacles: Vec<_> = missing.chain(store).collect();
        let (obstacles, ended) = (obstacles.join("; "), self.ended());
        format!(
            "NOT confirmed after {time}, but committed: {obstacles}{ended}{durable}; give the command again to wait again"
        )
    }

    fn ended(&self) -> String {
        match self.items("ended") {
            [] => String::new(),
            ended => {
                let ended: Vec<_> = ended.iter().map(plain).collect();
                format!("; left or dead: {}", ended.join(", "))
            }
        }
    }

    fn items(&self, name: &str) -> &'a [Value] {
        field(self.0, name).as_array().map_or(&[], Vec::as_slice)
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(confirmation: &Value) -> (bool, String) {
        let answer = json!({ "id": "x", "confirmation": confirmation });
        let says = NodesSay::of(&answer).unwrap();
        (says.is_confirmed(), says.line())
    }

    #[test]
    fn a_confirmation_is_one_line() {
        let one = json!({"confirmed": true, "is_one_process": true, "nodes": [], "durable": "single"});
        let told = "confirmed: the state belongs to this one process; durable: single";
        assert_eq!(line(&one), (true, told.to_owned()));
        let all = json!({"confirmed": true, "is_one_process": false, "nodes": ["a", "b", "c"], "ended": [],
            "missing": [], "store": null, "seconds": 0.0124, "durable": "synchronous"});
        assert_eq!(
            line(&all),
            (true, "confirmed by 3 nodes in 12 ms; durable: synchronous".to_owned())
        );
        let ended = json!({"confirmed": true, "is_one_process": false, "nodes": ["a"], "ended": ["b", "c"],
            "seconds": 31.27, "durable": null});
        assert_eq!(
            line(&ended),
            (true, "confirmed by 1 node in 31.3 s; left or dead: b, c".to_owned())
        );
        let missing = json!({"confirmed": false, "is_one_process": false, "nodes": ["a"], "ended": [],
            "missing": [{"node": "b", "serves": 7, "reason": "it joins\u{1b}"}], "store": "it is away",
            "seconds": 61.0, "durable": "single"});
        let told = "NOT confirmed after 61.0 s, but committed: node b: it joins\\u{1b}; the store: it is away; \
                    durable: single; give the command again to wait again";
        assert_eq!(line(&missing), (false, told.to_owned()));
        assert!(NodesSay::of(&json!({"id": "x"})).is_none());
    }
}
