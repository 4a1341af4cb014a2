//! A macro for enums of AWS's values, which keep the text of a value that AWS has added since.

/// Defines an enum with a variant for each known text, and `Other` for every other text.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("`", $text, "`.")] $variant,)+
            /// Another one, as AWS writes it.
            Other(Box<str>),
        }

        impl $name {
            /// Those that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the text, as AWS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text.into()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use crate::aws::{ConnectionErrorCode, KeyState};

    #[test]
    fn a_known_text_is_its_variant_and_an_unknown_one_is_kept() {
        for state in KeyState::KNOWN {
            assert_eq!(&KeyState::from(state.as_str()), state);
        }
        for code in ConnectionErrorCode::KNOWN {
            assert_eq!(&ConnectionErrorCode::from(code.as_str()), code);
        }
        let added = KeyState::from("Hibernating");
        assert_eq!(added, KeyState::Other("Hibernating".into()));
        assert_eq!(added.to_string(), "Hibernating");
    }
}
