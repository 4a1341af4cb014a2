//! The backend with software keys, called by itself: what the pipeline adds is what its own benchmark takes
//! more.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use criterion::{Criterion, criterion_group};
use xks_benches::{DATA_KEY, KEY, LARGEST, Size, backend, encrypt_request, ready};
use xks_core::{
    KeyBackend as _, KeyId,
    api::RequestMetadata,
    backend::{DecryptRequest, GetKeyMetadataRequest},
};

fn soft(criterion: &mut Criterion) {
    let (backend, key) = (backend(), KEY.parse::<KeyId>().unwrap());
    let mut group = criterion.benchmark_group("software keys");
    for size in [DATA_KEY, LARGEST] {
        let Size { plaintext, aad } = size;
        let mut request = encrypt_request(size);
        let encrypted = ready(backend.encrypt(&key, &mut request)).unwrap();
        let decryption = DecryptRequest::new(RequestMetadata::default(), encrypted);
        group.bench_function(format!("encrypt, {plaintext} bytes, AAD {aad}"), |bencher| {
            bencher.iter(|| ready(backend.encrypt(&key, &mut request)).unwrap());
        });
        group.bench_function(format!("decrypt, {plaintext} bytes, AAD {aad}"), |bencher| {
            bencher.iter(|| ready(backend.decrypt(&key, &decryption)).unwrap());
        });
    }
    let request = GetKeyMetadataRequest::new(RequestMetadata::default());
    group.bench_function("key metadata", |bencher| {
        bencher.iter(|| ready(backend.key_metadata(&key, &request)).unwrap());
    });
    group.bench_function("health", |bencher| bencher.iter(|| ready(backend.health()).unwrap()));
    group.finish();
}

criterion_group!(benches, soft);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
