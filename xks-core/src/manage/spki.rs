//! A reader of one structure of DER: the SubjectPublicKeyInfo (RFC 5280) of an RSA key (RFC 8017).

/// The content of the AlgorithmIdentifier: rsaEncryption, with NULL for its parameters.
const RSA_ENCRYPTION: [u8; 13] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Returns modulus and public exponent, in big-endian order without leading zeros. Nothing if it is anything
/// else, or written otherwise than DER allows.
pub(super) fn rsa_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut spki = whole(spki, SEQUENCE)?;
    if take(&mut spki, SEQUENCE)? != RSA_ENCRYPTION {
        return None;
    }
    let key = whole(spki, BIT_STRING)?.strip_prefix(&[0])?; // no unused bits
    let mut key = whole(key, SEQUENCE)?;
    let modulus = digits(take(&mut key, INTEGER)?)?;
    let exponent = digits(whole(key, INTEGER)?)?;
    Some((modulus, exponent))
}

/// The content of the one element that is there.
fn whole(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    take(&mut der, tag).filter(|_| der.is_empty())
}

/// The content of the next element.
fn take<'d>(der: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    let (length, rest) = match *der {
        [found, length @ 0..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x81, length @ 0x80..=0xff, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high @ 1..=0xff, low, rest @ ..] if *found == tag => {
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return None, // a key of 4096 bits needs no longer lengths
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(content)
}

/// The digits of a positive number in its only encoding, without the zero that says that it is positive.
fn digits(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, 0x80..=0xff, ..] => content.get(1..),
        [1..=0x7f, ..] => Some(content),
        _ => None,
    }
}
