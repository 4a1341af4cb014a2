//! Searches, attributes and the making of keys.

use xks_pkcs11_fixture::fake::{Asked, Given};

use super::*;

const TEMPLATE: [Attribute<'static>; 3] = [
    Attribute::Number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
    Attribute::Flag(ck::CKA_TOKEN, true),
    Attribute::Bytes(ck::CKA_LABEL, b"key"),
];

fn assert_is_template(template: &[Given<'_>]) {
    let given: Vec<_> = template
        .iter()
        .map(|given| (given.kind, given.value.to_vec()))
        .collect();
    let expected = [
        (ck::CKA_CLASS, ck::CKO_SECRET_KEY.to_ne_bytes().to_vec()),
        (ck::CKA_TOKEN, vec![ck::CK_TRUE]),
        (ck::CKA_LABEL, b"key".to_vec()),
    ];
    assert_eq!(given, expected);
}

/// What is found when each call of `C_FindObjects` gives so many handles, and says that they are so many.
fn find(most: usize, gives: &'static [(usize, ck::CK_ULONG)]) -> (Vec<ck::CK_OBJECT_HANDLE>, usize) {
    let count = Count::default();
    let calls = count.clone();
    let mut next = 0;
    let (cryptoki, _answering) = module(move |call| {
        match call {
            Call::FindObjectsInit { session: 4, template } => assert_is_template(&template),
            Call::FindObjects {
                session: 4,
                objects,
                count,
            } => {
                let (given, said) = gives.get(calls.next()).copied().unwrap_or_default();
                for place in objects.iter_mut().take(given) {
                    next += 1;
                    *place = next;
                }
                *count = said;
            }
            Call::FindObjectsFinal { session: 4 } => {}
            _ => panic!("another call"),
        }
        ck::CKR_OK
    });
    (cryptoki.find(4, &TEMPLATE, most).unwrap(), count.get())
}

#[test]
fn objects_are_found_all_at_once_or_one_by_one_but_never_more_than_asked_for() {
    assert_eq!(find(2, &[]).0, [0_u64; 0]);
    assert_eq!(find(2, &[(1, 1)]).0, [1]);
    assert_eq!(find(3, &[(1, 1), (1, 1), (1, 1), (1, 1)]), (vec![1, 2, 3], 3));
    assert_eq!(find(2, &[(2, 2)]), (vec![1, 2], 1), "there is no room for another call");
    assert_eq!(find(2, &[(2, 7)]).0, [1, 2], "a lie");
    assert_eq!(find(2, &[(2, ck::CK_UNAVAILABLE_INFORMATION)]).0, [1, 2]);
    assert_eq!(find(3, &[(1, 1), (2, ck::CK_ULONG::MAX)]).0, [1, 2, 3]);
    assert_eq!(find(2, &[(0, 2)]).0, [0, 0], "what was not written is what was there");
    assert_eq!(find(0, &[(1, 1)]), (vec![], 0));
}

/// A search that fails is ended too, or the session could begin no other. An end that fails is tried once
/// more, and the test states what it leaves of the session.
#[test]
fn a_search_that_fails_is_ended() {
    for (fails, code, expected) in [
        ("C_FindObjects", ck::CKR_DEVICE_ERROR, 1),
        ("C_FindObjectsFinal", ck::CKR_OPERATION_ACTIVE, 2),
        ("C_FindObjectsInit", ck::CKR_DEVICE_ERROR, 0),
    ] {
        let ends = Count::default();
        let ended = ends.clone();
        let (cryptoki, _answering) = module(move |call| {
            let function = match call {
                Call::FindObjectsInit { .. } => "C_FindObjectsInit",
                Call::FindObjects { .. } => "C_FindObjects",
                _ => {
                    ended.next();
                    "C_FindObjectsFinal"
                }
            };
            if function == fails {
                ck::CKR_DEVICE_ERROR
            } else {
                ck::CKR_OK
            }
        });
        assert_fails(cryptoki.find(4, &TEMPLATE, 2), fails, code);
        assert_eq!(ends.get(), expected, "{fails}");
    }
}

/// What is read when the module answers each attribute so: a label, a number and a flag are asked for.
fn attributes(code: ck::CK_RV, tell: fn(Asked<'_>)) -> Result<[AttributeValue; 3], CallError> {
    let (cryptoki, _answering) = module(move |call| {
        let Call::GetAttributeValue {
            session: 4,
            object: 8,
            template,
        } = call
        else {
            panic!("another call");
        };
        let asked: Vec<_> = template.iter().map(|asked| (asked.kind, asked.room.len())).collect();
        let expected = [
            (ck::CKA_LABEL, AttributeValue::ROOM),
            (ck::CKA_VALUE_LEN, size_of::<ck::CK_ULONG>()),
            (ck::CKA_TOKEN, 1),
        ];
        assert_eq!(asked, expected);
        template.into_iter().for_each(tell);
        code
    });
    let wanted = [
        Wanted::Bytes(ck::CKA_LABEL),
        Wanted::Number(ck::CKA_VALUE_LEN),
        Wanted::Flag(ck::CKA_TOKEN),
    ];
    let values = cryptoki.attributes(4, 8, &wanted)?;
    Ok(values.try_into().unwrap_or_else(|_| panic!("three values")))
}

fn tell_all(mut asked: Asked<'_>) {
    let value = match asked.kind {
        ck::CKA_LABEL => b"key".to_vec(),
        ck::CKA_VALUE_LEN => 32_u64.to_ne_bytes().to_vec(),
        _ => vec![0xff],
    };
    assert_eq!(asked.answer(&value), ck::CKR_OK);
}

#[test]
fn attributes_are_as_the_module_says() {
    let [label, number, flag] = attributes(ck::CKR_OK, tell_all).unwrap();
    assert_eq!(label.bytes(), Some(&b"key"[..]));
    assert_eq!((number.number(), flag.flag()), (Some(32), Some(true)));
    assert_eq!(
        (label.number(), number.flag(), flag.number()),
        (None, Some(true), Some(0xff))
    );
}

/// Of a call that has failed nothing is believed.
#[test]
fn a_call_that_fails_tells_nothing() {
    for code in [ck::CKR_ATTRIBUTE_TYPE_INVALID, ck::CKR_OBJECT_HANDLE_INVALID] {
        assert_fails(attributes(code, tell_all), "C_GetAttributeValue", code);
    }
}

/// Booleans and numbers come in the widths that modules give them.
#[test]
fn widths_are_the_modules() {
    for (length, expected) in [(1, 1), (2, 0x0101), (4, 0x0101_0101), (8, 0x0101_0101_0101_0101)] {
        LENGTH.set(length);
        let [_, number, _] = attributes(ck::CKR_OK, |asked| {
            asked.room.fill(1);
            *asked.length = LENGTH.get();
        })
        .unwrap();
        assert_eq!((number.number(), number.flag()), (Some(expected), Some(true)));
    }
}

/// A length above the room is that of a value which was not given; one that is wrong for its kind makes no
/// value.
#[test]
fn lengths_that_lie_make_no_values() {
    for length in [
        AttributeValue::ROOM as ck::CK_ULONG + 1,
        1 << 32,
        ck::CK_ULONG::MAX / 2,
        ck::CK_UNAVAILABLE_INFORMATION,
    ] {
        LENGTH.set(length);
        let values = attributes(ck::CKR_OK, |asked| {
            asked.room.fill(1);
            *asked.length = LENGTH.get();
        });
        for value in values.unwrap() {
            assert_eq!((value.bytes(), value.number(), value.flag()), (None, None, None));
        }
    }
    // Longer than a number or a flag was given room for, but not than there is: no byte of it is another's.
    let [label, number, flag] = attributes(ck::CKR_OK, |asked| {
        asked.room.fill(1);
        *asked.length = 9;
    })
    .unwrap();
    assert_eq!(label.bytes(), Some(&[1; 9][..]));
    assert_eq!((number.number(), flag.flag()), (None, None));
    assert_eq!(number.bytes(), Some(&[1, 1, 1, 1, 1, 1, 1, 1, 0][..]));
    let [label, number, flag] = attributes(ck::CKR_OK, |asked| *asked.length = 0).unwrap();
    assert_eq!(
        (label.bytes(), number.number(), flag.flag()),
        (Some(&[][..]), None, None)
    );
}

thread_local! {
    static LENGTH: Cell<ck::CK_ULONG> = const { Cell::new(0) };
}

/// A module may find the values again, and write what it likes into the room it was given.
#[test]
fn what_is_written_and_not_told_stays_unread() {
    let values = attributes(ck::CKR_OK, |asked| {
        asked.room.fill(0xaa);
        *asked.length = if asked.kind == ck::CKA_LABEL {
            300
        } else {
            ck::CK_UNAVAILABLE_INFORMATION
        };
    });
    assert!(values.unwrap().iter().all(|value| value.bytes().is_none()));
}

#[test]
fn a_key_is_made_as_asked() {
    let (cryptoki, _answering) = module(|call| {
        let Call::GenerateKey {
            session: 4,
            mechanism: ck::CKM_AES_KEY_GEN,
            template,
            key,
        } = call
        else {
            panic!("another call");
        };
        assert_is_template(&template);
        *key = 8;
        ck::CKR_OK
    });
    assert_eq!(cryptoki.generate_key(4, ck::CKM_AES_KEY_GEN, &TEMPLATE).unwrap(), 8);
}

#[test]
fn the_object_that_was_meant_is_destroyed() {
    let (cryptoki, _answering) = module(|call| match call {
        Call::DestroyObject { session: 4, object: 8 } => ck::CKR_OK,
        _ => panic!("another call"),
    });
    cryptoki.destroy_object(4, 8).unwrap();
}

#[test]
fn a_pair_is_made_as_asked() {
    let (cryptoki, _answering) = module(|call| {
        let Call::GenerateKeyPair {
            session: 4,
            mechanism: ck::CKM_EC_KEY_PAIR_GEN,
            public_template,
            private_template,
            public,
            private,
        } = call
        else {
            panic!("another call");
        };
        assert_is_template(&public_template);
        assert_eq!(private_template.len(), 1);
        (*public, *private) = (8, 9);
        ck::CKR_OK
    });
    let private = [Attribute::Flag(ck::CKA_SIGN, true)];
    let made = cryptoki.generate_key_pair(4, ck::CKM_EC_KEY_PAIR_GEN, &TEMPLATE, &private);
    assert_eq!(made.unwrap(), (8, 9));
}

#[test]
fn an_object_is_made_as_asked() {
    let (cryptoki, _answering) = module(|call| {
        let Call::CreateObject {
            session: 4,
            template,
            object,
        } = call
        else {
            panic!("another call");
        };
        assert_is_template(&template);
        *object = 8;
        ck::CKR_OK
    });
    assert_eq!(cryptoki.create_object(4, &TEMPLATE).unwrap(), 8);
}

/// What makes objects gives out handles, whether it says that it has failed or not.
#[test]
fn makers_of_objects_move_the_clock_of_handles() {
    let (cryptoki, _answering) = module(|_| ck::CKR_DEVICE_ERROR);
    let makers: [fn(&Cryptoki) -> bool; 3] = [
        |module| module.generate_key(4, ck::CKM_AES_KEY_GEN, &TEMPLATE).is_err(),
        |module| {
            module
                .generate_key_pair(4, ck::CKM_EC_KEY_PAIR_GEN, &TEMPLATE, &[])
                .is_err()
        },
        |module| module.create_object(4, &TEMPLATE).is_err(),
    ];
    for fails in makers {
        let before = cryptoki.handles().now();
        assert!(fails(&cryptoki));
        assert_ne!(cryptoki.handles().now(), before);
    }
}
