//! Signature Version 4, made the long way round: nothing here is shared with the verifier.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{Credential, Zeroizing, key_store::Region, text::Hex};

/// Signs requests as KMS does.
///
/// ```
/// use std::time::SystemTime;
/// use xks_core::{Credential, testkit::Signer};
///
/// let secret = "PleaseReplaceThisWithSomeSecretOfLength43To64".to_owned();
/// let credential = Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret)?;
/// let signer = Signer::new(credential, "eu-central-1".parse()?);
/// let (path, body) = ("/example/kms/xks/v1/health", br#"{"requestMetadata":{}}"#);
/// let headers = signer.sign("POST", path, &[("host", "xks.example.com")], body, SystemTime::now());
/// assert_eq!(headers.len(), 3); // host, x-amz-date, authorization
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Signer {
    credential: Credential,
    region: Region,
    service: String,
}

impl Signer {
    /// Signs with this credential for this Region.
    #[must_use]
    pub fn new(credential: Credential, region: Region) -> Self {
        Self {
            credential,
            region,
            service: "kms-xks-proxy".to_owned(),
        }
    }

    /// Signs for another service than `kms-xks-proxy`, which no proxy should take.
    #[must_use]
    pub fn for_service(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// Returns all headers to send: those given, in lower case, each of which is signed, then `x-amz-date`
    /// and `authorization`. `path` is the path alone; `headers` should have `host`, once, and may have others
    /// more than once.
    #[must_use]
    pub fn sign(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        time: SystemTime,
    ) -> Vec<(String, String)> {
        let date = iso8601(time);
        let (day, _) = date.split_at(8.min(date.len()));
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()));
        let mut headers: Vec<_> = headers.chain([("x-amz-date".to_owned(), date.clone())]).collect();
        let mut signed = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in &headers {
            let words: Vec<_> = value.split(' ').filter(|word| !word.is_empty()).collect();
            signed.entry(name.as_str()).or_default().push(words.join(" "));
        }
        let names: Vec<_> = signed.keys().copied().collect();
        let names = names.join(";");
        let mut canonical = format!("{method}\n{path}\n\n");
        for (name, values) in &signed {
            canonical.extend([name, ":", &values.join(","), "\n"]);
        }
        canonical.extend(["\n", &names, "\n", &Hex(&Sha256::digest(body)).to_string()]);

        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            Hex(&Sha256::digest(canonical.as_bytes()))
        );
        let secret = self.credential.secret_access_key().expose();
        let start = Zeroizing::new(format!("AWS4{secret}").into_bytes());
        let parts = [day, self.region.as_str(), &self.service, "aws4_request"];
        let key = parts.iter().fold(start, |key, part| hmac(&key, part));
        let signature = Hex(&hmac(&key, &to_sign)).to_string();
        let id = self.credential.access_key_id().as_str();
        headers.push((
            "authorization".to_owned(),
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"),
        ));
        headers
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key_id", &self.credential.access_key_id())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Zeroizing::default();
    };
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// `yyyymmddThhmmssZ`; the first second of 1970 for what is before it.
fn iso8601(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_aws_writes_them() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (951_868_800, "20000301T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(iso8601(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
