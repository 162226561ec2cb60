//! The last warning that a container of the control plane logged: usually the reason why it does not go on.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use crate::cluster::Place;
use crate::cluster::host::Host;

/// A program that tries again for ever repeats its warning.
const LINES: i64 = 20;

/// The last warning or error of `container`, a program of ours, if its log can be read.
pub async fn last_warning(host: &Host, place: &Place, container: &str) -> Option<String> {
    tail(host, place, container).await?.lines().rev().find_map(warning)
}

/// The last line of `container` that has these words, if its log can be read.
pub async fn last_with(host: &Host, place: &Place, container: &str, words: &str) -> Option<String> {
    tail(host, place, container).await?.lines().rfind(|line| line.contains(words)).map(str::to_owned)
}

async fn tail(host: &Host, place: &Place, container: &str) -> Option<String> {
    let pods: Api<Pod> = Api::namespaced(host.client.clone(), &place.namespace);
    let parameters =
        LogParams { container: Some(container.to_owned()), tail_lines: Some(LINES), ..LogParams::default() };
    pods.logs(&format!("{}-0", place.name), &parameters).await.ok()
}

/// The message of a line at this level, as the syncer writes them for people; for collectors, the whole line.
fn warning(line: &str) -> Option<String> {
    if line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#) {
        return Some(line.trim().to_owned());
    }
    let (_, line) = line.split_once(" WARN ").or_else(|| line.split_once(" ERROR "))?;
    // Where in the program it was logged says nothing to an operator.
    let message = line.split_once(": ").map_or(line, |(_, message)| message);
    Some(message.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_shown_without_its_time_and_its_place_in_the_program() {
        let line = "2026-01-01T00:00:00.1Z  WARN weft::engine: cannot bootstrap; trying again error=not the one: why";
        assert_eq!(warning(line).as_deref(), Some("cannot bootstrap; trying again error=not the one: why"));
        let line = r#"{"timestamp":"2026-01-01T00:00:00Z","level":"ERROR","fields":{}}"#;
        assert_eq!(warning(line).as_deref(), Some(line));
        assert_eq!(warning("2026-01-01T00:00:00.1Z  INFO weft::engine: syncing"), None);
    }
}
