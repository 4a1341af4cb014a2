//! What one encryption with the integrity value allocates: in the core alone, which is all of it without what
//! the same backend allocates when it is called by itself.

use allocation_counter::{AllocationInfo, measure};
use xks_core::{KeyBackend as _, KeyId};

use crate::{
    DATA_KEY, KEY, LARGEST, Row, Signed, Size, answer, backend, encrypt_request, measure::consume, proxy, ready,
};

/// Against its bar: eight of them, and no more bytes for a large AAD than it is larger.
#[must_use]
pub fn row_of_allocations() -> Row {
    let large = Size {
        aad: LARGEST.aad,
        ..DATA_KEY
    };
    let (usual, larger) = (of_core(DATA_KEY), of_core(large));
    let per_byte = (larger.bytes - usual.bytes) as f64 / (large.aad - DATA_KEY.aad) as f64;
    Row {
        what: "heap allocations of an encrypt with CDIV, in the core".to_owned(),
        bar: "≤ 8, and ≤ 1 byte for a byte of AAD".to_owned(),
        measured: format!("{}, and {per_byte:.2}", usual.count),
        held: usual.count <= 8 && larger.count <= 8 && per_byte <= 1.0,
    }
}

struct Allocated {
    count: u64,
    bytes: u64,
}

impl From<AllocationInfo> for Allocated {
    fn from(heap: AllocationInfo) -> Self {
        Self {
            count: heap.count_total,
            bytes: heap.bytes_total,
        }
    }
}

fn of_core(size: Size) -> Allocated {
    let (all, backend) = (of_all(size), of_backend(size));
    Allocated {
        count: all.count - backend.count,
        bytes: all.bytes - backend.bytes,
    }
}

fn of_all(size: Size) -> Allocated {
    let (proxy, signed) = (proxy(), Signed::encrypt(size, true));
    assert_eq!(answer(&proxy, &signed).status(), 200); // and the signing key is kept now
    measure(|| consume(answer(&proxy, &signed))).into()
}

fn of_backend(size: Size) -> Allocated {
    let (backend, key) = (backend(), KEY.parse::<KeyId>().expect("a legal key id"));
    let mut request = encrypt_request(size);
    measure(|| consume(ready(backend.encrypt_verified(&key, &mut request)).expect("it encrypts"))).into()
}

#[cfg(test)]
mod tests {
    use xks_core::{
        KeyStores, Proxy,
        authorize::{Authorizer, Decision, Rule, Rules, Subject},
        dependency::Reply,
        key_store::KeyStoreBuilder,
        timer::FixedSystemTime,
    };

    use super::*;
    use crate::{NoAudit, credential, key_store, now};

    /// Allocations of an encryption in a key store that differs like that from the usual one.
    fn with(change: impl FnOnce(KeyStoreBuilder) -> KeyStoreBuilder) -> u64 {
        let key_store = change(key_store().to_builder()).build().expect("a whole key store");
        let key_stores = KeyStores::new([key_store]).expect("one key store");
        let proxy = Proxy::builder(key_stores)
            .audit(NoAudit)
            .timer(FixedSystemTime(now()))
            .build();
        let signed = Signed::encrypt(DATA_KEY, true);
        assert_eq!(answer(&proxy, &signed).status(), 200);
        measure(|| consume(answer(&proxy, &signed))).count_total
    }

    /// Decides as the rules do, but later.
    struct Later(Rules);

    impl Authorizer for Later {
        fn authorize<'a>(&'a self, subject: &'a Subject<'a>) -> Reply<'a, Decision> {
            Reply::later(async { Ok(self.0.decide(subject)) })
        }
    }

    #[test]
    fn who_knows_at_once_costs_no_allocation() {
        let rules = || Rules::new([Rule::allow("all")]);
        let usual = with(|key_store| key_store);
        assert_eq!(with(|key_store| key_store.authorizer(rules())), usual);
        assert_eq!(with(|key_store| key_store.credentials_from(vec![credential()])), usual);
        assert_eq!(
            with(|key_store| key_store.authorizer(Later(rules()))),
            usual + 1,
            "the future"
        );
    }
}
