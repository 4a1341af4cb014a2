//! The certificates in force: with which of them each listener greets new connections.

use std::{iter, sync::Arc};

use arc_swap::ArcSwapOption;

use crate::{
    settings::{Listeners, TlsSettings},
    tls::TlsMaterial,
};

/// What new connections of one listener are greeted with; none for plain HTTP.
pub(crate) type Greeting = Arc<ArcSwapOption<TlsMaterial>>;

/// Certificates that are ready to be put in force.
pub(crate) struct Prepared(Listeners<Option<Arc<TlsMaterial>>>);

impl Prepared {
    /// # Errors
    /// Certificates that no reader of settings lets pass.
    pub(crate) fn new(settings: &Listeners<Option<TlsSettings>>) -> anyhow::Result<Self> {
        let prepare = |tls: &Option<TlsSettings>| {
            let material = tls.as_ref().map(TlsSettings::material).transpose();
            material.map(|material| material.map(Arc::new)).map_err(|problems| {
                let texts: Vec<_> = problems.into_iter().map(|problem| problem.text).collect();
                anyhow::anyhow!("the TLS files: {}", texts.join("; "))
            })
        };
        Ok(Self(Listeners {
            api: prepare(&settings.api)?,
            health: prepare(&settings.health)?,
            metrics: prepare(&settings.metrics)?,
        }))
    }
}

/// The certificates in force. A clone is the same.
#[derive(Clone)]
pub(crate) struct Certificates(Listeners<Greeting>);

impl Certificates {
    pub(crate) fn new(first: Prepared) -> Self {
        let Listeners { api, health, metrics } = first.0;
        let greeting = |material| Arc::new(ArcSwapOption::new(material));
        Self(Listeners {
            api: greeting(api),
            health: greeting(health),
            metrics: greeting(metrics),
        })
    }

    /// Greets new connections with these. A listener that began with plain HTTP stays with it, and one that
    /// began with TLS keeps TLS.
    pub(crate) fn put_in_force(&self, prepared: &Prepared) {
        for (greeting, new) in iter::zip(self.0.each(), prepared.0.each()) {
            if let (Some(new), true) = (new, greeting.load().is_some()) {
                greeting.store(Some(Arc::clone(new)));
            }
        }
    }

    pub(crate) const fn greetings(&self) -> &Listeners<Greeting> {
        &self.0
    }

    /// Returns what the listeners with TLS have in force.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = Arc<TlsMaterial>> {
        self.0.each().into_iter().filter_map(|greeting| greeting.load_full())
    }
}
