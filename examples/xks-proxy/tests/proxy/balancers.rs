//! Real balancers in front of two proxies, configured as docs/balancers.md says, and one of the two goes
//! under load.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
};

use rustix::process::Signal;
use tokio::task::block_in_place;

use crate::support::{
    Leaf, Load, PREFIX, Process, Server, Settings, Site, Style, Target, fetch, usual_signer, wait_until,
};

const GUIDE: &str = include_str!("../../../../docs/balancers.md");

/// The guide's configuration of this kind.
pub(crate) fn snippet(kind: &str) -> String {
    let begin = format!("\n```{kind}\n");
    let (_, rest) = GUIDE.split_once(&begin).expect("the guide has such a snippet");
    let (snippet, rest) = rest.split_once("```").unwrap();
    assert!(!rest.contains(&begin), "the guide has two of {kind}");
    snippet.to_owned()
}

/// A balancer's configuration as the guide has it, with the addresses and files of a test.
struct Setup {
    site: Site,
    settings: Settings,
    nodes: [Server; 2],
    address: SocketAddr,
}

impl Setup {
    /// Two proxies that take all the time they need, and stop as they do by default. `ip` is theirs alone, so
    /// that no other test's server comes by a port that one of them had.
    fn new(ip: &str) -> Self {
        let site = Site::new(&Leaf::SERVER);
        let node = || {
            let mut settings = Settings::new();
            settings.server = format!("listen = \"{ip}:0\"\nbudget_ms = 30000\n");
            Server::start(&settings)
        };
        let settings = Settings::new();
        site.write(&settings.folder);
        let pem = |name: &str| fs::read_to_string(settings.file(name)).unwrap();
        settings.folder.write("xks-chain.pem", &pem("chain.pem"));
        settings.folder.write("xks-key.pem", &pem("key.pem"));
        settings
            .folder
            .write("xks-all.pem", &(pem("chain.pem") + &pem("key.pem")));
        let free = TcpListener::bind(format!("{ip}:0")).unwrap();
        Self {
            site,
            nodes: [node(), node()],
            address: free.local_addr().unwrap(),
            settings,
        }
    }

    fn write(&self, preamble: &str, snippet: &str, end: &str) -> PathBuf {
        let mut text = snippet.to_owned();
        for (example, real) in [
            ("192.0.2.11:8000", self.nodes[0].address().to_string()),
            ("192.0.2.12:8000", self.nodes[1].address().to_string()),
            (" :443 ", format!(" {} ", self.address)),
            (" 443 ", format!(" {} ", self.address)),
            ("/etc/ssl/", String::new()),
        ] {
            text = text.replace(example, &real);
        }
        self.settings
            .folder
            .write("balancer.conf", &format!("{preamble}\n{text}\n{end}\n"))
    }

    /// Every request of every client succeeds: before, while one proxy goes, and when it has gone.
    async fn loses_nothing(self, balancer: &mut Command, signal: Signal) {
        let Self {
            site,
            settings,
            nodes: [first, second],
            address,
        } = self;
        // Debian's daemons are where a user's path does not lead.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        balancer.current_dir(settings.folder.path()).env("PATH", path);
        let balancer = Process::start(balancer);
        let ping = format!("https://{address}/ping");
        block_in_place(|| wait_until("the balancer answers", || fetch(&ping, &["--insecure"]).0 == 200));
        let target = Target::plain(address, PREFIX).with_tls(site.client());
        let styles = [Style::KeepAlive, Style::Reconnecting, Style::Http2];
        let load = Load::start(target, usual_signer(), 6, &styles);
        load.more(60).await;
        assert!(first.process.log.count("xks::audit") > 0 && second.process.log.count("xks::audit") > 0);
        first.process.signal(signal);
        let (status, log) = block_in_place(|| first.process.wait());
        assert_eq!(status.success(), signal == Signal::TERM, "{status}: {log}");
        load.more(60).await;
        let tally = load.finish().await;
        let (_, log) = block_in_place(|| balancer.stop(Signal::TERM));
        assert!(
            tally.errors.is_empty() && tally.lost.is_empty() && tally.refused == 0,
            "{tally:?}: {log}"
        );
        tally.assert_nothing_failed();
    }
}

fn nginx(setup: &Setup) -> Command {
    let preamble = "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n\
                    client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
                    uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;";
    let file = setup.write(preamble, &snippet("nginx"), "}");
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(setup.settings.folder.path());
    nginx.arg("-c").arg(&file).args(["-e", "stderr"]);
    nginx
}

fn haproxy(setup: &Setup, snippet: &str) -> Command {
    // As Debian's file begins, as far as it matters here.
    let defaults = "defaults\ntimeout connect 5s\ntimeout client 50s\ntimeout server 50s";
    let file = setup.write(defaults, snippet, "");
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(file);
    haproxy
}

/// TRN-7
#[tokio::test(flavor = "multi_thread")]
async fn nginx_loses_nothing_when_a_proxy_stops() {
    let setup = Setup::new("127.0.0.81");
    let mut nginx = nginx(&setup);
    setup.loses_nothing(&mut nginx, Signal::TERM).await;
}

/// Each request goes to the proxy that is left, those that the other one was working on too.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_loses_nothing_when_a_proxy_dies() {
    let setup = Setup::new("127.0.0.82");
    let mut nginx = nginx(&setup);
    setup.loses_nothing(&mut nginx, Signal::KILL).await;
}

/// TRN-7: the default delay is longer than HAProxy takes by default to notice. Nothing else helps: it tries
/// no second time.
#[tokio::test(flavor = "multi_thread")]
async fn haproxy_loses_nothing_when_a_proxy_stops() {
    let setup = Setup::new("127.0.0.83");
    let mut plain = snippet("haproxy");
    for attempt in ["option redispatch 1", "retry-on conn-failure empty-response"] {
        assert!(plain.contains(attempt));
        plain = plain.replace(attempt, "");
    }
    assert!(plain.contains(" check\n") && !plain.contains("retr"), "{plain}");
    let mut haproxy = haproxy(&setup, &(plain + "    retries 0\n"));
    setup.loses_nothing(&mut haproxy, Signal::TERM).await;
}
