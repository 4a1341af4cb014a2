//! The socket: its file, who may use it, and clients that misbehave.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
};

use rustix::process::Signal;

use super::Site;
use crate::support::{Server, ended, program};

/// The user and the group without rights, and a group that this user is not in.
const UNPRIVILEGED: u32 = 65_534;
const OTHER_GROUP: u32 = 65_533;

#[test]
fn the_file_of_the_socket_is_the_groups_and_goes_with_the_server() {
    let site = Site::start("");
    let mode = |site: &Site| fs::metadata(site.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site), 0o600);
    let (status, log) = site.server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!site.folder.path().join("admin.sock").exists());
    if !rustix::process::getuid().is_root() {
        return; // who is not root has no group to give it to
    }
    let site = Site::start("admin_group = \"nogroup\"");
    assert_eq!(
        (mode(&site), fs::metadata(site.socket()).unwrap().gid()),
        (0o660, UNPRIVILEGED)
    );
}

/// One that a killed server has left is replaced; one that somebody listens on, and what is no socket, stays.
#[test]
fn only_a_socket_without_a_listener_is_replaced() {
    let site = Site::start("");
    let (_, _) = site.server.process.stop(Signal::KILL);
    let socket = site.folder.path().join("admin.sock");
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    let settings = site.settings;
    let (status, log) = Server::start(&settings).stop();
    assert_eq!(status.code(), Some(0), "{log}");

    let listener = UnixListener::bind(&socket).unwrap();
    let start = || ended(program().arg("--config").arg(settings.path()));
    let (code, _, log) = start();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("another process listens there; stop it, or name another path"),
        "{log}"
    );
    drop(listener);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "mine").unwrap();
    let (code, _, log) = start();
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("there is something that is not a socket; name another path"),
        "{log}"
    );
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    fs::remove_file(&socket).unwrap();
    let tables = settings.tables.clone() + "admin_group = \"no such group\"\n";
    let settings = crate::support::Settings { tables, ..settings };
    let (code, _, log) = ended(program().arg("--config").arg(settings.write()));
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("`lifecycle.admin_group` = no such group: there is no such group"),
        "{log}"
    );
}

/// Only root can become others. A user whom the file's mode does not let in does not reach the server; when
/// somebody has opened that mode, the server refuses.
#[test]
fn root_the_servers_user_and_the_group_may_give_commands_and_no_one_else() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let site = Site::start("admin_group = \"nogroup\"");
    let as_user = |user: u32, group: u32| {
        // The program may be where others may not go.
        let mut curl = std::process::Command::new("curl");
        curl.uid(user).gid(group).current_dir("/");
        let socket = site.socket();
        curl.args(["--silent", "--write-out", "%{http_code}", "--unix-socket"])
            .arg(socket);
        let (_, out, log) = ended(curl.arg("http://localhost/admin/v1/tenants"));
        (out, log)
    };
    let refused = |(out, log): (String, String), who: &str| {
        assert!(out.ends_with("403"), "{out}{log}");
        assert!(out.contains("\"code\":\"not-allowed\""), "{out}");
        let told =
            format!("{who} may not give commands: only root, the server's user and members of the group nogroup");
        assert!(out.contains(&told), "{out}");
        let events = site.done(&["events", "--last", "1"]);
        assert!(
            events.contains(who) && events.contains("GET /admin/v1/tenants  refused"),
            "{events}"
        );
    };
    // By the group that the process has, and by that which the system knows of the user.
    assert!(as_user(12_345, UNPRIVILEGED).0.ends_with("200"));
    assert_eq!(as_user(12_345, OTHER_GROUP).0, "000", "the file's mode");
    fs::set_permissions(site.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    refused(as_user(12_345, OTHER_GROUP), "uid:12345");
    assert!(as_user(UNPRIVILEGED, OTHER_GROUP).0.ends_with("200"));
    site.done(&["tenants", "create", "--name", "mine"]);
    let events = site.done(&["events", "--last", "1"]);
    assert!(events.contains("uid:0(root)  create"), "{events}");
}

/// Clients that begin and do not end keep no other from its turn.
#[test]
fn slow_and_huge_requests_are_ended() {
    let site = Site::start("");
    let connect = || UnixStream::connect(site.socket()).unwrap();
    let slow: Vec<_> = (0..40)
        .map(|number| {
            let mut stream = connect();
            let head = "POST /admin/v1/tenants HTTP/1.1\r\nhost: localhost\r\n";
            let body = "content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
            let text = if number % 2 == 0 {
                head.to_owned()
            } else {
                format!("{head}{body}")
            };
            let _ = stream.write_all(text.as_bytes());
            stream
        })
        .collect();
    assert!(site.done(&["tenants", "list"]).starts_with("ID"));
    drop(slow);
    let mut huge = connect();
    let head = "POST /admin/v1/tenants HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    write!(huge, "{head}content-length: 3000000\r\nconnection: close\r\n\r\n").unwrap();
    let _ = huge.write_all(&vec![b' '; 3_000_000]); // refused before its end
    let mut answer = Vec::new();
    let _ = huge.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    let (code, _, log) = site.give(&["tenants", "create", "--name", &"n".repeat(100_000)]);
    assert_eq!(code, Some(3), "{log}");
    assert_eq!(log, "xks-proxy: `name` must have 1 to 64 characters (invalid-field)\n");
    assert!(site.server.stop().0.success());
}

#[test]
fn a_server_that_is_not_there_has_an_exit_status_of_its_own() {
    let (code, out, log) = ended(program().args(["keys", "list", "--socket", "/nonexistent/admin.sock"]));
    assert_eq!((code, out.as_str()), (Some(5), ""));
    assert!(
        log.contains("cannot reach the server at /nonexistent/admin.sock: "),
        "{log}"
    );
    assert!(
        log.contains("name its socket with --socket, or its settings with --config"),
        "{log}"
    );
    let settings = crate::support::Settings::new();
    let (code, _, log) = ended(program().args(["keys", "list", "--config"]).arg(settings.write()));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("there is no [store], so no keys are under management"),
        "{log}"
    );
}
