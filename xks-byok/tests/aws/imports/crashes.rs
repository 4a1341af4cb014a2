//! The process ends at each write of a job, before or after it is made; another one goes on.

use xks_byok::jobs::JobState;
use xks_lifecycle::RotationStyle;

use super::site::{Imports, alice};

/// Runs a job that ends at this write; another process ends it. Returns how many writes there are.
async fn run(imports: &Imports, write: u64, is_made: bool) -> u64 {
    let jobs = imports.site.jobs().await;
    let id = jobs.start(&alice(), imports.intent(), None).await.unwrap().id.unwrap();
    imports.site.store.end_at(write, is_made);
    tokio::select! {
        biased;
        () = imports.site.store.ended() => {}
        job = imports.site.finish(&jobs, id) => {
            assert_eq!(job.state, JobState::Done, "{job:#?}");
            return imports.site.store.writes();
        }
    }
    drop(jobs);
    imports.site.store.end_at(0, false);
    let another = imports.site.jobs().await;
    let job = imports.site.finish(&another, id).await;
    assert_eq!(
        job.state,
        JobState::Done,
        "ended at write {write}, made: {is_made}: {job:#?}"
    );
    0
}

/// No KMS key is left over and no material is lost, wherever the first process ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_goes_on_with_a_rotation_from_each_write() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imported = async || {
            let imports = Imports::new(style).await;
            if style == RotationStyle::NewKey {
                imports.want_import(|import| import.disable_former = true).await;
            }
            imports.done().await;
            imports.rotate().await;
            imports
        };
        let mut imports = imported().await;
        let writes = run(&imports, 0, false).await;
        println!("{style:?}: {writes} writes of a rotation");
        assert!(writes > 5);
        for write in 1..=writes {
            if imports.materials().await.len() > 20 {
                imports = imported().await; // fewer than AWS allows in place
            }
            for is_made in [false, true] {
                imports.rotate().await;
                run(&imports, write, is_made).await;
                let when = format!("{style:?}, ended at write {write}, made: {is_made}");
                imports.assert_whole(&when).await;
            }
        }
    }
}
