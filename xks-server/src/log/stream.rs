//! Standard error or standard output as an output of the log.
//!
//! Either may be a file on a disk that is full: what fails to be written may leave half a line behind.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

/// Writes whole lines to a stream. Nothing is buffered: what was not written is lost, not written later.
pub(super) struct Stream {
    file: File,
    /// The last write did not end a line.
    is_within_line: bool,
    /// The rest of that line will not come.
    is_torn: bool,
}

impl Stream {
    pub(super) fn to(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self {
            file: File::from(stream.as_fd().try_clone_to_owned()?),
            is_within_line: false,
            is_torn: false,
        })
    }
}

impl Write for Stream {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            (self.is_within_line, self.is_torn) = (false, false);
        }
        match self.file.write(lines) {
            Ok(written) => {
                let last = lines.get(..written).and_then(<[u8]>::last);
                self.is_within_line = last.map_or(self.is_within_line, |last| *last != b'\n');
                Ok(written)
            }
            Err(error) => {
                self.is_torn = self.is_within_line && error.kind() != io::ErrorKind::Interrupted;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
