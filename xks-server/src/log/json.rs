//! A line of JSON for each event: time, level, the event's own fields, target.
//!
//! What comes from requests is escaped, so that nothing in a line ends it, hides in it or turns it around,
//! for whichever program reads it.

use std::fmt::{self, Debug, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// The format.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    // LOG-3
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut line)?;
        line.write_str("\",\"level\":\"")?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_char('"')?;
        let mut fields = Fields { line, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        fields.name("target")?;
        text(&mut fields.line, event.metadata().target())?;
        fields.line.write_str("}\n")
    }
}

/// Writes one field after the other, until one fails.
struct Fields<'w> {
    line: Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) -> fmt::Result {
        self.line.write_char(',')?;
        text(&mut self.line, name)?;
        self.line.write_char(':')
    }

    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.name(field.name()).and_then(|()| value(&mut self.line));
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |line| text(line, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |line| write!(line, "{value}"));
    }

    /// Messages, what is displayed, and all else: as a text.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |line| text(line, &format!("{value:?}")));
    }
}

/// A JSON string.
// LOG-2
fn text(line: &mut impl Write, text: &str) -> fmt::Result {
    line.write_char('"')?;
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.as_bytes().iter().all(is_plain) {
        line.write_str(text)?;
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(line, "\\{c}")?,
                c if is_hidden(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(line, "\\u{unit:04x}")?;
                    }
                }
                c => line.write_char(c)?,
            }
        }
    }
    line.write_char('"')
}

/// Control and format characters, and what separates lines and paragraphs.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-2: no text ends a line of JSON early for any reader, and the text stays what it was.
    #[test]
    fn a_text_is_one_line_to_everybody() {
        for (plain, expected) in [
            ("", r#""""#),
            ("plain ~", r#""plain ~""#),
            ("ü", r#""ü""#),
            (r#"\ and ""#, r#""\\ and \"""#),
            ("a\nb\0", r#""a\u000ab\u0000""#),
            (
                "\u{7f}\u{85}\u{2028}\u{202e}\u{e0041}ü",
                r#""\u007f\u0085\u2028\u202e\udb40\udc41ü""#,
            ),
        ] {
            let mut line = String::new();
            text(&mut line, plain).unwrap();
            assert_eq!(line, expected);
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), plain);
        }
    }
}
