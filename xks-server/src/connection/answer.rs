//! The body of an answer, which tells when its client has taken it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Buf;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::{Activity, Untaken};

/// A body whose bytes count as untaken until HTTP/2 has sent the last of them, for which the client has to
/// open its window. Under HTTP/1.1 the socket tells as much.
pub(super) struct Answer<B> {
    body: B,
    untaken: Option<Arc<Untaken>>,
}

impl<B: Body> Answer<B> {
    pub(super) fn new(body: B, activity: Option<&Arc<Activity>>) -> Self {
        let activity = activity.filter(|_| !body.is_end_stream());
        Self {
            untaken: activity.map(|activity| Arc::new(Untaken::new(activity))),
            body,
        }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| {
            frame.map_data(|data| Piece {
                data,
                _untaken: self.untaken.clone(),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a body.
pub(super) struct Piece<D> {
    data: D,
    _untaken: Option<Arc<Untaken>>,
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}
