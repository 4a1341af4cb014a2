//! The lines of a file, one after the other.

use std::io::{self, BufRead, Read as _};

use crate::line::MAX_LINE;

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line<'l> {
    /// A whole one, without its end.
    Whole(&'l [u8]),
    /// One of a mebibyte or more, which is no record.
    TooLong,
    /// The last one, which has no end: what was being written when the writer stopped.
    Torn,
}

/// Reads the lines of a file. Takes at most a mebibyte of memory, whatever the file holds.
#[derive(Debug)]
pub struct Lines<F> {
    file: F,
    line: Vec<u8>,
}

impl<F: BufRead> Lines<F> {
    /// Begins where the file is.
    #[must_use]
    pub const fn new(file: F) -> Self {
        Self { file, line: Vec::new() }
    }

    /// Reads the next line; none at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut most = self.file.by_ref().take(MAX_LINE as u64);
        let length = most.read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_some() {
            return Ok(Some(Line::Whole(&self.line)));
        }
        if length < MAX_LINE {
            return Ok(Some(Line::Torn));
        }
        self.file.skip_until(b'\n')?;
        Ok(Some(Line::TooLong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_and_a_long_one_is_skipped() {
        let longest = "x".repeat(MAX_LINE - 1);
        let file = format!("one\n\n{longest}\n{longest}x\n{longest}{longest}xy\ntwo\ntorn");
        let mut lines = Lines::new(file.as_bytes());
        for expected in [
            Line::Whole(b"one"),
            Line::Whole(b""),
            Line::Whole(longest.as_bytes()),
            Line::TooLong,
            Line::TooLong,
            Line::Whole(b"two"),
            Line::Torn,
        ] {
            assert_eq!(lines.read().unwrap(), Some(expected));
        }
        assert_eq!(lines.read().unwrap(), None);
    }
}
