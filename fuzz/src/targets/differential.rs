//! AWS's own signer against the verifier: what it signs verifies, in every form that HTTP may give it on the
//! way; and what is altered does not.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};

use super::bodies::HEALTH;
use crate::{
    exchange::Exchange,
    judge::{self, Verdict, signature::folded},
    proxy::{HOST, TENANTS, answer_to, now},
};

/// The input chooses headers, body, moment, and what is done to the request after it was signed.
pub fn differential(input: &[u8]) -> Verdict {
    // There is no end to the bytes: zeros are behind them.
    run(&mut Unstructured::new(input)).unwrap_or(Verdict::BAD)
}

fn run(u: &mut Unstructured<'_>) -> Result<Verdict> {
    let change = u.int_in_range(0..=13)?;
    let (at, bit) = (u.arbitrary::<u16>()?, u.int_in_range(0..=7)?);
    let signed = signed(u)?;
    let mut exchange = signed.clone();
    let is_permitted = match change {
        0 => true,
        // What HTTP permits on the way.
        1 => {
            exchange.headers.rotate_left(usize::from(at) % signed.headers.len());
            // But values of one name keep their order; of "" and ",", it cannot be seen.
            has_same_values(&exchange, &signed)
        }
        2 => {
            exchange
                .headers
                .iter_mut()
                .for_each(|(name, _)| *name = name.to_ascii_uppercase());
            true
        }
        3 => {
            for (_, value) in &mut exchange.headers {
                *value = [b" \t", value.as_slice(), b"  "].concat();
            }
            true
        }
        4 => {
            // The `Authorization` header itself is not signed: its blanks are as the specification shows
            // them.
            for (name, value) in &mut exchange.headers {
                if name != "authorization" {
                    *value = value
                        .split(|byte| *byte == b' ')
                        .collect::<Vec<_>>()
                        .join(b"   ".as_slice());
                }
            }
            true
        }
        5 => {
            exchange.headers.push(("x-not-signed".to_owned(), vec![bit]));
            true
        }
        // What nothing permits. A change that comes to nothing is none.
        6 => {
            exchange.method = with_another_bit(&signed.method, at, bit);
            exchange.method == signed.method
        }
        7 => {
            exchange.target = with_another_bit(&signed.target, at, bit);
            exchange.target == signed.target
        }
        8 => {
            flip(&mut exchange.body, at, bit);
            exchange.body == signed.body
        }
        9 => {
            let index = usize::from(at) % signed.headers.len();
            let (name, value) = &mut exchange.headers[index];
            flip(value, u.arbitrary()?, bit);
            name != "authorization" && folded(value) == folded(&signed.headers[index].1)
        }
        10 => {
            let index = usize::from(at) % signed.headers.len();
            exchange.headers.remove(index);
            false
        }
        11 => {
            let index = usize::from(at) % signed.headers.len();
            let twice = exchange.headers[index].clone();
            exchange.headers.push(twice);
            false
        }
        12 => {
            let index = usize::from(at) % signed.headers.len();
            exchange.headers[index].0 = with_another_bit(&signed.headers[index].0, u.arbitrary()?, bit);
            exchange.headers[index].0.eq_ignore_ascii_case(&signed.headers[index].0)
        }
        _ => {
            exchange.body.push(bit);
            false
        }
    };
    let (verdict, _) = answer_to(&exchange);
    assert_eq!(verdict, judge::exchange(&exchange));
    if is_permitted {
        assert_eq!(verdict, Verdict::OK, "{exchange:?}");
    } else {
        assert!(matches!(verdict.0, 401 | 404 | 405), "{verdict:?} {exchange:?}");
        assert!(verdict.0 == 401 || exchange.method != signed.method || exchange.target != signed.target);
    }
    Ok(verdict)
}

/// A request for health as AWS's signer makes it.
fn signed(u: &mut Unstructured<'_>) -> Result<Exchange> {
    let (id, secret) = *u.choose(TENANTS[0].credentials)?;
    let region = *u.choose(TENANTS[0].regions)?;
    let skew = u.int_in_range(0..=600)?;
    let mut headers = vec![("host".to_owned(), HOST.to_owned())];
    for _ in 0..u.int_in_range(0..=4)? {
        let name = u.choose(&[
            "content-type",
            "x-amz-meta",
            "x_under.score~",
            "a",
            "zz",
            "content-length",
            "x-amz-target",
        ])?;
        headers.push(((*name).to_owned(), header_value(u)?));
    }
    let id_length = u.int_in_range(0..=200)?;
    let request_id: String = (0..id_length)
        .map(|_| u.int_in_range(b' '..=b'~').map(char::from))
        .collect::<Result<_>>()?;
    let metadata = serde_json::json!({"kmsOperation": "KmsHealthCheck", "kmsRequestId": request_id});
    let body = serde_json::json!({"requestMetadata": metadata})
        .to_string()
        .into_bytes();

    let mut settings = SigningSettings::default();
    if u.arbitrary()? {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = Credentials::from_keys(id, secret, None).into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kms-xks-proxy")
        .time(now() - Duration::from_secs(300) + Duration::from_secs(skew))
        .settings(settings)
        .build()
        .expect("nothing is missing")
        .into();
    let url = format!("https://{HOST}{HEALTH}");
    let to_sign = headers.iter().map(|(name, value)| (&**name, &**value));
    let request =
        SignableRequest::new("POST", &url, to_sign, SignableBody::Bytes(&body)).expect("the request is legal");
    let (instructions, _) = sign(request, &parameters).expect("it can be signed").into_parts();
    let added = instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    headers.extend(added);
    Ok(Exchange {
        method: "POST".to_owned(),
        target: HEALTH.to_owned(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect(),
        body,
        unreadable: None,
    })
}

/// What may stand in a header, but for white space at its ends, which HTTP does not keep.
fn header_value(u: &mut Unstructured<'_>) -> Result<String> {
    let length = u.int_in_range(0..=40)?;
    let text: String = (0..length)
        .map(|_| u.int_in_range(b' '..=b'~').map(char::from))
        .collect::<Result<_>>()?;
    Ok(text.trim().to_owned())
}

fn flip(bytes: &mut [u8], at: u16, bit: u8) {
    if !bytes.is_empty() {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= 1 << bit;
    }
}

/// What is no UTF-8 after that is left as it was.
fn with_another_bit(text: &str, at: u16, bit: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    flip(&mut bytes, at, bit);
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn has_same_values(one: &Exchange, other: &Exchange) -> bool {
    let joined = |exchange: &Exchange, name| exchange.values(name).collect::<Vec<_>>().join(&b',');
    let mut names = one.headers.iter().map(|(name, _)| name);
    names.all(|name| joined(one, name) == joined(other, name))
}
