//! Takes the body of a watch apart into lines, one frame each.

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use crate::api::Chunks;
use crate::engine::informer::error::Error;
use crate::engine::informer::wire::MAX_FRAME;

/// The lines of a watch that is to end by some time.
pub(super) struct Frames {
    body: Chunks,
    buffer: BytesMut,
    end: Instant,
}

impl Frames {
    /// The lines of `body`, which counts as dead when nothing has ended it by `end`.
    pub(super) fn new(body: Chunks, end: Instant) -> Self {
        Self { body, buffer: BytesMut::new(), end }
    }

    /// The next line; none at the end. What follows the last line break is no frame.
    pub(super) async fn next(&mut self) -> Result<Option<BytesMut>, Error> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            if self.buffer.len() > MAX_FRAME {
                return Err(Error::FrameSize);
            }
            let chunk = tokio::time::timeout_at(self.end, self.body.next()).await;
            let Some(chunk) = chunk.map_err(|_| Error::Silent)? else { return Ok(None) };
            self.buffer.extend_from_slice(&chunk?);
        }
    }

    fn buffered(&mut self) -> Option<BytesMut> {
        let line_end = memchr::memchr(b'\n', &self.buffer)?;
        let line = self.buffer.split_to(line_end);
        self.buffer.advance(1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use weft_core::object::Host;

    use super::*;
    use bytes::Bytes;

    use crate::api;
    use crate::api::scripted::{Answer, scripted};

    /// The lines of a body that comes in these pieces, and how it ended.
    async fn lines(pieces: &[&str]) -> (Vec<String>, Result<(), Error>) {
        let (sender, answer) = Answer::stream();
        for piece in pieces {
            sender.try_send(Ok(Bytes::from(piece.to_string()))).unwrap();
        }
        drop(sender);
        let answer = Mutex::new(Some(answer));
        let (api, _) = scripted::<Host>(move |_| answer.lock().unwrap().take().unwrap());
        let body = api.start(api::get("/")).await.unwrap();
        let mut frames = Frames::new(body, Instant::now() + Duration::from_secs(1));
        let mut lines = Vec::new();
        loop {
            match frames.next().await {
                Ok(Some(line)) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) => return (lines, Ok(())),
                Err(error) => return (lines, Err(error)),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_the_same_however_the_body_is_cut() {
        for pieces in [&["one\ntwo\n"][..], &["o", "ne", "\n", "two\n"], &["one\ntw", "o\n"]] {
            let (lines, end) = lines(pieces).await;
            assert_eq!(lines, ["one", "two"], "cut as {pieces:?}: see Frames::next");
            end.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_the_last_line_break_is_no_line() {
        assert_eq!(lines(&["one\n{\"type\": \"ADD"]).await.0, ["one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_come_together_may_be_larger_than_one_may_be() {
        let half = "x".repeat(MAX_FRAME / 2);
        let (lines, end) = lines(&[&format!("{half}\n{half}\n{half}\n")]).await;
        assert_eq!(lines.len(), 3, "MAX_FRAME is for what has no line break yet");
        end.unwrap();
    }
}
