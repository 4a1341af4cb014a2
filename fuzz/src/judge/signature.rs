//! Section 9 of the specification, made the long way round: nothing here is shared with the verifier.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    exchange::Exchange,
    proxy::{TENANTS, Tenant},
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const END_OF_SCOPE: &str = "kms-xks-proxy/aws4_request";

/// The moments that are five minutes or less from the proxy's, which is midnight between two years: no
/// calendar needed.
static MOMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let before = (86_100..86_400).map(|second| ("20251231", second));
    let after = (0..=300).map(|second| ("20260101", second));
    before
        .chain(after)
        .map(|(day, second)| format!("{day}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60))
        .collect()
});

/// Whether the exchange is signed as it should be, with a credential of the tenant.
pub fn is_valid(tenant: &Tenant, exchange: &Exchange) -> bool {
    check(tenant, exchange).is_some()
}

fn check(tenant: &Tenant, exchange: &Exchange) -> Option<()> {
    let holds = |condition: bool| condition.then_some(());
    let header = only(exchange, "authorization")?;
    holds(header.len() <= 8192)?;
    let mut parts = BTreeMap::new();
    for part in header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?.split(',') {
        let (name, value) = part.trim_matches(' ').split_once('=')?;
        holds(parts.insert(name, value).is_none())?;
    }
    holds(parts.keys().eq(&["Credential", "Signature", "SignedHeaders"]))?;

    let (id, scope) = parts["Credential"].split_once('/')?;
    let [day, region] = scope
        .strip_suffix(END_OF_SCOPE)?
        .strip_suffix('/')?
        .split('/')
        .collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let (_, secret) = tenant.credentials.iter().find(|(known, _)| *known == id)?;
    holds(tenant.regions.contains(&region))?;
    let moment = only(exchange, "x-amz-date")?;
    holds(MOMENTS.iter().any(|known| *known == moment) && day.len() == 8 && moment.starts_with(day))?;

    let names: Vec<_> = parts["SignedHeaders"].split(';').collect();
    holds(names.is_sorted_by(|one, next| one < next) && names.contains(&"host") && names.contains(&"x-amz-date"))?;
    for name in &names {
        holds(!name.is_empty() && name.bytes().all(is_lower_case_token))?;
        holds(exchange.values(name).next().is_some())?;
    }
    only_value(exchange, "host")?;
    let body_hash = hex(&Sha256::digest(&exchange.body));
    let mut hashes = exchange.values("x-amz-content-sha256");
    holds(hashes.all(|hash| hash.trim_ascii() == body_hash.as_bytes()))?;
    holds(parts["Signature"] == signature(exchange, secret, scope, parts["SignedHeaders"], moment))
}

/// The value of a header that is there once, as text.
fn only<'e>(exchange: &'e Exchange, name: &str) -> Option<&'e str> {
    str::from_utf8(only_value(exchange, name)?).ok()
}

fn only_value<'e>(exchange: &'e Exchange, name: &str) -> Option<&'e [u8]> {
    let mut values = exchange.values(name);
    let value = values.next()?.trim_ascii();
    values.next().is_none().then_some(value)
}

fn is_lower_case_token(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An `Authorization` header for the exchange as it is, with all of its headers signed.
pub fn authorization((id, secret): (&str, &str), region: &str, exchange: &Exchange) -> String {
    let mut names: Vec<String> = exchange
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.retain(|name| name != "authorization");
    names.sort();
    names.dedup();
    let (moment, names) = (moment(exchange), names.join(";"));
    let scope = format!("{}/{region}/{END_OF_SCOPE}", moment.get(..8).unwrap_or_default());
    let signature = signature(exchange, secret, &scope, &names, &moment);
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

/// The signature that would go with an `Authorization` header, right or wrong in other ways.
pub fn signature_for(header: &str, exchange: &Exchange) -> String {
    let part = |name: &str| {
        let begin = header.find(name).map_or(header.len(), |at| at + name.len());
        header[begin..].split(',').next().unwrap_or_default()
    };
    let (id, scope) = part("Credential=").split_once('/').unwrap_or_default();
    let mut credentials = TENANTS.iter().flat_map(|tenant| tenant.credentials);
    let secret = credentials
        .find(|(known, _)| *known == id)
        .map_or("", |(_, secret)| secret);
    signature(exchange, secret, scope, part("SignedHeaders="), &moment(exchange))
}

fn moment(exchange: &Exchange) -> String {
    let value = exchange.values("x-amz-date").next().unwrap_or_default();
    String::from_utf8_lossy(value.trim_ascii()).into_owned()
}

fn signature(exchange: &Exchange, secret: &str, scope: &str, signed_headers: &str, moment: &str) -> String {
    let mut canonical = format!("{}\n{}\n\n", exchange.method, exchange.target).into_bytes();
    for name in signed_headers.split(';') {
        let values: Vec<_> = exchange.values(name).map(folded).collect();
        canonical.extend([name.as_bytes(), b":", &values.join(&b','), b"\n"].concat());
    }
    let body_hash = hex(&Sha256::digest(&exchange.body));
    canonical.extend(format!("\n{signed_headers}\n{body_hash}").into_bytes());
    let string_to_sign = format!("{ALGORITHM}\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut places = scope.split('/');
    let (day, region) = (places.next().unwrap_or_default(), places.next().unwrap_or_default());
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, "kms-xks-proxy", "aws4_request"] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &string_to_sign))
}

/// Without outer white space, and each run of blanks as one.
pub fn folded(value: &[u8]) -> Vec<u8> {
    let mut folded: Vec<u8> = Vec::new();
    for byte in value.trim_ascii() {
        if *byte != b' ' || folded.last() != Some(&b' ') {
            folded.push(*byte);
        }
    }
    folded
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
