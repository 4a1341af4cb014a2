//! Before the cases: whether the proxy takes the setup at all, and which of its operations work.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, header};
use thiserror::Error;

use super::{
    body::{self, Operation, Sealed},
    date,
    subject::Subject,
};
use crate::wire::{Answer, Credential, Endpoint, Raw};

/// The proxy refuses the setup, so that nothing can be reported of it: the request, the answer, and what is
/// probably wrong, one cause a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub struct Refusal {
    /// The operation and what came, such as `GetKeyMetadata of my-key: 401 AuthenticationFailedException`.
    pub came: String,
    /// What is wrong with the setup, or may be.
    pub causes: Vec<String>,
}

impl Display for Refusal {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "nothing was checked: the proxy rejects every request.\n  {}",
            self.came
        )?;
        for cause in &self.causes {
            write!(formatter, "\n  {cause}")?;
        }
        Ok(())
    }
}

/// Which operations do not work with the first key, although nothing is wrong with the setup: what came.
#[derive(Clone, Debug, Default)]
pub(super) struct Baseline(Vec<(Operation, String)>);

impl Baseline {
    /// Whether the operation gives this answer to every request.
    pub(super) fn explains(&self, operation: Operation, came: &str) -> bool {
        self.0
            .iter()
            .any(|(failing, what)| *failing == operation && what == came)
    }
}

/// # Errors
/// The proxy refuses the setup: GetKeyMetadata and Encrypt alike.
pub(super) async fn preflight(subject: &Subject) -> Result<Baseline, Refusal> {
    let mut failing = Vec::new();
    let key = subject.key();
    let body = body::plain(subject.setup(), Operation::Metadata);
    let Some(answer) = called(subject, Operation::Metadata, &body).await else {
        return Ok(Baseline::default()); // silence is for the cases to report
    };
    if let Some(kind) = Kind::of(&answer) {
        let body = body::encrypt(subject.setup(), b"sixteen bytes...", None, false);
        let second = called(subject, Operation::Encrypt, &body).await;
        if second.and_then(|answer| Kind::of(&answer)) == Some(kind) {
            let came = format!("GetKeyMetadata of {key}: {}", subject.describe(&answer));
            let causes = kind.causes(subject, &answer).await;
            return Err(Refusal { came, causes });
        }
    }
    if answer.status != 200 {
        failing.push((Operation::Metadata, subject.describe(&answer)));
    }
    match encrypts(subject).await {
        Some(Ok(sealed)) => {
            let answer = called(subject, Operation::Decrypt, &sealed.body(subject.setup())).await;
            let failed = answer.filter(|answer| answer.status != 200);
            failing.extend(failed.map(|answer| (Operation::Decrypt, subject.describe(&answer))));
        }
        Some(Err(came)) => failing.push((Operation::Encrypt, came)),
        None => {}
    }
    Ok(Baseline(failing))
}

/// A good ciphertext, or why there is none; nothing if there is no answer.
async fn encrypts(subject: &Subject) -> Option<Result<Sealed, String>> {
    let body = body::encrypt(subject.setup(), b"sixteen bytes...", None, false);
    let answer = called(subject, Operation::Encrypt, &body).await?;
    Some(match answer.json() {
        Some(json) if answer.status == 200 => Sealed::from_answer(&json, None),
        _ => Err(subject.describe(&answer)),
    })
}

async fn called(subject: &Subject, operation: Operation, body: &serde_json::Value) -> Option<Answer> {
    let request = subject.request(&operation.path(subject.key()), body).ok()?;
    subject.call(&request).await.ok()
}

/// What a proxy may have against a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Signature,
    Denied,
    Path,
    Key,
}

impl Kind {
    fn of(answer: &Answer) -> Option<Self> {
        match (answer.status, answer.error_name().as_deref()) {
            (401, _) | (_, Some("AuthenticationFailedException")) => Some(Self::Signature),
            (403, _) => Some(Self::Denied),
            (404, Some("KeyNotFoundException")) => Some(Self::Key),
            // Without a body it says nothing of the path.
            (404, _) if !answer.body.is_empty() => Some(Self::Path),
            _ => None,
        }
    }

    async fn causes(self, subject: &Subject, answer: &Answer) -> Vec<String> {
        let mut causes = match self {
            Self::Signature => signature(subject, answer).await,
            Self::Denied => {
                let setup = subject.setup();
                vec![format!(
                    "The proxy's authorization denies --principal {}, --kms-key-arn {}, --key {}",
                    setup.principal,
                    setup.kms_key_arn,
                    subject.key()
                )]
            }
            Self::Path => vec![format!(
                "--url: the proxy has no key store at {}",
                subject.endpoint().uri_path()
            )],
            Self::Key => vec![format!("--key: the proxy has no key {}", subject.key())],
        };
        if answer.error_name().is_none() {
            causes.push(
                "The response has no error name of the XKS API: a balancer in front of the proxy may have \
                         sent it"
                    .into(),
            );
        } else {
            causes.push(format!(
                "The proxy's log has the reason: kmsRequestId {}",
                body::REQUEST_ID
            ));
        }
        causes
    }
}

/// Regions to sign for when a signature is refused.
const REGIONS: [&str; 38] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-gov-east-1",
    "us-gov-west-1",
    "cn-north-1",
    "cn-northwest-1",
];

/// Tries what is usually wrong with a signature. A proxy must not tell which part is.
async fn signature(subject: &Subject, answer: &Answer) -> Vec<String> {
    if let Some(cause) = clock(subject, answer).await {
        return vec![cause];
    }
    if let Some(cause) = region(subject).await {
        return vec![cause];
    }
    if let Some(cause) = host(subject).await {
        return vec![cause];
    }
    let credential = subject.setup().credential.clone();
    let id = credential.access_key_id();
    let mut causes = vec![
        format!(
            "--access-key {id} or its secret does not belong to this key store. The Region is not the cause: no \
             other one is accepted"
        ),
        format!(
            "Or Host: {:?} is signed, and a balancer in front of the proxy may send another one",
            subject.endpoint().authority()
        ),
    ];
    let is_in = |text: &str, lengths: std::ops::RangeInclusive<usize>, is_legal: fn(u8) -> bool| {
        lengths.contains(&text.len()) && text.bytes().all(is_legal)
    };
    // SIG-6
    if !is_in(id, 20..=30, |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
        causes.push("--access-key: must be 20 to 30 characters of A-Z 2-7".into());
    }
    if !is_in(credential.secret(), 43..=64, |byte| {
        byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
    }) {
        causes.push("The secret must be 43 to 64 characters of A-Z a-z 0-9 + / =".into());
    }
    causes
}

/// SIG-5: five minutes apart are too many.
async fn clock(subject: &Subject, answer: &Answer) -> Option<String> {
    let text = answer.headers.get(header::DATE)?.to_str().ok()?;
    let theirs = date::parse_http(text)?;
    let (now, mut said) = (SystemTime::now(), String::new());
    let (apart, which) = match theirs.duration_since(now) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart < Duration::from_secs(240) {
        return None;
    }
    let _ = write!(
        said,
        "The clocks: the proxy's is {} s {which} this machine's",
        apart.as_secs()
    );
    let is_it = is_accepted(subject, subject.endpoint(), theirs, None).await;
    said.push_str(if is_it {
        ". Signed for that time, the request is accepted"
    } else {
        ", and at most 300 s are allowed"
    });
    Some(said)
}

async fn region(subject: &Subject) -> Option<String> {
    let credential = &subject.setup().credential;
    let (id, secret, given) = (credential.access_key_id(), credential.secret(), credential.region());
    for region in REGIONS.into_iter().filter(|region| *region != given) {
        let credential = Credential::new(id, secret, region);
        let endpoint = subject.endpoint().with_credential(credential);
        if is_accepted(subject, &endpoint, SystemTime::now(), None).await {
            return Some(format!(
                "--region {given}: signed for {region} the same request is accepted"
            ));
        }
    }
    None
}

/// The port is what gets lost on the way.
async fn host(subject: &Subject) -> Option<String> {
    let sent = subject.endpoint().authority().to_owned();
    let lower = sent.to_ascii_lowercase();
    let name = sent.rsplit_once(':').map_or(&*sent, |(name, _)| name).to_owned();
    let with_port = format!("{name}:{}", subject.endpoint().port());
    for signed in [lower, name, with_port].into_iter().filter(|signed| *signed != sent) {
        if is_accepted(subject, subject.endpoint(), SystemTime::now(), Some(&signed)).await {
            return Some(format!(
                "Host: {sent:?} is sent, and the proxy receives {signed:?}: a balancer in front of the proxy \
                 changes it"
            ));
        }
    }
    None
}

/// Whether GetKeyMetadata gets past the signature when it is signed so.
async fn is_accepted(subject: &Subject, endpoint: &Endpoint, time: SystemTime, host: Option<&str>) -> bool {
    let body = body::plain(subject.setup(), Operation::Metadata).to_string();
    let path = Operation::Metadata.path(subject.key());
    let signed_host = endpoint.with_authority(host.unwrap_or(endpoint.authority()));
    let request = Raw::signed(&signed_host, Method::POST, &path, body.as_bytes(), time);
    let (Ok(mut request), Ok(sent)) = (request, HeaderValue::try_from(endpoint.authority())) else {
        return false;
    };
    request.headers.insert(header::HOST, sent);
    match subject.call(&request).await {
        Ok(answer) => Kind::of(&answer) != Some(Kind::Signature) && answer.status < 500,
        Err(_) => false,
    }
}
