//! The attributes of an object: those that it shall have, those that are asked for, and their values as a
//! module tells them.

use cryptoki_sys as ck;

/// Something that an object shall have.
#[derive(Clone, Copy)]
pub(crate) enum Attribute<'a> {
    Flag(ck::CK_ATTRIBUTE_TYPE, bool),
    Number(ck::CK_ATTRIBUTE_TYPE, ck::CK_ULONG),
    Bytes(ck::CK_ATTRIBUTE_TYPE, &'a [u8]),
}

/// Something that is asked of an object.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    Flag(ck::CK_ATTRIBUTE_TYPE),
    Number(ck::CK_ATTRIBUTE_TYPE),
    Bytes(ck::CK_ATTRIBUTE_TYPE),
}

impl Wanted {
    pub(crate) const fn kind(self) -> ck::CK_ATTRIBUTE_TYPE {
        match self {
            Self::Flag(kind) | Self::Number(kind) | Self::Bytes(kind) => kind,
        }
    }

    /// How many bytes a module is given room for. NSS wants the length of a number to be exact.
    pub(crate) const fn room(self) -> usize {
        match self {
            Self::Flag(_) => size_of::<ck::CK_BBOOL>(),
            Self::Number(_) => size_of::<ck::CK_ULONG>(),
            Self::Bytes(_) => AttributeValue::ROOM,
        }
    }
}

/// What an object has. Room for 256 bytes: twice what an external key id has. Aligned for what modules write.
#[derive(Clone)]
#[repr(align(16))]
pub(crate) struct AttributeValue {
    bytes: [u8; Self::ROOM],
    length: Option<usize>,
}

impl AttributeValue {
    pub(crate) const ROOM: usize = 256;

    pub(crate) const EMPTY: Self = Self {
        bytes: [0; Self::ROOM],
        length: None,
    };

    /// Empty, or of so many bytes that are not there.
    pub(crate) const fn of_length(length: usize) -> Self {
        Self {
            length: Some(length),
            ..Self::EMPTY
        }
    }

    /// Where a module writes the value.
    pub(crate) const fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Notes that the module has told a value of so many bytes. There is none if it has more than there is
    /// room for.
    pub(crate) fn note_told(&mut self, length: usize) {
        self.length = (length <= Self::ROOM).then_some(length);
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length?)
    }

    /// True if a byte is not zero. A boolean has one byte; some modules have a whole number.
    pub(crate) fn flag(&self) -> Option<bool> {
        let bytes = self.bytes()?;
        (1..=size_of::<u64>())
            .contains(&bytes.len())
            .then(|| bytes.iter().any(|byte| *byte != ck::CK_FALSE))
    }

    /// A number of whatever width the module's `CK_ULONG` has.
    pub(crate) fn number(&self) -> Option<ck::CK_ULONG> {
        let bytes = self.bytes()?;
        let number = match *bytes {
            [byte] => u64::from(byte),
            [_, _] => u64::from(u16::from_ne_bytes(bytes.try_into().ok()?)),
            [_, _, _, _] => u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
            _ => u64::from_ne_bytes(bytes.try_into().ok()?),
        };
        ck::CK_ULONG::try_from(number).ok()
    }
}
