//! Base64 by the letter of RFC 4648, section 4: bit by bit, slowly.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// None unless there are whole groups of four, padding at the end alone, and only zero bits in what is left over.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = match text.strip_suffix('=') {
        Some(text) => text.strip_suffix('=').unwrap_or(text),
        None => text,
    };
    let mut bits = Vec::with_capacity(digits.len() * 6);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        bits.extend((0..6).rev().map(|place| value >> place & 1 == 1));
    }
    let (bytes, left_over) = bits.as_chunks::<8>();
    // Six or more bits that are left over are a digit too many.
    if left_over.len() >= 6 || left_over.contains(&true) {
        return None;
    }
    let byte = |bits: &[bool; 8]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    Some(bytes.iter().map(byte).collect())
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
