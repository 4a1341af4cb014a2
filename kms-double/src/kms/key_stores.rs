//! The operations on custom key stores.

use std::sync::Arc;

use super::{
    Kms,
    api::{
        ConnectionState, Connectivity, CreateCustomKeyStoreRequest, CreateCustomKeyStoreResponse, CustomKeyStore,
        CustomKeyStoreIdRequest, DescribeCustomKeyStoresRequest, DescribeCustomKeyStoresResponse, Empty,
        ProxyConfiguration, UpdateCustomKeyStoreRequest,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    failure::Fault,
    key_store::{Connection, KeyStore, ProxySettings},
    key_store_settings::{check_name, check_unique, required, unless_empty},
    locked,
    operation::Operation,
    page::{Limits, page},
    random,
};

impl Kms {
    /// Makes a key store. A proxy with a public endpoint is asked for its health now.
    ///
    /// # Errors
    /// As AWS documents them for CreateCustomKeyStore; for what the proxy does, by [the
    /// table](super::Failure::row).
    pub async fn create_custom_key_store(
        &self,
        caller: &Caller,
        request: CreateCustomKeyStoreRequest,
    ) -> Result<CreateCustomKeyStoreResponse, Exception> {
        self.operate("CreateCustomKeyStore", caller, async |operation| {
            if request.custom_key_store_type.as_deref() != Some("EXTERNAL_KEY_STORE") {
                return Err(Exception::new(
                    ExceptionName::UnsupportedOperation,
                    "CustomKeyStoreType has to be EXTERNAL_KEY_STORE",
                ));
            }
            let name = request.custom_key_store_name;
            check_name(&name)?;
            let vpc_service = unless_empty(request.xks_proxy_vpc_endpoint_service_name);
            let proxy = ProxySettings {
                connectivity: required("XksProxyConnectivity", request.xks_proxy_connectivity)?,
                uri_endpoint: required("XksProxyUriEndpoint", request.xks_proxy_uri_endpoint)?,
                uri_path: required("XksProxyUriPath", request.xks_proxy_uri_path)?,
                vpc_owner: self.vpc_owner(vpc_service.as_deref(), request.xks_proxy_vpc_endpoint_service_owner)?,
                vpc_service,
                credential: required(
                    "XksProxyAuthenticationCredential",
                    request.xks_proxy_authentication_credential,
                )?,
            };
            self.check_settings(&proxy)?;
            operation.read(|state| {
                if state.key_stores.len() >= self.0.settings.resources.key_stores {
                    let message = "The account has as many custom key stores in this Region as it may have";
                    return Err(Exception::new(ExceptionName::LimitExceeded, message));
                }
                check_unique(state, "", &name, &proxy)
            })?;
            if proxy.connectivity == Connectivity::PublicEndpoint {
                self.try_proxy(operation, &proxy).await?;
            }
            let hex = format!("{:016x}", u64::from_be_bytes(*random::<8>()?));
            let id = format!("cks-{hex}0");
            operation.change(|state| {
                check_unique(state, "", &name, &proxy)?;
                Arc::make_mut(&mut state.key_stores).push(KeyStore {
                    id: id.clone(),
                    name,
                    created: self.now(),
                    connection: Connection::Disconnected,
                    proxy,
                });
                Ok(())
            })?;
            Ok(CreateCustomKeyStoreResponse {
                custom_key_store_id: id,
            })
        })
        .await
    }

    /// Connects a key store: its proxy is asked for its health. When that fails, this succeeds all the same,
    /// as in AWS KMS: DescribeCustomKeyStores says FAILED, and why. Until [some
    /// time](super::Builder::connecting) has passed it says CONNECTING.
    ///
    /// # Errors
    /// There is no such key store, or it has failed before and has not been disconnected, or is being
    /// disconnected.
    pub async fn connect_custom_key_store(
        &self,
        caller: &Caller,
        request: CustomKeyStoreIdRequest,
    ) -> Result<Empty, Exception> {
        self.operate("ConnectCustomKeyStore", caller, async |operation| {
            let id = request.custom_key_store_id;
            let store = operation.read(|state| state.key_store(&id).cloned())?;
            match store.connection.state() {
                ConnectionState::Failed => {
                    return Err(wrong_state("has failed to connect; disconnect it first"));
                }
                ConnectionState::Disconnecting => return Err(wrong_state("is being disconnected")),
                _ => (),
            }
            let health = self.proxy(&id, &store.proxy)?.health(operation).await;
            let error = health.err().map(|fault| fault.failure().row().connection);
            let (now, until) = (self.now(), self.now() + self.0.settings.connecting.as_secs_f64());
            operation.change(|state| {
                let store = state.key_store_mut(&id)?;
                // One that is connected stays so.
                store.connection = match (store.connection, error) {
                    (Connection::Connected, None) => Connection::Connected,
                    _ => Connection::Connecting { until, error }.at(now),
                };
                Ok(Empty {})
            })
        })
        .await
    }

    /// Disconnects a key store. Its keys cannot be used until it is connected again.
    ///
    /// # Errors
    /// There is no such key store, or it is disconnected already, or is being disconnected.
    pub async fn disconnect_custom_key_store(
        &self,
        caller: &Caller,
        request: CustomKeyStoreIdRequest,
    ) -> Result<Empty, Exception> {
        self.operate("DisconnectCustomKeyStore", caller, async |operation| {
            let id = request.custom_key_store_id;
            let (now, until) = (self.now(), self.now() + self.0.settings.connecting.as_secs_f64());
            operation.change(|state| {
                let store = state.key_store_mut(&id)?;
                match store.connection.state() {
                    ConnectionState::Disconnected => return Err(wrong_state("is not connected")),
                    ConnectionState::Disconnecting => return Err(wrong_state("is being disconnected")),
                    _ => store.connection = Connection::Disconnecting { until }.at(now),
                }
                Ok(())
            })?;
            locked(&self.0.proxies).remove(&id);
            locked(&self.0.health).remove(&id);
            Ok(Empty {})
        })
        .await
    }

    /// Tells of key stores.
    ///
    /// # Errors
    /// There is no such key store, or `Limit` or `Marker` is none.
    pub async fn describe_custom_key_stores(
        &self,
        caller: &Caller,
        request: DescribeCustomKeyStoresRequest,
    ) -> Result<DescribeCustomKeyStoresResponse, Exception> {
        self.operate("DescribeCustomKeyStores", caller, async |operation| {
            let (id, name) = (&request.custom_key_store_id, &request.custom_key_store_name);
            if id.is_some() && name.is_some() {
                return Err(Exception::validation(
                    "either CustomKeyStoreId or CustomKeyStoreName, not both",
                ));
            }
            operation.read(|state| {
                if let Some(id) = id {
                    state.key_store(id)?;
                }
                let is_wanted = |store: &&KeyStore| {
                    id.as_ref().is_none_or(|id| store.id == *id) && name.as_ref().is_none_or(|name| store.name == *name)
                };
                let wanted: Vec<_> = state.key_stores.iter().filter(is_wanted).collect();
                if let (Some(name), true) = (name, wanted.is_empty()) {
                    let message = format!("There is no custom key store {name:?}");
                    return Err(Exception::new(ExceptionName::CustomKeyStoreNotFound, message));
                }
                let page = page(wanted, |store| &store.id, Limits::USUAL, &request)?;
                Ok(DescribeCustomKeyStoresResponse {
                    custom_key_stores: page.items.iter().map(|store| self.described(store)).collect(),
                    truncated: page.is_truncated(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Changes a key store. Its proxy is asked for its health by the new settings, and they are taken when
    /// that goes well.
    ///
    /// # Errors
    /// As AWS documents them for UpdateCustomKeyStore; for what the proxy does, by [the
    /// table](super::Failure::row).
    pub async fn update_custom_key_store(
        &self,
        caller: &Caller,
        request: UpdateCustomKeyStoreRequest,
    ) -> Result<Empty, Exception> {
        self.operate("UpdateCustomKeyStore", caller, async |operation| {
            let id = &request.custom_key_store_id;
            let (former, changed) = operation.read(|state| {
                let store = state.key_store(id)?;
                let changed = self.updated(store, &request)?;
                check_name(&changed.name)?;
                self.check_settings(&changed.proxy)?;
                check_unique(state, id, &changed.name, &changed.proxy)?;
                Ok((store.clone(), changed))
            })?;
            let of_connected = ProxySettings {
                uri_path: changed.proxy.uri_path.clone(),
                credential: changed.proxy.credential.clone(),
                ..former.proxy.clone()
            };
            if former.connection != Connection::Disconnected && changed.proxy != of_connected {
                return Err(wrong_state(
                    "has to be disconnected for another endpoint or connectivity",
                ));
            }
            if changed.proxy != former.proxy {
                self.try_proxy(operation, &changed.proxy).await?;
            }
            operation.change(|state| {
                check_unique(state, id, &changed.name, &changed.proxy)?;
                let store = state.key_store_mut(id)?;
                (store.name, store.proxy) = (changed.name, changed.proxy);
                Ok(Empty {})
            })
        })
        .await
    }

    /// Deletes a key store without keys.
    ///
    /// # Errors
    /// There is no such key store, or it has keys, or is not disconnected.
    pub async fn delete_custom_key_store(
        &self,
        caller: &Caller,
        request: CustomKeyStoreIdRequest,
    ) -> Result<Empty, Exception> {
        self.operate("DeleteCustomKeyStore", caller, async |operation| {
            let id = request.custom_key_store_id;
            operation.change(|state| {
                let store = state.key_store(&id)?;
                if state.has_keys(&id) {
                    return Err(Exception::new(
                        ExceptionName::CustomKeyStoreHasKeys,
                        "The custom key store still has KMS keys",
                    ));
                }
                if store.connection != Connection::Disconnected {
                    return Err(wrong_state("has to be disconnected first"));
                }
                Arc::make_mut(&mut state.key_stores).retain(|store| store.id != id);
                Ok(Empty {})
            })
        })
        .await
    }

    /// Asks for health by settings that no key store has yet.
    async fn try_proxy(&self, operation: Operation<'_>, settings: &ProxySettings) -> Result<(), Exception> {
        let health = self.new_proxy(settings)?.health(operation).await;
        health.map(drop).map_err(Fault::at_key_store)
    }

    fn described(&self, store: &KeyStore) -> CustomKeyStore {
        let proxy = &store.proxy;
        CustomKeyStore {
            custom_key_store_id: store.id.clone(),
            custom_key_store_name: store.name.clone(),
            connection_state: store.connection.state(),
            connection_error_code: store.connection.error_code(),
            creation_date: store.created,
            custom_key_store_type: "EXTERNAL_KEY_STORE",
            xks_proxy_configuration: ProxyConfiguration {
                connectivity: proxy.connectivity,
                access_key_id: proxy.credential.access_key_id.clone(),
                uri_endpoint: proxy.uri_endpoint.clone(),
                uri_path: proxy.uri_path.clone(),
                vpc_endpoint_service_name: proxy.vpc_service.clone(),
                vpc_endpoint_service_owner: proxy.vpc_owner.clone(),
            },
        }
    }
}

fn wrong_state(why: &str) -> Exception {
    let message = format!("The custom key store {why}");
    Exception::new(ExceptionName::CustomKeyStoreInvalidState, message)
}
