//! Where jobs work: a state in PostgreSQL, the simulator, and a proxy.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::SystemTime,
};

use xks_byok::{
    aws::{Connector as _, DescribeCustomKeyStoresRequest, ListAliasesRequest, PageRequest},
    jobs::{Intent, Jobs, Settings},
};
use xks_byok_aws::AwsConnector;
use xks_core::{Zeroizing, timer::Timer};
use xks_lifecycle::{
    AwsSecret, CloudAccessKey, CloudCredential, Repository, Timestamp,
    commands::{Actor, Backends, Commands, Deployment},
    seal::Root,
    store::{PostgresSettings, PostgresStore, Store},
};
use xks_test_aws::{Simulator, TestProxy, Wanted};
use xks_test_postgres::Server;

use crate::{ID, REGION, builder, file};

const SECRET: &str = "TheFirstSecretOfTheUserAlice1234567890AB";

/// The folder of a child.
pub(super) const FOLDER: &str = "XKS_JOBS_FOLDER";

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// What each process of a place finds in its folder.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// That of this process, if it is a child.
    pub(super) fn of_child() -> Option<Self> {
        env::var_os(FOLDER).map(|folder| Self(folder.into()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(super) async fn store(&self) -> PostgresStore {
        let settings = PostgresSettings::new(&self.read("database")).unwrap();
        let settings = settings.password_file(PathBuf::from(self.read("password")));
        PostgresStore::open(settings).await.unwrap()
    }

    pub(super) async fn commands(
        &self,
        store: Arc<dyn Store>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Commands {
        let root = Root::file("root", &self.path("root")).unwrap();
        let (repository, snapshot) = Repository::open(store, &[root]).await.unwrap();
        let commands = Commands::new(repository, snapshot, Backends::new(), Deployment::new("test").unwrap());
        commands.with_clock(now)
    }

    pub(super) fn connector(&self) -> AwsConnector {
        builder(&self.read("aws")).build().unwrap()
    }

    pub(super) fn jobs(&self, commands: Arc<Commands>, timer: Arc<dyn Timer>, settings: Settings) -> Jobs {
        let (connector, actor) = (Arc::new(self.connector()), Actor::new("jobs").unwrap());
        Jobs::new(commands, connector, timer, actor, settings).unwrap()
    }

    /// What is wanted: the key store, the KMS key, and another access key.
    pub(super) fn intents(&self) -> Vec<Intent> {
        serde_json::from_str(&self.read("intents")).unwrap()
    }

    /// Starts a test of this program in a process of its own.
    pub(super) fn start(&self, test: &str, name: &str) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.env(FOLDER, &self.0).env(super::NAME, name);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let said = fs::File::options().create(true).append(true).open(self.path("said"));
        command.stderr(said.unwrap()).spawn().unwrap()
    }

    /// Whether a process was killed; it must have ended well otherwise.
    pub(super) fn was_killed(&self, child: &mut Child) -> bool {
        let status = child.wait().unwrap();
        let is_killed = status.signal() == Some(9);
        assert!(is_killed || status.success(), "{status}: {}", self.read("said"));
        is_killed
    }
}

pub(super) struct Place {
    pub(super) folder: Folder,
    pub(super) simulator: Simulator,
    _proxy: TestProxy,
}

impl Place {
    pub(super) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("jobs_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let folder = Folder(path);
        let created = name.clone();
        let server = tokio::task::spawn_blocking(move || {
            server().create_database(&created);
            server()
        });
        let server = server.await.unwrap();
        let url = format!(
            "postgres:///{name}?user=xks&host={}&port={}",
            server.directory().display(),
            server.port()
        );
        folder.write("database", &url);
        folder.write("password", server.password_file().to_str().unwrap());
        let callers = file(&name, &format!("alice,{ID},{SECRET}\n"));
        let callers = callers.to_str().unwrap();
        let simulator = Simulator::start(&["--verify-callers", callers, "--region", REGION]);
        folder.write("aws", simulator.url());
        let proxy = TestProxy::start(REGION).await;
        Root::create_file(&folder.path("root")).unwrap();
        let root = Root::file("root", &folder.path("root")).unwrap();
        let now = SystemTime::now().into();
        let store = Arc::new(folder.store().await);
        let (repository, mut snapshot) = Repository::create(store, &[root], now).await.unwrap();
        let secret = AwsSecret::new(Zeroizing::new(SECRET.to_owned())).unwrap();
        let credential = CloudCredential::AccessKey(CloudAccessKey {
            id: ID.parse().unwrap(),
            secret,
        });
        let wanted = Wanted::new(proxy.url(), REGION, credential, now);
        repository.commit(&mut snapshot, wanted.changes).await.unwrap();
        let intents = [
            Intent::CloudKeyStore(wanted.cloud_key_store),
            Intent::CloudKey(wanted.cloud_key),
            Intent::CloudAccount(wanted.account),
        ];
        folder.write("intents", &serde_json::to_string(&intents).unwrap());
        Self {
            folder,
            simulator,
            _proxy: proxy,
        }
    }

    /// There is one key store, one KMS key with one alias, and one access key: those of the state.
    pub(super) async fn assert_made(&self) {
        let commands = self
            .folder
            .commands(Arc::new(self.folder.store().await), || SystemTime::now().into());
        let commands = commands.await;
        let (account, store, key) = commands.read(|state| {
            let account = state.cloud_accounts().next().unwrap();
            let store = state.cloud_key_stores().next().unwrap();
            let key = state.cloud_keys().next().unwrap();
            ((**account).clone(), (**store).clone(), (**key).clone())
        });
        assert!(!key.is_adopted, "it was found by the tag of its job");
        let CloudCredential::AccessKey(credential) = &account.credential else {
            panic!("{account:?}")
        };
        let access_key = xks_byok::aws::AccessKey::new(credential.id.as_str(), credential.secret.expose());
        let credentials = xks_byok::aws::AwsCredentials::AccessKey(access_key);
        let connector = self.folder.connector();
        let iam = connector.iam(&credentials, REGION).await.unwrap();
        let access_keys = iam.list_access_keys(None, PageRequest::first()).await.unwrap().items;
        let ids: Vec<_> = access_keys.iter().map(|key| key.access_key_id.as_str()).collect();
        assert_eq!(ids, [credential.id.as_str()]);
        let kms = connector.kms(&credentials, REGION).await.unwrap();
        let request = DescribeCustomKeyStoresRequest::all(PageRequest::first());
        let stores = kms.describe_custom_key_stores(request).await.unwrap().items;
        let ids: Vec<_> = stores.iter().map(|store| store.custom_key_store_id.as_str()).collect();
        assert_eq!(ids, [store.custom_key_store_id.unwrap().as_str()]);
        let keys = kms.list_keys(PageRequest::first()).await.unwrap().items;
        let arns: Vec<_> = keys.iter().map(|key| key.key_arn.clone()).collect();
        assert_eq!(arns, [key.kms_key.unwrap().to_string()]);
        let aliases = kms
            .list_aliases(ListAliasesRequest::all(PageRequest::first()))
            .await
            .unwrap()
            .items;
        let ours: Vec<_> = aliases.iter().filter(|alias| alias.target_key_id.is_some()).collect();
        assert_eq!(ours.len(), 1, "{aliases:?}");
        assert_eq!(ours[0].alias_name, Wanted::ALIAS);
        assert_eq!(ours[0].target_key_id.as_ref(), Some(&keys[0].key_id));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder.0);
        }
    }
}
