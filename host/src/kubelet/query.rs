//! Translates the query of a kubelet's path to that of a pod's subresource.
//!
//! The names differ: `pkg/registry/core/pod/strategy.go` of Kubernetes writes those of the kubelet, and `PodLogOptions`,
//! `PodExecOptions`, `PodAttachOptions` and `PodPortForwardOptions` of the API are those of the subresources. Values stay as
//! they are encoded. What is not known is left out, as the kubelet does.

/// Of `/containerLogs`; the names are the same.
const OF_LOGS: [&str; 8] =
    ["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"];

/// Which streams of a container are wanted: the kubelet's name, and that of the API.
const STREAMS: [(&str, &str); 4] =
    [("input", "stdin"), ("output", "stdout"), ("error", "stderr"), ("tty", "tty")];

/// The query of `pods/log`.
pub(super) fn of_logs(query: &str) -> Vec<String> {
    pairs(query)
        .filter(|(name, _)| OF_LOGS.contains(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The query of `pods/exec`, or of `pods/attach`, which knows no command.
pub(super) fn of_streams(query: &str, has_command: bool) -> Vec<String> {
    let translated = |(name, value): (&str, &str)| match name {
        "command" if has_command => Some(format!("command={value}")),
        // The kubelet takes nothing else for true.
        _ if value == "1" => {
            let (_, name) = STREAMS.iter().find(|(of_kubelet, _)| *of_kubelet == name)?;
            Some(format!("{name}=true"))
        }
        _ => None,
    };
    pairs(query).filter_map(translated).collect()
}

/// The query of `pods/portforward`.
pub(super) fn of_ports(query: &str) -> Vec<String> {
    let ports = pairs(query).filter(|(name, _)| matches!(*name, "port" | "ports"));
    ports.map(|(_, value)| format!("ports={value}")).collect()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_logs_keep_their_names_and_others_are_left_out() {
        let query = "follow=true&tailLines=5&sinceTime=2026-01-01T00%3A00%3A00Z&container=other&insecureSkipTLSVerifyBackend=true";
        let wanted = ["follow=true", "tailLines=5", "sinceTime=2026-01-01T00%3A00%3A00Z"];
        assert_eq!(of_logs(query), wanted);
        let query = "previous=true&timestamps=true&limitBytes=10&sinceSeconds=3";
        assert_eq!(of_logs(query).join("&"), query);
        assert_eq!(of_logs(""), Vec::<String>::new());
    }

    #[test]
    fn a_command_keeps_its_order_and_its_escapes_and_streams_get_the_names_of_the_api() {
        let query = "command=sh&command=-c&command=echo+%26%3D%25%FF&input=1&output=1&error=1&tty=1";
        let wanted =
            "command=sh&command=-c&command=echo+%26%3D%25%FF&stdin=true&stdout=true&stderr=true&tty=true";
        assert_eq!(of_streams(query, true).join("&"), wanted);
        assert_eq!(of_streams("input=0&output=1&stderr=1&command=a", false), ["stdout=true"]);
    }

    #[test]
    fn ports_are_passed_on() {
        assert_eq!(of_ports("port=80&port=443&x=1"), ["ports=80", "ports=443"]);
    }
}
