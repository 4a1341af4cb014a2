//! Plans for a key store in AWS.

use xks_lifecycle::WantedKeyStore;

use super::{Action, Context, DesiredKeyStore, Plan, Update, cause};
use crate::aws::{ConnectionState, Connectivity, CustomKeyStore, CustomKeyStoreType, ProxyConfiguration};

pub(super) fn plan(desired: &DesiredKeyStore, observed: Option<&CustomKeyStore>, context: &Context) -> Plan {
    let plan = Plan::default();
    let Some(observed) = observed else {
        return missing(plan, desired, context);
    };
    if observed.custom_key_store_type != CustomKeyStoreType::ExternalKeyStore {
        return plan.ask(format!(
            "the key store {} in AWS is of type {}: give ours another name",
            observed.custom_key_store_name, observed.custom_key_store_type
        ));
    }
    let Some(proxy) = &observed.xks_proxy_configuration else {
        return plan.ask("AWS says nothing of the proxy of the key store: look at it in AWS's console");
    };
    let mut plan = plan;
    if desired.id.as_deref() != Some(&observed.custom_key_store_id) {
        if desired.id.is_none() && proxy.uri_path != desired.path {
            return plan.ask(format!(
                "a key store {} is there already and leads to {}{}, which is not {}: give ours another name, or delete \
                 that one",
                observed.custom_key_store_name, proxy.uri_endpoint, proxy.uri_path, desired.path
            ));
        }
        let id = observed.custom_key_store_id.clone();
        plan.push(Action::Adopt { id }, "a key store of this name and path is there");
    }
    match observed.connection_state {
        ConnectionState::Connecting => return plan.wait("AWS is connecting the key store: that takes minutes"),
        ConnectionState::Disconnecting => return plan.wait("AWS is disconnecting the key store"),
        ConnectionState::Connected | ConnectionState::Failed | ConnectionState::Disconnected => {}
        ref other => {
            return plan.ask(format!(
                "the key store has the state {other}, which this version does not know"
            ));
        }
    }
    let is_disconnected = observed.connection_state == ConnectionState::Disconnected;
    if desired.wanted == WantedKeyStore::Deleted {
        if !is_disconnected {
            plan.push(Action::DisconnectKeyStore, "AWS deletes only what is disconnected");
        }
        plan.push(Action::DeleteKeyStore, "it is wanted gone");
        return plan;
    }
    let update = update(desired, observed, proxy);
    let has_failed = observed.connection_state == ConnectionState::Failed;
    if has_failed && context.has_connected && update.is_empty() && desired.wanted == WantedKeyStore::Connected {
        return plan.ask(match &observed.connection_error_code {
            Some(code) => {
                let cause = cause(code);
                format!(
                    "AWS could not connect the key store ({code}): {}; {} (docs/connection-errors.md)",
                    cause.cause, cause.cure
                )
            }
            None => "AWS could not connect the key store, and does not say why: connect it again".to_owned(),
        });
    }
    let must_disconnect = has_failed
        || !is_disconnected && (update.needs_disconnection() || desired.wanted == WantedKeyStore::Disconnected);
    if must_disconnect {
        let reason = if has_failed {
            "a connection that has failed is ended before it is tried again"
        } else if update.needs_disconnection() {
            let warning = "while the key store is disconnected, AWS uses none of its KMS keys";
            plan.warnings.push(warning.to_owned());
            "AWS changes endpoint and connectivity only while the key store is disconnected"
        } else {
            "it is wanted disconnected"
        };
        plan.push(Action::DisconnectKeyStore, reason);
    }
    if !update.is_empty() {
        let reason = reason(&update);
        plan.push(Action::UpdateKeyStore(update), reason);
    }
    if desired.wanted == WantedKeyStore::Connected && (is_disconnected || must_disconnect) {
        plan.push(Action::ConnectKeyStore, "it is wanted connected");
    }
    plan
}

/// There is none in AWS.
fn missing(mut plan: Plan, desired: &DesiredKeyStore, context: &Context) -> Plan {
    if context.is_settling {
        return plan.wait("AWS may not show the key store everywhere yet");
    }
    if desired.wanted == WantedKeyStore::Deleted {
        if desired.id.is_some() {
            plan.push(Action::Forget, "it is gone in AWS");
        }
        return plan;
    }
    if let Some(id) = &desired.id {
        let question = format!(
            "the key store {id} was deleted in AWS by somebody else: remove it here, and make another one if one is \
             wanted"
        );
        return plan.ask(question);
    }
    let Some(access_key_id) = desired.access_key_id.clone() else {
        return plan.ask("the external key store has no live credential: make one");
    };
    let action = Action::CreateKeyStore {
        name: desired.name.clone(),
        endpoint: desired.endpoint.clone(),
        path: desired.path.clone(),
        access_key_id,
        vpc: desired.vpc.clone(),
    };
    plan.push(action, "there is no key store of this name");
    if desired.wanted == WantedKeyStore::Connected {
        plan.push(Action::ConnectKeyStore, "it is wanted connected");
    }
    plan
}

/// What is other than it is wanted.
fn update(desired: &DesiredKeyStore, observed: &CustomKeyStore, proxy: &ProxyConfiguration) -> Update {
    let other = |wanted: &str, found: &str| (wanted != found).then(|| wanted.to_owned());
    let mut update = Update {
        name: other(&desired.name, &observed.custom_key_store_name),
        path: other(&desired.path, &proxy.uri_path),
        endpoint: other(&desired.endpoint, &proxy.uri_endpoint),
        ..Update::default()
    };
    if let Some(id) = &desired.access_key_id {
        update.access_key_id = other(id, &proxy.access_key_id);
    }
    match &desired.vpc {
        None if proxy.connectivity == Connectivity::PublicEndpoint => {}
        None => {
            update.connectivity = Some(Connectivity::PublicEndpoint.to_string());
            // AWS demands it with a change to a public endpoint.
            update.endpoint = Some(desired.endpoint.clone());
        }
        Some((service, owner)) => {
            let is_other = proxy.connectivity != Connectivity::VpcEndpointService;
            let service_differs = proxy.vpc_endpoint_service_name.as_ref() != Some(service);
            let owner_differs = owner.is_some() && proxy.vpc_endpoint_service_owner != *owner;
            if is_other {
                update.connectivity = Some(Connectivity::VpcEndpointService.to_string());
            }
            if is_other || service_differs {
                update.vpc_service = Some(service.clone());
            }
            if owner_differs {
                update.vpc_owner.clone_from(owner);
            }
        }
    }
    update
}

fn reason(update: &Update) -> String {
    let parts = [
        (update.name.is_some(), "the name"),
        (update.path.is_some(), "the path"),
        (update.access_key_id.is_some(), "the credential"),
        (update.endpoint.is_some(), "the endpoint"),
        (update.connectivity.is_some(), "the connectivity"),
        (update.vpc_service.is_some(), "the endpoint service"),
        (update.vpc_owner.is_some(), "its owner"),
    ];
    let other: Vec<_> = parts
        .iter()
        .filter(|(is_other, _)| *is_other)
        .map(|(_, name)| *name)
        .collect();
    format!("other than wanted: {}", other.join(", "))
}
