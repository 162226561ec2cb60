//! What pods of the node tests run: one static program that serves, asks, looks names up, and waits.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: probe pause
       probe serve PORT                      answers /, /env/NAME and /file/PATH
       probe get URL [CA-FILE [TOKEN-FILE]]  prints status and body
       probe lookup NAME                     prints its addresses";

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    end_when_asked()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["pause"] => loop {
            thread::park();
        },
        ["serve", port] => serve(port.parse()?),
        ["get", url] => get(url, None, None),
        ["get", url, authority] => get(url, Some(authority), None),
        ["get", url, authority, token] => get(url, Some(authority), Some(token)),
        ["lookup", name] => lookup(name),
        _ => bail!(USAGE),
    }
}

/// The first process of a container is only ended by signals that it handles.
fn end_when_asked() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || signals.forever().next().map(|_| std::process::exit(0)));
    Ok(())
}

fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("serving on port {port}");
    for stream in listener.incoming() {
        thread::spawn(|| stream.map(answer));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> Result<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(stream.try_clone()?);
    lines.read_line(&mut request)?;
    let mut header = String::new();
    while lines.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split_whitespace().nth(1).context("this is not HTTP")?;
    let (status, body) = match body(path) {
        Ok(body) => ("200 OK", body),
        Err(error) => ("404 Not Found", format!("{error:#}")),
    };
    println!("{} {status}", request.trim());
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    Ok(())
}

fn body(path: &str) -> Result<String> {
    match path.split_once('/').context("a path begins with a slash")?.1.split_once('/') {
        None => Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned()),
        Some(("env", name)) => Ok(std::env::var(name)?),
        Some(("file", path)) => Ok(fs::read_to_string(format!("/{path}"))?),
        Some(_) => bail!("there is no {path}"),
    }
}

/// Fails where there is no answer, or one that says no.
fn get(url: &str, authority: Option<&str>, token: Option<&str>) -> Result<()> {
    let mut config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
    if let Some(authority) = authority {
        let authority = Certificate::from_pem(&fs::read(authority)?)?;
        let roots = RootCerts::new_with_certs(&[authority]);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    let mut request = Agent::from(config.build()).get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {}", fs::read_to_string(token)?.trim()));
    }
    let mut response = request.call()?;
    let status = response.status();
    println!("{}", status.as_u16());
    println!("{}", response.body_mut().read_to_string()?);
    ensure!(status.is_success(), "{url} answers {status}");
    Ok(())
}

fn lookup(name: &str) -> Result<()> {
    let addresses: BTreeSet<_> = (name, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    for address in addresses {
        println!("{address}");
    }
    Ok(())
}
