//! JSON by the letter of RFC 8259, with what a `serde_json::Value` would not keep: fields that are there
//! twice, in their order; and texts that are no Unicode.

/// As much of a value as bodies are made of.
#[derive(Debug)]
pub enum Json {
    /// None for one that holds half of a surrogate pair.
    Text(Option<String>),
    Object(Vec<(Option<String>, Self)>),
    Null,
    /// An array, a number, `true`, `false`.
    Other,
}

/// How deep a body may be nested.
const MAX_DEPTH: usize = 64;

/// None if it is not one value, and nothing else but white space.
pub fn read(bytes: &[u8]) -> Option<Json> {
    let mut rest = Reader(str::from_utf8(bytes).ok()?);
    let value = rest.value(0)?;
    rest.skip_white_space();
    rest.0.is_empty().then_some(value)
}

struct Reader<'t>(&'t str);

impl Reader<'_> {
    fn skip_white_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.skip_white_space();
        match self.0.chars().next()? {
            '"' => self.text().map(Json::Text),
            '{' => self
                .list("{", "}", depth, |reader, depth| {
                    reader.skip_white_space();
                    let name = reader.text()?;
                    reader.skip_white_space();
                    reader.take(":").then_some(())?;
                    Some((name, reader.value(depth)?))
                })
                .map(Json::Object),
            '[' => self.list("[", "]", depth, Self::value).map(|_| Json::Other),
            '-' | '0'..='9' => self.number().then_some(Json::Other),
            'n' => self.take("null").then_some(Json::Null),
            _ => ["true", "false"]
                .iter()
                .any(|word| self.take(word))
                .then_some(Json::Other),
        }
    }

    fn list<T>(
        &mut self,
        begin: &str,
        end: &str,
        depth: usize,
        item: fn(&mut Self, usize) -> Option<T>,
    ) -> Option<Vec<T>> {
        if depth == MAX_DEPTH || !self.take(begin) {
            return None;
        }
        let mut items = Vec::new();
        self.skip_white_space();
        if self.take(end) {
            return Some(items);
        }
        loop {
            items.push(item(self, depth + 1)?);
            self.skip_white_space();
            if self.take(end) {
                return Some(items);
            }
            self.take(",").then_some(())?;
        }
    }

    fn digits(&mut self) -> bool {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.0.len();
        self.0 = rest;
        some
    }

    fn number(&mut self) -> bool {
        self.take("-");
        if !self.take("0") && !self.digits() {
            return false;
        }
        if self.take(".") && !self.digits() {
            return false;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            return self.digits();
        }
        true
    }

    /// The outer `None` for what is no string, the inner for one that is no Unicode.
    #[expect(clippy::option_option, reason = "two ways to be wrong")]
    fn text(&mut self) -> Option<Option<String>> {
        self.take("\"").then_some(())?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = self.0.chars().next()?;
            self.0 = &self.0[c.len_utf8()..];
            match c {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\0'..='\x1f' => return None,
                '\\' => units.push(self.escaped()?),
                c => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn escaped(&mut self) -> Option<u16> {
        let c = self.0.chars().next()?;
        self.0 = &self.0[c.len_utf8()..];
        Some(match c {
            '"' | '\\' | '/' => c as u16,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits = self.0.get(..4)?;
                self.0 = &self.0[4..];
                digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
                u16::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for good in [
            "0",
            "-0.5e+7",
            "\"\\ud83d\\ude00\"",
            "[ ]",
            " {\"a\" : [1, {}] , \"a\":null}\n",
            "\"\\ud800\"",
        ] {
            assert!(read(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"\t\"",
            "\"\\x\"",
            "nul",
            "1 2",
            "\u{feff}1",
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(64).as_bytes()).is_some());
        assert!(read(nested(65).as_bytes()).is_none());
    }
}
