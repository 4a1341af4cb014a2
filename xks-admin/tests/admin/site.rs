//! A state with one object of each kind, and the API over it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kms_double::kms::Kms;
use pollster::block_on;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use xks_admin::Admin;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_byok::jobs::{Jobs, Settings};
use xks_core::timer::SystemClock;
use xks_lifecycle::{
    Name, Repository, Timestamp,
    commands::{Actor, Backends, Commands, Deployment},
    nodes::Node,
    seal::Root,
    store::MemoryStore,
};
use xks_test_aws::AwsDouble;

use crate::hsm::Manager;

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) struct Site {
    pub(crate) admin: Admin,
    pub(crate) commands: Arc<Commands>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) manager: Arc<Manager>,
    /// What its jobs call.
    pub(crate) aws: AwsDouble,
    clock: Arc<AtomicU64>,
    /// What a path and a body may call by `{name}`.
    ids: Vec<(&'static str, String)>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn text(&self, field: &str) -> String {
        match &self.body[field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    pub(crate) fn etag(&self) -> &str {
        self.headers["etag"].to_str().unwrap()
    }
}

impl Site {
    /// A tenant with a key set of each source, two external key stores, of which one has a
    /// credential, and a schedule; in the set `vault` a key with two versions; that key in AWS; and
    /// a job that makes its key store there, which no worker does.
    pub(crate) fn new() -> Self {
        Self::of_node(None)
    }

    /// The same, of one of several nodes.
    pub(crate) fn of_node(node: Option<Arc<Node>>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-admin-{}-{number}", std::process::id()));
        let root = Root::create_file(&path)
            .and_then(|()| Root::file("recovery", &path))
            .unwrap();
        std::fs::remove_file::<PathBuf>(path).unwrap();
        let clock = Arc::new(AtomicU64::new(START));
        let store = Arc::new(MemoryStore::new());
        let made = Repository::create(store.clone(), std::slice::from_ref(&root), at(START));
        let (repository, snapshot) = block_on(made).unwrap();
        let soft = SoftBackend::new();
        for label in ["made-elsewhere", "never-adopted"] {
            assert!(
                soft.insert(label.parse().unwrap(), SoftKey::generate().unwrap())
                    .is_none()
            );
        }
        let soft = Arc::new(soft);
        let manager = Arc::new(Manager {
            soft: Arc::clone(&soft),
            is_away: AtomicBool::new(false),
        });
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), soft, manager.clone());
        let time = Arc::clone(&clock);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap())
            .with_clock(move || at(time.load(Ordering::Relaxed)));
        let commands = match node {
            Some(node) => commands.with_node(node),
            None => commands,
        };
        let commands = Arc::new(commands);
        let aws = AwsDouble::new(REGION, Kms::builder().region(REGION).build().unwrap()).unwrap();
        let jobs = Actor::new("jobs").unwrap();
        let jobs = Jobs::new(
            Arc::clone(&commands),
            Arc::new(aws.clone()),
            Arc::new(SystemClock),
            jobs,
            Settings::default(),
        );
        let mut site = Self {
            admin: Admin::with_jobs(Arc::clone(&commands), Arc::new(jobs.unwrap())),
            commands,
            store,
            manager,
            aws,
            clock,
            ids: Vec::new(),
        };
        site.make("tenant", "tenants", json!({"name": "payroll"}));
        site.make("spare", "tenants", json!({"name": "spare"}));
        let schedule = json!({"tenant": "{tenant}", "name": "yearly", "every_days": 365});
        site.make("schedule", "schedules", schedule);
        let key_store = json!({"tenant": "{tenant}", "name": "eu", "prefix": "/eu", "regions": ["eu-central-1"]});
        site.make("key-store", "key-stores", key_store);
        let served = json!({"tenant": "{tenant}", "name": "us", "prefix": "/us", "regions": ["us-east-1"]});
        site.make("served", "key-stores", served);
        let credential = site.send("POST", "/admin/v1/key-stores/{served}/credentials", None);
        site.ids.push(("credential", credential.text("access_key_id")));
        for source in ["vault", "hsm", "adopted"] {
            let set = json!({"tenant": "{tenant}", "name": source, "source": source, "waiting_days": 7});
            site.make(source, "key-sets", set);
        }
        let key = site.make("key", "keys", json!({"key_set": "{vault}", "name": "salaries"}));
        site.ids.push(("old", first_version(&key)));
        let rotated = site.send("POST", "/admin/v1/keys/{key}/rotate", None);
        let versions = rotated.body["versions"].as_array().unwrap();
        site.ids
            .push(("current", versions[1]["id"].as_str().unwrap().to_owned()));
        let account = json!({"tenant": "{tenant}", "name": "main", "region": "us-east-1"});
        site.make("account", "cloud-accounts", account);
        let store = json!({"account": "{account}", "name": "payroll", "key_store": "{served}",
            "endpoint": "https://xks.example.com"});
        site.make("cloud-key-store", "cloud-key-stores", store);
        let unused = json!({"tenant": "{tenant}", "name": "unused", "region": "us-east-1"});
        site.make("unused-account", "cloud-accounts", unused);
        let unused = json!({"account": "{account}", "name": "unused", "key_store": "{served}",
            "endpoint": "https://xks.example.com"});
        site.make("unused-cloud-key-store", "cloud-key-stores", unused);
        let cloud_key = json!({"key_set": "{vault}", "alias": "alias/salaries", "key": "{key}",
            "cloud_key_store": "{cloud-key-store}"});
        site.make("cloud-key", "cloud-keys", cloud_key);
        site.make("job", "jobs", json!({"cloud_key_store": "{cloud-key-store}"}));
        site
    }

    pub(crate) fn make(&mut self, name: &'static str, noun: &str, body: Value) -> Reply {
        let reply = self.send("POST", &format!("/admin/v1/{noun}"), Some(body));
        assert_eq!(reply.status, StatusCode::CREATED, "{noun} {name}: {}", reply.body);
        self.ids.push((name, reply.text("id")));
        reply
    }

    /// Puts ids in the place of their names.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| {
            text.replace(&format!("{{{name}}}"), id)
        })
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|body| self.fill(&body.to_string())).unwrap_or_default();
        self.send_raw(method, &self.fill(path), &[("content-type", "application/json")], body)
    }

    pub(crate) fn send_raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(body.into())).unwrap();
        request.extensions_mut().insert(Actor::new("uid:1000 (alice)").unwrap());
        self.send_request(request)
    }

    pub(crate) fn send_request(&self, request: Request<Full<Bytes>>) -> Reply {
        let answer = block_on(self.admin.clone().oneshot(request)).unwrap();
        let (parts, body) = answer.into_parts();
        let body = block_on(body.collect()).unwrap().to_bytes();
        assert_eq!(parts.headers["cache-control"], "no-store");
        let expected = match (parts.status.is_success(), body.is_empty()) {
            (_, true) => None,
            (true, false) => Some("application/json"),
            (false, false) => Some("application/problem+json"),
        };
        let found = parts.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(found, expected);
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: match body.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&body).unwrap(),
            },
        }
    }

    pub(crate) fn wait_days(&self, days: u64) {
        self.clock.fetch_add(days * DAY, Ordering::Relaxed);
    }

    /// The number of the last event.
    pub(crate) fn last_event(&self) -> u64 {
        let events = block_on(self.commands.events(0, 10_000)).unwrap();
        events.last().map_or(0, |(number, _)| *number)
    }

    /// The events after one, as `who: command object outcome`.
    pub(crate) fn events_after(&self, number: u64) -> Vec<String> {
        let events = block_on(self.commands.events(number, 10_000)).unwrap();
        let told = events.iter().map(|(_, event)| {
            assert_eq!(event.actor.as_str(), "uid:1000 (alice)");
            format!("{} {} {}", event.command, event.object, event.outcome)
        });
        told.collect()
    }
}

fn first_version(key: &Reply) -> String {
    key.body["versions"][0]["id"].as_str().unwrap().to_owned()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("time", seconds).unwrap()
}
