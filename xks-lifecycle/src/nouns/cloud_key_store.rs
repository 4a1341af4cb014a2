//! A key store in AWS: the custom key store of AWS KMS that leads to an external key store of ours.

use crate::{
    AwsAccountId, CloudAccountId, CloudKeyStoreId, CustomKeyStoreId, CustomKeyStoreName, FieldError, FieldProblem,
    KeyStoreId, Region, TenantId,
    field::{named, named_enum},
    nouns::CloudName,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// A custom key store of AWS KMS that leads to an [external key store](crate::ExternalKeyStore) of ours.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CloudKeyStore {
    /// Its id.
    pub id: CloudKeyStoreId,
    /// Whose it is.
    pub tenant: TenantId,
    /// In which account.
    pub account: CloudAccountId,
    /// In which Region.
    pub region: Region,
    /// Its name in AWS, unique in account and Region.
    pub name: CustomKeyStoreName,
    /// Where it leads to.
    pub key_store: KeyStoreId,
    /// What AWS KMS connects to: `https://` and a host.
    pub endpoint: Box<str>,
    /// The endpoint service through which AWS KMS reaches it, where it is not public.
    pub vpc: Option<VpcEndpointService>,
    /// What it shall be.
    pub wanted: WantedKeyStore,
    /// The id that AWS has given it, once known.
    pub custom_key_store_id: Option<CustomKeyStoreId>,
}

/// An endpoint service of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct VpcEndpointService {
    /// Its name, such as `com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0`.
    pub name: Box<str>,
    /// The account that owns it, if it is another.
    pub owner: Option<AwsAccountId>,
}

/// What a key store in AWS shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WantedKeyStore {
    /// There and connected.
    Connected,
    /// There and disconnected: AWS uses none of its keys.
    Disconnected,
    /// Gone. AWS deletes none that has KMS keys.
    Deleted,
}

named_enum! {
    WantedKeyStore,
    Connected => "connected",
    Disconnected => "disconnected",
    Deleted => "deleted",
}

impl VpcEndpointService {
    /// An endpoint service.
    ///
    /// # Errors
    /// Of the field `vpc_service`.
    pub fn new(name: &str, owner: Option<AwsAccountId>) -> Result<Self, FieldError> {
        let is_legal = (20..=64).contains(&name.len())
            && ["com.amazonaws.vpce.", "eu.amazonaws.vpce."]
                .iter()
                .any(|start| name.starts_with(start))
            && name.contains(".vpce-svc-")
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
        if !is_legal {
            let rule = "an endpoint service is named like com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0";
            return Err(FieldError::new("vpc_service", FieldProblem::Illegal(rule.to_owned())));
        }
        let name = name.into();
        Ok(Self { name, owner })
    }
}

impl CloudKeyStore {
    /// A key store that shall be connected, at a public endpoint.
    ///
    /// # Errors
    /// Of the field `endpoint`.
    pub fn new(
        id: CloudKeyStoreId,
        account: &crate::CloudAccount,
        name: CustomKeyStoreName,
        key_store: KeyStoreId,
        endpoint: &str,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            tenant: account.tenant,
            account: account.id,
            region: account.region.clone(),
            name,
            key_store,
            endpoint: Self::endpoint(endpoint)?,
            vpc: None,
            wanted: WantedKeyStore::Connected,
            custom_key_store_id: None,
        })
    }

    /// Checks what AWS KMS connects to: `https://` and a host. Simulators of AWS KMS take a port too, and
    /// `http://` on loopback.
    ///
    /// # Errors
    /// Of the field `endpoint`.
    pub fn endpoint(endpoint: &str) -> Result<Box<str>, FieldError> {
        let is_legal = |rest: &str| {
            let (host, port) = rest.split_once(':').unwrap_or((rest, "443"));
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            (1..=120).contains(&host.len()) && host.bytes().all(is_host) && port.parse::<u16>().is_ok()
        };
        let is_public = endpoint.strip_prefix("https://").is_some_and(is_legal);
        let is_local =
            endpoint.starts_with("http://127.0.0.1:") && endpoint.strip_prefix("http://").is_some_and(is_legal);
        if !(is_public || is_local) {
            let rule = "an endpoint is https:// and a host name, without path".to_owned();
            return Err(FieldError::new("endpoint", FieldProblem::Illegal(rule)));
        }
        Ok(endpoint.into())
    }

    pub(crate) fn cloud_name(&self) -> CloudName<'_> {
        CloudName {
            field: "name",
            account: self.account,
            region: &self.region,
            name: self.name.as_str(),
        }
    }
}

impl Record for CloudKeyStore {
    type Id = CloudKeyStoreId;
    const TABLE: Table = Table::CloudKeyStores;

    fn id(&self) -> CloudKeyStoreId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        vec![
            ("tenant", Object::new(Table::Tenants, &self.tenant)),
            ("account", Object::new(Table::CloudAccounts, &self.account)),
            ("key_store", Object::new(Table::KeyStores, &self.key_store)),
        ]
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        let is_other = [
            ("tenant", self.tenant != former.tenant),
            ("account", self.account != former.account),
            ("region", self.region != former.region),
            ("key_store", self.key_store != former.key_store),
        ];
        is_other
            .into_iter()
            .find_map(|(field, is_other)| is_other.then_some(field))
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("tenant", &self.tenant);
        cells.text("account", &self.account);
        cells.text("region", &self.region);
        cells.text("name", &self.name);
        cells.text("key_store", &self.key_store);
        cells.text("endpoint", &self.endpoint);
        cells.optional("vpc_service", self.vpc.as_ref().map(|vpc| &vpc.name));
        cells.optional("vpc_owner", self.vpc.as_ref().and_then(|vpc| vpc.owner.as_ref()));
        cells.text("wanted", &self.wanted);
        cells.optional("custom_key_store_id", self.custom_key_store_id.as_ref());
    }

    fn read(id: CloudKeyStoreId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            tenant: cells.parsed("tenant")?,
            account: cells.parsed("account")?,
            region: cells.parsed("region")?,
            name: cells.parsed("name")?,
            key_store: cells.parsed("key_store")?,
            endpoint: Self::endpoint(cells.text("endpoint")?)?,
            vpc: match (cells.optional("vpc_service")?, cells.optional_parsed("vpc_owner")?) {
                (Some(name), owner) => Some(VpcEndpointService::new(name, owner)?),
                (None, Some(_)) => return Err(FieldError::new("vpc_owner", FieldProblem::Unexpected).into()),
                (None, None) => None,
            },
            wanted: named("wanted", cells.text("wanted")?, WantedKeyStore::NAMES)?,
            custom_key_store_id: cells.optional_parsed("custom_key_store_id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_aws_or_a_simulator_connects_to_is_an_endpoint() {
        for good in [
            "https://xks.example.com",
            "https://xks.example.com:8443",
            "http://127.0.0.1:8080",
        ] {
            assert_eq!(CloudKeyStore::endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "xks.example.com",
            "http://xks.example.com",
            "https://",
            "https://a/b",
            "https://a:b",
            "http://127.0.0.1.example.com:80",
        ] {
            assert_eq!(CloudKeyStore::endpoint(bad).unwrap_err().field(), "endpoint", "{bad}");
        }
        let service = |name| VpcEndpointService::new(name, None).map(drop);
        assert!(service("com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0").is_ok());
        assert_eq!(
            service("vpce-svc-0123456789abcdef0").unwrap_err().field(),
            "vpc_service"
        );
    }
}
