//! IAM and STS: the query protocol, a form in and XML out.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{
    call::{Service, dispatched, status_and_code},
    kms::{Caller, Exception, ExceptionName, Kms},
};

/// The version and the namespace of each API.
const IAM: (&str, &str) = ("2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/");
const STS: (&str, &str) = ("2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/");

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// Does the operation that the form names. Returns the body of the answer.
pub(super) async fn answer(kms: &Kms, caller: &Caller, request_id: &str, body: &[u8]) -> Result<Vec<u8>, Exception> {
    let mut parameters = parameters(body)?;
    let mut taken = |name: &str| match parameters.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (action, version) = (taken("Action"), taken("Version"));
    let service = Service::of(&action);
    let (expected, namespace) = of(service);
    if service == Service::Kms || version != expected {
        let message = format!("kms-double does not implement {action:?} of version {version:?}");
        return Err(Exception::new(ExceptionName::UnknownOperation, message));
    }
    let parameters = Value::Object(parameters).to_string();
    let answer = dispatched(kms, caller, &action, parameters.as_bytes()).await?;
    let metadata = format!("<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>");
    // Operations without an output have no result.
    let result = match &**answer {
        [] => String::new(),
        answer => {
            let answer: Value = serde_json::from_slice(answer)
                .map_err(|error| Exception::new(ExceptionName::Internal, error.to_string()))?;
            let mut xml = Xml::default();
            xml.element(&format!("{action}Result"), &answer);
            xml.0
        }
    };
    let body = format!("<{action}Response xmlns=\"{namespace}\">{result}{metadata}</{action}Response>");
    Ok(body.into_bytes())
}

/// The status and the body that tell of an exception. The request was signed for `service`.
pub(super) fn told(exception: &Exception, service: Option<&str>, request_id: &str) -> (u16, Vec<u8>) {
    let service = if service == Some("sts") {
        Service::Sts
    } else {
        Service::Iam
    };
    let (status, code) = status_and_code(exception, service);
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let mut xml = Xml::default();
    let error = [("Type", kind), ("Code", code), ("Message", exception.message())];
    xml.within("Error", |xml| {
        for (name, text) in error {
            xml.text(name, text);
        }
    });
    xml.text("RequestId", request_id);
    let (_, namespace) = of(service);
    let body = format!("<ErrorResponse xmlns=\"{namespace}\">{}</ErrorResponse>", xml.0);
    (status, body.into_bytes())
}

fn of(service: Service) -> (&'static str, &'static str) {
    if service == Service::Sts { STS } else { IAM }
}

/// A form as JSON. All that the operations take are texts, and the number of items.
fn parameters(body: &[u8]) -> Result<Map<String, Value>, Exception> {
    let mut parameters = Map::new();
    for (name, text) in form_urlencoded::parse(body) {
        let value = match &*name {
            "MaxItems" => {
                let number = text.parse::<u64>();
                number
                    .map_err(|_| Exception::validation("MaxItems is not a number"))?
                    .into()
            }
            _ => text.into_owned().into(),
        };
        parameters.insert(name.into_owned(), value);
    }
    Ok(parameters)
}

#[derive(Default)]
struct Xml(String);

impl Xml {
    fn text(&mut self, name: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(self.0, "<{name}>{text}</{name}>"); // a String takes all
    }

    fn within(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn element(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => self.within(name, |xml| {
                for (name, value) in members {
                    xml.element(name, value);
                }
            }),
            Value::Array(items) => self.within(name, |xml| {
                for item in items {
                    xml.element("member", item);
                }
            }),
            Value::String(text) => self.text(name, text),
            Value::Number(number) if name == "CreateDate" => self.text(name, &date(number.as_f64())),
            other => self.text(name, &other.to_string()),
        }
    }
}

fn date(seconds: Option<f64>) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "no fractions of a second")]
    let date = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds as i64).ok());
    date.and_then(|date| date.format(DATE).ok()).unwrap_or_default()
}
