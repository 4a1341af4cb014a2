//! Plans as pure functions: every combination of what is wanted and observed keeps the rules.

use xks_byok::{
    aws::{
        ConnectionErrorCode, ConnectionState, Connectivity, CustomKeyStore, KeyMetadata, KeyState, Origin,
        ProxyConfiguration,
    },
    observe::{Observed, ObservedKey},
    plan::{Action, Context, Desired, DesiredKey, DesiredKeyStore, Plan, Then, cause, lint, plan},
};
use xks_lifecycle::{DeletionDays, WantedKey, WantedKeyStore, key_state::KeyState as External};

const PATH: &str = "/test/kms/xks/v1";
const HOST: &str = "https://xks.example.com";

fn context() -> Context {
    let mut context = Context::default();
    context.operation = "operation".to_owned();
    context
}

fn linted(desired: &Desired, observed: &Observed, context: &Context) -> Plan {
    let plan = plan(desired, observed, context);
    let faults = lint(&plan, desired, observed, context);
    assert!(
        faults.is_empty(),
        "{faults:?}\n{desired:?}\n{observed:?}\n{context:?}\n{plan:#?}"
    );
    // What asks or waits asks or waits for something.
    match &plan.then {
        Then::Done => {}
        Then::Wait(text) | Then::Ask(text) => assert!(!text.is_empty()),
        other => panic!("{other:?}"),
    }
    plan
}

fn contexts() -> Vec<Context> {
    let mut all = Vec::new();
    for has_connected in [false, true] {
        for is_settling in [false, true] {
            let mut one = context();
            (one.has_connected, one.is_settling) = (has_connected, is_settling);
            all.push(one);
        }
    }
    all
}

fn key_store(state: ConnectionState, path: &str, endpoint: &str) -> CustomKeyStore {
    let mut store = CustomKeyStore::new("cks-1", "payroll", state);
    let proxy = ProxyConfiguration::new(Connectivity::PublicEndpoint, "ACCESSKEYID", endpoint, path);
    store.xks_proxy_configuration = Some(proxy);
    store
}

#[test]
fn plans_for_key_stores_keep_the_rules() {
    let mut states = ConnectionState::KNOWN.to_vec();
    states.push(ConnectionState::Other("NEW".into()));
    let mut count = 0;
    for wanted in WantedKeyStore::ALL {
        for id in [None, Some("cks-1".to_owned())] {
            for credential in [None, Some("ACCESSKEYID".to_owned()), Some("OTHER".to_owned())] {
                for vpc in [None, Some(("com.amazonaws.vpce.service".to_owned(), None))] {
                    let mut desired = DesiredKeyStore::new("payroll", HOST, PATH);
                    desired.wanted = wanted;
                    desired.id.clone_from(&id);
                    desired.access_key_id.clone_from(&credential);
                    desired.vpc.clone_from(&vpc);
                    let desired = Desired::KeyStore(desired);
                    let found = states.iter().flat_map(|state| {
                        [
                            (PATH, HOST),
                            ("/other/kms/xks/v1", HOST),
                            (PATH, "https://other.example.com"),
                        ]
                        .map(|(path, host)| Some(key_store(state.clone(), path, host)))
                    });
                    for found in found.chain([None]) {
                        for context in contexts() {
                            linted(&desired, &Observed::from(found.clone()), &context);
                            count += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{count} plans for key stores");
}

#[test]
fn plans_for_keys_keep_the_rules() {
    let mut states = KeyState::KNOWN.to_vec();
    states.push(KeyState::Other("NEW".into()));
    let days = DeletionDays::new(7).unwrap();
    let mut count = 0;
    for wanted in [WantedKey::Enabled, WantedKey::Disabled, WantedKey::Deleted(days)] {
        for external in External::ALL {
            for arn in [None, Some("arn:1".to_owned())] {
                for store in [None, Some(ConnectionState::Connected), Some(ConnectionState::Failed)] {
                    let mut desired = DesiredKey::new("alias/a", "external");
                    (desired.wanted, desired.external) = (wanted, external);
                    desired.arn.clone_from(&arn);
                    desired.policy = Some("{}".to_owned());
                    desired.tags.insert("a".to_owned(), "b".to_owned());
                    desired.custom_key_store_id = store.as_ref().map(|_| "cks-1".to_owned());
                    let desired = Desired::Key(desired);
                    for state in states.iter().map(Some).chain([None]) {
                        for alias in [None, Some("1".to_owned()), Some("2".to_owned())] {
                            let mut found = ObservedKey::default();
                            found.key_store = store.clone().map(|state| key_store(state, PATH, HOST));
                            found.alias_target = alias;
                            found.policy = Some(r#"{"Statement":[]}"#.to_owned());
                            found.metadata = state.map(|state| {
                                let mut key = KeyMetadata::new("1", "arn:1", Origin::ExternalKeyStore, state.clone());
                                key.xks_key_id = Some("external".to_owned());
                                key.custom_key_store_id = Some("cks-1".to_owned());
                                key
                            });
                            for context in contexts() {
                                linted(&desired, &Observed::from(found.clone()), &context);
                                count += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{count} plans for keys");
}

#[test]
fn the_lint_finds_what_is_wrong() {
    let desired = Desired::Key(DesiredKey::new("alias/a", "external"));
    let nothing = Observed::from(ObservedKey::default());
    let step = |action| {
        let mut key = DesiredKey::new("alias/a", "external");
        key.custom_key_store_id = Some("cks-1".to_owned());
        key.policy = Some("{}".to_owned());
        let mut found = ObservedKey::default();
        found.key_store = Some(key_store(ConnectionState::Connected, PATH, HOST));
        let mut steps = plan(&Desired::Key(key), &Observed::from(found), &context()).steps;
        steps[0].action = action;
        steps.truncate(1);
        steps.remove(0)
    };
    let days = 7;
    for (actions, fault) in [
        (vec![Action::ScheduleDeletion { days }], "not wanted gone"),
        (
            vec![Action::DisableKey, Action::CreateAlias { alias: "a".into() }],
            "the order",
        ),
        (vec![Action::EnableKey, Action::EnableKey], "twice"),
        (vec![Action::EnableKey, Action::DisableKey], "both enabled and disabled"),
    ] {
        let mut bad = Plan::default();
        bad.steps = actions.into_iter().map(step).collect();
        let faults = lint(&bad, &desired, &nothing, &context());
        assert!(faults.iter().any(|found| found.contains(fault)), "{fault}: {faults:?}");
    }
    let mut untagged = linted(
        &{
            let mut key = DesiredKey::new("alias/a", "external");
            key.custom_key_store_id = Some("cks-1".to_owned());
            key.policy = Some("{}".to_owned());
            Desired::Key(key)
        },
        &{
            let mut found = ObservedKey::default();
            found.key_store = Some(key_store(ConnectionState::Connected, PATH, HOST));
            Observed::from(found)
        },
        &context(),
    );
    let mut other = context();
    other.operation = "another".to_owned();
    assert!(lint(&untagged, &desired, &nothing, &other)[0].contains("tag"));
    other.operation = "operation".to_owned();
    other.is_settling = true;
    assert!(lint(&untagged, &desired, &nothing, &other)[0].contains("may not show"));
    untagged.steps[0].reason.clear();
    assert!(lint(&untagged, &desired, &nothing, &context())[0].contains("reason"));
}

#[test]
fn a_connection_that_fails_is_explained_and_tried_once() {
    let mut desired = DesiredKeyStore::new("payroll", HOST, PATH);
    desired.id = Some("cks-1".to_owned());
    let desired = Desired::KeyStore(desired);
    for code in ConnectionErrorCode::KNOWN {
        let mut found = key_store(ConnectionState::Failed, PATH, HOST);
        found.connection_error_code = Some(code.clone());
        let found = Observed::from(Some(found));
        let actions: Vec<_> = linted(&desired, &found, &context())
            .steps
            .into_iter()
            .map(|step| step.action)
            .collect();
        assert_eq!(actions, [Action::DisconnectKeyStore, Action::ConnectKeyStore]);
        let mut connected = context();
        connected.has_connected = true;
        let plan = linted(&desired, &found, &connected);
        let Then::Ask(question) = plan.then else {
            panic!("{plan:?}")
        };
        assert!(plan.steps.is_empty() && question.contains(code.as_str()), "{question}");
    }
}

#[test]
fn the_page_of_connection_errors_has_each_cause_and_cure() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connection-errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    for code in ConnectionErrorCode::KNOWN {
        let cause = cause(code);
        let row = format!("| `{code}` | {} | {} |", cause.cause, cause.cure);
        assert!(page.contains(&row), "{row}");
    }
}
