//! IAM and STS: the query protocol, a form in and XML out.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::kms::{AccessKeyMetadata, Caller, Exception, ExceptionName, Identity, Kms, Part, PartRequest};

const IAM: (&str, &str) = ("2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/");
const STS: (&str, &str) = ("2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/");

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// The parameters of a form.
struct Form<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl Form<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    fn required(&self, name: &str) -> Result<&str, Exception> {
        self.get(name)
            .ok_or_else(|| Exception::validation(format!("{name} is required")))
    }

    fn part(&self) -> Result<PartRequest, Exception> {
        let max_items = self.get("MaxItems").map(str::parse).transpose();
        Ok(PartRequest {
            max_items: max_items.map_err(|_| Exception::validation("MaxItems is not a number"))?,
            marker: self.get("Marker").map(str::to_owned),
        })
    }
}

/// Does the operation that the form names. Returns the body of the answer.
pub(super) async fn answer(kms: &Kms, caller: &Caller, request_id: &str, body: &[u8]) -> Result<Vec<u8>, Exception> {
    let form = Form(form_urlencoded::parse(body).collect());
    let action = form.get("Action").unwrap_or_default();
    let (version, namespace) = if action == "GetCallerIdentity" { STS } else { IAM };
    let unknown = || {
        let message = format!("kms-double does not implement {action:?}");
        Exception::new(ExceptionName::UnknownOperation, message)
    };
    if form.get("Version") != Some(version) {
        return Err(unknown());
    }
    let user = form.get("UserName");
    let mut xml = Xml::default();
    match action {
        "GetUser" => {
            let user = kms.get_user(caller, user).await?;
            xml.within("User", |xml| xml.identity("User", &user));
        }
        "ListUsers" => xml.identities("User", &kms.list_users(caller, form.part()?).await?),
        "ListRoles" => xml.identities("Role", &kms.list_roles(caller, form.part()?).await?),
        "ListAccessKeys" => {
            let keys = kms.list_access_keys(caller, user).await?;
            xml.within("AccessKeyMetadata", |xml| {
                for key in &keys {
                    xml.within("member", |xml| xml.access_key(key));
                }
            });
            xml.element("IsTruncated", "false");
        }
        "CreateAccessKey" => {
            let made = kms.create_access_key(caller, user).await?;
            xml.within("AccessKey", |xml| {
                xml.access_key(&made.metadata);
                xml.element("SecretAccessKey", &made.secret_access_key);
            });
        }
        "UpdateAccessKey" => {
            let is_active = match form.required("Status")? {
                "Active" => true,
                "Inactive" => false,
                _ => return Err(Exception::validation("Status has to be Active or Inactive")),
            };
            let id = form.required("AccessKeyId")?;
            kms.update_access_key(caller, user, id, is_active).await?;
        }
        "DeleteAccessKey" => {
            let id = form.required("AccessKeyId")?;
            kms.delete_access_key(caller, user, id).await?;
        }
        "GetCallerIdentity" => {
            let arn = kms.get_caller_identity(caller).await?;
            xml.element("Arn", &arn);
            xml.element("UserId", arn.rsplit('/').next().unwrap_or_default());
            xml.element("Account", arn.split(':').nth(4).unwrap_or_default());
        }
        _ => return Err(unknown()),
    }
    let Xml(result) = xml;
    let metadata = format!("<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>");
    // Operations without an output have no result.
    let result = match action {
        "UpdateAccessKey" | "DeleteAccessKey" => String::new(),
        _ => format!("<{action}Result>{result}</{action}Result>"),
    };
    let body = format!("<{action}Response xmlns=\"{namespace}\">{result}{metadata}</{action}Response>");
    Ok(body.into_bytes())
}

/// The status and the body that tell of an exception.
pub(super) fn told(exception: &Exception, request_id: &str) -> (u16, Vec<u8>) {
    use ExceptionName as Name;
    let (status, code) = match exception.name() {
        Name::NoSuchEntity | Name::IamLimitExceeded => (exception.name().status(), exception.name().as_str()),
        Name::AccessDenied => (403, "AccessDenied"),
        Name::InvalidSignature => (403, "SignatureDoesNotMatch"),
        Name::UnrecognizedClient => (403, "InvalidClientTokenId"),
        Name::MissingAuthenticationToken => (403, "MissingAuthenticationToken"),
        Name::Throttling => (400, "Throttling"),
        Name::UnknownOperation => (400, "InvalidAction"),
        Name::Internal | Name::DependencyTimeout => (500, "ServiceFailure"),
        _ => (400, "ValidationError"),
    };
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let mut xml = Xml::default();
    xml.within("Error", |xml| {
        xml.element("Type", kind);
        xml.element("Code", code);
        xml.element("Message", exception.message());
    });
    xml.element("RequestId", request_id);
    let body = format!("<ErrorResponse xmlns=\"{}\">{}</ErrorResponse>", IAM.1, xml.0);
    (status, body.into_bytes())
}

#[derive(Default)]
struct Xml(String);

impl Xml {
    fn element(&mut self, name: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(self.0, "<{name}>{text}</{name}>"); // a String takes all
    }

    fn within(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        content(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn date(&mut self, name: &str, seconds: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "no fractions of a second")]
        let date = OffsetDateTime::from_unix_timestamp(seconds as i64);
        let text = date.ok().and_then(|date| date.format(DATE).ok());
        self.element(name, &text.unwrap_or_default());
    }

    fn identity(&mut self, kind: &str, identity: &Identity) {
        self.element("Path", "/");
        self.element(&format!("{kind}Name"), &identity.name);
        self.element(&format!("{kind}Id"), &identity.id);
        self.element("Arn", &identity.arn);
        self.date("CreateDate", identity.created);
    }

    fn identities(&mut self, kind: &str, part: &Part<Identity>) {
        self.within(&format!("{kind}s"), |xml| {
            for identity in &part.items {
                xml.within("member", |xml| xml.identity(kind, identity));
            }
        });
        self.element("IsTruncated", if part.next_marker.is_some() { "true" } else { "false" });
        if let Some(marker) = &part.next_marker {
            self.element("Marker", marker);
        }
    }

    fn access_key(&mut self, key: &AccessKeyMetadata) {
        self.element("UserName", &key.user_name);
        self.element("AccessKeyId", &key.access_key_id);
        self.element("Status", if key.is_active { "Active" } else { "Inactive" });
        self.date("CreateDate", key.created);
    }
}
