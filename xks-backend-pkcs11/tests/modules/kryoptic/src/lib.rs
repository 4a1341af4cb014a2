//! For tests: kryoptic as a PKCS#11 module. The functions by which a caller finds all others.

use kryoptic_lib::{fns::general, pkcs11};

/// The functions of PKCS#11 2.40.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: pkcs11::CK_FUNCTION_LIST_PTR_PTR) -> pkcs11::CK_RV {
    general::fn_get_function_list(list)
}

/// The functions of one of the interfaces.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterface(
    name: pkcs11::CK_UTF8CHAR_PTR,
    version: pkcs11::CK_VERSION_PTR,
    interface: pkcs11::CK_INTERFACE_PTR_PTR,
    flags: pkcs11::CK_FLAGS,
) -> pkcs11::CK_RV {
    general::fn_get_interface(name, version, interface, flags)
}

/// All interfaces.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterfaceList(list: pkcs11::CK_INTERFACE_PTR, count: pkcs11::CK_ULONG_PTR) -> pkcs11::CK_RV {
    general::fn_get_interface_list(list, count)
}
