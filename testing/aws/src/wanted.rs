//! A state that wants a key store in AWS and a KMS key in it.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only tests use it")]

use xks_core::key_store::SecretAccessKey;
use xks_lifecycle::{
    Changes, CloudAccount, CloudAccountId, CloudCredential, CloudKey, CloudKeyId, CloudKeyOrigin, CloudKeyStore,
    CloudKeyStoreId, ExternalKeyStore, Key, KeySet, KeySetId, KeySource, KeyStoreCredential, KeyStoreId, Regions, Tags,
    Tenant, TenantId, Timestamp, key_state::StoredState,
};

use crate::TestProxy;

/// What is wanted, for a new state.
#[derive(Debug)]
#[non_exhaustive]
pub struct Wanted {
    /// All of it.
    pub changes: Changes,
    /// The account.
    pub account: CloudAccountId,
    /// The key store in AWS, whose name is [`NAME`](Self::NAME).
    pub cloud_key_store: CloudKeyStoreId,
    /// The KMS key, whose alias is [`ALIAS`](Self::ALIAS).
    pub cloud_key: CloudKeyId,
}

impl Wanted {
    /// The name of the key store.
    pub const NAME: &'static str = "payroll";
    /// The alias of the KMS key for the first of [`TestProxy::KEYS`].
    pub const ALIAS: &'static str = "alias/salaries";

    /// In an account in a Region; AWS connects to a proxy at `url`, such as [`TestProxy::url`].
    #[must_use]
    pub fn new(url: &str, region: &str, credential: CloudCredential, now: Timestamp) -> Self {
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Payroll").unwrap();
        let regions = Regions::new([region]).unwrap();
        let ours = KeyStoreId::generate().unwrap();
        let ours = ExternalKeyStore::new(ours, tenant.id, "Payroll", "/test".parse().unwrap(), regions).unwrap();
        let proxy = TestProxy::credential();
        let secret = SecretAccessKey::new(proxy.raw_secret_access_key.to_string()).unwrap();
        let proxy = KeyStoreCredential::new(ours.id, proxy.access_key_id.parse().unwrap(), secret, now);
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Salaries", KeySource::Vault).unwrap();
        let [first, ..] = TestProxy::KEYS;
        let mut key = Key::new(first.parse().unwrap(), set.id, "Salaries 2027").unwrap();
        key.state = StoredState::Enabled;
        let account = CloudAccountId::generate().unwrap();
        let mut account = CloudAccount::new(account, tenant.id, "Main", region.parse().unwrap()).unwrap();
        account.credential = credential;
        let (id, name) = (CloudKeyStoreId::generate().unwrap(), Self::NAME.parse().unwrap());
        let cloud_key_store = CloudKeyStore::new(id, &account, name, ours.id, url).unwrap();
        let origin = CloudKeyOrigin::ExternalKeyStore {
            cloud_key_store: cloud_key_store.id,
            key: key.id.clone(),
        };
        let id = CloudKeyId::generate().unwrap();
        let mut cloud_key = CloudKey::new(id, set.id, &account, Self::ALIAS.parse().unwrap(), origin).unwrap();
        cloud_key.tags = Tags::new([("team", "payroll")]).unwrap();
        Self {
            account: account.id,
            cloud_key_store: cloud_key_store.id,
            cloud_key: cloud_key.id,
            changes: Changes::new()
                .insert(tenant)
                .insert(ours)
                .insert(proxy)
                .insert(set)
                .insert(key)
                .insert(account)
                .insert(cloud_key_store)
                .insert(cloud_key),
        }
    }
}
