//! The settings of a key store as requests have them: shapes, what goes together, and what is unique.

use super::{
    Kms,
    api::{Connectivity, ProxyCredential, UpdateCustomKeyStoreRequest},
    exception::{Exception, ExceptionName},
    key_store::{KeyStore, ProxySettings},
    state::State,
};

impl Kms {
    /// The owner of a VPC endpoint service, where there is one: by default this account.
    pub(super) fn vpc_owner(&self, service: Option<&str>, owner: Option<String>) -> Result<Option<String>, Exception> {
        let is_account = |owner: &str| owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit());
        match (service, owner) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Exception::validation(
                "XksProxyVpcEndpointServiceOwner goes with XksProxyVpcEndpointServiceName",
            )),
            (Some(_), None) => Ok(Some(self.0.settings.account.clone())),
            (Some(_), Some(owner)) if is_account(&owner) => Ok(Some(owner)),
            (Some(_), Some(_)) => Err(Exception::validation(
                "XksProxyVpcEndpointServiceOwner has to have 12 digits",
            )),
        }
    }

    /// The key store as it is going to be.
    pub(super) fn updated(
        &self,
        store: &KeyStore,
        request: &UpdateCustomKeyStoreRequest,
    ) -> Result<KeyStore, Exception> {
        let or = |new: &Option<String>, former: &str| new.clone().unwrap_or_else(|| former.to_owned());
        let former = &store.proxy;
        let credential = request.xks_proxy_authentication_credential.as_ref();
        let vpc_service = match &request.xks_proxy_vpc_endpoint_service_name {
            Some(name) => unless_empty(Some(name.clone())),
            None => former.vpc_service.clone(),
        };
        let vpc_owner = match (
            &vpc_service,
            unless_empty(request.xks_proxy_vpc_endpoint_service_owner.clone()),
        ) {
            (Some(_), None) => former.vpc_owner.clone(),
            (_, owner) => owner,
        };
        Ok(KeyStore {
            name: or(&request.new_custom_key_store_name, &store.name),
            proxy: ProxySettings {
                connectivity: request.xks_proxy_connectivity.unwrap_or(former.connectivity),
                uri_endpoint: or(&request.xks_proxy_uri_endpoint, &former.uri_endpoint),
                uri_path: or(&request.xks_proxy_uri_path, &former.uri_path),
                vpc_owner: self.vpc_owner(vpc_service.as_deref(), vpc_owner)?,
                vpc_service,
                credential: credential.unwrap_or(&former.credential).clone(),
            },
            ..store.clone()
        })
    }

    /// The shapes that AWS KMS demands, but for the port, and for TLS when that is not demanded.
    pub(super) fn check_settings(&self, settings: &ProxySettings) -> Result<(), Exception> {
        let endpoint = &*settings.uri_endpoint;
        let host = match endpoint.strip_prefix("http://") {
            Some(host) if self.0.settings.is_http_allowed => Some(host),
            _ => endpoint.strip_prefix("https://"),
        };
        let is_host = |host: &str| {
            let (name, port) = host.split_once(':').unwrap_or((host, "443"));
            is_made_of(name, |byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                && port.parse::<u16>().is_ok()
        };
        if !host.is_some_and(is_host) || !(10..=128).contains(&endpoint.len()) {
            return Err(Exception::validation(
                "XksProxyUriEndpoint has to be https:// and a host, of 10 to 128 characters",
            ));
        }
        // URI-1
        let path = &*settings.uri_path;
        let is_path = |prefix: &str| {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
            prefix.is_empty() || (prefix.starts_with('/') && prefix.len() > 1 && is_made_of(prefix, is_legal))
        };
        if !path.strip_suffix("/kms/xks/v1").is_some_and(is_path) || path.len() > 128 {
            return Err(Exception::validation(
                "XksProxyUriPath has to end in /kms/xks/v1, after a prefix or nothing, and to have at most 128 of a-z A-Z \
                 0-9 / _ -",
            ));
        }
        check_credential(&settings.credential)?;
        if !settings.vpc_service.as_deref().is_none_or(is_vpc_service) {
            return Err(Exception::validation(
                "XksProxyVpcEndpointServiceName has to be like com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0, \
                 of 20 to 64 characters",
            ));
        }
        if (settings.connectivity == Connectivity::VpcEndpointService) != settings.vpc_service.is_some() {
            return Err(Exception::validation(
                "XksProxyVpcEndpointServiceName goes with the connectivity VPC_ENDPOINT_SERVICE, and with no other",
            ));
        }
        Ok(())
    }
}

/// `(com|eu).amazonaws.vpce.REGION.vpce-svc-ID`.
fn is_vpc_service(name: &str) -> bool {
    let rest = name.strip_prefix("com").or_else(|| name.strip_prefix("eu"));
    let rest = rest.and_then(|rest| rest.strip_prefix(".amazonaws.vpce."));
    let parts = rest.and_then(|rest| rest.split_once(".vpce-svc-"));
    parts.is_some_and(|(region, id)| {
        let mut words: Vec<_> = region.split('-').collect();
        let number = words.pop().unwrap_or_default();
        let is_word = |word: &&str| is_made_of(word, |byte| byte.is_ascii_lowercase());
        (20..=64).contains(&name.len())
            && (2..=3).contains(&words.len())
            && words.iter().all(is_word)
            && is_made_of(number, |byte| byte.is_ascii_digit())
            && is_made_of(id, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// SIG-6
fn check_credential(credential: &ProxyCredential) -> Result<(), Exception> {
    let id = &*credential.access_key_id;
    let is_legal = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    if !(20..=30).contains(&id.len()) || !is_made_of(id, is_legal) {
        return Err(Exception::validation(
            "AccessKeyId has to have 20 to 30 characters of A-Z 2-7",
        ));
    }
    let secret = &**credential.raw_secret_access_key;
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/+=".contains(&byte);
    if !(43..=64).contains(&secret.len()) || !is_made_of(secret, is_legal) {
        return Err(Exception::validation(
            "RawSecretAccessKey has to have 43 to 64 characters of a-z A-Z 0-9 / + =",
        ));
    }
    Ok(())
}

pub(super) fn check_name(name: &str) -> Result<(), Exception> {
    match name.chars().count() {
        1..=256 => Ok(()),
        _ => Err(Exception::validation("a name has 1 to 256 characters")),
    }
}

pub(super) fn check_unique(state: &State, id: &str, name: &str, proxy: &ProxySettings) -> Result<(), Exception> {
    let in_use = |name, what: &str| {
        let message = format!("Another custom key store has the same {what}");
        Err(Exception::new(name, message))
    };
    let is_vpc = |settings: &ProxySettings| settings.connectivity == Connectivity::VpcEndpointService;
    for other in state.key_stores.iter().filter(|other| other.id != id) {
        let has_same_endpoint = other.proxy.uri_endpoint.eq_ignore_ascii_case(&proxy.uri_endpoint);
        if other.name == name {
            return in_use(ExceptionName::CustomKeyStoreNameInUse, "name");
        }
        if has_same_endpoint && other.proxy.uri_path == proxy.uri_path {
            return in_use(
                ExceptionName::XksProxyUriInUse,
                "XksProxyUriEndpoint and XksProxyUriPath",
            );
        }
        // Those with public endpoints may share one host among themselves, and with no others.
        if has_same_endpoint && (is_vpc(&other.proxy) || is_vpc(proxy)) {
            return in_use(ExceptionName::XksProxyUriEndpointInUse, "XksProxyUriEndpoint");
        }
        if proxy.vpc_service.is_some() && other.proxy.vpc_service == proxy.vpc_service {
            return in_use(
                ExceptionName::XksProxyVpcEndpointServiceInUse,
                "XksProxyVpcEndpointServiceName",
            );
        }
    }
    Ok(())
}

pub(super) fn required<T>(name: &str, value: Option<T>) -> Result<T, Exception> {
    value.ok_or_else(|| Exception::validation(format!("{name} is required for an EXTERNAL_KEY_STORE")))
}

pub(super) fn unless_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn is_made_of(text: &str, is_legal: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_legal)
}
