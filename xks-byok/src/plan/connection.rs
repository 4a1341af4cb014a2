//! The one table from a connection error code of AWS to its cause and cure.

use crate::aws::ConnectionErrorCode;

/// Why AWS KMS could not connect a key store, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// What is wrong.
    pub cause: &'static str,
    /// What to do. The key store is connected again afterwards.
    pub cure: &'static str,
}

/// Returns cause and cure of an error code.
///
/// | code | cause | cure |
/// |---|---|---|
/// | `INTERNAL_ERROR` | AWS KMS failed within | connect again later |
/// | `XKS_PROXY_ACCESS_DENIED` | the proxy refuses the credential that AWS KMS has | give AWS a live credential of the external key store |
/// | `XKS_PROXY_NOT_REACHABLE` | AWS KMS reaches no proxy at the endpoint | DNS, firewall, balancer |
/// | `XKS_PROXY_INVALID_RESPONSE` | the answer is not the specification's | a balancer or another server answers in the proxy's place |
/// | `XKS_PROXY_INVALID_CONFIGURATION` | the proxy knows no such path, or its key manager is not ready | prefix and health of the external key store |
/// | `XKS_PROXY_INVALID_TLS_CONFIGURATION` | the certificate is not one that AWS takes | chain, host name, end, TLS 1.2 or 1.3 |
/// | `XKS_PROXY_TIMED_OUT` | no answer within 250 ms | load, key manager, network |
/// | `XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND` | no endpoint service of this name | name, Region, allowed principals |
/// | `XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION` | the endpoint service is not as AWS needs it | balancers, zones, private DNS name |
#[must_use]
pub const fn cause(code: &ConnectionErrorCode) -> Cause {
    let (cause, cure) = match code {
        ConnectionErrorCode::InternalError => (
            "AWS KMS failed within",
            "connect it again later, and ask AWS's support if that fails too",
        ),
        ConnectionErrorCode::XksProxyAccessDenied => (
            "the proxy refuses the credential that AWS KMS has, or the Region of the key store",
            "check that the external key store has a live credential and allows this Region, and that the clock of the \
             proxy is right; this job gives AWS the newest credential",
        ),
        ConnectionErrorCode::XksProxyNotReachable => (
            "AWS KMS reaches no proxy at the endpoint",
            "check that the host name resolves for AWS, that firewall and balancer let port 443 through, and that the \
             server runs",
        ),
        ConnectionErrorCode::XksProxyInvalidResponse => (
            "the answer is not as the specification has it",
            "check that nothing between AWS and the proxy answers in its place, such as an error page of a balancer",
        ),
        ConnectionErrorCode::XksProxyInvalidConfiguration => (
            "the proxy knows no key store at this path, or its key manager is not ready",
            "check the prefix of the external key store, that it is not blocked, and its health",
        ),
        ConnectionErrorCode::XksProxyInvalidTlsConfiguration => (
            "AWS KMS does not take the TLS certificate of the proxy",
            "check that it is issued by a public authority that AWS trusts, with its whole chain, for the host of the \
             endpoint (with a VPC endpoint service for its private DNS name), and not expired; TLS 1.2 or 1.3",
        ),
        ConnectionErrorCode::XksProxyTimedOut => (
            "the proxy does not answer within 250 ms",
            "check the load of proxy and key manager, and the way between them and AWS",
        ),
        ConnectionErrorCode::XksVpcEndpointServiceNotFound => (
            "AWS KMS finds no VPC endpoint service of this name",
            "check its name and Region, that it is available, and that its allowed principals include \
             cks.kms.<Region>.amazonaws.com and a principal of the account of the key store",
        ),
        ConnectionErrorCode::XksVpcEndpointServiceInvalidConfiguration => (
            "the VPC endpoint service is not set up as AWS KMS needs it",
            "check that it has a network load balancer in at least two availability zones, needs no acceptance of \
             connections, and has a verified private DNS name that is the host of the endpoint",
        ),
        ConnectionErrorCode::Other(_) => (
            "this version does not know the code",
            "look for it in the AWS KMS Developer Guide, \"Troubleshooting external key stores\"",
        ),
    };
    Cause { cause, cure }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_a_cause_of_its_own() {
        let other = cause(&ConnectionErrorCode::Other("NEW".into()));
        let known = ConnectionErrorCode::KNOWN.iter().map(|code| cause(code).cause);
        let causes: BTreeSet<_> = known.chain([other.cause]).collect();
        assert_eq!(causes.len(), ConnectionErrorCode::KNOWN.len() + 1);
    }
}
