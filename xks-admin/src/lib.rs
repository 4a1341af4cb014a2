//! Administration of managed keys for AWS KMS External Key Store (XKS) proxies: the REST API over
//! [`Commands`](xks_lifecycle::commands::Commands), as a tower service.
//!
//! ```text
//! server: socket, who is it ──Request with an Actor──▶ Admin ──▶ Commands ──▶ Response
//! ```
//!
//! [`Admin`] opens no socket and authenticates no one. The server that mounts it decides who may give
//! commands, and puts the [`Actor`](xks_lifecycle::commands::Actor) into the extensions of each request; a
//! request without one is answered with 401.
//!
//! # Paths
//! All begin with `/admin/v1`.
//!
//! | path | GET | POST | PATCH | DELETE |
//! |---|---|---|---|---|
//! | `/tenants`, `/key-sets`, `/schedules` | a page | creates | | |
//! | `/tenants/{id}`, `/key-sets/{id}`, `/schedules/{id}` | one | | changes | removes |
//! | `/key-stores`, `/key-stores/{id}` | as these | as these | as these | as these |
//! | `/cloud-accounts`, `/cloud-key-stores`, `/cloud-keys`, each with `/{id}` | as these | as these | as these | as these; AWS is left as it is |
//! | `/cloud-accounts/{id}/iam-policy` | the smallest IAM policy; with `import`, `principals`, `adoption` | | | |
//! | `/cloud-accounts/{id}/principals` | who can be named in a key policy, as AWS lists them | | | |
//! | `/cloud-keys/{id}/last-use` | when the KMS key and its external key were used last | | | |
//! | `/cloud-keys/{id}/materials`, `/cloud-keys/{id}/materials/{number}` | the materials that are imported into its KMS keys | | | |
//! | `/cloud-keys/{id}/status` | how its KMS keys are in AWS, and what differs from what is wanted | | | |
//! | `/cloud-accounts/{id}/kms-keys` | the KMS keys of a Region, of others too | | | |
//! | `/cloud-keys/adopt` | | takes one of these under management as it is | | |
//! | `/key-stores/{id}/credentials` | all of the key store | makes one, and shows its secret | | |
//! | `/key-stores/{id}/credentials/{access key id}` | one | | | |
//! | `/keys` | a page | creates one or `count`, or adopts where `backend_key` is given | | |
//! | `/keys/{id}` | one, with its versions | | name and description | |
//! | `/keys/{id}/usage` | how much its versions are used | | | |
//! | `/keys/{id}/versions` | all of the key | makes one and publishes it | | |
//! | `/keys/{id}/versions/{version}` | one | | | |
//! | `/schedules/upcoming` | what will happen by itself in so many `days` | | | |
//! | `/jobs` | a page, the latest first | starts one for a `cloud_key`, a `cloud_key_store`, a `cloud_material`, the access key of a `cloud_account`, or what is left over in one (`orphans_of`) | | |
//! | `/jobs/{id}` | one, with its steps and its log | | | |
//! | `/jobs/plan` | | what a job would do, and why | | |
//! | `/events` | a page, or the `last` ones | | | |
//! | `/nodes`, `/nodes/{id}` | the nodes on the store, as the one that answers sees them | | | |
//!
//! Commands are `POST`s to a path that ends with the name by which events call them:
//! `/keys/{id}/{activate, enable, disable, deactivate, set-expiry, set-rotation, set-minima,
//! schedule-deletion, cancel-deletion, destroy, rotate}`, `/keys/{id}/versions/{version}/{promote, revoke,
//! restore, destroy-version}`, `/key-sets/{id}/verify-backend`, `/key-stores/{id}/{block, unblock,
//! rotate-credential}`, `/key-stores/{id}/credentials/{access key id}/{revoke, take-secret}`,
//! `/cloud-keys/{id}/rotate`, `/cloud-keys/{id}/materials/{number}/{remove, upload, set-former,
//! destroy-material}`, `/jobs/{id}/{cancel, retry}`.
//!
//! # Rules
//! * **Pages** hold `items`, in the order of their ids, and `next` where there are more: give it as `after`.
//!   `limit` is 100 by default, 1000 at most. Filters: `tenant`, `name`; `key_set` for keys, cloud keys and
//!   jobs; `account` for key stores in AWS, cloud keys and jobs; `state` and `object` for jobs.
//! * **Revisions**: each object has its `revision`, which is its `ETag` too. A change that gives it as
//!   `If-Match` is refused with 412 where somebody has changed the object meanwhile.
//! * **Confirmation**: whatever changes something waits until every node serves that, or is known to be dead,
//!   and its answer has a `confirmation`:
//!
//!   | field | |
//!   |---|---|
//!   | `confirmed` | whether no node serves a request that starts now from the state before |
//!   | `revision` | what was waited for |
//!   | `is_one_process` | whether the state belongs to one process, which needs no wait |
//!   | `nodes` | the nodes that serve it |
//!   | `ended` | nodes that served before, and have left or are dead |
//!   | `missing` | the others: `node`, the revision that it `serves`, and the `reason` |
//!   | `store` | why the nodes could not be asked, if the store has failed |
//!   | `seconds` | how long that took |
//!   | `durable` | what can lose the commit: `synchronous`, `single`, `asynchronous` |
//!
//!   The status is 200 or 201 also where `confirmed` is false, since the change is committed: no request can
//!   take that back, and each node takes it in by itself, or stops to serve. Who gives the same command again
//!   waits again. `Prefer: wait=SECONDS` (RFC 7240) shortens the wait. A command that fails after it has
//!   committed something, as one whose key manager cannot be reached, has a `confirmation` in its problem.
//!   Answers about jobs have none: jobs are no part of the revision, and any node goes on with one.
//! * **PATCH** changes the fields that are given; `null` removes one that may be missing.
//! * **Errors** are problem details (RFC 9457) with a stable `code`, and the `field` where there is one.
//!   Fields, parameters and paths that are not known are refused.
//! * **Events**: each command is an event, also one that is refused, or that cannot be read.
//! * **Secrets** and key material are in no answer, but for the one that makes a credential. The secret of an
//!   access key of AWS is taken, and never shown.

#![forbid(unsafe_code)]

mod answer;
mod call;
mod confirmation;
mod problem;
mod read;
mod routes;
mod service;

pub use self::{
    problem::problem,
    service::{Admin, Body},
};
