//! The memory of requests that wait for the rest of their body: bounded over all of them, since none of their
//! clients has been authenticated.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Version, request::Parts};

/// What a request takes beside its headers and its body, roughly: its future, and the server's own of its
/// stream.
const REQUEST: usize = 4096;

/// What a header takes beside its name and its value, as HTTP/2 counts it (RFC 9113, 6.5.2).
const HEADER: usize = 32;

/// Bytes that are left for requests that wait.
#[derive(Debug)]
pub(crate) struct Memory(AtomicUsize);

impl Memory {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// A share for one request. It is empty until the request has to wait.
    pub(crate) const fn share<'a>(&'a self, parts: &'a Parts) -> Share<'a> {
        Share {
            memory: self,
            parts,
            bytes: 0,
        }
    }
}

/// What one request has of it, given back when this is dropped.
pub(crate) struct Share<'a> {
    memory: &'a Memory,
    parts: &'a Parts,
    bytes: usize,
}

impl Share<'_> {
    /// Makes room for the request's head and so many bytes of its body; returns whether there is any.
    ///
    /// Under HTTP/1.1 a connection has one head at a time, which its server's buffer has bounded, and servers
    /// hand a body over only when it is asked for: to wait for the first of it is free.
    pub(crate) fn hold(&mut self, of_body: usize) -> bool {
        if of_body == 0 && self.parts.version < Version::HTTP_2 {
            return true;
        }
        let headers = self.parts.headers.iter();
        let head: usize = headers
            .map(|(name, value)| name.as_str().len() + value.len() + HEADER)
            .sum();
        let more = (REQUEST + head + of_body).saturating_sub(self.bytes);
        let take = |left: usize| left.checked_sub(more);
        let memory = &self.memory.0;
        let is_there = memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if is_there {
            self.bytes += more;
        }
        is_there
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.0.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let memory = Memory::new(20_000);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.version = Version::HTTP_2;
        let (mut first, mut second) = (memory.share(&parts), memory.share(&parts));
        assert!(first.hold(0) && first.hold(9000) && first.hold(8000));
        assert!(!second.hold(5000));
        assert!(second.hold(2000), "a share that was too large took nothing");
        drop(first);
        assert!(second.hold(14_000));
        drop(second);
        parts.version = Version::HTTP_11;
        let mut third = memory.share(&parts);
        assert!(third.hold(0) && !third.hold(20_000));
        drop(third);
        assert_eq!(memory.0.into_inner(), 20_000);
    }
}
