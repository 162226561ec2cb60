//! Alters the body of an answer: cuts it, slows it down, or drops, doubles and holds the frames of a watch.

use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};

use super::exchange::ReplyBody;
use super::rule::{FrameFault, Turn};

/// What a watch gets whose place the server has forgotten.
const EXPIRED: &[u8] =
    b"{\"type\":\"ERROR\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Status\",\"metadata\":{},\
    \"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";

/// The body, up to so many bytes.
pub(super) fn cut_after(body: ReplyBody, bytes: usize) -> ReplyBody {
    let pieces = stream::unfold((body, bytes), async |(mut body, left)| {
        if left == 0 {
            return Some((Err(anyhow!("the connection is cut")), (body, left)));
        }
        let piece = next(&mut body).await?.map(|mut piece| piece.split_to(left.min(piece.len())));
        let left = left - piece.as_ref().map_or(0, Bytes::len);
        Some((piece.map(Frame::data), (body, left)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The body byte by byte, with so much time between them, until the rule is removed.
pub(super) fn slowed(body: ReplyBody, pause: Duration, turn: Turn) -> ReplyBody {
    let pieces =
        stream::unfold((body, Bytes::new(), turn), move |(mut body, mut left, mut turn)| async move {
            while left.is_empty() {
                match next(&mut body).await? {
                    Ok(piece) => left = piece,
                    Err(error) => return Some((Err(error), (body, left, turn))),
                }
            }
            let is_slow = !turn.is_removed() && tokio::time::timeout(pause, turn.removed()).await.is_err();
            let piece = left.split_to(if is_slow { 1 } else { left.len() });
            Some((Ok(Frame::data(piece)), (body, left, turn)))
        });
    StreamBody::new(pieces).boxed_unsync()
}

/// The frames of a watch with a fault.
pub(super) fn with_fault(body: ReplyBody, fault: FrameFault, turn: Turn) -> ReplyBody {
    let lines = Lines { body, partial: Vec::new() };
    let pieces = stream::unfold(Some((lines, turn)), move |state| async move {
        let (mut lines, mut turn) = state?;
        let line = match lines.next().await? {
            Ok(line) => altered(line, fault, &mut turn).await,
            Err(error) => return Some((Err(error), None)),
        };
        let is_last = matches!(fault, FrameFault::Expired);
        Some((Ok(Frame::data(line)), (!is_last).then_some((lines, turn))))
    });
    StreamBody::new(pieces).boxed_unsync()
}

async fn altered(line: Bytes, fault: FrameFault, turn: &mut Turn) -> Bytes {
    match fault {
        FrameFault::Dropped => Bytes::new(),
        FrameFault::Doubled => [&line[..], &line[..]].concat().into(),
        FrameFault::Held => {
            turn.removed().await;
            line
        }
        FrameFault::Expired => Bytes::from_static(EXPIRED),
    }
}

/// A body line by line: a frame of a watch is a line.
struct Lines {
    body: ReplyBody,
    /// What has come of the next one.
    partial: Vec<u8>,
}

impl Lines {
    /// The next line with its end; what follows the last end of a line is no frame.
    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                return Some(Ok(self.partial.drain(..=end).collect()));
            }
            match next(&mut self.body).await? {
                Ok(piece) => self.partial.extend_from_slice(&piece),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The next piece of a body.
async fn next(body: &mut ReplyBody) -> Option<Result<Bytes>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_proxy::request::Request;
    use crate::fault_proxy::rule::{Rules, any};

    /// A body that comes in these pieces.
    fn body(pieces: &[&'static str]) -> ReplyBody {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        StreamBody::new(stream::iter(pieces)).boxed_unsync()
    }

    /// What arrives of a body, and whether it ends well.
    async fn arriving(mut body: ReplyBody) -> (String, bool) {
        let mut text = String::new();
        loop {
            match next(&mut body).await {
                Some(Ok(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Some(Err(_)) => return (text, false),
                None => return (text, true),
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_cut_after_so_many_bytes() {
        assert_eq!(arriving(cut_after(body(&["abc", "def"]), 4)).await, ("abcd".to_owned(), false));
        assert_eq!(arriving(cut_after(body(&["abc"]), 9)).await, ("abc".to_owned(), true));
    }

    #[tokio::test]
    async fn a_body_is_slow_until_the_rule_is_removed() {
        let rules = Rules::default();
        let _slow = rules.add(any("*").slow_body(Duration::ZERO));
        let request = Request::read(&http::Method::GET, &http::Uri::default(), &http::HeaderMap::new());
        let turn = rules.turn(&request).unwrap();
        let mut slow = slowed(body(&["abc", "def"]), Duration::ZERO, turn);
        assert_eq!(next(&mut slow).await.unwrap().unwrap(), "a");
        assert_eq!(next(&mut slow).await.unwrap().unwrap(), "b");
        rules.clear();
        assert_eq!(next(&mut slow).await.unwrap().unwrap(), "c");
        assert_eq!(arriving(slow).await, ("def".to_owned(), true));
    }

    #[tokio::test]
    async fn frames_are_lines_however_they_come() {
        for (fault, expected) in [
            (FrameFault::Dropped, ""),
            (FrameFault::Doubled, "one\none\ntwo\ntwo\n"),
            (FrameFault::Held, "one\ntwo\n"),
            (FrameFault::Expired, std::str::from_utf8(EXPIRED).unwrap()),
        ] {
            let altered = with_fault(body(&["on", "e\ntw", "o\n", "half"]), fault, Turn::of_removed_rule());
            assert_eq!(arriving(altered).await, (expected.to_owned(), true), "{fault:?}");
        }
    }
}
