//! The signing key of a credential for one day and Region, and the small cache of them: a key is
//! derived once a day, not once a request.
//!
//! A key is cached only after it verified a signature, so that a client without the secret cannot fill the
//! cache.

use std::{fmt, iter, mem, sync::Arc};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{SERVICE, TERMINATOR};
use crate::key_store::{Region, SecretAccessKey};

type HmacSha256 = Hmac<Sha256>;

#[cfg(test)]
thread_local! {
    /// How many signing keys this thread has derived.
    pub(crate) static DERIVATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A signing key, keyed into HMAC-SHA256 already; wiped when dropped.
#[derive(Clone)]
pub(crate) struct SigningKey(HmacSha256);

impl SigningKey {
    /// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request")`
    // SIG-4
    pub(super) fn derive(secret: &SecretAccessKey, date: &str, region: &Region) -> Self {
        #[cfg(test)]
        DERIVATIONS.with(|count| count.set(count.get() + 1));
        let start = Zeroizing::new([b"AWS4", secret.expose().as_bytes()].concat());
        [date, region.as_str(), SERVICE, TERMINATOR]
            .iter()
            .fold(Self::new(&start), |key, part| {
                Self::new(&*Zeroizing::new(key.sign(&[part.as_bytes()])))
            })
    }

    /// As HMAC says: a key longer than the hash's block is hashed first, a shorter one padded with zeros.
    fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        let hashed;
        let key = if key.len() > block.len() {
            hashed = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(key)));
            hashed.as_slice()
        } else {
            key
        };
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self(HmacSha256::new((&*block).into()))
    }

    /// The HMAC of the parts, one after the other.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The signing keys of one credential that have verified a request, newest first; readers take no lock.
#[derive(Debug, Default)]
pub(crate) struct SigningKeys(ArcSwap<Vec<CachedKey>>);

#[derive(Clone, Debug)]
struct CachedKey {
    date: Arc<str>,
    region: Region,
    key: Arc<SigningKey>,
}

impl SigningKeys {
    pub(super) fn get(&self, date: &str, region: &Region) -> Option<Arc<SigningKey>> {
        let keys = self.0.load();
        let found = keys
            .iter()
            .find(|cached| &*cached.date == date && cached.region == *region);
        found.map(|cached| Arc::clone(&cached.key))
    }

    pub(super) fn remember(&self, date: &str, region: &Region, key: Arc<SigningKey>) {
        self.put_first(&CachedKey {
            date: date.into(),
            region: region.clone(),
            key,
        });
    }

    /// Remembers what another one does, which must be of the same secret.
    pub(crate) fn take_over(&self, other: &Self) {
        other.0.load().iter().rev().for_each(|cached| self.put_first(cached));
    }

    /// Keeps two keys for each Region: those of the two days around midnight.
    fn put_first(&self, newest: &CachedKey) {
        self.0.rcu(|keys| {
            let others = keys
                .iter()
                .filter(|cached| cached.region != newest.region || cached.date != newest.date);
            let mut has_second = false;
            let kept = others.filter(|cached| cached.region != newest.region || !mem::replace(&mut has_second, true));
            iter::once(newest).chain(kept).cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::region;

    fn secret() -> SecretAccessKey {
        SecretAccessKey::new("s".repeat(43)).unwrap()
    }

    /// SIG-4: keys shorter than, as long as and longer than the hash's block (RFC 4231, cases 2 and 6).
    #[test]
    fn hmac_keys_of_any_length_are_keyed_as_the_standard_says() {
        let hex = |key: &[u8], text: &[u8]| crate::text::Hex(&SigningKey::new(key).sign(&[text])).to_string();
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        for length in [63, 64, 65] {
            let reference = HmacSha256::new_from_slice(&vec![7; length]).unwrap();
            let expected: [u8; 32] = reference.chain_update(b"x").finalize().into_bytes().into();
            assert_eq!(SigningKey::new(&vec![7; length]).sign(&[b"x"]), expected, "{length}");
        }
    }

    #[test]
    fn keys_wipe_themselves() {
        fn wipes<T: zeroize::ZeroizeOnDrop>() {}
        wipes::<Sha256>(); // an Hmac<Sha256> is two hash states and a block buffer, each of which wipes itself
    }

    #[test]
    fn the_cache_keeps_two_keys_of_each_region_apart() {
        let keys = SigningKeys::default();
        let (a, b) = (region("a"), region("b"));
        assert!(keys.get("20260101", &a).is_none());
        for day in 10..30 {
            for region in [&a, &b] {
                let date = format!("202601{day}");
                keys.remember(&date, region, SigningKey::derive(&secret(), &date, region).into());
            }
        }
        keys.remember("20260129", &a, SigningKey::derive(&secret(), "20260129", &a).into());
        assert_eq!(keys.0.load().len(), 4);
        let sign = |date, region| keys.get(date, region).map(|key| key.sign(&[b"text"]));
        assert_eq!(
            sign("20260129", &a),
            Some(SigningKey::derive(&secret(), "20260129", &a).sign(&[b"text"]))
        );
        assert_ne!(sign("20260129", &a), sign("20260129", &b));
        assert_ne!(sign("20260129", &a), sign("20260128", &a));
        assert_eq!(sign("20260127", &a), None);

        let other = SigningKeys::default();
        other.remember("20260130", &a, SigningKey::derive(&secret(), "20260130", &a).into());
        other.take_over(&keys);
        assert_eq!(other.0.load().len(), 4, "the newer two days of each Region");
        assert!(other.get("20260129", &a).is_some() && other.get("20260128", &b).is_some());
    }
}
