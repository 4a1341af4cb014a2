//! Verification of a signature: of a request to encrypt a data key, of one that was forged, and of the first
//! of a day; beside signing it again and beside another verifier.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

mod rivals;

use criterion::{BatchSize, Criterion, criterion_group};
use xks_benches::{SECRET_ACCESS_KEY, key_store, verify};
use xks_core::sigv4::Rejection;

use self::rivals::{Ours, Scratchstack, Signer};

fn signatures(criterion: &mut Criterion) {
    let (ours, signer, mut other) = (Ours::new(), Signer::new(SECRET_ACCESS_KEY), Scratchstack::new());
    let forged = ours.signed.clone().forged();
    assert_eq!(ours.try_verify(&forged).unwrap_err(), Rejection::Signature);
    let mut group = criterion.benchmark_group(format!("sigv4, body of {} bytes", ours.signed.body.len()));
    group.bench_function("verify", |bencher| bencher.iter(|| ours.verify()));
    group.bench_function("verify, forged", |bencher| bencher.iter(|| ours.try_verify(&forged)));
    group.bench_function("verify, signing key not known yet", |bencher| {
        bencher.iter_batched_ref(
            key_store,
            |store| verify(&ours.signed.request(), store).map(drop),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("sign again, aws-sigv4", |bencher| {
        bencher.iter(|| signer.sign(&ours.signed));
    });
    group.bench_function("verify, scratchstack-aws-signature", |bencher| {
        bencher.iter(|| other.verify());
    });
    group.finish();
    for row in rivals::rows() {
        println!("{row}");
    }
}

criterion_group!(benches, signatures);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
