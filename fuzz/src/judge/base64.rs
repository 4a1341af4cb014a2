//! Base64 by the letter of RFC 4648, section 4.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// None unless there are whole groups of four, padding at the end alone, and only zero bits in what is left
/// over.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (groups, []) = text.as_bytes().as_chunks::<4>() else {
        return None;
    };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (place, group) in groups.iter().enumerate() {
        let is_last = place + 1 == groups.len();
        let digits = match group.as_slice() {
            [digits @ .., b'=', b'='] if is_last => digits,
            [digits @ .., b'='] if is_last => digits,
            digits => digits,
        };
        let mut number = 0_u32;
        for digit in digits {
            number = number << 6 | value(*digit)?;
        }
        // So many bits more than whole bytes.
        let left_over = digits.len() * 6 % 8;
        if number & ((1 << left_over) - 1) != 0 {
            return None;
        }
        let whole = digits.len() - 1;
        bytes.extend(&(number >> left_over).to_be_bytes()[4 - whole..]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |number, place| {
            number << 8 | usize::from(group.get(place).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let digit = ALPHABET[number >> (18 - 6 * place) & 63];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for bad in [
            "=", "====", "Z===", "Zg=", "Zg", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v\n", "Zm-_", "Zg= =",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
