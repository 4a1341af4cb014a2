//! Checks of certificates before they are served: version, order, validity.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use x509_parser::{certificate::X509Certificate, error::X509Error, extensions::GeneralName, x509::X509Version};

use super::{content::Listed, pem::Fault};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate that is served or believed, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Its subject.
    name: String,
    pub(super) ends: SystemTime,
    /// Its end as a text.
    date: String,
}

impl Ending {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            name: certificate.subject().to_string(),
            ends: time(certificate.validity().not_after.timestamp()),
            date: certificate.validity().not_after.to_string(),
        }
    }

    #[cfg(test)]
    pub(crate) fn at(ends: SystemTime) -> Self {
        let name = "CN=localhost".to_owned();
        let date = "some day".to_owned();
        Self { name, ends, date }
    }

    /// Returns the stage of the time left; none when the end is further away than a month.
    pub(crate) fn stage(&self, now: SystemTime) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| self.ends <= now + stage.left())
    }

    /// The warning about it.
    pub(crate) fn text(&self, stage: Stage) -> String {
        let (name, date) = (&self.name, &self.date);
        match stage {
            Stage::Ended => format!("the certificate of {name:?} expired on {date}: renew it"),
            Stage::Days(days) => format!(
                "the certificate of {name:?} expires within {days} days, on {date}: renew \
                 it"
            ),
        }
    }

    /// When the next stage begins; none after the last one.
    pub(crate) fn next_stage(&self, now: SystemTime) -> Option<SystemTime> {
        let begins = Stage::ALL
            .into_iter()
            .rev()
            .filter_map(|stage| self.ends.checked_sub(stage.left()));
        begins.into_iter().find(|begins| *begins > now)
    }
}

/// The time that a certificate has left, in stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Ended,
    Days(u32),
}

impl Stage {
    /// From the last to the first.
    const ALL: [Self; 5] = [
        Self::Ended,
        Self::Days(1),
        Self::Days(7),
        Self::Days(14),
        Self::Days(30),
    ];

    fn left(self) -> Duration {
        match self {
            Self::Ended => Duration::ZERO,
            Self::Days(days) => DAY * days,
        }
    }
}

/// What a server's own certificate says, for people who compare nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnCertificate {
    /// The hosts that it names.
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    /// Its end.
    pub(crate) end: String,
    /// Whether every issuer follows, up to one that clients may have.
    pub(crate) has_whole_chain: bool,
}

/// The findings on a server's chain.
pub(super) struct Inspected {
    /// None for roots.
    pub(super) own: Option<OwnCertificate>,
    /// Of each certificate, the server's own first.
    pub(super) endings: Vec<Ending>,
    /// Reasons for which a client may refuse it.
    pub(super) warnings: Vec<Fault>,
}

/// A certificate, and the line that it begins in.
type Parsed<'c> = (usize, X509Certificate<'c>);

/// Looks at a server's chain.
///
/// # Errors
/// The server's own certificate is of a version that no client takes.
pub(super) fn inspect(chain: &[Listed], now: SystemTime) -> Result<Inspected, Fault> {
    let (mut parsed, mut warnings) = (Vec::<Parsed<'_>>::new(), Vec::new());
    for (place, listed) in chain.iter().enumerate() {
        let mut before = chain.iter().take(place);
        match before.find(|before| before.der == listed.der) {
            Some(Listed { line, .. }) => {
                let warning = format!("the same certificate as in line {line}: remove it");
                warnings.push(Fault::new(listed.line, warning));
            }
            None => parsed.extend(listed.parsed().map(|certificate| (listed.line, certificate))),
        }
    }
    if let Some(own) = parsed.first() {
        warnings.extend(inspect_own(own)?);
    }
    let mut has_whole_chain = true;
    for (place, (line, lower)) in parsed.iter().enumerate() {
        let mut others = parsed.iter().enumerate().filter(|(other, _)| *other != place);
        let issuer = others.find(|(_, (_, upper))| is_issued_by(lower, upper));
        if let Some((_, (line, upper))) = issuer
            && !may_issue(upper)
        {
            let warning = format!(
                "clients reject certificates issued by {}: it is not a certificate authority (basicConstraints \
                 CA:TRUE, and keyCertSign if it has a keyUsage)",
                upper.subject()
            );
            warnings.push(Fault::new(*line, warning));
        }
        let name = lower.issuer();
        let warning = match (issuer, parsed.get(place + 1)) {
            (_, Some((_, next))) if is_issued_by(lower, next) => continue,
            (Some((_, (at, _))), Some(_)) => {
                format!("the chain is out of order: the issuer of this certificate must follow it, but is in line {at}")
            }
            (None, Some(_)) if is_issued_by(lower, lower) => {
                format!("{name} is a self-signed root: the chain must end with it or before it")
            }
            (None, Some(_)) => format!(
                "the issuer of this certificate, {name}, is missing: the next certificate is \
                                        another one"
            ),
            // Roots are left out of chains: clients have them.
            (_, None) if place > 0 || is_issued_by(lower, lower) => continue,
            (_, None) => format!(
                "the issuer of this certificate, {name}, is missing at the end of the chain: add it, unless it is a \
                 root that all clients trust"
            ),
        };
        has_whole_chain = false;
        warnings.push(Fault::new(*line, warning));
    }
    Ok(Inspected {
        own: parsed.first().map(|(_, own)| OwnCertificate {
            names: names_of(own),
            issuer: own.issuer().to_string(),
            end: own.validity().not_after.to_string(),
            has_whole_chain,
        }),
        endings: look_at_dates(&parsed, now, &mut warnings),
        warnings,
    })
}

/// The DNS names and addresses of a certificate.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let shown = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    });
    shown.collect()
}

/// Reasons for which clients may refuse the server's own certificate.
fn inspect_own((line, own): &Parsed<'_>) -> Result<Vec<Fault>, Fault> {
    if own.version() != X509Version::V3 {
        let wrong = format!(
            "the certificate is X.509 version {}: TLS requires version 3; issue it with extensions (`openssl x509 \
             -extfile`, with a subjectAltName)",
            own.version().0 + 1
        );
        return Err(Fault::new(*line, wrong));
    }
    let mut warnings = Vec::new();
    let names = own.subject_alternative_name().ok().flatten();
    let is_dns = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_));
    match names {
        None => warnings.push("the certificate names no host: it has no subject alternative name"),
        Some(names) if !names.value.general_names.iter().any(is_dns) => {
            warnings.push("the certificate names no host: its subject alternative name has no DNS name");
        }
        Some(_) => {}
    }
    let uses = own.extended_key_usage().ok().flatten();
    if uses.is_some_and(|uses| !uses.value.server_auth && !uses.value.any) {
        warnings.push("not a server certificate: its extendedKeyUsage lacks serverAuth");
    }
    // RFC 5280 allows it, and OpenSSL takes it; rustls' webpki refuses it as `CaUsedAsEndEntity`.
    let constraints = own.basic_constraints().ok().flatten();
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        warnings.push(
            "some clients reject the certificate: it is a certificate authority (basicConstraints CA:TRUE); issue it \
             with CA:FALSE (`openssl req -x509 -addext basicConstraints=critical,CA:FALSE`)",
        );
    }
    Ok(warnings.into_iter().map(|warning| Fault::new(*line, warning)).collect())
}

/// Whether clients take what it has issued; of a root they have their own opinion.
fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let is_authority = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        _ => is_issued_by(certificate, certificate),
    };
    let uses = certificate.key_usage().ok().flatten();
    is_authority && uses.is_none_or(|uses| uses.value.key_cert_sign())
}

/// Looks at the certificates that clients' certificates have to lead to.
pub(super) fn inspect_roots(roots: &[Listed], now: SystemTime) -> Inspected {
    let parsed: Vec<_> = roots
        .iter()
        .filter_map(|listed| Some((listed.line, listed.parsed()?)))
        .collect();
    let mut warnings = Vec::new();
    for (line, root) in &parsed {
        let is_authority = match root.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            _ => root.version() == X509Version::V1 && is_issued_by(root, root),
        };
        if !is_authority {
            let warning = format!(
                "{} is not a certificate authority: it cannot issue client certificates",
                root.subject()
            );
            warnings.push(Fault::new(*line, warning));
        }
    }
    Inspected {
        own: None,
        endings: look_at_dates(&parsed, now, &mut warnings),
        warnings,
    }
}

fn look_at_dates(parsed: &[Parsed<'_>], now: SystemTime, warnings: &mut Vec<Fault>) -> Vec<Ending> {
    let look = |(line, certificate): &Parsed<'_>| {
        let ending = Ending::of(certificate);
        warnings.extend(ending.stage(now).map(|stage| Fault::new(*line, ending.text(stage))));
        let begins = certificate.validity().not_before;
        if time(begins.timestamp()) > now {
            let warning = format!("the certificate of {:?} is not valid before {begins}", ending.name);
            warnings.push(Fault::new(*line, warning));
        }
        ending
    };
    parsed.iter().map(look).collect()
}

/// By name and by signature; of a signature by an algorithm that is not known here, the name decides.
fn is_issued_by(lower: &X509Certificate<'_>, upper: &X509Certificate<'_>) -> bool {
    let verified = || match lower.verify_signature(Some(upper.public_key())) {
        Ok(()) => true,
        Err(error) => error == X509Error::SignatureUnsupportedAlgorithm,
    };
    lower.issuer() == upper.subject() && verified()
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0))
}
