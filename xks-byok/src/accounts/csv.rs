//! AWS's CSV files of access keys.

use std::{error::Error, fmt};

use xks_core::Zeroizing;

use crate::aws::AccessKey;

const ACCESS_KEY_ID: &str = "Access key ID";
const SECRET_ACCESS_KEY: &str = "Secret access key";

/// Returned for a file that is not AWS's CSV file of an access key. It shows nothing of the file, since that
/// could be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsvError {
    /// It is not UTF-8.
    NotText,
    /// A quotation mark has no counterpart, or text follows it.
    Quotes {
        /// The line, from 1.
        line: usize,
    },
    /// The first line does not name a column.
    NoColumn {
        /// The name that is missing.
        name: &'static str,
    },
    /// There is no line after the first one.
    NoKey,
    /// There is more than one access key.
    SeveralKeys,
    /// A line has another number of columns than the first one.
    Columns {
        /// The line, from 1.
        line: usize,
        /// How many columns the first line has.
        expected: usize,
        /// How many this one has.
        found: usize,
    },
    /// The value of a column is empty or has characters that such a value cannot have.
    Illegal {
        /// The column.
        name: &'static str,
    },
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("the file is not UTF-8 text: download it from the AWS console again"),
            Self::Quotes { line } => write!(f, "line {line}: a quotation mark is not closed, or followed by text"),
            Self::NoColumn { name } => write!(
                f,
                "the first line has no column {name:?}: it should be `{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}`, as in the \
                 file that the AWS console offers for download"
            ),
            Self::NoKey => f.write_str("no access key follows the first line"),
            Self::SeveralKeys => f.write_str("the file has several access keys: leave the one that is to be used"),
            Self::Columns { line, expected, found } => {
                write!(f, "line {line} has {found} columns, and the first line {expected}")
            }
            Self::Illegal { name } => write!(
                f,
                "the value of column {name:?} is empty or has characters that it cannot have: download the file again"
            ),
        }
    }
}

impl Error for CsvError {}

/// Reads the file that the AWS console offers for a new access key: a line with the names of the columns,
/// `Access key ID,Secret access key`, and a line with their values.
///
/// A byte order mark, line ends of Windows, quotation marks, empty lines, spaces around values and other
/// columns are accepted; the case of names does not matter.
///
/// ```
/// use xks_byok::accounts::parse_csv;
///
/// let key = parse_csv(b"Access key ID,Secret access key\r\nAKIAIOSFODNN7EXAMPLE,wJalrXUtnFEMI/EXAMPLEKEY\r\n")?;
/// assert_eq!(key.access_key_id, "AKIAIOSFODNN7EXAMPLE");
/// # Ok::<(), xks_byok::accounts::CsvError>(())
/// ```
///
/// # Errors
/// What is wrong with the file.
pub fn parse_csv(file: &[u8]) -> Result<AccessKey, CsvError> {
    let text = std::str::from_utf8(file).map_err(|_| CsvError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty());

    let (number, names) = lines.next().ok_or(CsvError::NoColumn { name: ACCESS_KEY_ID })?;
    let names = fields(number, names)?;
    let column = |name: &'static str| {
        let is_it = |field: &Zeroizing<String>| field.eq_ignore_ascii_case(name);
        names.iter().position(is_it).ok_or(CsvError::NoColumn { name })
    };
    let (id, secret) = (column(ACCESS_KEY_ID)?, column(SECRET_ACCESS_KEY)?);

    let (number, values) = lines.next().ok_or(CsvError::NoKey)?;
    let values = fields(number, values)?;
    if values.len() != names.len() {
        return Err(CsvError::Columns {
            line: number,
            expected: names.len(),
            found: values.len(),
        });
    }
    if lines.next().is_some() {
        return Err(CsvError::SeveralKeys);
    }
    // IAM: 16 to 128 characters of \w.
    let id = values.get(id).filter(|id| {
        (16..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    let secret = values
        .get(secret)
        .filter(|secret| !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic()));
    let id = id.ok_or(CsvError::Illegal { name: ACCESS_KEY_ID })?;
    let secret = secret.ok_or(CsvError::Illegal {
        name: SECRET_ACCESS_KEY,
    })?;
    Ok(AccessKey::new(id.as_str(), secret.as_str()))
}

/// The fields of a line, without quotation marks (RFC 4180) and without spaces around them.
fn fields(number: usize, line: &str) -> Result<Vec<Zeroizing<String>>, CsvError> {
    let wrong = CsvError::Quotes { line: number };
    let mut fields = Vec::new();
    let mut rest = line.trim();
    loop {
        rest = rest.trim_start();
        // With room for all, so that no part of a secret stays in a buffer that was too small.
        let mut field = Zeroizing::new(String::with_capacity(rest.len()));
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (text, after) = quoted.split_once('"').ok_or(wrong)?;
                field.push_str(text);
                quoted = after;
                match after.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        quoted = after;
                    }
                    None => break,
                }
            }
            rest = quoted.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(wrong);
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            field.push_str(text.trim_end());
            rest = after;
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn files_of_the_console_and_of_spreadsheets_are_read() {
        let expected = AccessKey::new(ID, SECRET);
        for file in [
            format!("Access key ID,Secret access key\n{ID},{SECRET}\n"),
            format!("\u{feff}Access key ID,Secret access key\r\n{ID},{SECRET}"),
            format!("\"Access key ID\",\"Secret access key\"\r\n\"{ID}\",\"{SECRET}\"\r\n\r\n"),
            format!("\n access key id , SECRET ACCESS KEY \n {ID} , {SECRET} \n"),
            format!(
                "User name,Password,Access key ID,Secret access key,Console login link\nx,\"a,\"\"b\",{ID},{SECRET},\n"
            ),
        ] {
            assert_eq!(parse_csv(file.as_bytes()), Ok(expected.clone()), "{file}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_showing_the_file() {
        let header = "Access key ID,Secret access key\n";
        for (file, expected) in [
            (String::new(), CsvError::NoColumn { name: ACCESS_KEY_ID }),
            (format!("{ID},{SECRET}"), CsvError::NoColumn { name: ACCESS_KEY_ID }),
            (
                format!("Access key ID,Secret\n{ID},{SECRET}"),
                CsvError::NoColumn {
                    name: SECRET_ACCESS_KEY,
                },
            ),
            (header.to_owned(), CsvError::NoKey),
            (
                format!("{header}\n{ID}"),
                CsvError::Columns {
                    line: 3,
                    expected: 2,
                    found: 1,
                },
            ),
            (format!("{header}{ID},{SECRET}\n{ID},{SECRET}"), CsvError::SeveralKeys),
            (
                format!("{header}{ID},"),
                CsvError::Illegal {
                    name: SECRET_ACCESS_KEY,
                },
            ),
            (
                format!("{header}{ID},a b"),
                CsvError::Illegal {
                    name: SECRET_ACCESS_KEY,
                },
            ),
            (
                format!("{header}AKIA,{SECRET}"),
                CsvError::Illegal { name: ACCESS_KEY_ID },
            ),
            (
                format!("{header}{SECRET},{ID}"),
                CsvError::Illegal { name: ACCESS_KEY_ID },
            ),
            (format!("{header}{ID},\"{SECRET}"), CsvError::Quotes { line: 2 }),
            (format!("{header}{ID},\"{SECRET}\"x"), CsvError::Quotes { line: 2 }),
        ] {
            let error = parse_csv(file.as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{file}");
            assert!(
                !error.to_string().contains(SECRET) && !error.to_string().contains(ID),
                "{error}"
            );
        }
        assert_eq!(parse_csv(&[0xff, 0xfe, 0x41, 0x00]), Err(CsvError::NotText));
    }
}
