//! Many keys, made by one call.

use xks_pkcs11_fixture::{Counters, Function, Numbering, When};

use super::*;

fn create_many(backend: &Pkcs11Backend, keys: &[NewKey]) -> Vec<Result<KeyId, ManageError>> {
    run(backend.create_keys(keys, later()))
}

fn new_keys(numbers: std::ops::Range<u8>) -> Vec<NewKey> {
    numbers
        .map(|number| for_xks(number, &format!("many-{number}")))
        .collect()
}

fn labels(backend: &Pkcs11Backend) -> Vec<String> {
    let labels = list(backend, 100).into_iter().map(|key| key.label);
    labels.filter(|label| label.starts_with("many")).collect()
}

/// How many calls there were, beside those that make keys, and how many searches.
fn calls(before: &Counters, after: &Counters) -> (u64, u64) {
    let total = |counters: &Counters| counters.calls.values().sum::<u64>() - counters.of(Function::C_GenerateKey);
    let searches = |counters: &Counters| counters.of(Function::C_FindObjectsInit);
    (total(after) - total(before), searches(after) - searches(before))
}

/// At most three calls for each key beside its making, and a search before and after all of them.
#[test]
fn many_keys_take_few_calls() {
    own_process("manage::many::many_keys_take_few_calls", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for (dispatch, lookup) in BOTH.into_iter().zip([KeyLookup::Label, KeyLookup::Id]) {
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| {
                config.dispatch(dispatch).key_lookup(lookup)
            });
            let backend = &*scene.backend;
            let new = new_keys(1..21);
            let before = shim.counters();
            let made = create_many(backend, &new);
            let after = shim.counters();
            let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
            let (calls, searches) = calls(&before, &after);
            assert!(calls <= 3 * 20 && searches <= 2, "{calls} calls, {searches} searches");
            assert_eq!(hsm.keys(TOKEN).len(), KEYS.len() + 20);
            for (id, new) in made.iter().zip(&new) {
                run(round_trip(backend, id.as_str(), b"plaintext")).unwrap();
                let described = describe(backend, id).unwrap();
                assert_eq!((described.token, described.is_extractable), (Some(new.token()), false));
                assert_eq!(*described.label, *new.label().as_str());
            }
            // They are made once, whichever of them are asked for again, alone or with others.
            let again = create_many(backend, &new_keys(1..24));
            let again: Vec<_> = again.into_iter().map(Result::unwrap).collect();
            assert_eq!(again[..20], made);
            assert_eq!(
                create_many(backend, &new[..2])
                    .into_iter()
                    .map(Result::unwrap)
                    .collect::<Vec<_>>(),
                made[..2]
            );
            assert_eq!(hsm.keys(TOKEN).len(), KEYS.len() + 23);
            for id in &again {
                destroy(backend, id.as_str()).unwrap();
            }
            scene.end();
        }
    });
}

/// What cannot be made is refused, and the others are made; a token without room is asked no more.
#[test]
fn some_of_many_are_refused() {
    own_process("manage::many::some_of_many_are_refused", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let mut new = new_keys(1..9);
        new[1] = for_xks(2, "known");
        new[3] = for_xks(3, "many-4");
        new[5] = for_xks(6, "many-1");
        let outcomes = create_many(backend, &new);
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match number {
                1 | 5 => drop(assert_refused(outcome, ManageErrorKind::LabelTaken)),
                3 => drop(assert_refused(outcome, ManageErrorKind::TokenTaken)),
                _ => drop(outcome.unwrap()),
            }
        }
        assert_eq!(labels(backend).len(), 5);
        scene
            .shim
            .fail(Function::C_GenerateKey, CKR_DEVICE_MEMORY, When::always());
        let before = scene.shim.counters().of(Function::C_GenerateKey);
        for outcome in create_many(backend, &new_keys(10..15)) {
            assert_refused(outcome, ManageErrorKind::Full);
        }
        assert_eq!(scene.shim.counters().of(Function::C_GenerateKey) - before, 1);
        scene.shim.clear();
        let late = run(backend.create_keys(&new_keys(10..12), Instant::now()));
        for outcome in late {
            assert_refused(outcome, ManageErrorKind::Timeout);
        }
        assert_eq!(labels(backend).len(), 5);
        assert!(create_many(backend, &[]).is_empty());
        scene.end();
    });
}

/// Any call fails, with or without effect, in the middle of many: repetitions make each key once.
#[test]
fn a_call_fails_among_many() {
    own_process("manage::many::a_call_fails_among_many", |hsm| {
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        let mut number = 0;
        for function in [
            Function::C_FindObjects,
            Function::C_GetAttributeValue,
            Function::C_GenerateKey,
        ] {
            for code in [CKR_DEVICE_ERROR, CKR_USER_NOT_LOGGED_IN] {
                for is_lost in [false, true]
                    .into_iter()
                    .take(1 + usize::from(function == Function::C_GenerateKey))
                {
                    let new = new_keys(number..number + 4);
                    number += 4;
                    let when = When::once().after(2);
                    match is_lost {
                        true => scene.shim.lose(function, code, when),
                        false => scene.shim.fail(function, code, when),
                    }
                    let how = format!("{function:?}, {code:#x}, lost: {is_lost}");
                    let first = create_many(backend, &new);
                    scene.shim.clear();
                    let again: Vec<_> = create_many(backend, &new).into_iter().map(Result::unwrap).collect();
                    for (first, again) in first.into_iter().zip(&again) {
                        assert!(first.is_err() || first.is_ok_and(|first| first == *again), "{how}");
                        run(round_trip(backend, again.as_str(), b"plaintext")).unwrap();
                    }
                    assert_eq!(labels(backend).len(), usize::from(number), "{how}");
                }
            }
        }
        scene.end();
    });
}

/// Handles that are good in one session, or go to the next object, and a token that has more keys than are to
/// be made.
#[test]
fn many_keys_on_other_modules() {
    own_process("manage::many::many_keys_on_other_modules", |hsm| {
        make_keys(hsm);
        for numbering in [
            Numbering::Reused,
            Numbering::Session(CKR_OBJECT_HANDLE_INVALID),
            Numbering::SessionFromOne(CKR_KEY_HANDLE_INVALID),
        ] {
            let shim = Shim::load();
            shim.numbering(numbering);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let backend = &*scene.backend;
            for keys in [&new_keys(1..12)[..], &new_keys(12..13)] {
                for made in create_many(backend, keys) {
                    run(round_trip(backend, made.unwrap().as_str(), b"plaintext")).unwrap();
                }
            }
            for made in new_keys(1..13) {
                destroy(backend, made.label().as_str()).unwrap();
            }
            assert_eq!(labels(backend), Vec::<String>::new());
            scene.end();
        }
    });
}
