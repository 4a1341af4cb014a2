//! Every path with each of its outcomes: the status, the code of a problem, and the event.

use serde_json::Value;
use xks_admin::Admin;

use crate::site::Site;

/// A request, and what comes of it. `{name}` stands for an id of the [`Site`].
struct Case {
    request: &'static str,
    body: &'static str,
    /// The status, and for a problem its code and its field.
    answer: &'static str,
    /// The last event: command, object and outcome. None for what is no command.
    event: &'static str,
}

const fn case(request: &'static str, body: &'static str, answer: &'static str, event: &'static str) -> Case {
    Case {
        request,
        body,
        answer,
        event,
    }
}

const SOME_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("GET tenants", "", "200", ""),
    case("GET tenants?tenant={tenant}&name=payroll&limit=1", "", "200", ""),
    case("GET tenants?limit=0", "", "400 invalid-parameter limit", ""),
    case("GET tenants?after=x", "", "400 invalid-parameter after", ""),
    case("GET tenants?colour=red", "", "400 invalid-parameter colour", ""),
    case("POST tenants", r#"{"name": "new", "description": "d"}"#, "201", "create tenants/* done"),
    case("POST tenants", r#"{"name": ""}"#, "422 invalid-field name", "create tenants refused"),
    case("POST tenants", "{}", "422 invalid-field name", "create tenants refused"),
    case("POST tenants", r#"{"name": 7}"#, "422 invalid-field name", "create tenants refused"),
    case("POST tenants", r#"{"name": "n", "id": "mine"}"#, "422 invalid-field id", "create tenants refused"),
    case("POST tenants", "{", "400 invalid-json", "create tenants refused"),
    case("POST tenants", r#"{"name": "n"} {}"#, "400 invalid-json", "create tenants refused"),
    case("PUT tenants", "{}", "405 no-such-method", ""),
    case("GET tenants/{tenant}", "", "200", ""),
    case("GET tenants/SOME_ID", "", "404 not-found", ""),
    case("GET tenants/no-id", "", "404 not-found", ""),
    case("PATCH tenants/{tenant}", r#"{"name": "pay"}"#, "200", "update tenants/{tenant} done"),
    case("PATCH tenants/{tenant}", r#"{"name": null}"#, "422 invalid-field name", "update tenants/{tenant} refused"),
    case("PATCH tenants/{tenant}", r#"{"size": 1}"#, "422 invalid-field size", "update tenants/{tenant} refused"),
    case("PATCH tenants/SOME_ID", "{}", "404 not-found", "update tenants/SOME_ID refused"),
    case("PATCH tenants/no-id", "{}", "404 not-found", "update tenants/no-id refused"),
    case("DELETE tenants/{spare}", "", "200", "remove tenants/{spare} done"),
    case("DELETE tenants/{tenant}", "", "409 in-use", "remove tenants/{tenant} refused"),
    case("DELETE tenants/SOME_ID", "", "404 not-found", "remove tenants/SOME_ID refused"),
    case("DELETE tenants/{spare}", r#"{"force": true}"#, "422 invalid-field force", "remove tenants/{spare} refused"),

    case("GET key-sets?tenant={tenant}&name=vault", "", "200", ""),
    case("GET key-sets?tenant=x", "", "400 invalid-parameter tenant", ""),
    case("POST key-sets", r#"{"tenant": "{tenant}", "name": "n", "source": "vault", "lifetime_days": 400,
        "waiting_days": 9, "keeps_decryption": false, "needs_two": true, "administrators": "admins",
        "key_store": "{key-store}", "schedule": "{schedule}"}"#, "201", "create key-sets/* done"),
    case("POST key-sets", r#"{"tenant": "{tenant}", "name": "n", "source": "hsm", "backend": "hsm"}"#, "201",
        "create key-sets/* done"),
    case("POST key-sets", r#"{"tenant": "{tenant}", "name": "n", "source": "hsm", "backend": "other"}"#,
        "422 invalid-field backend", "create key-sets/* refused"),
    case("POST key-sets", r#"{"tenant": "SOME_ID", "name": "n", "source": "vault"}"#, "422 invalid-field tenant",
        "create key-sets/* refused"),
    case("POST key-sets", r#"{"tenant": "x", "name": "n", "source": "vault"}"#, "422 invalid-field tenant",
        "create key-sets refused"),
    case("POST key-sets", r#"{"tenant": "{tenant}", "name": "n", "source": "paper"}"#, "422 invalid-field source",
        "create key-sets refused"),
    case("POST key-sets", r#"{"tenant": "{tenant}", "name": "n", "source": "vault", "waiting_days": 1}"#,
        "422 invalid-field waiting_days", "create key-sets refused"),
    case("GET key-sets/{vault}", "", "200", ""),
    case("PATCH key-sets/{vault}", r#"{"key_store": "{key-store}", "schedule": "{schedule}", "waiting_days": 8,
        "lifetime_days": 30, "administrators": "admins"}"#, "200", "update key-sets/{vault} done"),
    case("PATCH key-sets/{vault}", r#"{"key_store": null, "schedule": null, "lifetime_days": null}"#, "200",
        "update key-sets/{vault} done"),
    case("PATCH key-sets/{vault}", r#"{"schedule": "SOME_ID"}"#, "422 invalid-field schedule",
        "update key-sets/{vault} refused"),
    case("PATCH key-sets/{vault}", r#"{"source": "hsm"}"#, "422 invalid-field source",
        "update key-sets/{vault} refused"),
    case("DELETE key-sets/{hsm}", "", "200", "remove key-sets/{hsm} done"),
    case("DELETE key-sets/{vault}", "", "409 in-use", "remove key-sets/{vault} refused"),
    case("POST key-sets/{hsm}/verify-backend", "", "200", "verify-backend key-sets/{hsm} done"),
    case("POST key-sets/no-id/verify-backend", "", "404 not-found", "verify-backend key-sets/no-id refused"),

    case("GET key-stores", "", "200", ""),
    case("GET key-stores/{key-store}", "", "200", ""),
    case("POST key-stores", r#"{"tenant": "{tenant}", "name": "n", "prefix": "/n", "regions": ["us-east-1"]}"#, "201",
        "create key-stores/* done"),
    case("POST key-stores", r#"{"tenant": "{tenant}", "name": "n", "prefix": "n", "regions": ["us-east-1"]}"#,
        "422 invalid-field prefix", "create key-stores refused"),
    case("POST key-stores", r#"{"tenant": "{tenant}", "name": "n", "prefix": "/n", "regions": []}"#,
        "422 invalid-field regions", "create key-stores refused"),
    case("PATCH key-stores/{key-store}", r#"{"regions": ["eu-west-1", "eu-west-2"]}"#, "200",
        "update key-stores/{key-store} done"),
    case("POST key-stores", r#"{"tenant": "{tenant}", "name": "n", "prefix": "/eu", "regions": ["us-east-1"]}"#,
        "409 taken prefix", "create key-stores/* refused"),
    case("POST key-sets", r#"{"tenant": "{spare}", "name": "n", "source": "vault", "schedule": "{schedule}"}"#,
        "422 invalid-field schedule", "create key-sets/* refused"),
    case("PATCH key-stores/{key-store}", r#"{"is_blocked": true}"#, "422 invalid-field is_blocked",
        "update key-stores/{key-store} refused"),
    case("DELETE key-stores/{key-store}", "", "200", "remove key-stores/{key-store} done"),

    case("DELETE key-stores/{served}", "", "409 in-use", "remove key-stores/{served} refused"),
    case("POST key-stores/{key-store}/block", "", "200", "block key-stores/{key-store} done"),
    case("POST key-stores/no-id/block", "", "404 not-found", "block key-stores/no-id refused"),
    case("POST key-stores/{key-store}/unblock", "", "200", "unblock key-stores/{key-store} done"),
    case("POST key-stores/{key-store}/unblock", "[]", "422 invalid-field", "unblock key-stores/{key-store} refused"),
    case("GET key-stores/{served}/credentials", "", "200", ""),
    case("GET key-stores/SOME_ID/credentials", "", "404 not-found", ""),
    case("GET key-stores/{served}/credentials/{credential}", "", "200", ""),
    case("GET key-stores/{key-store}/credentials/{credential}", "", "404 not-found", ""),
    case("POST key-stores/{served}/credentials", "", "201", "create credentials/* done"),
    case("POST key-stores/{served}/credentials", r#"{"access_key_id": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "secret_access_key": "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"}"#, "201",
        "create credentials/* done"),
    case("POST key-stores/{served}/credentials", r#"{"access_key_id": "{credential}",
        "secret_access_key": "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"}"#, "409 exists",
        "create credentials/{credential} refused"),
    case("POST key-stores/{served}/credentials", r#"{"access_key_id": "abc", "secret_access_key": "abc"}"#,
        "422 invalid-field access_key_id", "create key-stores/{served}/credentials refused"),
    case("POST key-stores/{served}/credentials", r#"{"access_key_id": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}"#,
        "422 invalid-field secret_access_key", "create key-stores/{served}/credentials refused"),
    case("POST key-stores/{served}/rotate-credential", r#"{"overlap_minutes": 60}"#, "201",
        "rotate-credential key-stores/{served} done"),
    case("POST key-stores/{served}/rotate-credential", "{}", "422 invalid-field overlap_minutes",
        "rotate-credential key-stores/{served} refused"),
    case("POST key-stores/{key-store}/rotate-credential", r#"{"overlap_minutes": 60}"#, "409 no-live-credential",
        "rotate-credential key-stores/{key-store} refused"),
    case("POST key-stores/{served}/credentials/{credential}/revoke", "", "200", "revoke credentials/{credential} done"),
    case("POST key-stores/{served}/credentials/{credential}/take-secret", "", "409 secret-taken",
        "take-secret credentials/{credential} refused"),
    case("POST key-stores/{key-store}/credentials/{credential}/take-secret", "", "404 not-found",
        "take-secret credentials/{credential} refused"),
    case("PATCH key-stores/{key-store}", r#"{"schedule": "{schedule}", "overlap_minutes": 60}"#, "200",
        "update key-stores/{key-store} done"),
    case("PATCH key-stores/{key-store}", r#"{"overlap_minutes": 99999}"#, "422 invalid-field overlap_minutes",
        "update key-stores/{key-store} refused"),
    case("POST key-stores/{key-store}/credentials/{credential}/revoke", "", "404 not-found",
        "revoke credentials/{credential} refused"),

    case("GET schedules", "", "200", ""),
    case("GET schedules/{schedule}", "", "200", ""),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n", "jitter_minutes": 60,
        "cron": {"pattern": "30 2 1 * *", "time_zone": "Europe/Berlin"}}"#, "201", "create schedules/* done"),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n"}"#, "422 invalid-field every_days",
        "create schedules refused"),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n", "every_days": 0}"#, "422 invalid-field every_days",
        "create schedules refused"),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n", "every_days": 1, "cron":
        {"pattern": "30 2 1 * *", "time_zone": "UTC"}}"#, "422 invalid-field cron", "create schedules refused"),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n", "cron": {"pattern": "30 2 1 * *", "time_zone":
        "Mars"}}"#, "422 invalid-field time_zone", "create schedules refused"),
    case("POST schedules", r#"{"tenant": "{tenant}", "name": "n", "cron": {"pattern": "30 2 1 * *", "zone": "UTC"}}"#,
        "422 invalid-field cron.zone", "create schedules refused"),
    case("PATCH schedules/{schedule}", r#"{"every_days": 30}"#, "200", "update schedules/{schedule} done"),
    case("PATCH schedules/{schedule}", r#"{"jitter_minutes": 9999}"#, "422 invalid-field jitter_minutes",
        "update schedules/{schedule} refused"),
    case("DELETE schedules/{schedule}", "", "200", "remove schedules/{schedule} done"),
    case("GET schedules/upcoming?days=400", "", "200", ""),
    case("GET schedules/upcoming?days=-1", "", "422 invalid-field days", ""),

    case("GET cloud-accounts?tenant={tenant}&name=main", "", "200", ""),
    case("GET cloud-accounts/{account}", "", "200", ""),
    case("GET cloud-accounts/no-id", "", "404 not-found", ""),
    case("GET cloud-accounts/{account}/iam-policy", "", "200", ""),
    case("GET cloud-accounts/{account}/iam-policy?principals=true&adoption=true", "", "200", ""),
    case("GET cloud-accounts/{account}/iam-policy?all=true", "", "400 invalid-parameter all", ""),
    case("GET cloud-accounts/SOME_ID/iam-policy", "", "404 not-found", ""),
    case("GET cloud-accounts/{account}/principals", "", "200", ""),
    case("GET cloud-accounts/SOME_ID/principals", "", "404 not-found", ""),
    case("GET cloud-accounts?account={account}", "", "400 invalid-parameter account", ""),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "description": "d"}"#,
        "201", "create cloud-accounts/* done"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "credential":
        {"file": "/etc/key.csv"}}"#, "201", "create cloud-accounts/* done"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "credential":
        {"access_key": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG"}}}"#, "201",
        "create cloud-accounts/* done"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "credential":
        {"access_key": {"id": "AKIAIOSFODNN7EXAMPLE"}}}"#, "422 invalid-field credential.access_key",
        "create cloud-accounts refused"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "credential":
        {"access_key": {"id": "AKIAIOSFODNN7EXAMPLE", "secret": "short"}}}"#, "422 invalid-field secret",
        "create cloud-accounts refused"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "eu-west-1", "credential":
        {"file": "key.csv"}}"#, "422 invalid-field credential_file", "create cloud-accounts refused"),
    case("POST cloud-accounts", r#"{"tenant": "{tenant}", "name": "n", "region": "EU"}"#, "422 invalid-field region",
        "create cloud-accounts refused"),
    case("POST cloud-accounts", r#"{"tenant": "SOME_ID", "name": "n", "region": "eu-west-1"}"#,
        "422 invalid-field tenant", "create cloud-accounts/* refused"),
    case("PATCH cloud-accounts/{account}", r#"{"region": "us-west-2", "credential": "chain", "name": "m",
        "description": "d", "schedule": "{schedule}"}"#, "200", "update cloud-accounts/{account} done"),
    case("POST cloud-accounts", r#"{"tenant": "{spare}", "name": "n", "region": "eu-west-1", "schedule":
        "{schedule}"}"#, "422 invalid-field schedule", "create cloud-accounts/* refused"),
    case("PATCH cloud-accounts/{account}", r#"{"credential": null}"#, "422 invalid-field credential",
        "update cloud-accounts/{account} refused"),
    case("PATCH cloud-accounts/{account}", r#"{"account": "111122223333"}"#, "422 invalid-field account",
        "update cloud-accounts/{account} refused"),
    case("DELETE cloud-accounts/{account}", "", "409 in-use", "remove cloud-accounts/{account} refused"),
    case("DELETE cloud-accounts/{unused-account}", "", "200", "remove cloud-accounts/{unused-account} done"),

    case("GET cloud-key-stores?tenant={tenant}&name=payroll", "", "200", ""),
    case("GET cloud-key-stores/{cloud-key-store}", "", "200", ""),
    case("POST cloud-key-stores", r#"{"account": "{account}", "name": "n", "key_store": "{key-store}",
        "endpoint": "https://xks.example.com", "region": "us-west-2", "wanted": "disconnected",
        "vpc": {"name": "com.amazonaws.vpce.us-west-2.vpce-svc-0123456789abcdef0", "owner": "111122223333"}}"#, "201",
        "create cloud-key-stores/* done"),
    case("POST cloud-key-stores", r#"{"account": "{account}", "name": "payroll", "key_store": "{key-store}",
        "endpoint": "https://xks.example.com"}"#, "409 taken name", "create cloud-key-stores/* refused"),
    case("POST cloud-key-stores", r#"{"account": "SOME_ID", "name": "n", "key_store": "{key-store}",
        "endpoint": "https://xks.example.com"}"#, "422 invalid-field account", "create cloud-key-stores refused"),
    case("POST cloud-key-stores", r#"{"account": "{account}", "name": "n", "key_store": "SOME_ID",
        "endpoint": "https://xks.example.com"}"#, "422 invalid-field key_store", "create cloud-key-stores/* refused"),
    case("POST cloud-key-stores", r#"{"account": "{account}", "name": "n", "key_store": "{key-store}",
        "endpoint": "http://xks.example.com"}"#, "422 invalid-field endpoint", "create cloud-key-stores refused"),
    case("POST cloud-key-stores", r#"{"account": "{account}", "name": "n", "key_store": "{key-store}",
        "endpoint": "https://xks.example.com", "wanted": "gone"}"#, "422 invalid-field wanted",
        "create cloud-key-stores refused"),
    case("PATCH cloud-key-stores/{cloud-key-store}", r#"{"wanted": "disconnected", "name": "pay", "endpoint":
        "https://xks-2.example.com", "vpc": null}"#, "200", "update cloud-key-stores/{cloud-key-store} done"),
    case("PATCH cloud-key-stores/{cloud-key-store}", r#"{"vpc": {"name": "vpce-svc"}}"#,
        "422 invalid-field vpc_service", "update cloud-key-stores/{cloud-key-store} refused"),
    case("PATCH cloud-key-stores/{cloud-key-store}", r#"{"region": "us-west-2"}"#, "422 invalid-field region",
        "update cloud-key-stores/{cloud-key-store} refused"),
    case("DELETE cloud-key-stores/{cloud-key-store}", "", "409 in-use",
        "remove cloud-key-stores/{cloud-key-store} refused"),
    case("DELETE cloud-key-stores/{unused-cloud-key-store}", "", "200",
        "remove cloud-key-stores/{unused-cloud-key-store} done"),

    case("GET cloud-keys?tenant={tenant}&name=alias/salaries", "", "200", ""),
    case("GET cloud-keys/{cloud-key}", "", "200", ""),
    case("GET cloud-keys?account={account}&key_set={vault}", "", "200", ""),
    case("GET cloud-key-stores?account={account}", "", "200", ""),
    case("GET cloud-key-stores?key_set={vault}", "", "400 invalid-parameter key_set", ""),
    case("GET cloud-keys/{cloud-key}/last-use", "", "404 not-found", ""),
    case("GET cloud-keys/SOME_ID/last-use", "", "404 not-found", ""),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}", "description": "d", "tags": {"team": "pay"}, "wanted": "disabled", "policy": {"people":
        {"administrators": ["arn:aws:iam::111122223333:role/admin"], "users": []}}}"#, "201",
        "create cloud-keys/* done"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}", "policy": {"json": "{\"Statement\": []}"}}"#, "201", "create cloud-keys/* done"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}", "policy": {"json": "[]"}}"#, "422 invalid-field policy", "create cloud-keys refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}", "policy": {"people": {"users": ["bob"]}}}"#, "422 invalid-field users",
        "create cloud-keys refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "n", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}"}"#, "422 invalid-field alias", "create cloud-keys refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/salaries", "key": "{key}", "cloud_key_store":
        "{cloud-key-store}"}"#, "409 taken alias", "create cloud-keys/* refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "absent", "cloud_key_store":
        "{cloud-key-store}"}"#, "422 invalid-field key", "create cloud-keys/* refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "key": "{key}", "cloud_key_store":
        "SOME_ID"}"#, "422 invalid-field cloud_key_store", "create cloud-keys refused"),
    case("PATCH cloud-keys/{cloud-key}", r#"{"alias": "alias/pay", "description": "d", "tags": {"a": "b"},
        "policy": {"people": {}}, "wanted": {"deleted": 7}}"#, "200", "update cloud-keys/{cloud-key} done"),
    case("PATCH cloud-keys/{cloud-key}", r#"{"wanted": {"deleted": 6}}"#, "422 invalid-field waiting_days",
        "update cloud-keys/{cloud-key} refused"),
    case("PATCH cloud-keys/{cloud-key}", r#"{"tags": {"aws:x": "y"}}"#, "422 invalid-field tags",
        "update cloud-keys/{cloud-key} refused"),
    case("PATCH cloud-keys/{cloud-key}", r#"{"key": "other"}"#, "422 invalid-field key",
        "update cloud-keys/{cloud-key} refused"),
    case("POST cloud-keys", r#"{"key_set": "{hsm}", "alias": "alias/n", "account": "{account}", "region": "us-east-2",
        "import": {"style": "in-place", "expires": "2040-01-01T00:00:00Z", "rotation": "never", "ending_within_days": 30}}"#, "201",
        "add-material cloud-keys/* done"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "account": "{account}", "import":
        {"style": "new-key", "expires": "2001-01-01T00:00:00Z"}}"#, "422 invalid-field expires",
        "create cloud-keys/* refused"),
    case("PATCH cloud-keys/{own}", r#"{"import": {"expires": "2001-01-01T00:00:00Z"}}"#,
        "422 invalid-field expires", "update cloud-keys/{own} refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "import": {"style": "new-key"}}"#,
        "422 invalid-field account", "create cloud-keys refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "account": "{account}", "import":
        {"style": "other"}}"#, "422 invalid-field style", "create cloud-keys refused"),
    case("POST cloud-keys", r#"{"key_set": "{vault}", "alias": "alias/n", "cloud_key_store": "{cloud-key-store}",
        "import": {"style": "new-key"}}"#, "422 invalid-field import", "create cloud-keys refused"),
    case("PATCH cloud-keys/{own}", r#"{"import": {"expires": "2040-01-01T00:00:00Z", "keep_days": 90,
        "rotation": "{schedule}", "ending_within_days": 45}}"#, "200", "update cloud-keys/{own} done"),
    case("PATCH cloud-keys/{own}", r#"{"import": {"ending_within_days": 361}}"#, "422 invalid-field ending_within_days",
        "update cloud-keys/{own} refused"),
    case("PATCH cloud-keys/{own}", r#"{"import": {"style": "in-place"}}"#, "422 invalid-field import.style",
        "update cloud-keys/{own} refused"),
    case("PATCH cloud-keys/{cloud-key}", r#"{"import": {}}"#, "422 invalid-field import",
        "update cloud-keys/{cloud-key} refused"),
    case("GET cloud-keys/{own}/materials", "", "200", ""),
    case("GET cloud-keys/SOME_ID/materials", "", "404 not-found", ""),
    case("GET cloud-keys/{own}/materials/1", "", "200", ""),
    case("GET cloud-keys/{own}/materials/2", "", "404 not-found", ""),
    case("GET cloud-keys/{own}/status", "", "200", ""),
    case("POST cloud-keys/{own}/rotate", "", "200", "add-material cloud-keys/{own} done"),
    case("POST cloud-keys/{cloud-key}/rotate", "", "422 invalid-field origin",
        "add-material cloud-keys/{cloud-key} refused"),
    case("POST cloud-keys/{own}/materials/1/remove", "", "200", "update cloud-materials/* done"),
    case("POST cloud-keys/{own}/materials/2/remove", "", "404 not-found", "remove-material cloud-keys/{own} refused"),
    case("POST cloud-keys/{own}/materials/1/upload", "", "200", "update cloud-materials/* done"),
    case("POST cloud-keys/{own}/materials/1/set-former", r#"{"former": "disabled"}"#, "200",
        "update cloud-materials/* done"),
    case("POST cloud-keys/{own}/materials/1/set-former", "{}", "422 invalid-field former",
        "set-former cloud-keys/{own} refused"),
    case("POST cloud-keys/{own}/materials/1/destroy-material", "", "200", "destroy cloud-materials/* done"),
    case("POST cloud-keys/{own}/materials/2/destroy-material", "", "404 not-found",
        "destroy-material cloud-keys/{own} refused"),
    case("DELETE cloud-keys/{own}", "", "409 in-use", "remove cloud-keys/{own} refused"),
    case("GET cloud-accounts/{account}/kms-keys", "", "200", ""),
    case("GET cloud-accounts/{account}/kms-keys?region=EU", "", "422 invalid-field region", ""),
    case("POST cloud-keys/adopt", r#"{"account": "{account}", "key_set": "{vault}", "kms_key": "alias/theirs",
        "import": {"style": "new-key"}}"#, "422 invalid-field kms_key", "adopt cloud-keys refused"),
    case("DELETE cloud-keys/{cloud-key}", "", "200", "remove cloud-keys/{cloud-key} done"),

    case("GET jobs", "", "200", ""),
    case("GET jobs?limit=1&after={job}", "", "200", ""),
    case("GET jobs?after=x", "", "400 invalid-parameter after", ""),
    case("GET jobs?state=planned&account={account}&object=cloud-key-stores/{cloud-key-store}", "", "200", ""),
    case("GET jobs?key_set={vault}", "", "200", ""),
    case("GET jobs?state=lost", "", "400 invalid-parameter state", ""),
    case("GET jobs/{job}", "", "200", ""),
    case("GET jobs/SOME_ID", "", "404 not-found", ""),
    case("GET jobs/no-id", "", "404 not-found", ""),
    case("POST jobs/plan", r#"{"cloud_key_store": "{cloud-key-store}"}"#, "200", ""),
    case("POST jobs/plan", r#"{"cloud_key": "{cloud-key}"}"#, "200", ""),
    case("POST jobs/plan", r#"{"cloud_account": "{account}"}"#, "200", ""),
    case("POST jobs/plan", r#"{"orphans_of": "{account}"}"#, "200", ""),
    case("POST jobs", r#"{"orphans_of": "{account}", "observed": "other"}"#, "409 plan-outdated",
        "start jobs refused"),
    case("POST jobs", r#"{"orphans_of": "{account}"}"#, "201", "start jobs/* begun"),
    case("POST jobs/plan", r#"{"cloud_key": "SOME_ID"}"#, "404 not-found", ""),
    case("POST jobs/plan", "{}", "422 invalid-field cloud_key", ""),
    case("POST jobs", r#"{"cloud_key_store": "{unused-cloud-key-store}"}"#, "201", "start jobs/* begun"),
    case("POST jobs", r#"{"cloud_key_store": "{cloud-key-store}"}"#, "409 job-under-way", "start jobs refused"),
    case("POST jobs", r#"{"cloud_key": "{cloud-key}", "observed": "other"}"#, "409 plan-outdated",
        "start jobs refused"),
    case("POST jobs", r#"{"cloud_key": "{cloud-key}", "cloud_key_store": "{cloud-key-store}"}"#,
        "422 invalid-field cloud_key", "start jobs refused"),
    case("POST jobs", r#"{"cloud_key": "SOME_ID"}"#, "404 not-found", "start jobs refused"),
    case("POST jobs", r#"{"cloud_account": "SOME_ID"}"#, "404 not-found", "start jobs refused"),
    case("POST jobs/{job}/cancel", "", "200", "cancel jobs/{job} done"),
    case("POST jobs/no-id/cancel", "", "404 not-found", "cancel jobs/no-id refused"),
    case("POST jobs/{job}/retry", "", "200", "retry jobs/{job} done"),
    case("POST jobs/SOME_ID/retry", "", "404 not-found", "retry jobs/SOME_ID refused"),

    case("GET keys?key_set={vault}&tenant={tenant}&name=salaries", "", "200", ""),
    case("GET keys?key_set=x", "", "400 invalid-parameter key_set", ""),
    case("GET keys/{key}", "", "200", ""),
    case("GET keys/absent", "", "404 not-found", ""),
    case("GET keys/{key}/usage", "", "200", ""),
    case("GET keys/absent/usage", "", "404 not-found", ""),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "description": "d", "rotation": "{schedule}",
        "expires": "2030-01-01T00:00:00Z", "is_active": false}"#, "201", "create keys/* done"),
    case("POST keys", r#"{"key_set": "{hsm}", "name": "n"}"#, "201", "create keys/* done"),
    case("POST keys", r#"{"key_set": "{adopted}", "name": "n"}"#, "422 invalid-field key_set", "create keys/* refused"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "count": 3}"#, "201", "create keys/* done"),
    case("POST keys", r#"{"key_set": "{hsm}", "name": "n", "count": 3}"#, "201", "create keys/* done"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "count": 1001}"#, "422 invalid-field count",
        "create keys refused"),
    case("POST keys", r#"{"key_set": "SOME_ID", "name": "n", "count": 2}"#, "404 not-found", "create keys/* refused"),
    case("POST keys", r#"{"key_set": "SOME_ID", "name": "n"}"#, "404 not-found", "create keys/* refused"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "expires": "tomorrow"}"#, "422 invalid-field expires",
        "create keys refused"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "expires": "2020-01-01T00:00:00Z"}"#,
        "422 invalid-field expires", "create keys/* refused"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "rotation": "weekly"}"#, "422 invalid-field rotation",
        "create keys refused"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "legacy_metadata": "00"}"#,
        "422 invalid-field legacy_metadata", "create keys refused"),
    case("POST keys", r#"{"key_set": "{adopted}", "name": "n", "backend_key": "made-elsewhere",
        "earlier_encryptions": 7, "legacy_metadata": "6b3d31"}"#, "201", "adopt keys/made-elsewhere done"),
    case("POST keys", r#"{"key_set": "{adopted}", "name": "n", "backend_key": "absent"}"#, "422 backend-key-not-found",
        "adopt keys/absent failed"),
    case("POST keys", r#"{"key_set": "{vault}", "name": "n", "backend_key": "made-elsewhere"}"#,
        "422 invalid-field key_set", "adopt keys/made-elsewhere refused"),
    case("POST keys", r#"{"key_set": "{adopted}", "name": "n", "backend_key": "made-elsewhere", "legacy_metadata":
        "xy"}"#, "422 invalid-field legacy_metadata", "create keys refused"),
    case("PATCH keys/{key}", r#"{"description": "of 2027"}"#, "200", "rename keys/{key} done"),
    case("PATCH keys/{key}", r#"{"name": " n"}"#, "422 invalid-field name", "rename keys/{key} refused"),
    case("PATCH keys/absent", "{}", "404 not-found", "rename keys/absent refused"),
    case("DELETE keys/{key}", "", "405 no-such-method", ""),

    case("POST keys/{key}/activate", "", "200", "activate keys/{key} done"),
    case("POST keys/{key}/enable", "", "200", "enable keys/{key} done"),
    case("POST keys/{key}/disable", "{}", "200", "disable keys/{key} done"),
    case("POST keys/{key}/deactivate", "", "200", "deactivate keys/{key} done"),
    case("POST keys/absent/disable", "", "404 not-found", "disable keys/absent refused"),
    case("POST keys/{key}/disable", r#"{"now": true}"#, "422 invalid-field now", "disable keys/{key} refused"),
    case("POST keys/{key}/set-expiry", r#"{"expires": "2030-01-01T00:00:00Z"}"#, "200", "set-expiry keys/{key} done"),
    case("POST keys/{key}/set-expiry", r#"{"expires": null}"#, "200", "set-expiry keys/{key} done"),
    case("POST keys/{key}/set-expiry", "{}", "422 invalid-field expires", "set-expiry keys/{key} refused"),
    case("POST keys/{key}/set-expiry", r#"{"expires": "2001-01-01T00:00:00Z"}"#, "422 invalid-field expires",
        "set-expiry keys/{key} refused"),
    case("POST keys/{key}/set-rotation", r#"{"rotation": "never"}"#, "200", "set-rotation keys/{key} done"),
    case("POST keys/{key}/set-rotation", r#"{"rotation": "SOME_ID"}"#, "422 invalid-field rotation",
        "set-rotation keys/{key} refused"),
    case("POST keys/{key}/set-minima", r#"{"min_encrypt": 2, "min_decrypt": 1, "min_kept": 1}"#, "200",
        "set-minima keys/{key} done"),
    case("POST keys/{key}/set-minima", r#"{"min_encrypt": 9, "min_decrypt": 1, "min_kept": 1}"#,
        "422 invalid-field min_encrypt", "set-minima keys/{key} refused"),
    case("POST keys/{key}/set-minima", r#"{"min_encrypt": 1, "min_decrypt": -1, "min_kept": 1}"#,
        "422 invalid-field min_decrypt", "set-minima keys/{key} refused"),
    case("POST keys/{key}/schedule-deletion", r#"{"waiting_days": 9}"#, "200", "schedule-deletion keys/{key} done"),
    case("POST keys/{key}/schedule-deletion", r#"{"waiting_days": 40}"#, "422 invalid-field waiting_days",
        "schedule-deletion keys/{key} refused"),
    case("POST keys/{key}/cancel-deletion", "", "409 key-state", "cancel-deletion keys/{key} refused"),
    case("POST keys/{key}/destroy", "", "409 key-state", "destroy keys/{key} refused"),
    case("POST keys/{key}/rotate", "", "200", "rotate keys/{key} done"),
    case("POST keys/absent/rotate", "", "404 not-found", "rotate keys/absent refused"),
    case("POST keys/{key}/explode", "", "404 no-such-path", ""),

    case("GET keys/{key}/versions", "", "200", ""),
    case("GET keys/absent/versions", "", "404 not-found", ""),
    case("POST keys/{key}/versions", "", "201", "add-version keys/{key} done"),
    case("POST keys/absent/versions", "", "404 not-found", "add-version keys/absent refused"),
    case("GET keys/{key}/versions/{old}", "", "200", ""),
    case("GET keys/{key}/versions/00000000", "", "404 not-found", ""),
    case("GET keys/{key}/versions/first", "", "404 not-found", ""),
    case("POST keys/{key}/versions/{old}/promote", "", "200", "promote keys/{key} done"),
    case("POST keys/{key}/versions/{old}/revoke", "", "200", "revoke keys/{key} done"),
    case("POST keys/{key}/versions/{current}/revoke", "", "409 current-version", "revoke keys/{key} refused"),
    case("POST keys/{key}/versions/{old}/restore", "", "200", "restore keys/{key} done"),
    case("POST keys/{key}/versions/{current}/restore", "", "409 version-state", "restore keys/{key} refused"),
    case("POST keys/{key}/versions/{old}/destroy-version", "", "409 version-kept",
        "destroy-version keys/{key} refused"),
    case("POST keys/{key}/versions/00000000/revoke", "", "404 not-found", "revoke keys/{key} refused"),
    case("POST keys/{key}/versions/first/revoke", "", "404 not-found", "revoke keys/{key} refused"),

    case("GET events", "", "200", ""),
    case("GET events?last=5", "", "200", ""),
    case("GET events?after=5&limit=2", "", "200", ""),
    case("GET events?after=5&last=2", "", "422 invalid-field last", ""),
    case("GET events?after=x", "", "400 invalid-parameter after", ""),
    case("POST events", "{}", "405 no-such-method", ""),
    case("GET nodes?name=a&limit=5&after=b", "", "200", ""),
    case("GET nodes?colour=red", "", "400 invalid-parameter colour", ""),
    case("GET nodes/process.1", "", "404 not-found", ""),
    case("POST nodes", "{}", "405 no-such-method", ""),
    case("GET nothing", "", "404 no-such-path", ""),
];

/// The commands that commit nothing: jobs are no part of the revision.
fn commits(path: &str) -> bool {
    !path.ends_with("/verify-backend") && !path.starts_with("/admin/v1/jobs")
}

/// A path that is forgotten here would not be tried by the test below.
#[test]
fn each_path_of_the_api_is_answered_with_success_in_a_case() {
    let site = Site::new();
    let successes: Vec<_> = CASES
        .iter()
        .filter(|case| case.answer.starts_with('2'))
        .map(|case| {
            let (method, path) = case.request.split_once(' ').unwrap();
            let path = site.fill(path.split('?').next().unwrap());
            (method, format!("/admin/v1/{path}"))
        })
        .collect();
    let is_of = |pattern: &str, path: &str| {
        let (patterns, parts) = (pattern.split('/'), path.split('/'));
        let is_same = |(pattern, part): (&str, &str)| pattern == part || pattern.starts_with('{');
        pattern.split('/').count() == path.split('/').count() && patterns.zip(parts).all(is_same)
    };
    let paths = Admin::paths();
    assert!(paths.len() > 50, "{}", paths.len());
    let untried: Vec<_> = paths
        .iter()
        .filter(|(method, pattern)| {
            let tries = |(of, path): &(&str, String)| *of == method.as_str() && is_of(pattern, path);
            !successes.iter().any(tries)
        })
        .collect();
    // These need more than one request, and have tests of their own.
    let elsewhere = [
        "/take-secret",
        "/destroy",
        "/destroy-version",
        "/cancel-deletion",
        "/nodes/{id}",
        "/last-use",
        "/cloud-keys/adopt",
    ];
    let is_known = |(_, path): &&&(http::Method, String)| elsewhere.iter().any(|end| path.ends_with(end));
    let unknown: Vec<_> = untried.iter().filter(|path| !is_known(path)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn each_path_answers_as_it_should_and_each_command_is_an_event() {
    let mut wrong = Vec::new();
    for case in CASES {
        let mut site = Site::new();
        if case.request.contains("{own}") {
            let own = serde_json::json!({"key_set": "{vault}", "alias": "alias/own", "account": "{account}",
                "import": {"style": "new-key"}});
            site.make("own", "cloud-keys", own);
        }
        let before = site.last_event();
        let (method, path) = case.request.split_once(' ').unwrap();
        let path = format!("/admin/v1/{}", path.replace("SOME_ID", SOME_ID));
        let body = site.fill(&case.body.replace("SOME_ID", SOME_ID));
        let reply = site.send_raw(method, &site.fill(&path), &[("content-type", "application/json")], body);
        let answer = match reply.status.is_success() {
            true => reply.status.as_str().to_owned(),
            false => {
                assert_eq!(reply.body["status"], reply.status.as_u16());
                assert!(!reply.text("title").is_empty() && !reply.text("detail").is_empty());
                let told = format!(
                    "{} {} {}",
                    reply.status.as_str(),
                    reply.text("code"),
                    reply.text("field")
                );
                told.trim().to_owned()
            }
        };
        let events = site.events_after(before);
        let event = events.last().cloned().unwrap_or_default();
        let expected = site.fill(&case.event.replace("SOME_ID", SOME_ID));
        // A generated id has 24 characters, that of a credential 26.
        let fits = match expected.split_once('*') {
            Some((head, tail)) => {
                // A generated id, or the object that a refused creation would have made.
                event.starts_with(head)
                    && event.ends_with(tail)
                    && matches!(event.len() - head.len() - tail.len(), 24 | 26)
            }
            None => event == expected,
        };
        if answer != case.answer || !fits {
            let Case { request, body, .. } = case;
            wrong.push(format!("{request} {body}\n  {answer}, event `{event}`: {}", reply.body));
        }
        // Whatever changes something says which nodes have confirmed that, and nothing else does.
        let changes = reply.status.is_success() && method != "GET" && commits(&path);
        let confirmation = &reply.body["confirmation"];
        assert_eq!(confirmation.is_object(), changes, "{}: {}", case.request, reply.body);
        if changes {
            assert_eq!(confirmation["confirmed"], true, "{}", case.request);
            assert_eq!(confirmation["is_one_process"], true, "{}", case.request);
        }
        if reply.status == 201 {
            let place = reply.headers["location"].to_str().unwrap();
            assert_eq!(site.send("GET", place, None).status, 200, "{place}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The life of a key from its creation to its end, with the waiting time and the typed name.
#[test]
fn a_key_that_may_be_needed_is_destroyed_by_its_typed_name_after_its_waiting_time() {
    let site = Site::new();
    let body = serde_json::json!({"key_set": "{adopted}", "name": "of old", "backend_key": "made-elsewhere"});
    assert_eq!(site.send("POST", "/admin/v1/keys", Some(body)).status, 201);
    let command = |name: &str, body: Option<Value>| {
        let reply = site.send("POST", &format!("/admin/v1/keys/made-elsewhere/{name}"), body);
        format!(
            "{} {}{}",
            reply.status.as_str(),
            reply.text("code"),
            reply.text("state")
        )
    };
    assert_eq!(command("schedule-deletion", None), "200 pending-deletion");
    assert_eq!(command("cancel-deletion", None), "200 disabled");
    assert_eq!(command("schedule-deletion", None), "200 pending-deletion");
    assert_eq!(command("destroy", None), "409 waiting");
    site.wait_days(7);
    assert_eq!(command("destroy", None), "409 needed");
    let typed = |name: &str| Some(serde_json::json!({"typed_name": name}));
    assert_eq!(command("destroy", typed("other")), "409 typed-name");
    assert_eq!(command("destroy", typed("of old")), "200 destroyed");
    let left = site.send("GET", "/admin/v1/keys/made-elsewhere", None);
    assert_eq!(left.text("state"), "destroyed");
}
