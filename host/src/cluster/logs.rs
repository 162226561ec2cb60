//! The last line that a container of the control plane logged: usually the reason why it ended.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use crate::cluster::Place;
use crate::cluster::host::Host;

/// Programs in Go end a message with the lines of a stack.
const LINES: i64 = 20;

/// The last line of the run of `container` that ended last, if it can be read.
pub async fn last_line(host: &Host, place: &Place, container: &str) -> Option<String> {
    let pods: Api<Pod> = Api::namespaced(host.client.clone(), &place.namespace);
    let pod = format!("{}-0", place.name);
    for previous in [true, false] {
        let parameters = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(LINES),
            previous,
            ..LogParams::default()
        };
        let log = pods.logs(&pod, &parameters).await.unwrap_or_default();
        if let Some(line) = message(&log) {
            return Some(line);
        }
    }
    None
}

fn message(log: &str) -> Option<String> {
    log.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_words_is_the_message() {
        assert_eq!(message("first\nfailed to open /data\n \n").as_deref(), Some("failed to open /data"));
        assert_eq!(message("\n"), None);
    }
}
