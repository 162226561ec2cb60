//! Reads what the virtual API server asks a kubelet for, and says what that is on the host's API server.
//!
//! The paths are those of `pkg/kubelet/server/server.go` of Kubernetes.

use http::{Method, Uri};
use weft_core::names::{is_dns_label, is_dns_subdomain};
use weft_core::object::ResourceType;

use crate::api::object_path;
use crate::engine::HostPod;
use crate::kubelet::query;
use crate::kubelet::refusal::Refusal;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Logs,
    Exec,
    Attach,
    PortForward,
}

/// One request, in words of the virtual cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    verb: Verb,
    pub(super) namespace: String,
    pub(super) pod: String,
    uid: Option<String>,
    container: Option<String>,
    query: Vec<String>,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// What a kubelet of a virtual cluster does not answer, and names that are none.
    pub(super) fn read(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let segments = segments(uri.path())?;
        let (first, rest) = segments.split_first().unwrap_or((&"", &[]));
        let verb = verb(first)?;
        verb.check(method)?;
        let (namespace, pod, uid, container) = match (verb, rest) {
            (Verb::PortForward, [namespace, pod]) => (namespace, pod, None, None),
            (Verb::PortForward, [namespace, pod, uid]) => (namespace, pod, Some(uid), None),
            (Verb::Logs | Verb::Exec | Verb::Attach, [namespace, pod, container]) => {
                (namespace, pod, None, Some(container))
            }
            (Verb::Exec | Verb::Attach, [namespace, pod, uid, container]) => {
                (namespace, pod, Some(uid), Some(container))
            }
            _ => return Err(Refusal::not_found(format!("the kubelet has no path like {:?}", uri.path()))),
        };
        check("namespace", namespace, is_dns_label(namespace))?;
        check("pod", pod, is_dns_subdomain(pod))?;
        container.map_or(Ok(()), |container| check("container", container, is_dns_label(container)))?;
        let owned = |text: &&str| (*text).to_owned();
        Ok(Self {
            verb,
            namespace: owned(namespace),
            pod: owned(pod),
            uid: uid.map(owned),
            container: container.map(owned),
            query: verb.query(uri.query().unwrap_or_default()),
        })
    }

    /// Whether it becomes a stream in both directions.
    pub(super) fn is_stream(&self) -> bool {
        self.verb != Verb::Logs
    }

    /// Path and query on the host's API server.
    ///
    /// # Errors
    /// It is about another pod of the same name, or about a container that is not the tenant's.
    pub(super) fn on_host(self, host: &HostPod) -> Result<String, Refusal> {
        let Self { verb, namespace, pod, uid, container, mut query } = self;
        if uid.is_some_and(|uid| uid != host.virtual_uid) {
            return Err(Refusal::not_found(format!("pod {namespace}/{pod} has another UID")));
        }
        if let Some(container) = container {
            if !host.containers.contains(&container) {
                let message = format!("pod {namespace}/{pod} has no container {container:?}");
                return Err(Refusal::not_found(message));
            }
            query.push(format!("container={container}"));
        }
        let pods = ResourceType::core("Pod", "pods");
        let path = object_path(&pods, &host.namespace, &host.name, Some(verb.subresource()));
        Ok(if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) })
    }
}

impl Verb {
    /// Streams are opened by GET (WebSocket) or by POST (SPDY), and the host is asked by the same.
    fn check(self, method: &Method) -> Result<(), Refusal> {
        let is_good = *method == Method::GET || (self != Self::Logs && *method == Method::POST);
        is_good
            .then_some(())
            .ok_or_else(|| Refusal::method(format!("the kubelet does not answer {method} here")))
    }

    fn query(self, query: &str) -> Vec<String> {
        match self {
            Self::Logs => query::of_logs(query),
            Self::Exec => query::of_streams(query, true),
            Self::Attach => query::of_streams(query, false),
            Self::PortForward => query::of_ports(query),
        }
    }

    fn subresource(self) -> &'static str {
        match self {
            Self::Logs => "log",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }
}

fn verb(segment: &str) -> Result<Verb, Refusal> {
    match segment {
        "containerLogs" => Ok(Verb::Logs),
        "exec" => Ok(Verb::Exec),
        "attach" => Ok(Verb::Attach),
        "portForward" => Ok(Verb::PortForward),
        _ => Err(Refusal::forbidden(
            "the kubelet of a virtual cluster answers for logs, exec, attach and port-forward of pods only",
        )),
    }
}

/// The parts of a path. None needs an escape, so one hides something.
pub(super) fn segments(path: &str) -> Result<Vec<&str>, Refusal> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let is_plain = |segment: &&str| {
        let of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        !segment.is_empty() && segment.chars().all(of_name) && !matches!(*segment, "." | "..")
    };
    if path == "/" || segments.iter().all(is_plain) {
        return Ok(segments);
    }
    Err(Refusal::bad_request(format!("the path {path:?} has a part that is no name")))
}

fn check(what: &str, name: &str, is_good: bool) -> Result<(), Refusal> {
    let why = || Refusal::bad_request(format!("{name:?} cannot be the name of a {what}"));
    is_good.then_some(()).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, uri: &str) -> Result<Asked, Refusal> {
        Asked::read(method, &uri.parse().unwrap())
    }

    fn host_pod() -> HostPod {
        HostPod {
            namespace: "team-a".to_owned(),
            name: "web-x-shop-x-vc".to_owned(),
            virtual_uid: "uid-1".to_owned(),
            containers: ["web", "setup"].map(str::to_owned).into(),
        }
    }

    /// What becomes of a GET, or the status that refuses it.
    fn on_host(uri: &str) -> Result<String, u16> {
        read(&Method::GET, uri).and_then(|asked| asked.on_host(&host_pod())).map_err(|refusal| refusal.code())
    }

    const ON_HOST: &str = "/api/v1/namespaces/team-a/pods/web-x-shop-x-vc";

    #[test]
    fn each_path_becomes_a_subresource_of_the_host_pod() {
        for (asked, wanted) in [
            ("/containerLogs/shop/web/web?follow=true", "/log?follow=true&container=web"),
            ("/containerLogs/shop/web/setup", "/log?container=setup"),
            ("/exec/shop/web/web?command=ls&output=1", "/exec?command=ls&stdout=true&container=web"),
            ("/exec/shop/web/uid-1/web?command=ls", "/exec?command=ls&container=web"),
            ("/attach/shop/web/web?input=1&tty=1", "/attach?stdin=true&tty=true&container=web"),
            ("/portForward/shop/web", "/portforward"),
            ("/portForward/shop/web/uid-1?port=80", "/portforward?ports=80"),
        ] {
            assert_eq!(on_host(asked), Ok(format!("{ON_HOST}{wanted}")), "{asked}");
        }
    }

    #[test]
    fn what_a_query_names_cannot_change_the_container() {
        let asked = "/exec/shop/web/web?command=a&container=istio-proxy&command=b%26container%3Dx";
        assert_eq!(
            on_host(asked),
            Ok(format!("{ON_HOST}/exec?command=a&command=b%26container%3Dx&container=web"))
        );
    }

    #[test]
    fn containers_and_pods_that_are_not_the_tenants_are_not_found() {
        assert_eq!(on_host("/exec/shop/web/istio-proxy?command=a"), Err(404));
        assert_eq!(on_host("/containerLogs/shop/web/other"), Err(404));
        assert_eq!(on_host("/exec/shop/web/uid-2/web?command=a"), Err(404));
        assert_eq!(on_host("/portForward/shop/web/uid-2"), Err(404));
    }

    #[test]
    fn paths_with_tricks_are_refused() {
        for path in [
            "/exec/shop/../web",
            "/exec/shop/%2e%2e/web",
            "/exec/shop/web%2Fexec/web",
            "/exec/shop//web/web",
            "/containerLogs/shop/web/web/",
            "/containerLogs/shop/web/-web",
            "/containerLogs/Shop/web/web",
            "/containerLogs/shop/web./web",
            "/containerLogs/shop/web/a.b",
            "//exec/shop/web/web",
            "/exec/shop/web/w%00b",
            "/portForward/shop/..",
            "/exec/./web/web",
            "/exec/shop/web/web;a=b",
        ] {
            assert_eq!(on_host(path), Err(400), "{path}");
        }
        let long = format!("/containerLogs/shop/{}/web", "a".repeat(254));
        assert_eq!(on_host(&long), Err(400));
    }

    #[test]
    fn everything_else_is_forbidden_or_has_no_such_path() {
        for path in [
            "/",
            "/pods",
            "/stats/summary",
            "/metrics",
            "/run/shop/web/web",
            "/logs/syslog",
            "/configz",
            "/Exec/a/b/c",
        ] {
            assert_eq!(on_host(path), Err(403), "{path}");
        }
        for path in [
            "/exec",
            "/exec/shop/web",
            "/containerLogs/shop/web",
            "/containerLogs/shop/web/uid/web",
            "/portForward/shop",
            "/exec/a/b/c/d/e",
        ] {
            assert_eq!(on_host(path), Err(404), "{path}");
        }
    }

    #[test]
    fn streams_are_opened_by_get_or_post_and_logs_only_by_get() {
        let code = |method: Method, uri: &str| read(&method, uri).map(drop).map_err(|refusal| refusal.code());
        assert_eq!(code(Method::POST, "/exec/shop/web/web"), Ok(()));
        assert_eq!(code(Method::POST, "/containerLogs/shop/web/web"), Err(405));
        assert_eq!(code(Method::DELETE, "/exec/shop/web/web"), Err(405));
    }
}
