//! What a syncer does while a plugin loads that takes its time: it answers, and it ends when it is asked to.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each program of tests uses some of it")]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::bomb;

/// Longer than anything that is waited for, and less than the plugin's loading takes.
const SOON: Duration = Duration::from_secs(30);

/// An API server that knows nothing but its version.
fn api_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            let body = r#"{"major": "1", "minor": "36"}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
            let _ = write!(stream, "{head}: {}\r\n\r\n{body}", body.len());
        }
    }
}

/// A syncer with this component in its folder, in which it finds all that it writes down too.
fn syncer(folder: &Path, component: &[u8], health: u16) -> Child {
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let server = json!({"server": format!("http://127.0.0.1:{}", api_server())});
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": server}], "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    write("kubeconfig", kubeconfig.to_string().as_bytes());
    std::fs::create_dir(folder.join("plugins")).unwrap();
    write("plugins/team-label.wasm", component);
    let side = json!({"kubeconfig": folder.join("kubeconfig")});
    let config = json!({
        "cluster": {"name": "a", "namespace": "b"}, "host": side, "virtual": side,
        "health": {"listen": format!("127.0.0.1:{health}")},
        "plugins": {"folder": folder.join("plugins"), "load": {"team-label": {"kinds": ["v1/Pod"]}}},
    });
    write("weft.yaml", config.to_string().as_bytes());
    let mut weft = Command::new(env!("CARGO_BIN_EXE_weft"));
    weft.args(["syncer", "--config"]).arg(folder.join("weft.yaml"));
    weft.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The lines of a stream as they come.
fn lines(stream: impl std::io::Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(to.send(line)));
    });
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn while_a_plugin_loads_health_is_served_and_sigterm_ends_the_syncer_and_its_child() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/mapping-0.1.0/team-label.wasm");
    let slow = bomb::long(&std::fs::read(good).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut syncer = syncer(folder.path(), &slow, health);
    let (sender, logged) = mpsc::channel();
    lines(syncer.stdout.take().unwrap(), sender.clone());
    lines(syncer.stderr.take().unwrap(), sender);
    let mut log = Vec::new();
    while !log.last().is_some_and(|line: &String| line.contains("loading the plugin")) {
        let line = logged.recv_timeout(SOON);
        log.push(line.unwrap_or_else(|error| panic!("it loads nothing, {error}: {log:#?}")));
    }
    assert!(get(health, "/livez").ends_with("ok\n"));
    assert!(get(health, "/readyz").contains("the plugins are being loaded"));
    let pid = Pid::from_raw(i32::try_from(syncer.id()).unwrap());
    let child = eventually(|| children(syncer.id()).into_iter().next());
    assert!(get(health, "/livez").ends_with("ok\n"));
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(eventually(|| syncer.try_wait().unwrap()).success());
    // It would go on for minutes.
    eventually(|| (!Path::new(&format!("/proc/{child}/exe")).exists()).then_some(()));
    assert!(!log.iter().any(|line| line.contains("is not loaded")), "{log:#?}");
}

/// The processes that the process `pid` has started (Linux: proc(5)).
fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let parent = |child: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<u32>().ok()
    };
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|child| parent(child) == Some(pid)).collect()
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let pause = Duration::from_millis(20);
    for _ in 0..SOON.as_millis() / pause.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(pause);
    }
    panic!("it does not happen");
}
