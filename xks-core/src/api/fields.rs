//! The fields of a body, read to where they stay: what is returned by value is moved several times on its way
//! out of `serde`, and that takes longer than the reading.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};

use super::{RequestMetadata, Text};

/// A body's `requestMetadata`, its strings of these names, and anything else, which is passed over. What is
/// not there stays as it is, and `null` is of the wrong type.
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
        let twice = || de::Error::custom("a field is there twice");
        while let Some(name) = map.next_key::<Text<'a>>()? {
            if name.as_str() == "requestMetadata" {
                if self.request_metadata.is_some() {
                    return Err(twice());
                }
                map.next_value_seed(InPlace(self.request_metadata.insert(RequestMetadata::default())))?;
            } else if let Some(place) = self.names.iter().position(|known| *known == name.as_str()) {
                let text = map.next_value()?;
                if self
                    .texts
                    .get_mut(place)
                    .is_some_and(|slot| slot.replace(text).is_some())
                {
                    return Err(twice());
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
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
        while let Some(name) = map.next_key::<Text<'a>>()? {
            match self.0.slot(name.as_str()) {
                Some(slot) => {
                    if slot.replace(map.next_value()?).is_some() {
                        return Err(de::Error::custom("a field of requestMetadata is there twice"));
                    }
                }
                None => self.0.extra.push((name, Cow::Borrowed(map.next_value()?))),
            }
        }
        Ok(())
    }
}
