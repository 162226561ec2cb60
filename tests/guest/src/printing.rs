//! Prints, by the functions of WASI that a language's runtime would call.

use crate::bindings::printing::wasi::cli::stdin::get_stdin;
use crate::bindings::printing::wasi::cli::stdout::get_stdout;
use crate::bindings::printing::wasi::cli::terminal_stdout::get_terminal_stdout;
use crate::bindings::printing::wasi::clocks::wall_clock::now;
use crate::bindings::printing::wasi::filesystem::preopens::{Descriptor, get_directories};
use crate::bindings::printing::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::bindings::printing::wasi::random::random::get_random_bytes;

/// More than is permitted at once, by far.
const HUGE: u64 = 1 << 63;
/// Megabytes without a line break.
const LONG: usize = 5 * 1024 * 1024;

/// Does what `action` says; returns what came of it.
pub(crate) fn print(action: &str, with: &str) -> Option<String> {
    let out = get_stdout();
    Some(match action {
        "print" => format!("{:?}", out.blocking_write_and_flush(with.as_bytes())),
        "print-flood" => print_flood(&out),
        "print-long-line" => print_long_line(&out),
        "print-permitted" => print_permitted(&out),
        "print-at-once" => format!("{:?}", out.write(&vec![b'x'; LONG])),
        "print-and-flush-at-once" => format!("{:?}", out.blocking_write_and_flush(&vec![b'x'; LONG])),
        "zeroes" => format!("{:?} {:?}", out.write_zeroes(8), out.blocking_write_zeroes_and_flush(8)),
        "huge-zeroes" => format!("{:?}", out.write_zeroes(HUGE)),
        "huge-flushed-zeroes" => format!("{:?}", out.blocking_write_zeroes_and_flush(HUGE)),
        "splice" => splice(&out, &get_stdin()),
        "surroundings" => surroundings(),
        "random-bytes" => get_random_bytes(64 * 1024).len().to_string(),
        "huge-random-bytes" => get_random_bytes(HUGE).len().to_string(),
        "subscribe" => subscribe(&out),
        "streams" => hold_streams(),
        _ => return None,
    })
}

/// Many small writes, the last of which has something to say.
fn print_flood(out: &OutputStream) -> String {
    let failed = (0..20_000).filter(|_| out.blocking_write_and_flush(b"flood\n").is_err()).count();
    format!("{failed} failed, {:?}", out.blocking_write_and_flush(b"the flood is over"))
}

/// One line of megabytes, in writes of what is permitted.
fn print_long_line(out: &OutputStream) -> String {
    let text = vec![b'x'; LONG];
    let failed = text.chunks(4096).filter(|part| out.write(part).is_err()).count();
    format!("{failed} failed")
}

/// All that is permitted, and not a byte more.
fn print_permitted(out: &OutputStream) -> String {
    let permit = out.check_write().unwrap_or_default();
    let text = vec![b'x'; usize::try_from(permit).unwrap_or_default()];
    format!("{permit} {:?} {:?}", out.write(&text), out.blocking_write_and_flush(&text))
}

/// Everything that reads.
fn splice(out: &OutputStream, input: &InputStream) -> String {
    let is_closed = |result: Result<u64, StreamError>| matches!(result, Err(StreamError::Closed));
    let read = input.read(HUGE).map(|bytes| bytes.len() as u64);
    let results = [read, input.skip(HUGE), out.splice(input, HUGE), out.blocking_splice(input, HUGE)];
    format!("closed: {:?}", results.map(is_closed))
}

/// What a runtime asks for when it starts. Nothing that `files` returns can be used, as nothing is there.
fn surroundings() -> String {
    let files: Vec<(Descriptor, String)> = get_directories();
    let read: Vec<_> =
        files.iter().map(|(file, _)| (file.read_via_stream(0), file.write_via_stream(0))).collect();
    let now = now();
    format!(
        "{} {} {} {}.{}",
        files.len(),
        read.len(),
        get_terminal_stdout().is_some(),
        now.seconds,
        now.nanoseconds
    )
}

/// Waits for what is always so.
fn subscribe(out: &OutputStream) -> String {
    out.subscribe().block();
    String::new()
}

/// Streams without end, none of which is dropped.
fn hold_streams() -> ! {
    loop {
        std::mem::forget(get_stdout());
    }
}
