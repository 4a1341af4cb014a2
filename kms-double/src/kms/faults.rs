//! What goes wrong on purpose: operations that are denied, throttled or fail, and answers that are lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    exception::{Exception, ExceptionName},
    locked,
};
use crate::call::Service;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Trouble {
    /// It is lost: nothing is done, and there is no answer.
    LostBefore,
    /// It is done, and the answer is lost.
    LostAfter,
    /// `ThrottlingException`.
    Throttled,
    /// `KMSInternalException`.
    Internal,
    /// `DependencyTimeoutException`.
    DependencyTimeout,
    /// `XksProxyVpcEndpointServiceNotFoundException`.
    VpcEndpointServiceNotFound,
    /// `XksProxyVpcEndpointServiceInvalidConfigurationException`.
    VpcEndpointServiceInvalidConfiguration,
}

/// How often an operation was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Calls {
    /// All calls.
    pub made: u64,
    /// Those of them that were throttled.
    pub throttled: u64,
}

/// What goes wrong on purpose. Clones share it.
///
/// ```
/// use kms_double::kms::{Kms, Trouble};
///
/// # fn doc() -> Result<(), kms_double::kms::BuildError> {
/// let kms = Kms::builder().build()?;
/// kms.faults().inject("CreateKey", 2, Trouble::LostAfter); // the second from now on
/// kms.faults().deny("TagResource");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    denied: BTreeSet<String>,
    /// Regions that do not answer.
    away: BTreeSet<String>,
    /// By operation and by the number of the call.
    troubles: BTreeMap<(String, u64), Trouble>,
    calls: BTreeMap<String, Calls>,
}

impl Faults {
    /// Denies an operation, by its name in the API.
    pub fn deny(&self, operation: &str) {
        locked(&self.0).denied.insert(operation.to_owned());
    }

    /// Allows an operation again.
    pub fn allow(&self, operation: &str) {
        locked(&self.0).denied.remove(operation);
    }

    /// Lets a Region answer nothing, and do nothing.
    pub fn away(&self, region: &str) {
        locked(&self.0).away.insert(region.to_owned());
    }

    /// Lets a Region answer again.
    pub fn back(&self, region: &str) {
        locked(&self.0).away.remove(region);
    }

    /// Lets something go wrong with the `occurrence`th request for an operation from now on, 1 being the
    /// next.
    pub fn inject(&self, operation: &str, occurrence: u64, trouble: Trouble) {
        let mut plan = locked(&self.0);
        let made = plan.calls.get(operation).copied().unwrap_or_default().made;
        plan.troubles.insert((operation.to_owned(), made + occurrence), trouble);
    }

    /// Lets nothing go wrong any more.
    pub fn clear(&self) {
        let mut plan = locked(&self.0);
        plan.denied.clear();
        plan.away.clear();
        plan.troubles.clear();
    }

    /// Returns how often each operation was called.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        locked(&self.0).calls.clone()
    }

    /// Counts a request. Returns what goes wrong with it.
    pub(crate) fn begin(&self, region: &str, operation: &str, caller: &Caller) -> Result<Option<Trouble>, Exception> {
        let mut plan = locked(&self.0);
        if plan.away.contains(region) && Service::of(operation) == Service::Kms {
            return Err(lost());
        }
        let calls = plan.calls.entry(operation.to_owned()).or_default();
        calls.made += 1;
        let number = calls.made;
        plan.check_allowed(operation, caller)?;
        Ok(plan.troubles.remove(&(operation.to_owned(), number)))
    }

    /// Refuses what is denied.
    pub(crate) fn check_allowed(&self, operation: &str, caller: &Caller) -> Result<(), Exception> {
        locked(&self.0).check_allowed(operation, caller)
    }

    /// Refuses what is done in a Region that does not answer.
    pub(crate) fn check_there(&self, region: &str) -> Result<(), Exception> {
        match locked(&self.0).away.contains(region) {
            true => Err(Exception::new(
                ExceptionName::DependencyTimeout,
                format!("{region} does not answer"),
            )),
            false => Ok(()),
        }
    }

    pub(crate) fn throttled(&self, operation: &str) -> Exception {
        locked(&self.0).calls.entry(operation.to_owned()).or_default().throttled += 1;
        Exception::new(ExceptionName::Throttling, "Rate exceeded")
    }

    /// The exception that comes instead of doing anything, where one does.
    pub(crate) fn instead(&self, operation: &str, trouble: Option<Trouble>) -> Result<(), Exception> {
        let name = match trouble {
            None | Some(Trouble::LostAfter) => return Ok(()),
            Some(Trouble::Throttled) => return Err(self.throttled(operation)),
            Some(Trouble::LostBefore) => return Err(lost()),
            Some(Trouble::Internal) => ExceptionName::Internal,
            Some(Trouble::DependencyTimeout) => ExceptionName::DependencyTimeout,
            Some(Trouble::VpcEndpointServiceNotFound) => ExceptionName::XksProxyVpcEndpointServiceNotFound,
            Some(Trouble::VpcEndpointServiceInvalidConfiguration) => {
                ExceptionName::XksProxyVpcEndpointServiceInvalidConfiguration
            }
        };
        Err(Exception::new(name, "injected by kms-double"))
    }
}

impl Plan {
    fn check_allowed(&self, operation: &str, caller: &Caller) -> Result<(), Exception> {
        if !self.denied.contains(operation) {
            return Ok(());
        }
        let (who, action) = (&caller.principal_arn, action(operation));
        Err(Exception::new(
            ExceptionName::AccessDenied,
            format!(
                "User: {who} is not authorized to perform: {action} because no identity-based policy allows the \
                 {action} action"
            ),
        ))
    }
}

/// An operation as policies name it.
pub(crate) fn action(operation: &str) -> String {
    let service = match Service::of(operation) {
        Service::Kms => "kms",
        Service::Iam => "iam",
        Service::Sts => "sts",
    };
    format!("{service}:{operation}")
}

pub(crate) fn lost() -> Exception {
    Exception::new(ExceptionName::AnswerLost, "the answer was lost on purpose")
}
