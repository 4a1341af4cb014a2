//! A request to encrypt, verified by us, signed again by AWS's own signer, and verified by
//! `scratchstack-aws-signature`. Each of the others gets all that its API takes ready made; none has to
//! derive what it can keep.

use std::{
    future,
    str::FromStr as _,
    time::{Duration, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningInstructions, SigningParams, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS, SignatureOptions,
    service_for_signing_key_fn, sigv4_validate_request,
};
use xks_benches::{
    ACCESS_KEY_ID, DATA_KEY, HOST, REGION, Row, SECRET_ACCESS_KEY, SERVICE, Signed, key_store,
    measure::{interleaved, ratio},
    now, ready, verify,
};
use xks_core::{
    KeyStore,
    sigv4::{Rejection, Verified},
};

/// The other verifier takes secrets of 40 characters alone, as IAM has them.
const SECRET_OF_IAM: &str = "PleaseReplaceThisWithASecretOfLength40..";

/// Ours against theirs, each beside the other in the same run.
pub(crate) fn rows() -> [Row; 2] {
    let (ours, signer, mut other) = (Ours::new(), Signer::new(SECRET_ACCESS_KEY), Scratchstack::new());
    let (verify, sign) = interleaved(|| ours.verify(), || signer.sign(&ours.signed));
    let (again, theirs) = interleaved(|| ours.verify(), || other.verify());
    let row = |bar, ours: Duration, what: &str, theirs: Duration| {
        let what = format!("verification ({ours:.2?}), times as fast as {what} ({theirs:.2?})");
        Row::at_least(&what, bar, ratio(theirs, ours))
    };
    [
        row(5.0, verify, "signing with aws-sigv4", sign),
        row(4.0, again, "scratchstack-aws-signature", theirs),
    ]
}

/// Our verifier and a request that it has seen.
pub(crate) struct Ours {
    store: KeyStore,
    pub(crate) signed: Signed,
}

impl Ours {
    pub(crate) fn new() -> Self {
        let ours = Self {
            store: key_store(),
            signed: Signed::encrypt(DATA_KEY, false),
        };
        ours.verify(); // the signing key is kept now
        ours
    }

    pub(crate) fn verify(&self) -> Verified<'_> {
        self.try_verify(&self.signed).unwrap()
    }

    pub(crate) fn try_verify<'a>(&self, signed: &'a Signed) -> Result<Verified<'a>, Rejection> {
        verify(&signed.request(), &self.store)
    }
}

/// AWS's own signer, which derives the signing key each time: it has no other way.
pub(crate) struct Signer {
    url: String,
    parameters: SigningParams<'static>,
}

impl Signer {
    pub(crate) fn new(secret: &str) -> Self {
        let credentials = Credentials::from_keys(ACCESS_KEY_ID, secret, None);
        let parameters = v4::SigningParams::builder()
            .identity(Box::leak(Box::new(credentials.into()))) // it is borrowed
            .region(REGION)
            .name(SERVICE)
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let path = Signed::encrypt(DATA_KEY, false).path;
        Self {
            url: format!("https://{HOST}{path}"),
            parameters: parameters.into(),
        }
    }

    pub(crate) fn sign(&self, signed: &Signed) -> SigningInstructions {
        let headers = [("host", HOST), ("content-type", "application/json")].into_iter();
        let body = SignableBody::Bytes(signed.body.as_bytes());
        let request = SignableRequest::new("POST", self.url.as_str(), headers, body).unwrap();
        sign(request, &self.parameters).unwrap().into_parts().0
    }
}

/// The other verifier. It takes the request and gives it back, so that it is built once.
pub(crate) struct Scratchstack {
    request: Option<Request<Bytes>>,
    signing_key: GetSigningKeyResponse,
    time: DateTime<Utc>,
}

impl Scratchstack {
    pub(crate) fn new() -> Self {
        let signed = Signed::encrypt(DATA_KEY, false);
        let mut request = Request::post(&signed.path)
            .header("host", HOST)
            .header("content-type", "application/json");
        for (name, value) in Signer::new(SECRET_OF_IAM).sign(&signed).headers() {
            request = request.header(name, value);
        }
        let seconds = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let time = DateTime::from_timestamp(seconds.try_into().unwrap(), 0).unwrap();
        let secret: KSecretKey = KSecretKey::from_str(SECRET_OF_IAM).unwrap();
        let signing_key = secret.to_ksigning(time.date_naive(), REGION, SERVICE);
        Self {
            request: Some(request.body(signed.body.into()).unwrap()),
            signing_key: GetSigningKeyResponse::builder()
                .signing_key(signing_key)
                .build()
                .unwrap(),
            time,
        }
    }

    pub(crate) fn verify(&mut self) {
        let signing_key = self.signing_key.clone();
        let find = move |_: GetSigningKeyRequest| future::ready(Ok(signing_key.clone()));
        let mut keys = service_for_signing_key_fn(find);
        let (parts, body, _) = ready(sigv4_validate_request(
            self.request.take().unwrap(),
            REGION,
            SERVICE,
            &mut keys,
            self.time,
            &NO_ADDITIONAL_SIGNED_HEADERS,
            SignatureOptions::default(),
        ))
        .unwrap();
        self.request = Some(Request::from_parts(parts, body));
    }
}
