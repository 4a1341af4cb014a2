//! A state with a KMS key that is wanted in an account, and workers on it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kms_double::kms::{Builder, Clock, Kms};
use xks_byok::{
    aws::{
        AwsCredentials, Connector as _, CustomKeyStore, DescribeCustomKeyStoresRequest, KeyListEntry,
        ListAliasesRequest, PageRequest,
    },
    jobs::{Intent, Job, JobState, Jobs, Settings},
};
use xks_core::timer::{Sleep, Timer};
use xks_lifecycle::{
    CloudCredential, CloudKey, CloudKeyId, CloudKeyStore, CloudKeyStoreId, Name, Repository, Snapshot, WantedKey,
    WantedKeyStore,
    commands::{Actor, Backends, Commands, Deployment},
    seal::Root,
};
use xks_test_aws::{AwsDouble, TestProxy, Wanted};

use super::{
    hsm::Hsm,
    store::{MortalStore, shared},
};

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const ALIAS: &str = Wanted::ALIAS;
pub(crate) const TAG: &str = "xks:operation";

/// The clock of the double: to wait is to move it.
pub(crate) struct TestTimer(Clock);

impl TestTimer {
    pub(crate) fn new(kms: &Kms) -> Self {
        Self(kms.clock().clone())
    }
}

impl Timer for TestTimer {
    fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(self.0.now())
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        // Of several that wait at once the last one decides.
        let (clock, end) = (self.0.clone(), self.0.now() + duration.as_secs_f64());
        Some(Box::pin(async move {
            let rest = end - clock.now();
            if rest > 0.0 {
                clock.advance(Duration::from_secs_f64(rest));
            }
        }))
    }
}

pub(crate) fn alice() -> Actor {
    Actor::new("alice").unwrap()
}

pub(crate) struct Site {
    pub(crate) kms: Kms,
    pub(crate) aws: AwsDouble,
    pub(crate) store: Arc<MortalStore>,
    pub(crate) commands: Arc<Commands>,
    /// Where the material of key sets of this source is.
    pub(crate) hsm: Arc<Hsm>,
    pub(crate) cloud_key_store: CloudKeyStoreId,
    pub(crate) cloud_key: CloudKeyId,
    root: Root,
    _folder: Folder,
    _proxy: TestProxy,
}

/// A folder that is removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-byok-jobs-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn builder() -> Builder {
    let clock = Clock::stopped_at(1_800_000_000.0);
    Kms::builder()
        .region(REGION)
        .clock(clock)
        .allow_http()
        .timeout(Duration::from_secs(30))
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let kms = change(builder()).build().unwrap();
        let aws = AwsDouble::new(REGION, kms.clone()).unwrap();
        kms.clock().advance(Duration::from_secs(300)); // the user of the chain is known everywhere
        let proxy = TestProxy::start(REGION).await;
        let folder = Folder::new();
        let path = folder.0.join("root");
        Root::create_file(&path).unwrap();
        let root = Root::file("root", &path).unwrap();
        let store = shared();
        let now = (UNIX_EPOCH + Duration::from_secs_f64(kms.clock().now())).into();
        let made = Repository::create(Arc::clone(&store) as _, std::slice::from_ref(&root), now);
        let (repository, mut snapshot) = made.await.unwrap();
        let wanted = Wanted::new(proxy.url(), REGION, CloudCredential::Chain, now);
        repository.commit(&mut snapshot, wanted.changes).await.unwrap();
        let hsm = Hsm::new(kms.clock().clone());
        let commands = commands(repository, snapshot, &kms, &hsm);
        Self {
            kms,
            aws,
            store,
            commands,
            hsm,
            cloud_key_store: wanted.cloud_key_store,
            cloud_key: wanted.cloud_key,
            root,
            _folder: folder,
            _proxy: proxy,
        }
    }

    /// Another process on the same state.
    pub(crate) async fn process(&self) -> Arc<Commands> {
        let opened = Repository::open(Arc::clone(&self.store) as _, std::slice::from_ref(&self.root));
        let (repository, snapshot) = opened.await.unwrap();
        commands(repository, snapshot, &self.kms, &self.hsm)
    }

    /// Jobs in another process.
    pub(crate) async fn jobs(&self) -> Jobs {
        self.jobs_with(|_| {}).await
    }

    pub(crate) async fn jobs_with(&self, change: impl FnOnce(&mut Settings)) -> Jobs {
        let mut settings = Settings::default();
        change(&mut settings);
        let timer = Arc::new(TestTimer::new(&self.kms));
        let actor = Actor::new("jobs").unwrap();
        Jobs::new(self.process().await, Arc::new(self.aws.clone()), timer, actor, settings).unwrap()
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.kms.clock().advance(Duration::from_secs(seconds));
    }

    /// Runs until a job does not go on by itself.
    pub(crate) async fn finish(&self, jobs: &Jobs, id: xks_lifecycle::JobId) -> Job {
        for _ in 0..300 {
            let ran = jobs.run_due().await;
            assert!(ran.failed.is_empty(), "{:?}", ran.failed);
            let job = jobs.get(id).await.unwrap();
            if job.state.due().is_none() {
                return job;
            }
            self.wait(ran.next_in(Duration::from_secs(20)).as_secs() + 1);
        }
        panic!("it does not end: {:#?}", jobs.get(id).await.unwrap());
    }

    /// Starts a job and runs it to its end.
    pub(crate) async fn run(&self, intent: Intent) -> Job {
        let jobs = self.jobs().await;
        let id = jobs.start(&alice(), intent, None).await.unwrap().id.unwrap();
        self.finish(&jobs, id).await
    }

    /// The key store is there and connected.
    pub(crate) async fn connected(&self) {
        let job = self.run(Intent::CloudKeyStore(self.cloud_key_store)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        self.commands.refresh().await.unwrap();
    }

    /// Both are there.
    pub(crate) async fn made(&self) {
        self.connected().await;
        let job = self.run(Intent::CloudKey(self.cloud_key)).await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        self.commands.refresh().await.unwrap();
    }

    pub(crate) async fn want_key(&self, change: impl FnOnce(&mut CloudKey)) {
        self.commands.refresh().await.unwrap();
        let found = self
            .commands
            .read(|state| (**state.cloud_key(self.cloud_key).unwrap()).clone());
        let mut wanted = found;
        change(&mut wanted);
        self.commands.update(&alice(), wanted, None).await.unwrap();
    }

    pub(crate) async fn want_key_store(&self, change: impl FnOnce(&mut CloudKeyStore)) {
        self.commands.refresh().await.unwrap();
        let found = self
            .commands
            .read(|state| (**state.cloud_key_store(self.cloud_key_store).unwrap()).clone());
        let mut wanted = found;
        change(&mut wanted);
        self.commands.update(&alice(), wanted, None).await.unwrap();
    }

    pub(crate) async fn key(&self) -> CloudKey {
        self.commands.refresh().await.unwrap();
        self.commands
            .read(|state| (**state.cloud_key(self.cloud_key).unwrap()).clone())
    }

    pub(crate) async fn client(&self) -> Arc<dyn xks_byok::aws::Kms> {
        self.aws.kms(&AwsCredentials::Chain, REGION).await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<KeyListEntry> {
        self.client().await.list_keys(PageRequest::first()).await.unwrap().items
    }

    pub(crate) async fn key_stores(&self) -> Vec<CustomKeyStore> {
        let request = DescribeCustomKeyStoresRequest::all(PageRequest::first());
        self.client()
            .await
            .describe_custom_key_stores(request)
            .await
            .unwrap()
            .items
    }

    pub(crate) async fn aliases(&self) -> BTreeMap<String, Option<String>> {
        let request = ListAliasesRequest::all(PageRequest::first());
        let aliases = self.client().await.list_aliases(request).await.unwrap().items;
        aliases
            .into_iter()
            .map(|alias| (alias.alias_name, alias.target_key_id))
            .collect()
    }

    /// There is one key store and one KMS key, as the state knows them, and both as they are wanted.
    pub(crate) async fn assert_made(&self, when: &str) {
        self.kms.faults().clear();
        self.wait(600);
        let stores = self.key_stores().await;
        assert_eq!(stores.len(), 1, "{when}: {stores:?}");
        assert_eq!(stores[0].connection_state.as_str(), "CONNECTED", "{when}");
        let keys = self.keys().await;
        assert_eq!(keys.len(), 1, "{when}: {keys:?}");
        let key = self.key().await;
        let known = key.kms_key.unwrap().to_string();
        assert_eq!(known, keys[0].key_arn, "{when}");
        assert_eq!(
            self.aliases().await.get(ALIAS),
            Some(&Some(keys[0].key_id.clone())),
            "{when}"
        );
        let described = self.client().await.describe_key(&known).await.unwrap();
        assert_eq!(described.xks_key_id.as_deref(), Some(TestProxy::KEYS[0]), "{when}");
        let is_enabled = key.wanted == WantedKey::Enabled;
        assert_eq!(described.enabled, is_enabled, "{when}");
    }

    pub(crate) async fn disconnected_is_wanted(&self) {
        self.want_key_store(|wanted| wanted.wanted = WantedKeyStore::Disconnected)
            .await;
    }
}

fn commands(repository: Repository, snapshot: Snapshot, kms: &Kms, hsm: &Arc<Hsm>) -> Arc<Commands> {
    let clock = kms.clock().clone();
    let name = Name::new("name", "hsm").unwrap();
    let backends = Backends::new().with(name, Arc::clone(&hsm.soft) as _, Arc::clone(hsm) as _);
    let commands = Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap());
    Arc::new(commands.with_clock(move || (UNIX_EPOCH + Duration::from_secs_f64(clock.now())).into()))
}
