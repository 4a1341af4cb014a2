//! Every command of docs/nodes.md, in its order: two databases of which one is lost, two nodes behind
//! HAProxy that are upgraded one after the other, and no request that fails.

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Command};

use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use xks_test_postgres::{PASSWORD, Server as Postgres, Setup, USER, free_port};

use super::site::give;
use crate::{
    balancers::snippet,
    support::{Load, Process, REGION, Server, Settings, Style, Target, fetch, program, signer, wait_until},
};

const GUIDE: &str = include_str!("../../../../../docs/nodes.md");
/// Where the nodes and HAProxy are, which is no other test's.
const ADDRESS: &str = "127.0.0.84";

/// A block of the guide: on which host, and its lines.
struct Block {
    host: &'static str,
    is_sql: bool,
    /// A command each, of which the guide may have wrapped some.
    lines: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (kind, rest) in GUIDE.split("\n```").filter_map(|part| part.split_once('\n')) {
        if kind != "sh" && kind != "sql" {
            continue;
        }
        let (host, commands) = rest.split_once('\n').unwrap();
        let host = host.trim_start_matches(['#', '-', ' ']);
        let lines = commands.replace(" \\\n   ", "");
        blocks.push(Block {
            host,
            is_sql: kind == "sql",
            lines: lines.lines().map(str::to_owned).collect(),
        });
    }
    blocks
}

/// A node: its settings, and its process while it runs.
struct Host {
    settings: Settings,
    address: SocketAddr,
    server: Option<Server>,
}

/// What the guide's commands work on.
struct World {
    databases: BTreeMap<&'static str, Postgres>,
    hosts: BTreeMap<&'static str, Host>,
    runtime: Runtime,
    load: Option<(Load, Process)>,
    /// What `create-credential` has printed.
    credential: Option<Value>,
}

impl World {
    fn new() -> Self {
        let first = Postgres::start();
        // The guide makes it.
        first.sql("postgres", &format!("DROP ROLE {USER}"));
        Self {
            databases: [("db1", first)].into(),
            hosts: BTreeMap::new(),
            runtime: Runtime::new().unwrap(),
            load: None,
            credential: None,
        }
    }

    fn run(&mut self, block: &Block) {
        for line in &block.lines {
            match (block.is_sql, block.host) {
                (true, host) => {
                    self.databases[host].sql("postgres", line);
                    let waits = line.split("synchronous_standby_names = '").nth(1);
                    if let Some(standby) = waits.and_then(|rest| rest.split('\'').next()) {
                        self.databases[host].wait_for(standby);
                    }
                }
                (false, "db1" | "db2") => self.on_database(block.host, line),
                (false, host) => self.on_node(host, line),
            }
        }
    }

    fn on_database(&mut self, host: &'static str, line: &str) {
        if line.starts_with("pg_basebackup ") {
            let other = if host == "db1" { "db2" } else { "db1" };
            // A new one takes the place of the lost one: the same address.
            let port = self.databases.remove(host).map(|former| former.port());
            let primary = &self.databases[other];
            let mut setup = Setup::default();
            setup.port = port;
            let at = format!("{other}.example.com");
            let standby = primary.standby_by(host, setup, |data| {
                let line = line
                    .replace(&at, &format!("localhost port={}", primary.port()))
                    .replace("/var/lib/postgresql/15/main", data.to_str().unwrap());
                primary.shell(&line);
            });
            self.databases.insert(host, standby);
        } else if line.starts_with("pg_ctl promote ") {
            // It is down and stays down.
            self.databases["db1"].stop();
            let database = &self.databases[host];
            let data = database.file("data");
            database.shell(&line.replace("/var/lib/postgresql/15/main", data.to_str().unwrap()));
            wait_until("the standby is promoted", || {
                database.sql("postgres", "SELECT pg_is_in_recovery()") == "f"
            });
        } else {
            assert_eq!(line, "systemctl start postgresql", "it has started already");
        }
    }

    /// The settings of a node, as the guide has them.
    fn add_node(&mut self, name: &'static str) {
        let (_, toml) = GUIDE.split_once("\n```toml\n").unwrap();
        let toml = toml.split("\n```").next().unwrap();
        let mut settings = Settings::new();
        let address: SocketAddr = format!("{ADDRESS}:{}", free_port()).parse().unwrap();
        settings.server = format!("listen = \"{address}\"\nbudget_ms = 30000\n");
        let password = settings.folder.write("database.password", PASSWORD);
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::copy(
            self.databases["db1"].file("authority.pem"),
            settings.file("database-ca.pem"),
        )
        .unwrap();
        let mut toml = toml.replace("node = \"a\"", &format!("node = \"{name}\""));
        for (host, database) in &self.databases {
            let of_guide = format!("{host}.example.com");
            assert!(toml.contains(&of_guide), "{toml}");
            toml = toml.replace(&of_guide, &format!("localhost:{}", database.port()));
        }
        let socket = settings.file("admin.sock");
        let settings = settings
            .health()
            .tables(&format!("{toml}\nadmin_socket = {socket:?}\n"));
        settings.write();
        let server = None;
        self.hosts.insert(
            name,
            Host {
                settings,
                address,
                server,
            },
        );
    }

    fn on_node(&mut self, name: &'static str, line: &str) {
        for name in ["a", "b"] {
            if !self.hosts.contains_key(name) {
                self.add_node(name);
            }
        }
        match line {
            "systemctl stop xks-proxy" => {
                self.end_load();
                self.stop(name);
            }
            "systemctl restart xks-proxy" => {
                self.stop(name);
                self.start(name);
            }
            "systemctl start xks-proxy" => self.start(name),
            line => {
                let script = line
                    .replace("b.example.com:/etc/xks-proxy/", "\"$OTHER\"/")
                    .replace("/etc/xks-proxy/", "./")
                    .replace("/var/lib/xks-proxy/", "./")
                    .replace("eu-central-1", REGION);
                let script = match (script.strip_prefix("scp "), script.strip_prefix("xks-proxy ")) {
                    (Some(files), _) => format!("cp {files}"),
                    (_, Some(arguments)) => format!("\"$PROGRAM\" {arguments}"),
                    _ => panic!("{line}"),
                };
                let settings = &self.hosts[name].settings;
                let mut command = Command::new("sh");
                command
                    .args(["-ec", &script])
                    .current_dir(settings.folder.path())
                    .env("PROGRAM", program().get_program())
                    .env("OTHER", self.hosts["b"].settings.folder.path())
                    .env("XKS_PROXY_ADMIN_SOCKET", settings.file("admin.sock"));
                let output = command.output().unwrap();
                let (out, log) = (text(&output.stdout), text(&output.stderr));
                assert!(output.status.success(), "{line}: {out}{log}");
                self.check(name, line, &out, &log);
            }
        }
    }

    /// What a command has printed, and what is to be so after it.
    fn check(&mut self, name: &'static str, line: &str, out: &str, log: &str) {
        if line.contains("create-credential") {
            self.credential = Some(serde_json::from_str(out).expect(out));
        } else if line.ends_with("keys create --key-set salaries --name 2027") {
            self.start_load(name);
        } else if line.contains("keys disable") {
            assert!(log.contains("confirmed by 2 nodes"), "{out}{log}");
            let durable = self.shown_durability(name);
            assert_eq!(
                durable,
                if self.databases["db1"].is_up() {
                    "synchronous"
                } else {
                    "single"
                }
            );
        } else if line.ends_with("nodes list") {
            let names: Vec<_> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
            assert!(["a", "b"].iter().all(|node| names.contains(node)), "{out}");
        }
    }

    /// What the answer to a command says of it.
    fn shown_durability(&self, name: &str) -> String {
        let settings = &self.hosts[name].settings;
        let (code, out, log) = give(settings, &["keys", "disable", "2026", "--yes", "2026", "--json"]);
        assert_eq!(code, Some(0), "{out}{log}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        answer["confirmation"]["durable"].as_str().expect(&out).to_owned()
    }

    fn start(&mut self, name: &str) {
        let host = self.hosts.get_mut(name).unwrap();
        host.server = Some(Server::start(&host.settings));
    }

    fn stop(&mut self, name: &str) {
        let server = self.hosts.get_mut(name).unwrap().server.take().unwrap();
        let (status, log) = server.process.stop(Signal::TERM);
        assert!(
            status.success() && log.contains("this node has left the others"),
            "{log}"
        );
    }

    /// HAProxy as docs/balancers.md has it, and clients of the key 2027 behind it.
    fn start_load(&mut self, name: &str) {
        let folder = &self.hosts["a"].settings.folder;
        let address: SocketAddr = format!("{ADDRESS}:{}", free_port()).parse().unwrap();
        let configuration = snippet("haproxy")
            .replace("192.0.2.11:8000", &self.hosts["a"].address.to_string())
            .replace("192.0.2.12:8000", &self.hosts["b"].address.to_string())
            .replace(
                " :443 ssl crt /etc/ssl/xks-all.pem alpn h2,http/1.1",
                &format!(" {address}"),
            );
        let defaults = "defaults\ntimeout connect 5s\ntimeout client 50s\ntimeout server 50s";
        let file = folder.write("haproxy.conf", &format!("{defaults}\n{configuration}\n"));
        // Debian's daemons are where a user's path does not lead.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let balancer = Process::start(Command::new("haproxy").arg("-db").arg("-f").arg(file).env("PATH", path));
        let ping = format!("http://{address}/ping");
        wait_until("HAProxy answers", || fetch(&ping, &[]).0 == 200);
        let credential = &self.credential.as_ref().unwrap()["XksProxyAuthenticationCredential"];
        let field = |name: &str| credential[name].as_str().unwrap_or_else(|| panic!("{credential}"));
        let signer = signer(field("AccessKeyId"), field("RawSecretAccessKey"));
        let key = super::done(&self.hosts[name].settings, &["keys", "show", "2027"]);
        let key = key["id"].as_str().unwrap();
        let target = Target::plain(address, "/payroll");
        let styles = [Style::KeepAlive, Style::Reconnecting];
        let load = self.runtime.block_on(async {
            let load = Load::on_key(key, target, signer, 4, &styles);
            load.more_of_each(20).await;
            load
        });
        self.load = Some((load, balancer));
    }

    /// Nothing has failed while nodes were upgraded, and while the database was lost.
    fn end_load(&mut self) {
        let Some((load, balancer)) = self.load.take() else {
            return;
        };
        let tally = self.runtime.block_on(async {
            load.more_of_each(20).await;
            load.finish().await
        });
        let (_, log) = balancer.stop(Signal::TERM);
        assert_eq!(tally.refused, 0, "{tally:?}: {log}");
        tally.assert_nothing_failed();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn nodes_are_run_as_the_guide_says() {
    let blocks = blocks();
    let count: usize = blocks.iter().map(|block| block.lines.len()).sum();
    assert_eq!((blocks.len(), count), (20, 39), "each is run");
    let mut world = World::new();
    for block in &blocks {
        world.run(block);
    }
    // The restored state is served, and each node knows the other.
    for host in ["a", "b"] {
        let key = super::done(&world.hosts[host].settings, &["keys", "show", "2027"]);
        assert_eq!(key["name"], "2027", "{key}");
        world.stop(host);
    }
}
