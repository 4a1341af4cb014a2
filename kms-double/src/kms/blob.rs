//! The ciphertext blob that a caller of KMS gets. AWS does not document its own; this one holds the same
//! parts:
//!
//! ```text
//! version            1 byte, 1
//! KMS key            16 bytes, its key id
//! metadata           1 byte of length (0 where there is none), at most 20 bytes    ┐
//! IV                 1 byte of length, 12 or 16 bytes                              │ from the proxy
//! tag                16 bytes                                                      │
//! ciphertext         2 bytes of length, of what KMS's own layer sealed             ┘
//! seal               28 bytes, over all before it and the encryption context, by KMS's own key material
//! ```

use super::seal::OVERHEAD;

const VERSION: u8 = 1;

/// The key id of a KMS key, as bytes.
pub(crate) type KeyIdBytes = [u8; 16];

/// A proxy's result of an encryption, which it wants back for a decryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) iv: Vec<u8>,
    pub(crate) tag: [u8; 16],
    /// Empty where there is none.
    pub(crate) metadata: Vec<u8>,
}

/// A blob in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blob<'a> {
    pub(crate) key_id: KeyIdBytes,
    pub(crate) external: External,
    /// All before the seal.
    pub(crate) sealed: &'a [u8],
    pub(crate) seal: &'a [u8],
}

/// All of a blob but its seal. Lengths that have no place in it were refused when the proxy answered.
pub(crate) fn body(key_id: &KeyIdBytes, external: &External) -> Option<Vec<u8>> {
    let External {
        ciphertext,
        iv,
        tag,
        metadata,
    } = external;
    let mut body = vec![VERSION];
    body.extend(key_id);
    body.push(u8::try_from(metadata.len()).ok()?);
    body.extend(metadata);
    body.push(u8::try_from(iv.len()).ok()?);
    body.extend(iv);
    body.extend(tag);
    body.extend(u16::try_from(ciphertext.len()).ok()?.to_be_bytes());
    body.extend(ciphertext);
    Some(body)
}

/// Takes a blob apart that may be anything.
pub(crate) fn parse(blob: &[u8]) -> Option<Blob<'_>> {
    let (sealed, seal) = blob.split_at_checked(blob.len().checked_sub(OVERHEAD)?)?;
    let mut rest = sealed;
    let [VERSION] = *take_array(&mut rest)? else {
        return None;
    };
    let key_id = *take_array(&mut rest)?;
    let [length] = *take_array(&mut rest)?;
    let metadata = take(&mut rest, length.into()).filter(|metadata| metadata.len() <= 20)?;
    let [length] = *take_array(&mut rest)?;
    let iv = take(&mut rest, length.into()).filter(|iv| [12, 16].contains(&iv.len()))?;
    let tag = *take_array(&mut rest)?;
    let length = u16::from_be_bytes(*take_array(&mut rest)?);
    let ciphertext = take(&mut rest, length.into()).filter(|ciphertext| ciphertext.len() >= OVERHEAD)?;
    rest.is_empty().then(|| Blob {
        key_id,
        external: External {
            ciphertext: ciphertext.to_vec(),
            iv: iv.to_vec(),
            tag,
            metadata: metadata.to_vec(),
        },
        sealed,
        seal,
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    rest.split_off(..length)
}

fn take_array<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external() -> External {
        External {
            ciphertext: vec![3; OVERHEAD + 5],
            iv: vec![4; 12],
            tag: [5; 16],
            metadata: vec![6; 13],
        }
    }

    fn blob(external: &External) -> Vec<u8> {
        let mut blob = body(&[7; 16], external).unwrap();
        blob.extend([8; OVERHEAD]);
        blob
    }

    #[test]
    fn comes_apart_as_it_was_put_together() {
        for metadata in [0, 1, 20] {
            let external = External {
                metadata: vec![6; metadata],
                ..external()
            };
            let blob = blob(&external);
            let parsed = parse(&blob).unwrap();
            assert_eq!((parsed.key_id, &parsed.external), ([7; 16], &external));
            assert_eq!(parsed.sealed.len() + parsed.seal.len(), blob.len());
        }
    }

    #[test]
    fn is_never_shorter_or_longer() {
        let blob = blob(&external());
        for length in 0..blob.len() {
            assert_eq!(parse(&blob[..length]), None, "{length}");
        }
        assert_eq!(parse(&[&blob[..], &[0]].concat()), None);
    }

    #[test]
    fn lengths_that_no_proxy_may_answer_are_refused() {
        for wrong in [
            External {
                metadata: vec![6; 21],
                ..external()
            },
            External {
                iv: vec![4; 13],
                ..external()
            },
            External {
                ciphertext: vec![3; OVERHEAD - 1],
                ..external()
            },
        ] {
            assert_eq!(parse(&blob(&wrong)), None, "{wrong:?}");
        }
    }
}
