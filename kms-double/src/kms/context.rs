//! The encryption context, and the additional authenticated data that a proxy gets of it.

use std::collections::BTreeMap;

use super::exception::Exception;

/// The encryption context, which a ciphertext is bound to besides its key: names and values, in the order of
/// their names.
pub type EncryptionContext = BTreeMap<String, String>;

/// The bytes of AAD that a proxy has to take (ENC-3).
const MAX_AAD: usize = 8192;

/// The additional authenticated data for a context; none for an empty one. AWS does not say how KMS makes it.
/// Here each name and each value comes with its length in front, so that no two contexts make the same bytes.
pub(crate) fn aad(context: &EncryptionContext) -> Result<Vec<u8>, Exception> {
    let mut aad = Vec::new();
    for text in context.iter().flat_map(|(name, value)| [name, value]) {
        let length = u16::try_from(text.len()).map_err(|_| too_long())?;
        aad.extend(length.to_be_bytes());
        aad.extend(text.as_bytes());
    }
    if context.contains_key("") {
        return Err(Exception::validation("a name of the encryption context is empty"));
    }
    if aad.len() > MAX_AAD {
        return Err(too_long());
    }
    Ok(aad)
}

fn too_long() -> Exception {
    Exception::validation(format!("the encryption context exceeds {MAX_AAD} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> EncryptionContext {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let context = of(&[("a", "1"), ("b", "2")]);
        assert_eq!(aad(&context).unwrap(), aad(&of(&[("b", "2"), ("a", "1")])).unwrap());
        for other in [
            of(&[]),
            of(&[("a", "1")]),
            of(&[("a", "1"), ("b", "3")]),
            of(&[("a", "1b"), ("2", "")]),
            of(&[("a1", ""), ("b", "2")]),
        ] {
            assert_ne!(aad(&context).unwrap(), aad(&other).unwrap(), "{other:?}");
        }
        assert_eq!(aad(&of(&[])).unwrap(), b"");
    }

    #[test]
    fn it_fits_what_a_proxy_has_to_take() {
        let value = "v".repeat(MAX_AAD - 5);
        assert_eq!(aad(&of(&[("a", &value)])).unwrap().len(), MAX_AAD);
        assert!(aad(&of(&[("ab", &value)])).is_err());
        assert!(aad(&of(&[("a", &"v".repeat(70_000))])).is_err());
        assert!(aad(&of(&[("", "v")])).is_err());
    }
}
