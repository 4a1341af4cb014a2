//! Slots, tokens, sessions and the login.

use super::*;

#[test]
fn initialization_is_with_the_systems_locks_and_the_parameters() {
    let (cryptoki, _answering) = module(|call| {
        let Call::Initialize { flags, reserved } = call else {
            panic!("another call");
        };
        assert_eq!(flags, ck::CKF_OS_LOCKING_OK);
        match reserved {
            Some(text) => assert_eq!(text, c"configdir='/x'"),
            None => return ck::CKR_ARGUMENTS_BAD,
        }
        ck::CKR_OK
    });
    cryptoki.initialize(Some(c"configdir='/x'"), Locking::System).unwrap();
    assert_fails(
        cryptoki.initialize(None, Locking::System),
        "C_Initialize",
        ck::CKR_ARGUMENTS_BAD,
    );
}

/// The number of slots that each pair of calls says.
fn slots(says: &'static [(ck::CK_ULONG, ck::CK_ULONG, ck::CK_RV)]) -> (Result<Vec<ck::CK_SLOT_ID>, CallError>, usize) {
    let count = Count::default();
    let calls = count.clone();
    let (cryptoki, _answering) = module(move |call| {
        let Call::GetSlotList { slots, count: place } = call else {
            panic!("another call");
        };
        let (number, listed, code) = says[calls.next() / 2];
        match slots {
            None => *place = number,
            Some(slots) => {
                assert_eq!(*place, slots.len() as ck::CK_ULONG);
                slots.iter_mut().zip(1..).for_each(|(slot, id)| *slot = id);
                *place = listed;
                return code;
            }
        }
        ck::CKR_OK
    });
    (cryptoki.slots(), count.get())
}

#[test]
fn slots_are_as_many_as_the_second_call_says_and_no_more_than_there_is_room_for() {
    use ck::{CKR_BUFFER_TOO_SMALL as TOO_SMALL, CKR_OK as OK};
    let unknown = ck::CK_UNAVAILABLE_INFORMATION;
    assert_eq!(slots(&[(2, 2, OK)]).0.unwrap(), [1, 2]);
    assert_eq!(slots(&[(0, 0, OK)]).0.unwrap(), [0_u64; 0]);
    assert_eq!(slots(&[(3, 1, OK)]).0.unwrap(), [1], "one went");
    assert_eq!(slots(&[(2, 5, OK)]).0.unwrap(), [1, 2], "a lie");
    const { assert!(ck::CK_UNAVAILABLE_INFORMATION == ck::CK_ULONG::MAX) };
    assert_eq!(slots(&[(1, ck::CK_UNAVAILABLE_INFORMATION, OK)]).0.unwrap(), [1]);
    assert_eq!(slots(&[(1, 2, TOO_SMALL), (2, 2, OK)]).0.unwrap(), [1, 2], "one came");
    // More than anybody has: there is room for some, and the module does not fill it.
    assert_eq!(slots(&[(ck::CK_UNAVAILABLE_INFORMATION, 2, OK)]).0.unwrap(), [1, 2]);
    assert_eq!(slots(&[(1 << 61, 1 << 61, OK)]).0.unwrap().len(), MOST_SLOTS);
    assert!(unknown > MOST_SLOTS as ck::CK_ULONG);
}

/// What was never filled is not taken for slots.
#[test]
fn slots_that_never_find_room_are_an_error() {
    let (outcome, calls) = slots(&[(1, 2, ck::CKR_BUFFER_TOO_SMALL); 9]);
    assert_fails(outcome, "C_GetSlotList", ck::CKR_BUFFER_TOO_SMALL);
    assert_eq!(calls, 6);
    assert_fails(
        slots(&[(1, 1, ck::CKR_DEVICE_ERROR)]).0,
        "C_GetSlotList",
        ck::CKR_DEVICE_ERROR,
    );
}

#[test]
fn a_tokens_texts_need_no_padding_and_no_encoding() {
    let (cryptoki, _answering) = module(|call| {
        let Call::GetTokenInfo { slot: 9, info } = call else {
            panic!("another call");
        };
        info.label = [b'x'; 32];
        info.manufacturerID = [b' '; 32];
        info.model = [0xff; 16];
        info.serialNumber = *b"12\0\0\0\0\0\0        ";
        info.flags = ck::CKF_LOGIN_REQUIRED;
        info.ulMaxSessionCount = 3;
        info.firmwareVersion = ck::CK_VERSION { major: 7, minor: 9 };
        ck::CKR_OK
    });
    let info = cryptoki.token_info(9).unwrap();
    assert_eq!(info.label, "x".repeat(32));
    assert_eq!(info.manufacturer, "");
    assert_eq!(info.model, "\u{fffd}".repeat(16));
    assert_eq!(info.serial, "12");
    assert_eq!((info.firmware, info.max_sessions), ((7, 9), Some(3)));
    assert!(info.wants_login() && !info.is_initialized() && !info.is_write_protected());
}

#[test]
fn a_token_that_does_not_count_its_sessions_has_as_many_as_one_likes() {
    for says in [ck::CK_EFFECTIVELY_INFINITE, ck::CK_UNAVAILABLE_INFORMATION] {
        let (cryptoki, _answering) = module(move |call| {
            if let Call::GetTokenInfo { info, .. } = call {
                info.ulMaxSessionCount = says;
            }
            ck::CKR_OK
        });
        assert_eq!(cryptoki.token_info(9).unwrap().max_sessions, None);
    }
}

#[test]
fn a_mechanism_has_the_flags_that_the_module_says() {
    let (cryptoki, _answering) = module(|call| {
        let Call::GetMechanismInfo {
            slot: 9,
            mechanism: ck::CKM_AES_GCM,
            info,
        } = call
        else {
            panic!("another call");
        };
        info.flags = ck::CKF_ENCRYPT;
        ck::CKR_OK
    });
    assert_eq!(
        cryptoki.mechanism_info(9, ck::CKM_AES_GCM).unwrap().flags,
        ck::CKF_ENCRYPT
    );
}

#[test]
fn sessions_are_opened_as_asked_and_closed_by_their_handle() {
    let (cryptoki, _answering) = module(|call| {
        match call {
            Call::OpenSession {
                slot: 9,
                flags,
                session,
            } => *session = flags,
            Call::CloseSession { session: 4 } => {}
            _ => panic!("another call"),
        }
        ck::CKR_OK
    });
    assert_eq!(cryptoki.open_session(9, false).unwrap(), ck::CKF_SERIAL_SESSION);
    assert_eq!(
        cryptoki.open_session(9, true).unwrap(),
        ck::CKF_SERIAL_SESSION | ck::CKF_RW_SESSION
    );
    cryptoki.close_session(4).unwrap();
}

#[test]
fn a_pin_is_passed_with_its_length_and_none_as_a_null_pointer() {
    for pin in [None, Some(&b""[..]), Some(b"1234")] {
        let (cryptoki, _answering) = module(move |call| {
            let Call::Login {
                session: 4,
                user,
                pin: given,
            } = call
            else {
                panic!("another call");
            };
            assert_eq!((user, given), (ck::CKU_USER, pin));
            ck::CKR_OK
        });
        cryptoki.log_in(4, pin).unwrap();
    }
}

#[test]
fn the_user_is_logged_in_in_two_states_alone() {
    for (state, expected) in [
        (ck::CKS_RO_USER_FUNCTIONS, true),
        (ck::CKS_RW_USER_FUNCTIONS, true),
        (ck::CKS_RO_PUBLIC_SESSION, false),
        (ck::CKS_RW_PUBLIC_SESSION, false),
        (ck::CKS_RW_SO_FUNCTIONS, false),
        (ck::CK_ULONG::MAX, false),
    ] {
        let (cryptoki, _answering) = module(move |call| {
            if let Call::GetSessionInfo { session: 4, info } = call {
                info.state = state;
            }
            ck::CKR_OK
        });
        assert_eq!(cryptoki.is_logged_in(4).unwrap(), expected, "{state}");
    }
}

#[test]
fn random_bytes_are_those_of_the_token() {
    let (cryptoki, _answering) = module(|call| {
        if let Call::GenerateRandom { session: 4, bytes } = call {
            bytes.iter_mut().zip(1..).for_each(|(place, byte)| *place = byte);
        }
        ck::CKR_OK
    });
    let mut bytes = [0; 5];
    cryptoki.random(4, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4, 5]);
    cryptoki.random(4, &mut []).unwrap();
}
