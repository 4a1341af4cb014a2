//! `embed-lambda`, started as Lambda starts it: with the address of a runtime API, from which it takes events
//! and to which it gives answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::SystemTime,
};

use axum::{
    Router, extract,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use xks_test_client::{SECRET_ACCESS_KEY, Signer};

const HOST: &str = "id.execute-api.us-east-1.amazonaws.com";

/// What Lambda keeps between an event and its answer.
struct RuntimeApi {
    events: Mutex<mpsc::Receiver<(String, Value)>>,
    /// The id in the path, and the answer.
    answers: mpsc::Sender<(String, Value)>,
}

impl RuntimeApi {
    /// `GET .../invocation/next` waits for an event.
    async fn next(extract::State(api): extract::State<Arc<Self>>) -> (HeaderMap, String) {
        let (id, event) = api.events.lock().await.recv().await.unwrap();
        let headers = [
            ("lambda-runtime-aws-request-id", id.as_str()),
            ("lambda-runtime-deadline-ms", "4102444800000"),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:123456789012:function:xks",
            ),
            ("lambda-runtime-trace-id", "Root=1-5bdb40ca-556d8b0c50dc66f0511bf520"),
        ];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        (HeaderMap::from_iter(headers), event.to_string())
    }

    /// `POST .../invocation/{id}/response`
    async fn response(
        extract::State(api): extract::State<Arc<Self>>,
        extract::Path(id): extract::Path<String>,
        body: String,
    ) -> StatusCode {
        let answer = serde_json::from_str(&body).unwrap();
        api.answers.send((id, answer)).await.unwrap();
        StatusCode::ACCEPTED
    }
}

/// One instance of the function.
struct Function {
    child: Child,
    events: mpsc::Sender<(String, Value)>,
    answers: mpsc::Receiver<(String, Value)>,
    invocations: u32,
}

impl Function {
    /// Starts the program with that prefix and these variables of the environment beside.
    async fn start(name: &str, uri_path_prefix: &str, variables: &[(&str, &str)]) -> Self {
        let (events, coming) = mpsc::channel(1);
        let (given, answers) = mpsc::channel(1);
        let api = Arc::new(RuntimeApi {
            events: Mutex::new(coming),
            answers: given,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(RuntimeApi::next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(RuntimeApi::response),
            )
            .with_state(api);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });

        let key = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.key"));
        fs::write(&key, [7; 32]).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_embed-lambda"))
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "xks")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("XKS_SECRET", SECRET_ACCESS_KEY)
            .env("XKS_KEY_FILE", key)
            .env("XKS_URI_PATH_PREFIX", uri_path_prefix)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            events,
            answers,
            invocations: 0,
        }
    }

    /// What the function answers to an event: the status and the body.
    async fn invoke(&mut self, event: Value) -> (u64, Value) {
        self.invocations += 1;
        let id = format!("invocation-{}", self.invocations);
        self.events.send((id.clone(), event)).await.unwrap();
        let (answered, answer) = self.answers.recv().await.unwrap();
        assert_eq!(answered, id);
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    /// Ends it as Lambda does, and returns what it has logged.
    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request of KMS.
struct Sent {
    path: String,
    body: String,
    /// Those of the signature, and `content-type`.
    headers: Vec<(String, String)>,
}

impl Sent {
    fn new(prefix: &str, operation: &str, body: &Value) -> Self {
        let path = format!("{prefix}/kms/xks/v1/keys/my-key/{operation}");
        let (signer, body) = (Signer::at(SystemTime::now()), body.to_string());
        let json = [("content-type", "application/json")];
        let headers = signer.sign("POST", HOST, &path, &json, body.as_bytes());
        Self { path, body, headers }
    }

    /// As API Gateway and load balancers send them on: with their own beside.
    fn headers(&self) -> serde_json::Map<String, Value> {
        let added = [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
        ];
        let added = added.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let all = self.headers.iter().cloned().chain(added);
        all.map(|(name, value)| (name, value.into())).collect()
    }

    /// An event of an HTTP API (version 2.0) or of a function URL, whose stage is `$default`. `path` is what
    /// API Gateway gives to the function.
    fn http_api(&self, stage: &str, path: &str) -> Value {
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": self.headers(),
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "id",
                "domainName": HOST,
                "domainPrefix": "id",
                "http": {
                    "method": "POST",
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": "KMS",
                },
                "requestId": "JKJaXmPLvHcESHA=",
                "routeKey": "$default",
                "stage": stage,
                "time": "06/May/2020:22:36:55 +0000",
                "timeEpoch": 1_588_804_615_616_u64,
            },
            "body": self.body,
            "isBase64Encoded": false,
        })
    }

    /// The same with a body in Base64, as function URLs send those that they do not take for text.
    fn in_base64(&self) -> Value {
        let mut event = self.http_api("$default", &self.path);
        event["body"] = STANDARD.encode(&self.body).into();
        event["isBase64Encoded"] = true.into();
        event
    }

    /// An event of a REST API: header names as they were sent, each header twice, the path without the stage.
    fn rest_api(&self, stage: &str, path: &str) -> Value {
        let headers: serde_json::Map<_, _> = self
            .headers()
            .into_iter()
            .map(|(name, value)| (title_case(&name), value))
            .collect();
        let multiple: serde_json::Map<_, _> = headers.clone().into_iter().map(|(k, v)| (k, json!([v]))).collect();
        json!({
            "resource": "/{proxy+}",
            "path": path,
            "httpMethod": "POST",
            "headers": headers,
            "multiValueHeaders": multiple,
            "queryStringParameters": null,
            "multiValueQueryStringParameters": null,
            "pathParameters": { "proxy": path.trim_start_matches('/') },
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "id",
                "domainName": HOST,
                "domainPrefix": "id",
                "httpMethod": "POST",
                "identity": { "sourceIp": "203.0.113.7", "userAgent": "KMS" },
                "path": self.path,
                "protocol": "HTTP/1.1",
                "requestId": "41b45ea3-70b5-11e6-b7bd-69b5aaebc7d9",
                "requestTimeEpoch": 1_583_798_639_428_u64,
                "resourceId": "us4z18",
                "resourcePath": "/{proxy+}",
                "stage": stage,
            },
            "body": self.body,
            "isBase64Encoded": false,
        })
    }

    /// An event of an Application Load Balancer; `multiple`: with the target group's multi-value headers.
    fn load_balancer(&self, multiple: bool) -> Value {
        let mut event = json!({
            "requestContext": { "elb": {
                "targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/xks/6d0ecf831eec9f09",
            } },
            "httpMethod": "POST",
            "path": self.path,
            "body": self.body,
            "isBase64Encoded": false,
        });
        if multiple {
            let headers: serde_json::Map<_, _> = self.headers().into_iter().map(|(k, v)| (k, json!([v]))).collect();
            event["multiValueHeaders"] = headers.into();
            event["multiValueQueryStringParameters"] = json!({});
        } else {
            event["headers"] = self.headers().into();
            event["queryStringParameters"] = json!({});
        }
        event
    }
}

fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn metadata(operation: &str) -> Value {
    json!({
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsOperation": operation,
        "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    })
}

fn encrypt(prefix: &str) -> Sent {
    let body = json!({
        "requestMetadata": metadata("Encrypt"),
        "additionalAuthenticatedData": "cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n",
        "plaintext": "SGVsbG8gV29ybGQh",
        "encryptionAlgorithm": "AES_GCM",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
    });
    Sent::new(prefix, "encrypt", &body)
}

fn decrypt(prefix: &str, encrypted: &Value) -> Sent {
    let body = json!({
        "requestMetadata": metadata("Decrypt"),
        "additionalAuthenticatedData": "cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n",
        "encryptionAlgorithm": "AES_GCM",
        "ciphertext": encrypted["ciphertext"],
        "ciphertextMetadata": encrypted["ciphertextMetadata"],
        "initializationVector": encrypted["initializationVector"],
        "authenticationTag": encrypted["authenticationTag"],
    });
    Sent::new(prefix, "decrypt", &body)
}

/// An encryption and its decryption, as the events that `event` makes of them.
async fn round_trip(function: &mut Function, prefix: &str, event: impl Fn(&Sent) -> Value) {
    let (status, encrypted) = function.invoke(event(&encrypt(prefix))).await;
    assert_eq!(status, 200, "{encrypted}");
    let (status, decrypted) = function.invoke(event(&decrypt(prefix, &encrypted))).await;
    assert_eq!((status, decrypted), (200, json!({ "plaintext": "SGVsbG8gV29ybGQh" })));
}

/// SIG-2, LOG-1: what was signed is what comes out of each kind of event. A forged request is not served, and
/// each is recorded under the id that Lambda gave it.
#[tokio::test]
async fn every_kind_of_event_is_served() {
    let prefix = "/my-key-store";
    let mut function = Function::start("events", prefix, &[]).await;
    round_trip(&mut function, prefix, |sent| sent.http_api("$default", &sent.path)).await;
    round_trip(&mut function, prefix, Sent::in_base64).await;
    round_trip(&mut function, prefix, |sent| sent.load_balancer(false)).await;
    round_trip(&mut function, prefix, |sent| sent.load_balancer(true)).await;

    let mut forged = encrypt(prefix);
    forged.body = forged.body.replace("SGVsbG8", "SGVsbH8");
    let (status, body) = function.invoke(forged.load_balancer(false)).await;
    assert_eq!(
        (status, &body["errorName"]),
        (401, &json!("AuthenticationFailedException"))
    );

    let log = function.stop();
    let records: Vec<_> = log.lines().filter(|line| line.contains("xks::audit")).collect();
    assert_eq!(records.len(), 9, "{log}");
    for (record, number) in records.iter().zip(1..) {
        assert!(record.contains(&format!("invocation-{number}")), "{log}");
    }
}

/// SIG-2: a stage is part of the path that KMS calls and signs, unless the API has a domain name of its own.
#[tokio::test]
async fn the_stage_of_an_api_is_where_kms_signed_it() {
    let prefix = "/prod/my-key-store";
    let mut function = Function::start("stage", prefix, &[]).await;
    round_trip(&mut function, prefix, |sent| {
        sent.rest_api("prod", sent.path.strip_prefix("/prod").unwrap())
    })
    .await;
    round_trip(&mut function, prefix, |sent| sent.http_api("prod", &sent.path)).await;

    let prefix = "/my-key-store";
    let ignored = [("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true")];
    let mut function = Function::start("domain", prefix, &ignored).await;
    round_trip(&mut function, prefix, |sent| sent.rest_api("prod", &sent.path)).await;

    let mut function = Function::start("doubled", prefix, &[]).await;
    let sent = encrypt(prefix);
    let (status, body) = function.invoke(sent.rest_api("prod", &sent.path)).await;
    assert_eq!(
        (status, &body["errorName"]),
        (404, &json!("InvalidUriPathException")),
        "the stage stands before a path that was signed without it"
    );
}
