//! The one file with `unsafe`: the functions of a PKCS#11 module, as safe functions.
//!
//! The module is loaded once and never unloaded, since one that owns threads may not survive it. Every
//! pointer that is handed over points into memory that lives until the call has returned; for the two halves
//! of an operation (`C_EncryptInit` and `C_Encrypt`), until the second has. Return codes are kept as they
//! came.
//!
//! A module learns at its initialization that it may use the system's locks, so that many threads may call
//! it; one that was initialized without them is called by one thread at a time. What no signature can see to
//! is seen to by the [`Drained`] that [`Cryptoki::finalize`] asks for, that none is
//! in a call then.
//!
//! It builds on `cryptoki-sys`, for administration too: one load of the library, one function list, unchanged
//! return codes. The safe crate `cryptoki` makes three module calls for an encryption, and always closes a
//! session, even if its handle belongs to another session by then.
#![expect(unsafe_code, reason = "a module is a library in C")]

mod mechanism;
#[cfg(test)]
mod tests;

use std::{
    ffi::{CStr, c_ulong, c_void},
    mem,
    path::Path,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use cryptoki_sys as ck;
use xks_core::Zeroizing;

pub(crate) use self::mechanism::{Gcm, Wrapping};
use self::mechanism::{with_parameters, without_parameters};
use crate::{
    attribute::{Attribute, AttributeValue, Wanted},
    error::{CallError, LibraryError, LoadError},
    handles::HandleClock,
    making::{Apart, Making},
    return_code::{Phase, ReturnCode},
    threads::Drained,
    token_info::TokenInfo,
    turns::Turns,
};

pub(crate) type Result<T = (), E = CallError> = std::result::Result<T, E>;

/// The type of `C_GetFunctionList`: writes a pointer to the function list to its argument, and returns a
/// return code. It names no crate of bindings, so that any declaration will do:
///
/// ```no_run
/// use std::ffi::{c_ulong, c_void};
///
/// unsafe extern "C" {
///     fn C_GetFunctionList(list: *mut *mut c_void) -> c_ulong;
/// }
/// let function: xks_backend_pkcs11::GetFunctionList = C_GetFunctionList;
/// # let _ = function;
/// ```
pub type GetFunctionList = unsafe extern "C" fn(*mut *mut c_void) -> c_ulong;

/// A PKCS#11 module that is linked into the program, for [`Config::linked`](crate::Config::linked): a program
/// that is linked statically cannot load a library.
#[derive(Clone, Debug)]
pub struct LinkedModule {
    name: String,
    get_function_list: GetFunctionList,
}

impl LinkedModule {
    /// Returns the module with this `C_GetFunctionList`. Errors and logs call it `name`, where they have the
    /// path of a library otherwise.
    ///
    /// # Safety
    /// `get_function_list` and all functions of the list that it returns behave as PKCS#11 says, and can be
    /// called until the process has ended.
    #[must_use]
    pub unsafe fn new(name: impl Into<String>, get_function_list: GetFunctionList) -> Self {
        Self {
            name: name.into(),
            get_function_list,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What output buffers have beyond what they need by the standard: a tag and the IV that some HSMs append.
pub(crate) const SLACK: usize = 16 + 16 + 32;
/// More slots than a module has.
pub(crate) const MOST_SLOTS: usize = 4096;
/// Room for a wrapped key: more than the longest RSA modulus that HSMs have and an AES key beside it.
pub(crate) const MOST_WRAPPED: usize = 2048 + SLACK;
/// How many objects are asked for in one call.
const MOST_AT_ONCE: usize = 1024;

/// A loaded module.
pub(crate) struct Cryptoki {
    list: ck::CK_FUNCTION_LIST,
    handles: HandleClock,
    making: Making,
    turns: Turns,
    /// `C_FindObjectsFinal` was seen to fail: no session on which a search was begun can do anything else.
    ends_no_search: AtomicBool,
    /// What the vendor calls codes of its own.
    code_names: OnceLock<CodeNames>,
}

/// Codes, and what a vendor calls them.
pub(crate) type CodeNames = &'static [(ReturnCode, &'static str)];

/// What a module learns at its initialization of the threads that call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// There are several, and the module may use the system's locks (`CKF_OS_LOCKING_OK`).
    System,
    /// There is one at a time.
    None,
    /// The same, by a null pointer in place of arguments: parameters cannot be passed then.
    NoArguments,
}

impl Locking {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::None, Self::NoArguments];
}

/// Calls a function of the list, and names it and its phase in the error. A function that the list lacks
/// answers that it is not supported.
macro_rules! call {
    ($cryptoki:ident, $phase:ident, $function:ident($($argument:expr),* $(,)?)) => {{
        let _turn = $cryptoki.turns.take();
        outcome(
            stringify!($function),
            Phase::$phase,
            $cryptoki.code_names.get(),
            match $cryptoki.list.$function {
                Some(function) => function($($argument),*),
                None => ck::CKR_FUNCTION_NOT_SUPPORTED,
            },
        )
    }};
}

fn outcome(function: &'static str, phase: Phase, names: Option<&CodeNames>, code: ck::CK_RV) -> Result {
    if code == ck::CKR_OK {
        return Ok(());
    }
    let code = ReturnCode(code);
    let mut names = names.into_iter().flat_map(|names| names.iter());
    let name = names.find(|(named, _)| *named == code).map(|(_, name)| *name);
    Err(CallError::new(function, phase, code).with_vendor_name(name))
}

impl Cryptoki {
    /// Loads a library; see [`ModuleSource::load`](crate::config::ModuleSource::load).
    pub(crate) fn load(path: &Path) -> Result<(Self, usize), LoadError> {
        // SAFETY: loading runs the library's initializers. The configuration that names a library trusts it
        // with the keys.
        let library =
            unsafe { libloading::Library::new(path) }.map_err(|error| LoadError::Library(LibraryError(error)))?;
        let library = mem::ManuallyDrop::new(library);
        // SAFETY: this is the signature that the standard gives to this name.
        let symbol = unsafe { library.get::<Option<GetFunctionList>>(b"C_GetFunctionList\0") };
        let get_list = symbol
            .ok()
            .and_then(|get_list| *get_list)
            .ok_or(LoadError::NoFunctionList)?;
        // SAFETY: as above; and it stays loaded.
        unsafe { Self::of(get_list) }
    }

    /// Takes the functions of a linked module.
    pub(crate) fn link(module: &LinkedModule) -> Result<(Self, usize), LoadError> {
        // SAFETY: `LinkedModule::new` demands the same.
        unsafe { Self::of(module.get_function_list) }
    }

    /// The module whose `C_GetFunctionList` this is.
    ///
    /// # Safety
    /// The function and those of its list do as the standard says of them, and stay where they are.
    unsafe fn of(get_list: GetFunctionList) -> Result<(Self, usize), LoadError> {
        let mut list = ptr::null_mut::<ck::CK_FUNCTION_LIST>();
        // SAFETY: the argument is a place for a pointer, which lives until the call has returned.
        let code = unsafe { get_list((&raw mut list).cast()) };
        outcome("C_GetFunctionList", Phase::Module, None, code).map_err(LoadError::Call)?;
        if list.is_null() {
            return Err(LoadError::NoFunctionList);
        }
        // SAFETY: the module answered that this points to its list, which begins with its version, whatever
        // else there is.
        let version = unsafe { ptr::addr_of!((*list).version).read_unaligned() };
        if (version.major, version.minor) < (2, 1) {
            return Err(LoadError::Version(version.major, version.minor));
        }
        // SAFETY: as above; from version 2.01 on, which added the last, the lists of all versions begin with
        // these functions.
        let functions = unsafe { list.read_unaligned() };
        let cryptoki = Self {
            list: functions,
            handles: HandleClock::default(),
            making: Making::default(),
            ends_no_search: AtomicBool::new(false),
            code_names: OnceLock::new(),
            turns: Turns::default(),
        };
        Ok((cryptoki, list.addr()))
    }

    /// Has errors say what the vendor calls codes of its own; once, since it is one module.
    pub(crate) fn name_codes(&self, names: CodeNames) {
        if !names.is_empty() {
            self.code_names.get_or_init(|| names);
        }
    }

    /// `C_Initialize`: no other call may be in the module. `parameters` is for modules that want some, like
    /// NSS, and must live as long as the process.
    pub(crate) fn initialize(&self, parameters: Option<&'static CStr>, locking: Locking) -> Result {
        let mut arguments = ck::CK_C_INITIALIZE_ARGS {
            flags: if locking == Locking::System {
                ck::CKF_OS_LOCKING_OK
            } else {
                0
            },
            pReserved: parameters.map_or(ptr::null_mut(), |text| text.as_ptr().cast_mut().cast()),
            ..Default::default()
        };
        let arguments = match locking {
            Locking::System | Locking::None => (&raw mut arguments).cast(),
            Locking::NoArguments => ptr::null_mut(),
        };
        // SAFETY: the arguments live until the call has returned, the parameters as long as the process.
        unsafe { call!(self, Module, C_Initialize(arguments)) }?;
        self.turns.are_taken(locking != Locking::System);
        Ok(())
    }

    /// What the library says of itself: its manufacturer and its description.
    pub(crate) fn library(&self) -> Result<(String, String)> {
        let mut info = ck::CK_INFO::default();
        // SAFETY: the information is written to a place that lives until the call has returned.
        unsafe { call!(self, Module, C_GetInfo(&raw mut info)) }?;
        Ok((text(&info.manufacturerID), text(&info.libraryDescription)))
    }

    /// `C_Finalize`: no call may be in the module.
    pub(crate) fn finalize(&self, _no_call_is_inside: &Drained<'_>) -> Result {
        // SAFETY: the standard wants a null pointer.
        unsafe { call!(self, Module, C_Finalize(ptr::null_mut())) }
    }

    /// The slots that have a token.
    pub(crate) fn slots(&self) -> Result<Vec<ck::CK_SLOT_ID>> {
        // The number may grow between the two calls, in which case the second says so.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let mut count = 0;
            // SAFETY: a null pointer asks for the number alone, which is written to a place that lives long
            // enough.
            unsafe { call!(self, Token, C_GetSlotList(ck::CK_TRUE, ptr::null_mut(), &raw mut count)) }?;
            if count == 0 {
                return Ok(Vec::new());
            }
            let mut slots = vec![0; to_usize(count).min(MOST_SLOTS)];
            count = to_ulong(slots.len());
            // SAFETY: there is room for `count` slots.
            let listed = unsafe {
                call!(
                    self,
                    Token,
                    C_GetSlotList(ck::CK_TRUE, slots.as_mut_ptr(), &raw mut count)
                )
            };
            match listed {
                Err(error) if error.code().0 == ck::CKR_BUFFER_TOO_SMALL && attempts > 0 => {}
                listed => {
                    slots.truncate(to_usize(count));
                    return listed.map(|()| slots);
                }
            }
        }
    }

    /// What a token says of itself.
    pub(crate) fn token_info(&self, slot: ck::CK_SLOT_ID) -> Result<TokenInfo> {
        let mut info = ck::CK_TOKEN_INFO::default();
        // SAFETY: the information is written to a place that lives until the call has returned.
        unsafe { call!(self, Token, C_GetTokenInfo(slot, &raw mut info)) }?;
        let (firmware, maximum) = (info.firmwareVersion, info.ulMaxSessionCount);
        let (shortest, longest) = (info.ulMinPinLen, info.ulMaxPinLen);
        Ok(TokenInfo {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            firmware: (firmware.major, firmware.minor),
            flags: info.flags,
            max_sessions: (maximum != ck::CK_EFFECTIVELY_INFINITE && maximum != ck::CK_UNAVAILABLE_INFORMATION)
                .then(|| to_usize(maximum)),
            pin_length: (shortest <= longest && longest != 0 && longest != ck::CK_UNAVAILABLE_INFORMATION)
                .then(|| (to_usize(shortest), to_usize(longest))),
        })
    }

    /// Whether a mechanism is there, and its flags.
    pub(crate) fn mechanism_info(
        &self,
        slot: ck::CK_SLOT_ID,
        mechanism: ck::CK_MECHANISM_TYPE,
    ) -> Result<ck::CK_MECHANISM_INFO> {
        let mut info = ck::CK_MECHANISM_INFO::default();
        // SAFETY: the information is written to a place that lives until the call has returned.
        unsafe { call!(self, Token, C_GetMechanismInfo(slot, mechanism, &raw mut info)) }?;
        Ok(info)
    }

    pub(crate) fn open_session(&self, slot: ck::CK_SLOT_ID, read_write: bool) -> Result<ck::CK_SESSION_HANDLE> {
        let flags = ck::CKF_SERIAL_SESSION | if read_write { ck::CKF_RW_SESSION } else { 0 };
        let mut session = 0;
        // SAFETY: no callback is asked for; the handle is written to a place that lives until the call has
        // returned.
        unsafe {
            call!(
                self,
                OpenSession,
                C_OpenSession(slot, flags, ptr::null_mut(), None, &raw mut session)
            )
        }?;
        Ok(session)
    }

    pub(crate) fn close_session(&self, session: ck::CK_SESSION_HANDLE) -> Result {
        // SAFETY: a number; a module answers to one that is no session's.
        unsafe { call!(self, OpenSession, C_CloseSession(session)) }
    }

    /// `C_Login` as the user; without a PIN the token asks for it by a path of its own.
    pub(crate) fn log_in(&self, session: ck::CK_SESSION_HANDLE, pin: Option<&[u8]>) -> Result {
        let (pin, length) = pin.map_or((ptr::null(), 0), |pin| (pin.as_ptr(), to_ulong(pin.len())));
        // SAFETY: the PIN is only read, as long as its stated length, and lives until the call has returned.
        unsafe { call!(self, Login, C_Login(session, ck::CKU_USER, pin.cast_mut(), length)) }
    }

    /// Whether the user is logged in.
    pub(crate) fn is_logged_in(&self, session: ck::CK_SESSION_HANDLE) -> Result<bool> {
        let state = self.session_info(session)?.state;
        Ok(matches!(state, ck::CKS_RO_USER_FUNCTIONS | ck::CKS_RW_USER_FUNCTIONS))
    }

    fn session_info(&self, session: ck::CK_SESSION_HANDLE) -> Result<ck::CK_SESSION_INFO> {
        let mut info = ck::CK_SESSION_INFO::default();
        // SAFETY: the information is written to a place that lives until the call has returned.
        unsafe { call!(self, Session, C_GetSessionInfo(session, &raw mut info)) }?;
        Ok(info)
    }

    /// The objects that match, but no more than `most`. On a module that was seen to end no search, which
    /// leaves a session good for nothing else, it takes a session of its own.
    ///
    /// # Errors
    /// `CKR_OPERATION_ACTIVE` also when the search was not ended, and the session has to be replaced.
    pub(crate) fn find(
        &self,
        session: ck::CK_SESSION_HANDLE,
        attributes: &[Attribute<'_>],
        most: usize,
    ) -> Result<Vec<ck::CK_OBJECT_HANDLE>> {
        if !self.ends_no_search.load(Ordering::Relaxed) {
            let (found, is_ended) = self.find_on(session, attributes, most)?;
            if is_ended {
                return Ok(found);
            }
            self.ends_no_search.store(true, Ordering::Relaxed);
            let code = ReturnCode(ck::CKR_OPERATION_ACTIVE);
            return Err(CallError::new("C_FindObjectsFinal", Phase::Find, code));
        }
        let info = self.session_info(session)?;
        let own = self.open_session(info.slotID, info.flags & ck::CKF_RW_SESSION != 0)?;
        let found = self.find_on(own, attributes, most).map(|(found, _)| found);
        self.close_session(own)?;
        found
    }

    /// What is found, and whether the search was ended.
    fn find_on(
        &self,
        session: ck::CK_SESSION_HANDLE,
        attributes: &[Attribute<'_>],
        most: usize,
    ) -> Result<(Vec<ck::CK_OBJECT_HANDLE>, bool)> {
        let _search = self.making.search();
        let _giving = self.handles.giving();
        let mut template = template(attributes);
        // SAFETY: the template and what it points to are only read, and live until the call has returned.
        unsafe {
            call!(
                self,
                Find,
                C_FindObjectsInit(session, template.as_mut_ptr(), to_ulong(template.len()))
            )
        }?;
        let mut found = vec![0; most];
        let mut count = 0_usize;
        // A module may give them one by one.
        let search = loop {
            let rest = count..most.min(count.saturating_add(MOST_AT_ONCE));
            let Some(room) = found.get_mut(rest).filter(|room| !room.is_empty()) else {
                break Ok(());
            };
            let mut more = 0;
            // SAFETY: there is room for as many handles as are asked for.
            let outcome = unsafe {
                call!(
                    self,
                    Find,
                    C_FindObjects(session, room.as_mut_ptr(), to_ulong(room.len()), &raw mut more)
                )
            };
            if outcome.is_err() || more == 0 {
                break outcome;
            }
            count += to_usize(more).min(room.len());
        };
        // SAFETY: a number.
        let end = || unsafe { call!(self, Find, C_FindObjectsFinal(session)) };
        // One that fails may be tried again, and may have ended it all the same.
        let ended = end().or_else(|error| {
            if error.says_session_is_gone() {
                Err(error)
            } else {
                end()
            }
        });
        search?;
        found.truncate(count);
        match ended {
            Ok(()) => Ok((found, true)),
            Err(error) if error.says_session_is_gone() => Err(error),
            Err(error) => Ok((found, error.code().0 == ck::CKR_OPERATION_NOT_INITIALIZED)),
        }
    }

    /// The clock of the handles that this module gives out.
    pub(crate) const fn handles(&self) -> &HandleClock {
        &self.handles
    }

    /// Returns an object's attributes in the order of `wanted`, read in one call. What the module does not
    /// tell is empty.
    pub(crate) fn attributes(
        &self,
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        wanted: &[Wanted],
    ) -> Result<Vec<AttributeValue>> {
        let lengths: Vec<_> = wanted.iter().map(|wanted| (wanted.kind(), wanted.room())).collect();
        self.values(session, object, &lengths)
    }

    /// Returns one attribute of an object, whose length the module is asked for first. Empty if it does not
    /// tell it.
    pub(crate) fn attribute(
        &self,
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        wanted: Wanted,
    ) -> Result<AttributeValue> {
        let mut query = ck::CK_ATTRIBUTE {
            type_: wanted.kind(),
            pValue: ptr::null_mut(),
            ulValueLen: 0,
        };
        // SAFETY: a null pointer asks for the length alone, which is written to an entry that lives long
        // enough.
        let told = unsafe {
            call!(
                self,
                Attributes,
                C_GetAttributeValue(session, object, &raw mut query, 1)
            )
        };
        let told = told.map(|()| query.ulValueLen);
        let length = match told {
            Ok(0) => return Ok(AttributeValue::of_length(0)),
            Ok(length) if to_usize(length) <= AttributeValue::ROOM => to_usize(length),
            // It tells no lengths.
            Ok(_) | Err(_) => wanted.room(),
        };
        let values = self.values(session, object, &[(wanted.kind(), length)])?;
        Ok(values.into_iter().next().unwrap_or(AttributeValue::EMPTY))
    }

    /// The values of these attributes, each with room for so many bytes.
    fn values(
        &self,
        session: ck::CK_SESSION_HANDLE,
        object: ck::CK_OBJECT_HANDLE,
        wanted: &[(ck::CK_ATTRIBUTE_TYPE, usize)],
    ) -> Result<Vec<AttributeValue>> {
        let mut values = vec![AttributeValue::EMPTY; wanted.len()];
        let mut template = Vec::with_capacity(wanted.len());
        for ((kind, room), value) in wanted.iter().zip(&mut values) {
            template.push(ck::CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.room().as_mut_ptr().cast(),
                ulValueLen: to_ulong(*room),
            });
        }
        // SAFETY: each entry has room for as many bytes as it says; the values are not touched until the call
        // has returned.
        unsafe {
            call!(
                self,
                Attributes,
                C_GetAttributeValue(session, object, template.as_mut_ptr(), to_ulong(template.len()))
            )
        }?;
        for (entry, value) in template.iter().zip(&mut values) {
            // What is not told has the length of no room.
            value.note_told(to_usize(entry.ulValueLen));
        }
        Ok(values)
    }

    pub(crate) fn generate_key(
        &self,
        session: ck::CK_SESSION_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
        attributes: &[Attribute<'_>],
    ) -> Result<ck::CK_OBJECT_HANDLE> {
        let mut mechanism = without_parameters(mechanism);
        let _apart = self.apart_if_it_stays(attributes);
        let _giving = self.handles.giving();
        let mut template = template(attributes);
        let mut key = 0;
        // SAFETY: mechanism, template and what it points to are only read, the handle is written to a place
        // for it, and all of them live until the call has returned.
        unsafe {
            call!(
                self,
                Generate,
                C_GenerateKey(
                    session,
                    &raw mut mechanism,
                    template.as_mut_ptr(),
                    to_ulong(template.len()),
                    &raw mut key
                )
            )
        }?;
        Ok(key)
    }

    /// Makes a pair of keys: the handles of the public one and of the private one.
    pub(crate) fn generate_key_pair(
        &self,
        session: ck::CK_SESSION_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
        public: &[Attribute<'_>],
        private: &[Attribute<'_>],
    ) -> Result<(ck::CK_OBJECT_HANDLE, ck::CK_OBJECT_HANDLE)> {
        let mut mechanism = without_parameters(mechanism);
        let _apart = self.apart_if_it_stays(private);
        let _giving = self.handles.giving();
        let (mut public, mut private) = (template(public), template(private));
        let mut keys = (0, 0);
        // SAFETY: mechanism, templates and what they point to are only read, the handles are written to
        // places for them, and all of them live until the call has returned.
        unsafe {
            call!(
                self,
                Generate,
                C_GenerateKeyPair(
                    session,
                    &raw mut mechanism,
                    public.as_mut_ptr(),
                    to_ulong(public.len()),
                    private.as_mut_ptr(),
                    to_ulong(private.len()),
                    &raw mut keys.0,
                    &raw mut keys.1
                )
            )
        }?;
        Ok(keys)
    }

    /// No search is under way while an object of the token is made; one of a session alone is in no search's
    /// way.
    fn apart_if_it_stays(&self, attributes: &[Attribute<'_>]) -> Option<Apart<'_>> {
        let stays = |attribute: &_| matches!(attribute, Attribute::Flag(ck::CKA_TOKEN, true));
        attributes.iter().any(stays).then(|| self.making.apart())
    }

    /// Makes an object of these attributes.
    pub(crate) fn create_object(
        &self,
        session: ck::CK_SESSION_HANDLE,
        attributes: &[Attribute<'_>],
    ) -> Result<ck::CK_OBJECT_HANDLE> {
        let _apart = self.apart_if_it_stays(attributes);
        let _giving = self.handles.giving();
        let mut template = template(attributes);
        let mut object = 0;
        // SAFETY: the template and what it points to are only read, the handle is written to a place for it,
        // and all of them live until the call has returned.
        unsafe {
            call!(
                self,
                Generate,
                C_CreateObject(
                    session,
                    template.as_mut_ptr(),
                    to_ulong(template.len()),
                    &raw mut object
                )
            )
        }?;
        Ok(object)
    }

    pub(crate) fn destroy_object(&self, session: ck::CK_SESSION_HANDLE, object: ck::CK_OBJECT_HANDLE) -> Result {
        // SAFETY: two numbers; a module answers to those that are no session's and no object's.
        unsafe { call!(self, Generate, C_DestroyObject(session, object)) }
    }

    /// Fills `bytes` from the token's random source.
    pub(crate) fn random(&self, session: ck::CK_SESSION_HANDLE, bytes: &mut [u8]) -> Result {
        let length = to_ulong(bytes.len());
        // SAFETY: as many bytes are asked for as there is room for.
        unsafe { call!(self, Random, C_GenerateRandom(session, bytes.as_mut_ptr(), length)) }
    }

    /// AES-GCM encryption in one go. `iv` is as the module wants it, and afterwards as the module left it.
    /// The output is as the module gave it: the ciphertext, the tag, and whatever it appends.
    pub(crate) fn gcm_encrypt(
        &self,
        session: ck::CK_SESSION_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        gcm: Gcm<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        let mut output = vec![0; plaintext.len() + SLACK];
        let mut length = to_ulong(output.len());
        let mut parameters = gcm.parameters();
        let mut mechanism = with_parameters(ck::CKM_AES_GCM, &mut parameters);
        // SAFETY: mechanism, parameters, IV and AAD live until `C_Encrypt` below has returned, for modules
        // come back to the parameters only then. Nothing but the IV is written to, and no one else looks at
        // it meanwhile.
        unsafe { call!(self, EncryptInit, C_EncryptInit(session, &raw mut mechanism, key)) }?;
        // SAFETY: the plaintext is only read, and the output is as long as its stated length.
        unsafe {
            call!(
                self,
                Encrypt,
                C_Encrypt(
                    session,
                    plaintext.as_ptr().cast_mut(),
                    to_ulong(plaintext.len()),
                    output.as_mut_ptr(),
                    &raw mut length
                )
            )
        }?;
        output.truncate(to_usize(length));
        Ok(output)
    }

    /// AES-GCM decryption in one go, of a ciphertext with its tag.
    pub(crate) fn gcm_decrypt(
        &self,
        session: ck::CK_SESSION_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        gcm: Gcm<'_>,
        ciphertext_and_tag: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        // SoftHSM2 wants room for the tag too, though it does not write one.
        let mut output = Zeroizing::new(vec![0; ciphertext_and_tag.len() + SLACK]);
        let mut length = to_ulong(output.len());
        let mut parameters = gcm.parameters();
        let mut mechanism = with_parameters(ck::CKM_AES_GCM, &mut parameters);
        // SAFETY: as in `gcm_encrypt`.
        unsafe { call!(self, DecryptInit, C_DecryptInit(session, &raw mut mechanism, key)) }?;
        // SAFETY: the ciphertext is only read, and the output is as long as its stated length.
        unsafe {
            call!(
                self,
                Decrypt,
                C_Decrypt(
                    session,
                    ciphertext_and_tag.as_ptr().cast_mut(),
                    to_ulong(ciphertext_and_tag.len()),
                    output.as_mut_ptr(),
                    &raw mut length
                )
            )
        }?;
        output.truncate(to_usize(length));
        Ok(output)
    }

    /// Signs `data` in one go, or computes its MAC, by a mechanism without parameters: no more than `most`
    /// bytes.
    pub(crate) fn sign(
        &self,
        session: ck::CK_SESSION_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        mechanism: ck::CK_MECHANISM_TYPE,
        data: &[u8],
        most: usize,
    ) -> Result<Vec<u8>> {
        let mut signature = vec![0; most];
        let mut length = to_ulong(most);
        let mut mechanism = without_parameters(mechanism);
        // SAFETY: the mechanism lives until `C_Sign` below has returned, and is only read.
        unsafe { call!(self, SignInit, C_SignInit(session, &raw mut mechanism, key)) }?;
        // SAFETY: the data are only read, and there is room for the stated number of bytes.
        unsafe {
            call!(
                self,
                Sign,
                C_Sign(
                    session,
                    data.as_ptr().cast_mut(),
                    to_ulong(data.len()),
                    signature.as_mut_ptr(),
                    &raw mut length
                )
            )
        }?;
        signature.truncate(to_usize(length));
        Ok(signature)
    }

    /// Wraps a key under another.
    pub(crate) fn wrap_key(
        &self,
        session: ck::CK_SESSION_HANDLE,
        wrapping_key: ck::CK_OBJECT_HANDLE,
        key: ck::CK_OBJECT_HANDLE,
        wrapping: Wrapping,
    ) -> Result<Vec<u8>> {
        let mut wrapped = vec![0; MOST_WRAPPED];
        let mut length = to_ulong(wrapped.len());
        let mut oaep = wrapping.oaep();
        let mut with_aes = ck::CK_RSA_AES_KEY_WRAP_PARAMS {
            ulAESKeyBits: 256,
            pOAEPParams: ptr::null_mut(),
        };
        let mut mechanism = match &mut oaep {
            None => without_parameters(wrapping.mechanism()),
            Some(oaep) if wrapping == Wrapping::RsaAesSha256 => {
                with_aes.pOAEPParams = &raw mut *oaep;
                with_parameters(wrapping.mechanism(), &mut with_aes)
            }
            Some(oaep) => with_parameters(wrapping.mechanism(), oaep),
        };
        // SAFETY: mechanism and parameters are only read and live until the call has returned, and there is
        // room for the stated number of bytes.
        unsafe {
            call!(
                self,
                Wrap,
                C_WrapKey(
                    session,
                    &raw mut mechanism,
                    wrapping_key,
                    key,
                    wrapped.as_mut_ptr(),
                    &raw mut length
                )
            )
        }?;
        wrapped.truncate(to_usize(length));
        Ok(wrapped)
    }
}

/// The entries point into `attributes`.
fn template(attributes: &[Attribute<'_>]) -> Vec<ck::CK_ATTRIBUTE> {
    let entry = |kind: ck::CK_ATTRIBUTE_TYPE, value: *const u8, length| ck::CK_ATTRIBUTE {
        type_: kind,
        pValue: value.cast_mut().cast(),
        ulValueLen: to_ulong(length),
    };
    let entries = attributes.iter().map(|attribute| match attribute {
        Attribute::Flag(kind, flag) => entry(*kind, ptr::from_ref(flag).cast(), size_of::<bool>()),
        Attribute::Number(kind, number) => entry(*kind, ptr::from_ref(number).cast(), size_of::<ck::CK_ULONG>()),
        Attribute::Bytes(kind, bytes) => entry(*kind, bytes.as_ptr(), bytes.len()),
    });
    entries.collect()
}

/// Fixed-length text, padded with blanks (with zeros, by some).
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned()
}

// A `CK_ULONG` is 32 bits wide on Windows. No length here comes near that.
fn to_ulong(length: usize) -> ck::CK_ULONG {
    ck::CK_ULONG::try_from(length).unwrap_or(ck::CK_ULONG::MAX)
}

fn to_usize(number: ck::CK_ULONG) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
