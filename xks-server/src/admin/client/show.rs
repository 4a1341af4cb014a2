//! What commands print: a table, the fields of one object, or the API's answer.

use serde_json::Value;

use super::{
    failure::Failure,
    nodes::facts,
    nodes_say::{CONFIRMATION, NodesSay},
};

/// What the server has answered, and how people read it.
pub(super) struct Output {
    body: Value,
    form: Form,
    note: Option<&'static str>,
}

enum Form {
    /// A page: one line for each item, with these fields.
    Table(&'static [&'static str]),
    /// One object: these fields first, then all others.
    Fields(&'static [&'static str]),
    /// The same, with one field as the JSON that it is.
    Made(&'static [&'static str], &'static str),
    /// A document of JSON, to be used elsewhere.
    Document,
    /// A line of its own.
    Line(String),
    /// One field alone, whatever is asked for.
    Only(&'static str),
}

impl Output {
    const fn new(body: Value, form: Form) -> Self {
        let note = None;
        Self { body, form, note }
    }

    /// With what people should know besides.
    pub(super) fn with_note(self, note: &'static str) -> Self {
        let note = Some(note);
        Self { note, ..self }
    }

    pub(super) const fn note(&self) -> Option<&'static str> {
        self.note
    }

    /// The same, with the confirmation of the command `done` before it.
    pub(super) fn confirmed_as(mut self, done: &Self) -> Self {
        if let (Value::Object(body), Value::Object(_)) = (&mut self.body, field(&done.body, CONFIRMATION)) {
            body.insert(CONFIRMATION.to_owned(), field(&done.body, CONFIRMATION).clone());
        }
        self
    }

    /// A failure after the command that has this output, with what the nodes say of that.
    pub(super) fn kept_in(&self, failure: Failure) -> Failure {
        match self.nodes_say() {
            Some(says) => Failure::After(says.line(), failure.into()),
            None => failure,
        }
    }

    /// What the nodes say, if it is the answer to a command that they have to confirm.
    pub(super) fn nodes_say(&self) -> Option<NodesSay<'_>> {
        NodesSay::of(&self.body)
    }

    pub(super) const fn table(body: Value, columns: &'static [&'static str]) -> Self {
        Self::new(body, Form::Table(columns))
    }

    pub(super) const fn fields(body: Value, first: &'static [&'static str]) -> Self {
        Self::new(body, Form::Fields(first))
    }

    pub(super) const fn made(body: Value, first: &'static [&'static str], json: &'static str) -> Self {
        Self::new(body, Form::Made(first, json))
    }

    pub(super) const fn document(body: Value) -> Self {
        Self::new(body, Form::Document)
    }

    pub(super) const fn line(body: Value, line: String) -> Self {
        Self::new(body, Form::Line(line))
    }

    pub(super) const fn only(body: Value, field: &'static str) -> Self {
        Self::new(body, Form::Only(field))
    }

    /// The text for standard output.
    pub(super) fn text(&self, is_json: bool) -> String {
        match &self.form {
            Form::Only(field) => format!("{}\n", self::field(&self.body, field)),
            _ if is_json => format!("{}\n", self.body),
            Form::Table(columns) => table(
                field(&self.body, "items").as_array().map_or(&[], Vec::as_slice),
                columns,
            ),
            Form::Fields(first) => fields(&self.body, first),
            Form::Made(first, json) => {
                let mut body = self.body.clone();
                if let Some(value) = body.get_mut(*json) {
                    *value = Value::String(value.to_string());
                }
                fields(&body, first)
            }
            Form::Document => format!("{:#}\n", self.body),
            Form::Line(line) => format!("{line}\n"),
        }
    }

    /// What else there is, for standard error.
    pub(super) fn hint(&self) -> Option<String> {
        let next = field(&self.body, "next").as_str()?;
        Some(format!("There are more: give --after {next}, or a greater --limit."))
    }
}

/// A table with a line for each item. Columns are as wide as they need to be.
fn table(items: &[Value], columns: &[&str]) -> String {
    let head = columns.iter().map(|column| column.to_uppercase().replace('_', " "));
    let mut lines: Vec<Vec<String>> = vec![head.collect()];
    lines.extend(
        items
            .iter()
            .map(|item| columns.iter().map(|column| plain(field(item, column))).collect()),
    );
    let width = |place: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(place))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<_> = (0..columns.len())
        .map(|place| width(place).unwrap_or_default())
        .collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// One object: a field on each line, lists of objects as tables below.
fn fields(object: &Value, first: &[&str]) -> String {
    let Some(map) = object.as_object() else {
        return format!("{}\n", plain(object));
    };
    // The confirmation is a line of its own.
    let others = map.keys().map(String::as_str);
    let others = others.filter(|key| !first.contains(key) && *key != CONFIRMATION);
    let present = first.iter().copied().filter(|key| map.contains_key(*key));
    let keys: Vec<_> = present.chain(others).collect();
    let width = keys.iter().map(|key| key.len()).max().unwrap_or_default();
    let (mut text, mut tables) = (String::new(), String::new());
    for key in keys {
        let value = field(object, key);
        let facts = (key == "facts").then(|| facts(value));
        match facts.as_ref().or(value.as_array()) {
            Some(items) if items.first().is_some_and(Value::is_object) => {
                let columns: Vec<_> = columns_of(key, items);
                tables.push_str(&format!("\n{}:\n{}", key.replace('_', " "), table(items, &columns)));
            }
            _ => {
                let line = format!("{:width$}  {}", key.replace('_', " "), plain(value));
                text.push_str(&format!("{}\n", line.trim_end()));
            }
        }
    }
    text + &tables
}

/// The columns of a list within an object.
fn columns_of<'i>(key: &str, items: &'i [Value]) -> Vec<&'i str> {
    match key {
        "versions" => vec![
            "number",
            "id",
            "state",
            "created",
            "promoted",
            "backend_key",
            "earlier_encryptions",
        ],
        "steps" => vec!["is_done", "step", "reason"],
        "log" => vec!["time", "text"],
        _ => {
            let fields = items.first().and_then(Value::as_object);
            fields
                .into_iter()
                .flat_map(|fields| fields.keys().map(String::as_str))
                .collect()
        }
    }
}

/// A field of an object; null where there is none.
pub(super) fn field<'v>(object: &'v Value, name: &str) -> &'v Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// A value as people read it. Nothing in it reaches a terminal as a command.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}: {}", plain(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
    };
    let is_harmless = |char: char| !char.is_control();
    if text.chars().all(is_harmless) {
        return text;
    }
    let escaped = |char: char| match is_harmless(char) {
        true => char.to_string(),
        false => char.escape_default().to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_shows_no_control_characters() {
        let items = [
            json!({"id": "a", "is_blocked": false, "regions": ["eu-central-1", "us-east-1"]}),
            json!({"id": "longer", "is_blocked": true, "regions": []}),
            json!({"id": "\u{1b}[31m", "is_blocked": null}),
        ];
        let expected = "ID          IS BLOCKED  REGIONS\n\
                        a           no          eu-central-1, us-east-1\n\
                        longer      yes\n\
                        \\u{1b}[31m  -           -\n";
        assert_eq!(table(&items, &["id", "is_blocked", "regions"]), expected);
    }

    /// A command that starts a job tells what the nodes say of it, however the job ends.
    #[test]
    fn a_confirmation_is_kept_when_a_job_follows() {
        let done = |confirmed: bool| {
            let confirmation = json!({"confirmed": confirmed, "missing": [{"node": "b", "reason": "it joins"}]});
            Output::fields(json!({"id": "x", "confirmation": confirmation}), &["id"])
        };
        let job = || Output::fields(json!({"id": "j", "state": "done"}), &["id"]);
        for confirmed in [true, false] {
            let shown = job().confirmed_as(&done(confirmed));
            assert_eq!(shown.nodes_say().unwrap().is_confirmed(), confirmed);
            assert_eq!(shown.text(false), job().text(false));
        }
        assert!(job().confirmed_as(&job()).nodes_say().is_none());
        let failure = done(false).kept_in(Failure::Problem(json!({"status": 409, "detail": "d", "code": "c"})));
        let told = failure.to_string();
        assert!(
            told.starts_with("d (c)\nNOT confirmed") && told.contains("node b: it joins"),
            "{told}"
        );
        assert_eq!(
            (failure.exit_status(), failure.json().unwrap()["code"].as_str()),
            (3, Some("c"))
        );
        assert_eq!(job().kept_in(Failure::Other("o".to_owned())).to_string(), "o");
    }

    #[test]
    fn one_object_shows_all_of_its_fields() {
        let object = json!({"b": 1, "id": "x", "cron": {"pattern": "0 3 * * *", "time_zone": "UTC"},
            "versions": [{"id": "00000001", "number": 1}]});
        let expected = "id        x\n\
                        b         1\n\
                        cron      pattern: 0 3 * * *, time_zone: UTC\n\n\
                        versions:\n\
                        NUMBER  ID        STATE  CREATED  PROMOTED  BACKEND KEY  EARLIER ENCRYPTIONS\n\
                        1       00000001  -      -        -         -            -\n";
        assert_eq!(fields(&object, &["id"]), expected);
    }
}
