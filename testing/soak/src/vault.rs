//! Ciphertexts that are kept to be decrypted later: many young ones, and some of all ages.

use std::time::Instant;

use crate::witness::Sealed;

const YOUNG: usize = 1024;
const OLD: usize = 512;

/// A ciphertext, and what has to come out of it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) store: usize,
    pub(crate) key: &'static str,
    /// Which of the key's values it was made with, from 0.
    pub(crate) version: usize,
    pub(crate) sealed: Sealed,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) made: Instant,
}

#[derive(Default)]
pub(crate) struct Vault {
    young: Vec<Kept>,
    next: usize,
    old: Vec<Kept>,
    seen: usize,
}

impl Vault {
    pub(crate) fn keep(&mut self, kept: Kept, rng: &mut fastrand::Rng) {
        // Each that ever came has the same chance to be among the old ones (reservoir sampling).
        self.seen += 1;
        if self.old.len() < OLD {
            self.old.push(kept.clone());
        } else if let Some(place) = self.old.get_mut(rng.usize(..self.seen)) {
            *place = kept.clone();
        }
        if self.young.len() < YOUNG {
            self.young.push(kept);
        } else if let Some(place) = self.young.get_mut(self.next % YOUNG) {
            *place = kept;
            self.next = self.next.wrapping_add(1);
        }
    }

    pub(crate) fn choose(&self, rng: &mut fastrand::Rng, is_old: bool) -> Option<Kept> {
        let from = if is_old { &self.old } else { &self.young };
        rng.choice(from).cloned()
    }

    /// Takes out the ciphertexts of other versions of a key than this one, and returns one of them.
    pub(crate) fn drop_others(&mut self, key: &str, version: usize) -> Option<Kept> {
        let is_other = |kept: &Kept| kept.key == key && kept.version != version;
        let other = self.young.iter().chain(&self.old).find(|kept| is_other(kept)).cloned();
        self.young.retain(|kept| !is_other(kept));
        self.old.retain(|kept| !is_other(kept));
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(version: usize) -> Kept {
        Kept {
            store: 0,
            key: "key",
            version,
            sealed: Sealed {
                aad: None,
                metadata: Vec::new(),
                iv: Vec::new(),
                ciphertext: Vec::new(),
                tag: Vec::new(),
            },
            plaintext: Vec::new(),
            made: Instant::now(),
        }
    }

    #[test]
    fn young_ones_are_the_last_and_old_ones_of_all_ages() {
        let (mut vault, mut rng) = (Vault::default(), fastrand::Rng::with_seed(1));
        for version in 0..20_000 {
            vault.keep(kept(version), &mut rng);
        }
        assert_eq!((vault.young.len(), vault.old.len()), (YOUNG, OLD));
        assert!(vault.young.iter().all(|kept| kept.version >= 20_000 - YOUNG));
        let of_first_half = vault.old.iter().filter(|kept| kept.version < 10_000).count();
        assert!((OLD / 3..OLD * 2 / 3).contains(&of_first_half), "{of_first_half}");
    }

    #[test]
    fn other_versions_go() {
        let (mut vault, mut rng) = (Vault::default(), fastrand::Rng::with_seed(1));
        for version in [0, 1, 0] {
            vault.keep(kept(version), &mut rng);
        }
        assert_eq!(vault.drop_others("other key", 1).map(|kept| kept.version), None);
        assert_eq!(vault.drop_others("key", 1).map(|kept| kept.version), Some(0));
        assert_eq!((vault.young.len(), vault.old.len()), (1, 1));
        assert_eq!(vault.choose(&mut rng, true).map(|kept| kept.version), Some(1));
    }
}
