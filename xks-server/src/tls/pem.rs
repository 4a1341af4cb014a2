//! PEM files: the blocks in one, each with its line, and every block that cannot be read. Readers that skip
//! what they do not understand lose certificates without a word; this one accounts for each `-----BEGIN` and
//! `-----END`.

use std::ops::Range;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_core::Zeroizing;

/// The content between `-----BEGIN LABEL-----` and `-----END LABEL-----`, decoded.
pub(crate) struct Block {
    pub(crate) label: String,
    /// The line of its `-----BEGIN`, from 1.
    pub(crate) line: usize,
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// An error in a PEM file, and its place. It never holds the content of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(line: usize, text: impl Into<String>) -> Self {
        Self {
            line,
            text: text.into(),
        }
    }
}

/// The dashes around the words of a marker, exactly.
const DASHES: &str = "-----";

/// Characters that word processors put in the place of hyphens.
const OTHER_DASHES: [char; 7] = [
    '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}',
];

/// A place where a block begins or ends, or seems to.
struct Marker<'t> {
    is_begin: bool,
    /// None where it is not written as PEM demands.
    label: Option<&'t str>,
    span: Range<usize>,
}

/// Reads all blocks of a file. Blanks around lines, line breaks of any system, a byte order mark of UTF-8,
/// text between blocks, and blocks that follow each other without a line break lose nothing, and are
/// accepted.
pub(crate) fn read(file: &[u8]) -> (Vec<Block>, Vec<Fault>) {
    let text = Zeroizing::new(String::from_utf8_lossy(file).into_owned());
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let nul = text.find('\0');
    if file.starts_with(&[0x30, 0x82]) || (file.starts_with(&[0x30]) && nul.is_some()) {
        let wrong = "binary (DER), not PEM: convert it with `openssl x509 -inform DER` or `openssl pkey -inform \
                     DER`, and a .p12 or .pfx with `openssl pkcs12 -nodes`";
        faults.push(Fault::new(1, wrong));
        return (blocks, faults);
    }
    if let Some(nul) = nul {
        let wrong = "it contains NUL bytes: it is binary, or partly UTF-16; save it as plain text";
        faults.push(Fault::new(line_of(&text, nul), wrong));
        return (blocks, faults);
    }
    let mut open: Option<Marker<'_>> = None;
    for marker in markers(&text) {
        let begun = open.take();
        if let Some(begun) = begun.as_ref().filter(|_| marker.is_begin) {
            faults.extend(unended(begun, &text));
        }
        match (begun, marker.label) {
            // The end of what had a malformed beginning, which is a fault already.
            (Some(Marker { label: None, .. }), _) if !marker.is_begin => {}
            (_, None) => faults.push(malformed(&marker, &text)),
            (Some(begun), Some(label)) if !marker.is_begin => {
                if begun.label == Some(label) {
                    let line = line_of(&text, begun.span.start);
                    let body = text.get(begun.span.end..marker.span.start).unwrap_or_default();
                    match decode(body) {
                        Ok(content) => blocks.push(Block {
                            label: label.to_owned(),
                            line,
                            content,
                        }),
                        Err(why) => faults.push(Fault::new(line, format!("the {label} that begins here {why}"))),
                    }
                } else {
                    faults.extend(unended(&begun, &text));
                }
            }
            (None, Some(label)) if !marker.is_begin => {
                let wrong = format!("`-----END {label}-----` without its `-----BEGIN {label}-----`");
                faults.push(Fault::new(line_of(&text, marker.span.start), wrong));
            }
            (_, Some(_)) => {}
        }
        open = Some(marker).filter(|marker| marker.is_begin);
    }
    if let Some(begun) = open {
        faults.extend(unended(&begun, &text));
    }
    (blocks, faults)
}

fn malformed(marker: &Marker<'_>, text: &str) -> Fault {
    let word = if marker.is_begin { "BEGIN" } else { "END" };
    let wrong =
        format!("malformed PEM line: write it like `-----{word} CERTIFICATE-----`, with five dashes and capitals");
    Fault::new(line_of(text, marker.span.start), wrong)
}

/// That a block has no end; none where its beginning is a fault already.
fn unended(marker: &Marker<'_>, text: &str) -> Option<Fault> {
    let label = marker.label?;
    let wrong = format!("`-----BEGIN {label}-----` without its `-----END {label}-----`");
    Some(Fault::new(line_of(text, marker.span.start), wrong))
}

/// The line of an offset, from 1, where lines end in LF, CR LF or CR.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let breaks = before.iter().enumerate().filter(|(at, byte)| match byte {
        b'\n' => true,
        b'\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    1 + breaks.count()
}

/// All places that look as if a block began or ended there, in their order.
fn markers(text: &str) -> Vec<Marker<'_>> {
    let capitals = Zeroizing::new(text.to_ascii_uppercase()); // with the offsets of `text`
    let mut markers: Vec<_> = [("BEGIN", true), ("END", false)]
        .into_iter()
        .flat_map(|(word, is_begin)| {
            let found = capitals.match_indices(word).map(move |(at, _)| (word, is_begin, at));
            found.filter_map(|(word, is_begin, at)| marker(text, &capitals, word, is_begin, at))
        })
        .collect();
    markers.sort_by_key(|marker| marker.span.start);
    markers
}

/// The marker around a word, if it is more than a word of a text.
fn marker<'t>(text: &'t str, capitals: &str, word: &str, is_begin: bool, at: usize) -> Option<Marker<'t>> {
    let (before, behind) = (text.get(..at)?, text.get(at + word.len()..)?);
    if let Some(start) = before.strip_suffix(DASHES).map(str::len)
        && text.get(at..).is_some_and(|here| here.starts_with(word))
        && let Some(rest) = behind.strip_prefix(' ')
        && let Some((label, _)) = rest.split_once(DASHES)
        && is_label(label)
    {
        let end = at + word.len() + 1 + label.len() + DASHES.len();
        return Some(Marker {
            is_begin,
            label: Some(label),
            span: start..end,
        });
    }
    let lead = before.trim_end_matches([' ', '\t']);
    let text_before = lead.trim_end_matches(|c| c == '-' || OTHER_DASHES.contains(&c));
    let has_dashes = lead.len() > text_before.len() + 1; // a hyphen alone stands in many a text
    let begins_line = lead.is_empty() || lead.ends_with(['\n', '\r', '\u{feff}']);
    let line = capitals.get(at..)?.lines().next().unwrap_or_default();
    let names_pem = line.contains("CERTIFICATE") || line.contains("PRIVATE KEY");
    let is_word = behind.starts_with([' ', '\t', '-']);
    (is_word && (has_dashes || (begins_line && names_pem))).then(|| Marker {
        is_begin,
        label: None,
        span: at..at + word.len(),
    })
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'#'))
}

/// The bytes of a block, or why there are none.
fn decode(body: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    if body.contains(':') {
        return Err(if body.contains("ENCRYPTED") {
            "is encrypted with a passphrase, which is not supported: decrypt it with `openssl pkey`"
        } else {
            "has headers, which only encrypted keys have: remove them"
        });
    }
    if body.contains("\\n") {
        return Err("has \\n instead of line breaks: write line breaks");
    }
    let base64: Zeroizing<Vec<u8>> = Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    if base64.is_empty() {
        return Err("is empty");
    }
    let content = BASE64_STANDARD.decode(&*base64).map(Zeroizing::new);
    content.map_err(|_| "is not Base64 up to its `-----END`")
}
