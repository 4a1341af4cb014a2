//! Bodies: a request's, read up to a limit and wiped after use, and a response's, wiped when it has been
//! sent.
//!
//! A body above the limit is a `ValidationException` (400): the table of errors has no other name for it, and
//! the client is at fault. Up to 16 MiB of it are read and discarded, so that the client reads the response.

use std::{
    convert::Infallible,
    fmt,
    ops::Deref,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use xks_core::api::UnreadableBody;
use zeroize::{Zeroize as _, Zeroizing};

use crate::memory::Share;

/// How much of a body that is too large is still taken in, and thrown away. A client that is still sending
/// when the answer comes may never see the answer; one that sends more than this is not worth it.
const DRAIN_LIMIT: u64 = 16 * 1024 * 1024;

/// A request's whole body. It may hold plaintext.
pub(crate) enum RequestBody {
    /// It came in one piece, which is used where it lies.
    Whole(Bytes),
    Joined(Zeroizing<Vec<u8>>),
}

/// Why there is no body, and whether the connection still holds some of it.
#[derive(Clone, Copy)]
pub(crate) struct Unreadable {
    pub(crate) why: UnreadableBody,
    pub(crate) is_left_on_connection: bool,
}

impl RequestBody {
    /// Reads a body of up to `limit` bytes. `waits_for_consent`: the client sends nothing before it is asked
    /// to (`Expect: 100-continue`). While it waits for more, `share` holds what the request takes.
    pub(crate) async fn read<B: Body>(
        body: B,
        limit: usize,
        waits_for_consent: bool,
        mut share: Share<'_>,
    ) -> Result<Self, Unreadable> {
        let mut body = pin!(body);
        let too_large = |is_left_on_connection| Unreadable {
            why: UnreadableBody::TooLarge { limit },
            is_left_on_connection,
        };
        let announced = body.size_hint().lower();
        if announced > as_u64(limit) && (waits_for_consent || announced > DRAIN_LIMIT) {
            return Err(too_large(true));
        }

        let mut pieces = Pieces::default();
        while let Some(data) = next_data(body.as_mut(), || share.hold(pieces.settle())).await? {
            if pieces.len() + data.remaining() > limit {
                let read = as_u64(pieces.len() + data.remaining());
                drop((pieces, data));
                return Err(too_large(!drain(body, read, share).await?));
            }
            pieces.add(data, announced);
        }
        Ok(pieces.finish())
    }
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Self::Whole(bytes) = self {
            wipe(std::mem::take(bytes));
        }
    }
}

/// What has been read so far: most often one piece and no copy.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    joined: Zeroizing<Vec<u8>>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn add(&mut self, mut data: impl Buf, announced: u64) {
        if self.len() == 0 {
            self.first = data.copy_to_bytes(data.remaining());
            return;
        }
        self.settle();
        let length = self.joined.len() + data.remaining();
        if self.joined.capacity() < length {
            // No further than to twice of what has come: an announcement costs nothing. Grown by hand, so
            // that the old buffer is wiped.
            let announced = usize::try_from(announced).unwrap_or(0);
            let room = if announced < length {
                length * 2
            } else {
                announced.min(length * 2)
            };
            let mut grown = Zeroizing::new(Vec::with_capacity(room));
            grown.extend_from_slice(&self.joined);
            self.joined = grown;
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            self.joined.extend_from_slice(chunk);
            data.advance(length);
        }
    }

    /// Leaves the server's buffer, of which a piece may keep far more than its own length; returns the memory
    /// taken.
    fn settle(&mut self) -> usize {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.joined.reserve_exact(first.len());
            self.joined.extend_from_slice(&first);
            wipe(first);
        }
        self.joined.capacity()
    }

    fn finish(self) -> RequestBody {
        if self.joined.is_empty() {
            RequestBody::Whole(self.first)
        } else {
            RequestBody::Joined(self.joined)
        }
    }
}

/// The next piece that holds anything; trailers are passed over. It is waited for as long as there is memory
/// for it.
async fn next_data<B: Body>(
    mut body: Pin<&mut B>,
    mut may_wait: impl FnMut() -> bool,
) -> Result<Option<B::Data>, Unreadable> {
    let no_memory = Unreadable {
        why: UnreadableBody::NoMemory,
        is_left_on_connection: true,
    };
    loop {
        let frame = std::future::poll_fn(|context| match body.as_mut().poll_frame(context) {
            Poll::Pending if !may_wait() => Poll::Ready(Err(no_memory)),
            poll => poll.map(Ok),
        });
        match frame.await?.transpose() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => match frame.into_data() {
                Ok(data) if data.has_remaining() => return Ok(Some(data)),
                _ => {}
            },
            Err(_) => {
                return Err(Unreadable {
                    why: UnreadableBody::Incomplete,
                    is_left_on_connection: true,
                });
            }
        }
    }
}

/// Takes in the rest, and says whether that was all of it.
async fn drain<B: Body>(mut body: Pin<&mut B>, mut read: u64, mut share: Share<'_>) -> Result<bool, Unreadable> {
    while read <= DRAIN_LIMIT {
        match next_data(body.as_mut(), || share.hold(0)).await? {
            Some(data) => read += as_u64(data.remaining()),
            None => return Ok(true),
        }
    }
    Ok(false)
}

/// Overwrites bytes that are not shared; a server's own read buffer stays the server's.
fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The body of an answer: one piece, wiped from memory when the server has sent it. By default it is empty,
/// for layers that make answers of their own.
#[derive(Default)]
pub struct ResponseBody(Bytes);

impl ResponseBody {
    pub(crate) fn new(body: Zeroizing<Vec<u8>>) -> Self {
        Self(Bytes::from_owner(body))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(as_u64(self.0.len()))
    }
}

impl fmt::Debug for ResponseBody {
    /// It may hold plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseBody({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use std::collections::VecDeque;

    /// A body in pieces, with or without an announced length.
    struct InPieces {
        pieces: VecDeque<Result<Bytes, ()>>,
        announced: u64,
    }

    impl Body for InPieces {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
            Poll::Ready(self.pieces.pop_front().map(|piece| piece.map(Frame::data)))
        }

        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(self.announced);
            hint
        }
    }

    fn pieces(lengths: &[usize], announced: u64) -> InPieces {
        let piece = |(n, length): (usize, &usize)| Ok(Bytes::from(vec![u8::try_from(n).unwrap(); *length]));
        InPieces {
            pieces: lengths.iter().enumerate().map(piece).collect(),
            announced,
        }
    }

    async fn read(body: InPieces, limit: usize, waits: bool) -> Result<Vec<u8>, (UnreadableBody, bool)> {
        let (memory, (parts, ())) = (Memory::new(0), http::Request::new(()).into_parts());
        match RequestBody::read(body, limit, waits, memory.share(&parts)).await {
            Ok(body) => Ok(body.to_vec()),
            Err(unreadable) => Err((unreadable.why, unreadable.is_left_on_connection)),
        }
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit_are_joined() {
        for announced in [0, 10] {
            for lengths in [
                &[][..],
                &[0],
                &[10],
                &[0, 10, 0],
                &[1, 9],
                &[1, 2, 3, 4],
                &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            ] {
                let expected: Vec<u8> = lengths
                    .iter()
                    .enumerate()
                    .flat_map(|(n, length)| vec![u8::try_from(n).unwrap(); *length])
                    .collect();
                assert_eq!(read(pieces(lengths, announced), 10, false).await, Ok(expected));
            }
        }
    }

    #[tokio::test]
    async fn larger_bodies_are_drained_or_left() {
        let too_large = |left| Err((UnreadableBody::TooLarge { limit: 10 }, left));
        assert_eq!(read(pieces(&[11], 0), 10, false).await, too_large(false), "drained");
        assert_eq!(
            read(pieces(&[5, 5, 1], 11), 10, false).await,
            too_large(false),
            "drained"
        );
        assert_eq!(
            read(pieces(&[11], 11), 10, true).await,
            too_large(true),
            "never asked for"
        );
        assert_eq!(
            read(pieces(&[], DRAIN_LIMIT + 1), 10, false).await,
            too_large(true),
            "not worth it"
        );
        let endless = pieces(&[1 << 20; 20], 0);
        assert_eq!(read(endless, 10, false).await, too_large(true), "given up");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_incomplete() {
        let broken = |mut body: InPieces| {
            body.pieces.push_back(Err(()));
            body
        };
        let incomplete = Err((UnreadableBody::Incomplete, true));
        assert_eq!(read(broken(pieces(&[5], 0)), 10, false).await, incomplete);
        assert_eq!(read(broken(pieces(&[11], 0)), 10, false).await, incomplete);
    }

    #[test]
    fn the_response_body_tells_its_length_and_nothing_else() {
        let body = ResponseBody::new(Zeroizing::new(b"plaintext".to_vec()));
        assert_eq!(body.size_hint().exact(), Some(9));
        assert!(!format!("{body:?}").contains("plaintext"));
    }
}
