//! The operations on key policies.

use super::{
    Kms,
    api::{
        Empty, GetKeyPolicyRequest, GetKeyPolicyResponse, ListKeyPoliciesResponse, ListOfKeyRequest,
        PutKeyPolicyRequest,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    page::{Limits, page},
    policy::{AWS_RAM, DEFAULT, Proposal},
};

impl Kms {
    /// Replaces the policy `default` of a key.
    ///
    /// # Errors
    /// As AWS documents them for PutKeyPolicy.
    pub async fn put_key_policy(&self, caller: &Caller, request: PutKeyPolicyRequest) -> Result<Empty, Exception> {
        self.operate("PutKeyPolicy", caller, async |operation| {
            check_name(request.policy_name.as_deref())?;
            if request.policy_name.as_deref() == Some(AWS_RAM) {
                return Err(Exception::validation(
                    "The AWS_RAM policy can only be managed by the RAM service",
                ));
            }
            let proposal = Proposal {
                text: &request.policy,
                bypasses_lockout_check: request.bypass_policy_lockout_safety_check,
                caller,
                account: &self.0.settings.account,
                now: self.now(),
            };
            operation.change(|state| {
                operation.key_by_id(state, &request.key_id)?;
                proposal.check(state)?;
                state.change_key(&request.key_id, |key| {
                    key.policy.clone_from(&request.policy);
                    Ok(Empty {})
                })
            })
        })
        .await
    }

    /// Returns a policy of a key.
    ///
    /// # Errors
    /// As AWS documents them for GetKeyPolicy.
    pub async fn get_key_policy(
        &self,
        caller: &Caller,
        request: GetKeyPolicyRequest,
    ) -> Result<GetKeyPolicyResponse, Exception> {
        self.operate("GetKeyPolicy", caller, async |operation| {
            let name = request.policy_name.as_deref().unwrap_or(DEFAULT);
            check_name(Some(name))?;
            operation.read_key(&request.key_id, |key| {
                let policy = if name == AWS_RAM {
                    key.ram_policy.as_ref()
                } else {
                    Some(&key.policy)
                };
                let policy = policy.ok_or_else(|| {
                    let message = format!("{} has no policy {name}", key.arn);
                    Exception::new(ExceptionName::NotFound, message)
                })?;
                Ok(GetKeyPolicyResponse {
                    policy: policy.clone(),
                    policy_name: name.to_owned(),
                })
            })
        })
        .await
    }

    /// Returns the names of the policies of a key.
    ///
    /// # Errors
    /// As AWS documents them for ListKeyPolicies.
    pub async fn list_key_policies(
        &self,
        caller: &Caller,
        request: ListOfKeyRequest,
    ) -> Result<ListKeyPoliciesResponse, Exception> {
        self.operate("ListKeyPolicies", caller, async |operation| {
            operation.read_key(&request.key_id, |key| {
                let names = [Some(DEFAULT), key.ram_policy.as_ref().map(|_| AWS_RAM)];
                let page = page(names.into_iter().flatten(), |name| name, Limits::USUAL, &request)?;
                Ok(ListKeyPoliciesResponse {
                    truncated: page.is_truncated(),
                    policy_names: page.items.into_iter().map(str::to_owned).collect(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Gives a key the policy `AWS_RAM`, as Resource Access Manager does when a key is shared, or takes it
    /// away.
    ///
    /// # Errors
    /// There is no such key.
    pub fn set_ram_policy(&self, key_id: &str, policy: Option<&str>) -> Result<(), Exception> {
        self.change(|state| {
            state.change_key(key_id, |key| {
                key.ram_policy = policy.map(str::to_owned);
                Ok(())
            })
        })
    }
}

fn check_name(name: Option<&str>) -> Result<(), Exception> {
    match name {
        None | Some(DEFAULT | AWS_RAM) => Ok(()),
        Some(_) => Err(Exception::validation("PolicyName has to be default or AWS_RAM")),
    }
}
