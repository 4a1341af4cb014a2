//! Whole operations in process, from the bytes of a request to those of its answer, over software keys; and
//! an encryption beside the primitives that it cannot do without.

#![allow(clippy::print_stdout, reason = "a benchmark may print")]

use criterion::{Criterion, criterion_group};
use xks_benches::{DATA_KEY, LARGEST, Pipeline, Signed, answer, proxy, row_of_allocations};

fn pipeline(criterion: &mut Criterion) {
    let proxy = proxy();
    let decrypt = |size| Signed::decrypt(size, &answer(&proxy, &Signed::encrypt(size, false)));
    let mut group = criterion.benchmark_group("pipeline");
    for (name, signed, expected) in [
        ("encrypt, 32 bytes, AAD 200", Signed::encrypt(DATA_KEY, false), 200),
        ("encrypt with integrity value", Signed::encrypt(DATA_KEY, true), 200),
        ("encrypt, 4300 bytes, AAD 8192", Signed::encrypt(LARGEST, false), 200),
        (
            "encrypt with integrity value, 4300 bytes, AAD 8192",
            Signed::encrypt(LARGEST, true),
            200,
        ),
        ("decrypt, 32 bytes, AAD 200", decrypt(DATA_KEY), 200),
        ("decrypt, 4300 bytes, AAD 8192", decrypt(LARGEST), 200),
        ("get key metadata", Signed::metadata(), 200),
        ("get health status", Signed::health(), 200),
        ("forged signature", Signed::encrypt(DATA_KEY, false).forged(), 401),
        ("path that is none", Signed::new("nowhere", ""), 404),
    ] {
        assert_eq!(answer(&proxy, &signed).status(), expected, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| answer(&proxy, &signed)));
    }
    group.finish();
    let small = Pipeline::measure(DATA_KEY);
    println!("{small}\n{}", Pipeline::measure(LARGEST));
    println!("{}\n{}", small.row(), row_of_allocations());
}

criterion_group!(benches, pipeline);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
