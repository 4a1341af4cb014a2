//! A custom key store, as it is kept.

use serde::{Deserialize, Serialize};

use super::{
    api::{ConnectionState, Connectivity, ProxyCredential},
    failure::ConnectionErrorCode,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyStore {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: f64,
    pub(crate) connection: Connection,
    pub(crate) proxy: ProxySettings,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProxySettings {
    pub(crate) connectivity: Connectivity,
    pub(crate) uri_endpoint: String,
    pub(crate) uri_path: String,
    pub(crate) vpc_service: Option<String>,
    pub(crate) vpc_owner: Option<String>,
    pub(crate) credential: ProxyCredential,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Connection {
    Disconnected,
    /// Until this moment, in seconds since 1970; with what it ends in.
    Connecting {
        until: f64,
        error: Option<ConnectionErrorCode>,
    },
    Connected,
    Disconnecting {
        until: f64,
    },
    Failed(ConnectionErrorCode),
}

impl Connection {
    pub(crate) fn state(self) -> ConnectionState {
        match self {
            Self::Disconnected => ConnectionState::Disconnected,
            Self::Connecting { .. } => ConnectionState::Connecting,
            Self::Disconnecting { .. } => ConnectionState::Disconnecting,
            Self::Connected => ConnectionState::Connected,
            Self::Failed(_) => ConnectionState::Failed,
        }
    }

    /// What it has become by a time.
    pub(crate) fn at(self, now: f64) -> Self {
        match self {
            Self::Connecting { until, error } if until <= now => error.map_or(Self::Connected, Self::Failed),
            Self::Disconnecting { until } if until <= now => Self::Disconnected,
            other => other,
        }
    }

    pub(crate) fn error_code(self) -> Option<ConnectionErrorCode> {
        match self {
            Self::Failed(code) => Some(code),
            _ => None,
        }
    }
}
