//! A revoked credential, key or key store is gone at once, even while a key manager is being opened.

use rustix::process::Signal;
use serde_json::json;
use xks_pkcs11_fixture::{Profile, Shim};

use crate::support::{
    ACCESS_KEY_ID, OTHER_ACCESS_KEY_ID, OTHER_SECRET, PREFIX, SECRET_ACCESS_KEY, Server, Settings, Token, body,
    credential, key_store, quoted, usual_credential, wait_until,
};

const SECOND: &str = "/example/second";
const THIRD_ID: &str = "THE2THIRD3ACCESS4KEY5ID";
const THIRD_SECRET: &str = "AThirdSecretOf43To64CharactersThatNobodyShouldSee";

/// A server of software keys, and a token that hangs with the first login.
struct Scene {
    settings: Settings,
    server: Server,
    shim: Shim,
    token: Token,
}

impl Scene {
    fn new() -> Self {
        let token = Token::new();
        let mut command = token.program();
        let shim = Shim::elsewhere(&mut command, &token.folder.path().join("shim"), Profile::SoftHsm);
        command.env("XKS_SHIM_SETUP", "hang C_Login"); // from its loading on
        let mut settings = Settings::new().key_stores(&of_software(&[usual_credential(), other()]));
        settings.tables = "[reload]\nwatch_secs = 0\n".to_owned(); // at SIGHUP alone, so that reloads can be counted
        Self {
            server: Server::start_by(command.arg("--config").arg(settings.write())),
            settings,
            shim,
            token,
        }
    }

    /// Begins a reload, with these credentials for the software keys, and with the token if it is to be
    /// there.
    fn reload(&mut self, credentials: &[String], with_token: bool) {
        let software = "[backends.keys]\nkind = \"soft\"\nkeys = { usable = \"usable.key\" }\n";
        self.settings.backends = software.to_owned();
        self.settings.key_stores = of_software(credentials);
        if with_token {
            let more = format!("vendor = \"softhsm\"\npin_file = {}", quoted(&self.token.pin));
            self.settings.backends += &Token::backend_of(self.shim.path(), "token", &more);
            let third = credential(THIRD_ID, THIRD_SECRET);
            self.settings.key_stores += &key_store(SECOND, "all_keys = true\nbackend = \"token\"", &[third]);
        }
        self.settings.write();
        self.server.process.signal(Signal::HUP);
    }

    /// Begins a reload of a file that is wrong, and waits for the number of refusals so far.
    fn reload_bad_file(&mut self, refusals: usize) {
        std::fs::write(self.settings.path(), "[server]\nlisten =\n").unwrap();
        self.server.process.signal(Signal::HUP);
        self.wait_for_refusals(refusals);
    }

    fn wait_for_refusals(&self, number: usize) {
        let refusal = "`listen` has no value";
        wait_until("the file is refused", || self.server.process.log.holds(refusal, number));
    }

    fn status(&self, id: &str, secret: &str) -> u16 {
        let user = format!("{id}:{secret}");
        self.server
            .curl()
            .call_as(&user, "keys/usable/metadata", &body(&json!({})))
            .0
    }

    fn token_status(&self) -> u16 {
        let user = format!("{THIRD_ID}:{THIRD_SECRET}");
        let curl = self.server.curl_of(SECOND);
        curl.call_as(&user, "keys/known/metadata", &body(&json!({}))).0
    }

    fn is_hanging(&self) -> bool {
        let answer = self.shim.ask("counters");
        answer.is_ok_and(|answer| answer.is_ok()) && self.shim.counters().hung > 0
    }
}

fn other() -> String {
    credential(OTHER_ACCESS_KEY_ID, OTHER_SECRET)
}

fn of_software(credentials: &[String]) -> String {
    key_store(PREFIX, "all_keys = true\nbackend = \"keys\"", credentials)
}

/// SIG-7: a reload that brings a token, which hangs, and takes a credential away: that is in force while it
/// hangs. So is a second reload behind it. When the token is there, it is served.
#[test]
fn a_revocation_does_not_wait_for_a_token_that_hangs() {
    let mut scene = Scene::new();
    assert_eq!(scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);
    scene.reload(&[other()], true);
    wait_until("the login hangs", || scene.is_hanging());
    wait_until("the first credential is refused", || {
        scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY) == 401
    });
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 200);
    assert_eq!(
        scene.token_status(),
        404,
        "nothing is served from a token that is not open"
    );

    scene.reload(&[usual_credential()], true);
    wait_until("the second credential is refused", || {
        scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 401
    });
    assert_eq!(scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);
    assert!(scene.is_hanging(), "the login has ended before it was let go");
    let log = scene
        .server
        .process
        .log
        .wait_for("the reload is repeated when that attempt ends");
    assert!(!log.contains("settings reloaded"), "{log}");

    scene.shim.release();
    wait_until("the token is served", || scene.token_status() == 200);
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
    let (status, log) = scene.server.stop();
    assert!(status.success(), "{log}");
}

/// SIG-7: a reload that does without the token again is whole while the first one still hangs, and the token
/// never comes.
#[test]
fn a_reload_supersedes_one_that_hangs() {
    let mut scene = Scene::new();
    scene.reload(&[usual_credential(), other()], true);
    wait_until("the login hangs", || scene.is_hanging());
    scene.reload(&[usual_credential()], false);
    scene.server.process.log.wait_for("settings reloaded");
    assert!(scene.is_hanging(), "the login has ended before it was let go");
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
    assert_eq!(scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);

    scene.shim.release();
    scene.server.process.log.wait_for("ended without effect");
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
    assert_eq!(scene.token_status(), 404);
}

/// A key store that is to move to another key manager keeps the former one until that is open, and loses at
/// once what is taken from it.
#[test]
fn a_key_store_that_moves_is_revoked_first() {
    let mut scene = Scene::new();
    scene.reload(&[usual_credential()], true);
    let moved = key_store(PREFIX, "keys = [\"usable\"]\nbackend = \"token\"", &[other()]);
    scene.settings.key_stores = moved;
    scene.settings.write();
    scene.server.process.signal(Signal::HUP);
    wait_until("the first credential is refused", || {
        scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY) == 401
    });
    wait_until("the login hangs", || scene.is_hanging());
    assert_eq!(
        scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET),
        200,
        "of the former key manager"
    );
    scene.shim.release();
    wait_until("the token has no such key", || {
        scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 404
    });
}

/// SIG-7: a settings file that is wrong for a while changes nothing: what is in force stays, and what was
/// taken away before does not come back.
#[test]
fn a_bad_file_while_a_token_hangs_changes_nothing() {
    let mut scene = Scene::new();
    scene.reload(&[usual_credential(), other()], true);
    wait_until("the login hangs", || scene.is_hanging());
    scene.reload_bad_file(1);
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 200);

    scene.reload(&[usual_credential()], true);
    scene.server.process.signal(Signal::HUP);
    wait_until("the second credential is refused", || {
        scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 401
    });
    scene.reload_bad_file(2);
    assert!(scene.is_hanging(), "the login has ended before it was let go");
    scene.shim.release();
    // The file is read again, since the second reload had to wait, and is still wrong.
    scene.wait_for_refusals(3);
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
    assert_eq!(scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY), 200);
    assert_eq!(scene.token_status(), 404);

    scene.reload(&[usual_credential()], true);
    wait_until("the token is served", || scene.token_status() == 200);
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
}

/// Many reloads while a token hangs: the last one is in force, and the PIN is not tried for each.
#[test]
fn a_storm_of_reloads_while_a_token_hangs_ends_as_the_last_of_them() {
    let mut scene = Scene::new();
    scene.reload(&[usual_credential(), other()], true);
    wait_until("the login hangs", || scene.is_hanging());
    for turn in 0..20 {
        let credentials = [usual_credential(), other()];
        scene.reload(&credentials[turn % 2..=turn % 2], turn % 3 != 0);
        scene.server.process.signal(Signal::HUP);
    }
    scene.reload(&[usual_credential()], true);
    wait_until("the last reload is in force", || {
        scene.status(ACCESS_KEY_ID, SECRET_ACCESS_KEY) == 200 && scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET) == 401
    });
    scene.shim.release();
    wait_until("the token is served", || scene.token_status() == 200);
    assert_eq!(scene.status(OTHER_ACCESS_KEY_ID, OTHER_SECRET), 401);
    assert!(scene.shim.counters().logins() <= 2, "{:?}", scene.shim.counters());
}
