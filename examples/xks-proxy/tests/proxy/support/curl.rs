//! curl, which signs by itself: another witness than AWS's crate.

use std::{process::Command, time::Instant};

use serde_json::Value;

use super::PATIENCE;

/// Somebody who calls a key store by curl.
#[derive(Clone)]
pub(crate) struct Curl {
    /// The key store's address, as far as its prefix.
    pub(crate) base: String,
    pub(crate) region: String,
    /// `ID:SECRET`
    pub(crate) user: String,
}

impl Curl {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/kms/xks/v1/{path}", self.base)
    }

    /// A signed call, with these arguments besides.
    pub(crate) fn call(&self, path: &str, body: &Value, arguments: &[&str]) -> (u16, Value) {
        patiently(|| self.call_once(path, body, arguments))
    }

    /// The same, where a timeout is what is expected: it is not tried again.
    pub(crate) fn call_once(&self, path: &str, body: &Value, arguments: &[&str]) -> (u16, Value) {
        let output = run(self.process(path, body).args(arguments));
        let (answer, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(answer).expect(answer))
    }

    pub(crate) fn call_as(&self, user: &str, path: &str, body: &Value) -> (u16, Value) {
        let other = Self {
            user: user.to_owned(),
            ..self.clone()
        };
        other.call(path, body, &[])
    }

    pub(crate) fn process(&self, path: &str, body: &Value) -> Command {
        let signing = format!("aws:amz:{}:kms-xks-proxy", self.region);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"])
            .args(["--aws-sigv4", &signing, "--user", &self.user])
            .args(["-H", "Content-Type: application/json"])
            .args(["--data-binary", &body.to_string()])
            .arg(self.url(path));
        curl
    }
}

/// Tries again when the server had no time: with settings that cannot be changed, a request has 200
/// ms, which a busy machine may want for itself.
pub(crate) fn patiently(call: impl Fn() -> (u16, Value)) -> (u16, Value) {
    let start = Instant::now();
    loop {
        let answer = call();
        if answer.1["errorName"] != "DependencyTimeoutException" || start.elapsed() > PATIENCE {
            return answer;
        }
    }
}

/// What a program prints that ends well.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("curl 7.75 or later is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The status and the text of an unsigned GET; status 0 where there is no answer.
pub(crate) fn fetch(url: &str, arguments: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (text, status) = output.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), text.to_owned())
}
