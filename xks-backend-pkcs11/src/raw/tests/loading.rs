//! The function list: where it is, which version it has, and what it lacks.

use std::sync::LazyLock;

use super::*;
use crate::threads::Gate;

/// A `C_GetFunctionList` that gives out the list at `$list`, and answers `$code`.
macro_rules! giving {
    ($list:expr, $code:expr) => {{
        unsafe extern "C" fn get_list(list: *mut *mut c_void) -> c_ulong {
            // SAFETY: the caller has a place for a pointer there.
            unsafe { list.write($list.cast_mut().cast()) };
            $code
        }
        // SAFETY: the list is a list of its version, and stays where it is.
        Cryptoki::link(&unsafe { LinkedModule::new("list", get_list) })
    }};
}

/// The list of version 2.0 ends before `C_WaitForSlotEvent`.
#[repr(C)]
struct Old {
    version: ck::CK_VERSION,
    functions: [usize; 67],
}

/// Those of version 3 go on.
#[repr(C)]
struct Newer {
    list: ck::CK_FUNCTION_LIST,
    more: [usize; 24],
}

const fn of_version(major: u8, minor: u8) -> ck::CK_VERSION {
    ck::CK_VERSION { major, minor }
}

#[test]
fn without_a_list_there_is_no_module() {
    let none = giving!(ptr::null::<ck::CK_FUNCTION_LIST>(), ck::CKR_OK);
    assert!(matches!(none, Err(LoadError::NoFunctionList)));
    // What a failing call has left behind is not looked at.
    let refused = giving!(ptr::dangling::<ck::CK_FUNCTION_LIST>(), ck::CKR_GENERAL_ERROR);
    let Err(LoadError::Call(error)) = refused else {
        panic!("it was loaded");
    };
    assert_eq!(error.code(), ReturnCode(ck::CKR_GENERAL_ERROR));
    assert_eq!(error.function(), "C_GetFunctionList");
}

#[test]
fn versions_that_are_too_old_are_told_by_their_first_bytes_alone() {
    static LONE: ck::CK_VERSION = of_version(1, 0);
    assert!(matches!(
        giving!(&raw const LONE, ck::CKR_OK),
        Err(LoadError::Version(1, 0))
    ));
    static OLD: Old = Old {
        version: of_version(2, 0),
        functions: [0; 67],
    };
    assert!(matches!(
        giving!(&raw const OLD, ck::CKR_OK),
        Err(LoadError::Version(2, 0))
    ));
    assert_eq!(
        OLD.functions.len() * size_of::<usize>() + 16,
        size_of::<ck::CK_FUNCTION_LIST>()
    );
}

#[test]
fn later_versions_begin_with_the_same_functions() {
    static TWO: LazyLock<ck::CK_FUNCTION_LIST> = LazyLock::new(|| ck::CK_FUNCTION_LIST {
        version: of_version(2, 1),
        ..fake::list()
    });
    static THREE: LazyLock<Newer> = LazyLock::new(|| Newer {
        list: ck::CK_FUNCTION_LIST {
            version: of_version(3, 1),
            ..fake::list()
        },
        more: [0; 24],
    });
    assert_eq!(THREE.more.len(), 24);
    for loaded in [
        giving!(&raw const *TWO, ck::CKR_OK),
        giving!(&raw const *THREE, ck::CKR_OK),
        Cryptoki::link(&linked()),
    ] {
        let _answering = fake::answer_by(|call| match call {
            Call::OpenSession { session, .. } => {
                *session = 5;
                ck::CKR_OK
            }
            _ => ck::CKR_GENERAL_ERROR,
        });
        assert_eq!(loaded.unwrap().0.open_session(1, true).unwrap(), 5);
    }
}

/// Lists may lie anywhere.
#[test]
fn a_list_need_not_be_aligned() {
    static BYTES: LazyLock<[u8; size_of::<ck::CK_FUNCTION_LIST>() + 1]> = LazyLock::new(|| {
        let mut bytes = [0; size_of::<ck::CK_FUNCTION_LIST>() + 1];
        bytes[1..3].copy_from_slice(&[2, 40]);
        bytes
    });
    let (cryptoki, address) = giving!(BYTES[1..].as_ptr(), ck::CKR_OK).unwrap();
    assert_eq!(address, BYTES[1..].as_ptr().addr());
    assert_fails(cryptoki.slots(), "C_GetSlotList", ck::CKR_FUNCTION_NOT_SUPPORTED);
}

/// Null pointers in place of functions are not called.
#[test]
fn functions_that_are_missing_are_not_supported() {
    static BARE: LazyLock<ck::CK_FUNCTION_LIST> = LazyLock::new(|| ck::CK_FUNCTION_LIST {
        version: of_version(2, 40),
        ..Default::default()
    });
    let (cryptoki, _) = giving!(&raw const *BARE, ck::CKR_OK).unwrap();
    each_call(&cryptoki, |outcome, function| {
        assert_fails(outcome, function, ck::CKR_FUNCTION_NOT_SUPPORTED);
    });
}

/// Whatever function says no, in whatever step: its code comes out, with its name.
#[test]
fn an_error_keeps_its_code_and_its_function() {
    let (cryptoki, _answering) = module(|_| ck::CKR_DEVICE_ERROR);
    each_call(&cryptoki, |outcome, function| {
        assert_fails(outcome, function, ck::CKR_DEVICE_ERROR);
    });
}

fn each_call(cryptoki: &Cryptoki, check: impl Fn(Result<(), CallError>, &str)) {
    let gate = Gate::closed();
    let drained = gate.drain(std::time::Duration::ZERO).unwrap();
    check(cryptoki.initialize(None, Locking::System), "C_Initialize");
    check(cryptoki.slots().map(drop), "C_GetSlotList");
    check(cryptoki.token_info(1).map(drop), "C_GetTokenInfo");
    check(
        cryptoki.mechanism_info(1, ck::CKM_AES_GCM).map(drop),
        "C_GetMechanismInfo",
    );
    check(cryptoki.open_session(1, false).map(drop), "C_OpenSession");
    check(cryptoki.log_in(1, None), "C_Login");
    check(cryptoki.is_logged_in(1).map(drop), "C_GetSessionInfo");
    check(cryptoki.find(1, &[], 1).map(drop), "C_FindObjectsInit");
    let wanted = [Wanted::Flag(ck::CKA_ENCRYPT)];
    check(cryptoki.attributes(1, 1, &wanted).map(drop), "C_GetAttributeValue");
    check(
        cryptoki.generate_key(1, ck::CKM_AES_KEY_GEN, &[]).map(drop),
        "C_GenerateKey",
    );
    check(cryptoki.destroy_object(1, 1), "C_DestroyObject");
    check(cryptoki.random(1, &mut [0; 4]), "C_GenerateRandom");
    check(
        cryptoki.gcm_encrypt(1, 1, gcm(&mut [0; 12]), b"text").map(drop),
        "C_EncryptInit",
    );
    check(
        cryptoki.gcm_decrypt(1, 1, gcm(&mut [0; 12]), b"text").map(drop),
        "C_DecryptInit",
    );
    check(cryptoki.close_session(1), "C_CloseSession");
    check(cryptoki.finalize(&drained), "C_Finalize");
}
