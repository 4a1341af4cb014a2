//! `embed-tls`, started as a program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";

struct Server {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStdout>,
    folder: std::path::PathBuf,
}

impl Server {
    fn start() -> Self {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("embed-tls");
        fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_embed-tls"))
            .env("XKS_SECRET", SECRET)
            .env("XKS_CHAIN", folder.join("chain.pem"))
            .env("XKS_KEY", folder.join("key.pem"))
            .env("XKS_LISTEN", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut log, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        while !line.contains("listening on ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        }
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self {
            child,
            address,
            log,
            folder,
        }
    }

    /// The status of a signed health request, and the HTTP version.
    fn health(&self, version: &str) -> String {
        let port = self.address.rsplit(':').next().unwrap();
        let output = Command::new("curl")
            .args(["-sS", version, "--cacert"])
            .arg(self.folder.join("chain.pem"))
            .args(["--aws-sigv4", "aws:amz:us-east-1:kms-xks-proxy", "--user"])
            .arg(format!("BETWEEN2TENAND3TENCHARACTERS:{SECRET}"))
            .args([
                "-d",
                r#"{"requestMetadata":{"kmsOperation":"KmsHealthCheck","kmsRequestId":"r"}}"#,
            ])
            .args(["-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
            .arg(format!("https://localhost:{port}/my-key-store/kms/xks/v1/health"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// TRN-2, TRN-3, LOG-1: it serves over TLS, records who asked, closes what is not TLS, and ends in good
/// order.
#[test]
fn it_serves_and_ends() {
    let mut server = Server::start();
    assert_eq!(server.health("--http1.1"), "200 1.1");
    assert_eq!(server.health("--http2"), "200 2");

    let mut silent = TcpStream::connect(&server.address).unwrap();
    silent.write_all(b"not TLS").unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest); // ends, since the server closes it

    let stopped = Command::new("kill")
        .arg(server.child.id().to_string())
        .status()
        .unwrap();
    assert!(stopped.success());
    assert!(server.child.wait().unwrap().success(), "SIGTERM ends it with success");
    let mut log = String::new();
    server.log.read_to_string(&mut log).unwrap();
    assert_eq!(log.matches("xks::audit").count(), 2, "{log}");
    assert_eq!(log.matches("client=127.0.0.1:").count(), 2, "{log}");
}
