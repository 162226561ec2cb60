//! A watch on its way to a syncer: it ends, breaks, goes silent, loses a frame or shows one twice.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::watch;
use tower::BoxError;

use super::link::{RESET, Reply};
use super::network::Break;

/// The frames that are still to come, and what has been broken of them.
struct Watched<S> {
    frames: S,
    broken: watch::Receiver<Break>,
    is_frozen: bool,
    loses_next: bool,
    last: Option<Bytes>,
}

/// A watch that breaks as `broken` says.
pub(super) fn breakable<B>(body: B, broken: watch::Receiver<Break>) -> Reply
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let frames = Box::pin(body.into_data_stream());
    let watched = Watched { frames, broken, is_frozen: false, loses_next: false, last: None };
    StreamBody::new(futures::stream::unfold(watched, next)).boxed_unsync()
}

async fn next<S>(mut watched: Watched<S>) -> Option<(Result<Frame<Bytes>, BoxError>, Watched<S>)>
where
    S: Stream<Item = Result<Bytes, Infallible>> + Unpin,
{
    loop {
        tokio::select! {
            biased;
            _ = watched.broken.changed() => {
                let how = *watched.broken.borrow();
                match how {
                    Break::Reset => return Some((Err(RESET.into()), watched)),
                    _ if watched.is_frozen => {}
                    Break::End => return None,
                    Break::Freeze => watched.is_frozen = true,
                    Break::Skip => watched.loses_next = true,
                    Break::Repeat => {
                        if let Some(last) = watched.last.clone() {
                            return Some((Ok(Frame::data(last)), watched));
                        }
                    }
                }
            }
            frame = watched.frames.next(), if !watched.is_frozen => {
                let Ok(frame) = frame?;
                if !std::mem::take(&mut watched.loses_next) {
                    watched.last = Some(frame.clone());
                    return Some((Ok(Frame::data(frame)), watched));
                }
            }
        }
    }
}
