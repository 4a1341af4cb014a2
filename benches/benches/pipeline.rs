//! The way of a request in process: signature verification beside AWS's own signer, and whole operations over software
//! keys. The ratio at the end is taken in the same run, so it means the same on every machine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

use criterion::{Criterion, criterion_group};
use tokio::runtime::{Builder, Runtime};
use xks_benches::{
    DATA_KEY, HOST, LARGEST, Signed, key_store,
    measure::{interleaved, ratio},
    now, proxy,
};
use xks_core::sigv4;

#[path = "../../xks-core/tests/support/signer.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod signer;

fn pipeline(criterion: &mut Criterion) {
    let runtime: Runtime = Builder::new_current_thread().build().unwrap();
    let proxy = proxy();
    let answer = |signed: &Signed| runtime.block_on(proxy.handle(signed.request()));
    let decrypt = |size| Signed::decrypt(size, &answer(&Signed::encrypt(size, false)));
    for (name, signed, expected) in [
        ("encrypt, 32 bytes, AAD 200", Signed::encrypt(DATA_KEY, false), 200),
        ("encrypt with integrity value", Signed::encrypt(DATA_KEY, true), 200),
        ("encrypt, 4300 bytes, AAD 8192", Signed::encrypt(LARGEST, true), 200),
        ("decrypt, 32 bytes, AAD 200", decrypt(DATA_KEY), 200),
        ("decrypt, 4300 bytes, AAD 8192", decrypt(LARGEST), 200),
        ("get key metadata", Signed::metadata(), 200),
        ("get health status", Signed::health(), 200),
        ("forged signature", Signed::encrypt(DATA_KEY, false).forged(), 401),
        ("path that is none", Signed::new("nowhere", ""), 404),
    ] {
        assert_eq!(answer(&signed).status(), expected, "{name}");
        criterion.bench_function(name, |bencher| bencher.iter(|| answer(&signed)));
    }

    let (store, signed) = (key_store(), Signed::encrypt(DATA_KEY, true));
    let aws = signer::Signer::at(now());
    let verify = || sigv4::verify(&signed.request(), &store, now()).unwrap();
    let headers = [("content-type", "application/json")];
    let sign = || aws.sign("POST", HOST, &signed.path, &headers, signed.body.as_bytes());
    criterion.bench_function("verify a signature", |bencher| bencher.iter(verify));
    criterion.bench_function("sign it again with aws-sigv4", |bencher| bencher.iter(sign));
    let (verify, sign) = interleaved(verify, sign);
    println!(
        "verifying takes {verify:?}, signing again {sign:?}: {:.1} times as long",
        ratio(sign, verify)
    );
}

criterion_group!(benches, pipeline);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
