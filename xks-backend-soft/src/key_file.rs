//! A file that holds a key: reading it without leaving copies behind, and the three ways to write a key down.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use thiserror::Error;
use xks_core::{Zeroizing, text::decode_hex};

use crate::{KeyMaterialError, material::KeyMaterial};

/// What is wrong with the content of a key file. It never tells the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// The file has this many bytes, which none of the forms has.
    #[error("it has {0} bytes; {FORMS}")]
    Length(usize),
    /// The file is longer than any of the forms.
    #[error("it has more than {MAX_FILE} bytes; {FORMS}")]
    TooLong,
    /// As long as Base64 text, and not the Base64 text of 32 bytes.
    #[error("it has 44 characters, which are not the Base64 text of 32 bytes (standard alphabet, padded)")]
    Base64,
    /// As long as hex digits, and not hex digits.
    #[error("it has 64 characters, which are not all hex digits")]
    Hex,
}

/// What a key file may hold.
const FORMS: &str = "a key file holds 32 raw bytes, or 44 characters of Base64 or 64 hex digits, which a newline \
                     may follow";
/// The longest form: hex digits, CR, LF.
const MAX_FILE: usize = 66;

/// A key file that was read: the key in it, and what is doubtful about the file.
///
/// ```no_run
/// use xks_backend_soft::{KeyFile, KeyVersion};
///
/// let file = KeyFile::read("payroll.key")?; // an error says what is wrong with it
/// file.log_warnings();
/// let version = KeyVersion::new(1, file.into_material())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    material: KeyMaterial,
    /// Of a file that group or others can read.
    open_mode: Option<u32>,
    is_hex_of_128_bits: bool,
}

impl KeyFile {
    /// Reads the key in a file: 32 raw bytes, or their Base64 text (44 characters), or 64 hex digits; one
    /// newline may follow the two text forms. What is doubtful is not logged yet.
    ///
    /// # Errors
    /// [`KeyMaterialError::Unreadable`] and [`KeyMaterialError::Malformed`]. Neither tells what the file
    /// holds.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, KeyMaterialError> {
        let path = path.into();
        // Room for one byte too many, so that a longer file shows; on the stack, so that nothing moves it.
        let mut buffer = Zeroizing::new([0; MAX_FILE + 1]);
        let (content, open_mode) = match read(&path, &mut *buffer) {
            Ok(read) => read,
            Err(reason) => return Err(KeyMaterialError::Unreadable { path, reason }),
        };
        match parse(content) {
            Ok(material) => Ok(Self {
                path,
                material,
                open_mode,
                is_hex_of_128_bits: is_hex_of_128_bits(content),
            }),
            Err(problem) => Err(KeyMaterialError::Malformed { path, problem }),
        }
    }

    /// Logs a warning if group or others can read the file, and if it looks like a key of another length.
    pub fn log_warnings(&self) {
        let file = self.path.display();
        if let Some(mode) = self.open_mode {
            tracing::warn!(
                %file,
                mode = format_args!("{mode:o}"),
                "the key file is readable by its group or by others: make it readable only by its owner (chmod 600)"
            );
        }
        if self.is_hex_of_128_bits {
            tracing::warn!(
                %file,
                "the key file has 32 bytes that are all hex digits: used as a raw key, but it looks like a 128-bit \
                 key in hex; replace it if so"
            );
        }
    }

    /// Returns the key in the file.
    #[must_use]
    pub const fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// Returns the key in the file, as its only copy.
    #[must_use]
    pub fn into_material(self) -> KeyMaterial {
        self.material
    }
}

impl PartialEq for KeyFile {
    /// Whether both have the same path and hold the same key, compared in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.material == other.material
    }
}

/// Reads until the end of the file or of the buffer. Not `read_to_end`, which keeps bytes where nothing wipes
/// them. With the content comes the file's mode if group or others can read it.
fn read<'a>(path: &Path, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], Option<u32>)> {
    // To open a pipe waits for who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut file = File::open(path)?;
    let open_mode = open_mode(&file)?;
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((buffer.get(..filled).unwrap_or_default(), open_mode))
}

#[cfg(unix)]
fn open_mode(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = file.metadata()?.permissions().mode();
    Ok((mode & 0o044 != 0).then_some(mode & 0o777))
}

#[cfg(not(unix))]
fn open_mode(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

fn parse(content: &[u8]) -> Result<KeyMaterial, KeyFileProblem> {
    if content.len() > MAX_FILE {
        return Err(KeyFileProblem::TooLong);
    }
    if let Ok(material) = KeyMaterial::try_from(content) {
        return Ok(material);
    }
    let text = content
        .strip_suffix(b"\r\n")
        .or_else(|| content.strip_suffix(b"\n"))
        .unwrap_or(content);
    match text.len() {
        44 => from_base64(text).ok_or(KeyFileProblem::Base64),
        64 => from_hex(text).ok_or(KeyFileProblem::Hex),
        _ => Err(KeyFileProblem::Length(content.len())),
    }
}

fn from_base64(text: &[u8]) -> Option<KeyMaterial> {
    let mut bytes = Zeroizing::new([0; 33]); // what 44 characters without padding would be
    let length = BASE64_STANDARD.decode_slice(text, &mut *bytes).ok()?;
    KeyMaterial::try_from(bytes.get(..length)?).ok()
}

fn from_hex(text: &[u8]) -> Option<KeyMaterial> {
    let mut bytes = Zeroizing::new([0; 32]);
    decode_hex(text, &mut *bytes).ok()?;
    Some(bytes.into())
}

/// A mistake that has the right length: 16 bytes, written as hex digits.
fn is_hex_of_128_bits(content: &[u8]) -> bool {
    content.len() == 32 && content.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{TempFile, hex, logged};

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";

    fn load_content(content: impl AsRef<[u8]>) -> KeyMaterial {
        KeyMaterial::from_file(TempFile::new(content).path()).unwrap()
    }

    #[test]
    fn every_form_of_file_gives_the_same_key() {
        let raw = hex(HEX);
        for content in [
            raw.clone(),
            HEX.into(),
            HEX.to_uppercase().into(),
            format!("{HEX}\n").into(),
            format!("{HEX}\r\n").into(),
            BASE64.into(),
            format!("{BASE64}\n").into(),
            format!("{BASE64}\r\n").into(),
        ] {
            assert_eq!(load_content(&content).as_bytes()[..], raw, "{content:?}");
        }
        assert_eq!(load_content([b'\n'; 32]).as_bytes(), &[b'\n'; 32], "raw is raw");
    }

    #[test]
    fn what_is_no_key_is_named_and_not_shown() {
        use KeyFileProblem::{Base64, Hex, Length, TooLong};

        for (content, expected) in [
            (String::new(), Length(0)),
            ("\n".into(), Length(1)),
            ("s".repeat(31), Length(31)),
            ("s".repeat(33), Length(33)),
            (format!("{}\n", "s".repeat(32)), Length(33)),
            (BASE64.trim_end_matches('=').into(), Length(43)),
            (format!("{BASE64}\n\n"), Length(46)),
            (format!(" {BASE64}"), Length(45)),
            (format!("0x{HEX}"), Length(66)),
            (format!("{HEX}\n\n"), Length(66)),
            (format!("{HEX}\r"), Length(65)),
            (format!("{HEX}\n\r\n"), TooLong),
            ("s".repeat(100_000), TooLong),
            (BASE64.replace('/', "_").replace('8', "*"), Base64),
            ("s".repeat(44), Base64),
            (format!("{}==", "s".repeat(42)), Base64),
            (BASE64.replace("8=", "9="), Base64), // bits beyond the last byte
            (HEX.replace("ff", "fg"), Hex),
            (HEX.replace("ff", "+f"), Hex),
            ("s".repeat(64), Hex),
        ] {
            let file = TempFile::new(&content);
            let error = KeyMaterial::from_file(file.path()).unwrap_err();
            let KeyMaterialError::Malformed { path, problem } = &error else {
                panic!("{error}");
            };
            assert_eq!((&**path, *problem), (file.path(), expected), "{content:?}");
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(text.contains(file.path().to_str().unwrap()), "{text}");
                assert!(content.len() < 31 || !text.contains(content.trim_end()), "{text}");
                assert!(!text.contains("sss"), "{text}");
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = KeyMaterial::from_file("/nowhere/xks\n.key").unwrap_err();
        assert!(matches!(&error, KeyMaterialError::Unreadable { reason, .. }
            if reason.kind() == io::ErrorKind::NotFound));
        // LOG-2: not even a path ends a log line.
        assert!(
            error
                .to_string()
                .starts_with(r#"cannot read the key file "/nowhere/xks\n.key": "#)
        );
        let directory = std::env::temp_dir();
        assert!(matches!(
            KeyMaterial::from_file(directory),
            Err(KeyMaterialError::Unreadable { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_warned_about() {
        use std::{fs, os::unix::fs::PermissionsExt as _};

        for (mode, is_open) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o604, true),
            (0o644, true),
        ] {
            let file = TempFile::new(HEX);
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let log = logged(|| drop(KeyMaterial::from_file(file.path()).unwrap()));
            assert_eq!(log.contains("WARN"), is_open, "{mode:o}: {log}");
            assert_eq!(log.contains(&format!("mode={mode:o}")), is_open, "{log}");
            assert!(!log.contains(HEX));
        }
    }

    #[test]
    fn a_short_key_in_hex_digits_is_warned_about() {
        let digits = "000102030405060708090a0b0c0d0eff";
        let log = logged(|| drop(load_content(digits)));
        assert!(log.contains("128-bit") && !log.contains(digits), "{log}");
        assert!(!logged(|| drop(load_content(hex(HEX)))).contains("128-bit"));
    }
}
