//! Reads what a reader of metrics asks for: which figures, of which node.
//!
//! The paths are those of a kubelet behind the name of a node, as all of our nodes have one address and one port. Which
//! permission each needs is as in `pkg/kubelet/server/auth.go` of Kubernetes.

use http::{Method, Uri};
use weft_core::names::is_dns_subdomain;

use crate::kubelet::asked::segments;
use crate::kubelet::refusal::Refusal;

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figures {
    /// `/metrics/resource`: usage for metrics-server.
    Resource,
    /// `/metrics/cadvisor`.
    Cadvisor,
    /// `/stats/summary`: the same usage as JSON.
    Summary,
    /// `/pods`: the pods of the node.
    Pods,
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) node: String,
    pub(super) figures: Figures,
}

impl Reading {
    /// Reads a request.
    ///
    /// # Errors
    /// What a kubelet of a virtual cluster does not answer, or a name that is none.
    pub(super) fn read(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let segments = segments(uri.path())?;
        let (node, figures) = match &segments[..] {
            ["nodes", node, rest @ ..] => (node, Figures::at(rest)),
            rest if Figures::at(rest).is_some() => {
                let path = uri.path();
                let message = format!("all nodes have this address: name one, as in /nodes/NODE{path}");
                return Err(Refusal::not_found(message));
            }
            _ => (&"", None),
        };
        let figures = figures.ok_or_else(|| {
            Refusal::forbidden(
                "here the kubelet of a virtual cluster answers for /metrics/resource, /stats/summary and /pods of a node only",
            )
        })?;
        if method != Method::GET {
            return Err(Refusal::method(format!("the kubelet does not answer {method} here")));
        }
        if !is_dns_subdomain(node) {
            return Err(Refusal::bad_request(format!("{node:?} cannot be the name of a node")));
        }
        Ok(Self { node: (*node).to_owned(), figures })
    }
}

impl Figures {
    fn at(path: &[&str]) -> Option<Self> {
        match path {
            ["metrics", "resource"] => Some(Self::Resource),
            ["metrics", "cadvisor"] => Some(Self::Cadvisor),
            ["stats", "summary"] => Some(Self::Summary),
            ["pods"] => Some(Self::Pods),
            _ => None,
        }
    }

    /// The subresources of nodes of which a reader must be allowed one.
    pub(super) fn subresources(self) -> &'static [&'static str] {
        match self {
            Self::Resource | Self::Cadvisor => &["metrics"],
            Self::Summary => &["stats"],
            Self::Pods => &["pods", "proxy"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::engine::metrics_path;

    fn read(path: &str) -> Result<(String, Figures), u16> {
        let reading = Reading::read(&Method::GET, &path.parse().unwrap());
        reading.map(|reading| (reading.node, reading.figures)).map_err(|refusal| refusal.code())
    }

    #[test]
    fn each_path_names_its_node() {
        for (path, figures) in [
            ("/nodes/node-1.a/metrics/resource", Figures::Resource),
            ("/nodes/node-1.a/metrics/cadvisor", Figures::Cadvisor),
            ("/nodes/node-1.a/stats/summary?only_cpu_and_memory=true", Figures::Summary),
            ("/nodes/node-1.a/pods", Figures::Pods),
        ] {
            assert_eq!(read(path), Ok(("node-1.a".to_owned(), figures)), "{path}");
        }
        assert_eq!(
            read(&metrics_path("node-1")),
            Ok(("node-1".to_owned(), Figures::Resource)),
            "as nodes say"
        );
    }

    #[test]
    fn a_path_without_a_node_says_that_one_is_missing() {
        for path in ["/metrics/resource", "/stats/summary", "/pods", "/metrics/cadvisor"] {
            assert_eq!(read(path), Err(404), "{path}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for path in ["/", "/metrics", "/configz", "/nodes", "/nodes/a", "/nodes/a/exec/b/c/d", "/logs/a"] {
            assert_eq!(read(path), Err(403), "{path}");
        }
        for path in ["/nodes/../pods", "/nodes//pods", "/nodes/a%2fb/pods", "/nodes/-a/pods", "/nodes/A/pods"]
        {
            assert_eq!(read(path), Err(400), "{path}");
        }
        let post = Reading::read(&Method::POST, &"/nodes/a/pods".parse().unwrap());
        assert_eq!(post.unwrap_err().code(), 405);
    }
}
