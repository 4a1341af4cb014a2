//! The fields of a body, read to where they stay: what is returned by value is moved several times on its way
//! out of `serde`, and that takes longer than the reading.

use std::{borrow::Cow, fmt, mem};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};

use super::{RequestMetadata, Text, request_metadata::KNOWN_FIELDS};

/// A body's `requestMetadata`, its strings of these names, and anything else, which is passed over. A field
/// that is not there or `null` stays as it is, as AWS's sample proxy has it; one that is there twice is an
/// error even so.
pub(super) struct Fields<'t, 'a, const N: usize> {
    pub(super) request_metadata: &'t mut Option<RequestMetadata<'a>>,
    pub(super) names: [&'static str; N],
    pub(super) texts: &'t mut [Option<Text<'a>>; N],
}

impl<'a, const N: usize> de::Visitor<'a> for Fields<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut seen, mut has_metadata) = ([false; N], false);
        while let Some(name) = map.next_key::<Text<'a>>()? {
            let mut slots = self.names.iter().zip(&mut *self.texts).zip(&mut seen);
            if name.as_str() == "requestMetadata" {
                once(&mut has_metadata)?;
                map.next_value_seed(OrNull(self.request_metadata))?;
            } else if let Some(((_, text), is_seen)) = slots.find(|((known, _), _)| **known == name.as_str()) {
                once(is_seen)?;
                *text = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Fails the second time.
fn once<E: de::Error>(is_seen: &mut bool) -> Result<(), E> {
    if mem::replace(is_seen, true) {
        return Err(E::custom("a field is there twice"));
    }
    Ok(())
}

/// Reads the metadata to where it is; `null` is none.
struct OrNull<'t, 'a>(&'t mut Option<RequestMetadata<'a>>);

impl<'a> DeserializeSeed<'a> for OrNull<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'a> de::Visitor<'a> for OrNull<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requestMetadata")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        InPlace(self.0.insert(RequestMetadata::default())).deserialize(deserializer)
    }
}

/// Reads the metadata to where it is.
pub(super) struct InPlace<'t, 'a>(pub(super) &'t mut RequestMetadata<'a>);

impl<'a> DeserializeSeed<'a> for InPlace<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> de::Visitor<'a> for InPlace<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("requestMetadata")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = [false; KNOWN_FIELDS];
        while let Some(name) = map.next_key::<Text<'a>>()? {
            match self.0.slot(name.as_str(), &mut seen) {
                Some((slot, is_seen)) => {
                    once(is_seen)?;
                    *slot = map.next_value()?;
                }
                None => self.0.extra.push((name, Cow::Borrowed(map.next_value()?))),
            }
        }
        Ok(())
    }
}
