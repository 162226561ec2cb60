//! Is the host Service the virtual cluster's own, on another server than the virtual one, and closed to tenants' pods?

use std::sync::Arc;

use serde_json::Value;
use tracing::warn;
use weft_core::labels;
use weft_core::object::HostObject;

use super::{Bootstrap, Error};
use crate::engine::resources::services;

impl Bootstrap {
    /// The host Service of the virtual API server.
    pub(super) async fn host_service(&self) -> Result<Arc<HostObject>, Error> {
        let namespace = self.state.names.namespace();
        self.host.get(&services(), namespace, &self.service).await.map(Arc::new).map_err(|source| {
            if source.is_not_found() {
                Error::NoService { namespace: namespace.to_owned(), name: self.service.clone() }
            } else {
                Error::Api { action: "read the virtual cluster's Service on the host", source }
            }
        })
    }

    /// Checks a Service that is not known yet: once a start, as long as nobody replaces it.
    pub(super) async fn check_service(&self, service: &HostObject) -> Result<(), Error> {
        if self.is_known(service) {
            return Ok(());
        }
        self.check_other_server(service).await?;
        if let Some(Value::Object(selector)) = service.pointer("/spec/selector")
            && labels::may_select_tenants(selector)
        {
            warn!(
                service = format!("{}/{}", service.namespace(), service.name()),
                selector = %labels::as_text(selector),
                "tenants can give their pods these labels and receive traffic of this Service; add a label of the domain \
                 weft.dev, which they cannot have, to its selector and its own pods, as the chart does"
            );
        }
        Ok(())
    }

    /// Whether this Service was checked before.
    pub(super) fn is_known(&self, service: &HostObject) -> bool {
        self.state.service().is_some_and(|known| known.uid() == service.uid())
    }

    /// A virtual cluster that is its own host would be moved to the host's addresses. No server but this one gives this UID,
    /// whatever its address, so the question needs no permission for the whole host.
    async fn check_other_server(&self, service: &HostObject) -> Result<(), Error> {
        let (namespace, name) = (service.namespace(), service.name());
        match self.r#virtual.get(&services(), namespace, name).await {
            Ok(found) if found.uid() == service.uid() => {
                Err(Error::SameServer(format!("{namespace}/{name}")))
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(source) => {
                Err(Error::Api { action: "ask whether the virtual API server is the host's", source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weft_core::keys::VIRTUAL_CLUSTER_UID;

    use super::*;
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, identity_answer};
    use crate::engine::upkeep::bootstrap::tests::bootstrap;

    const SERVICE: &str = "GET /api/v1/namespaces/team-a/services/vc";

    fn service(uid: &str) -> Value {
        json!({
            "metadata": {"name": "vc", "namespace": "team-a", "uid": uid, "annotations": {VIRTUAL_CLUSTER_UID: "cluster-1"}},
            "spec": {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]},
        })
    }

    /// Both servers, where the virtual one has the Service with this UID as well.
    fn bench(on_virtual: Option<&'static str>) -> Bench {
        let answer = |asked: &Asked, uid: Option<&str>| match (asked.line().as_str(), uid) {
            ("GET /api/v1/namespaces", _) => identity_answer("cluster-1", 7),
            (SERVICE, Some(uid)) => Answer::ok(service(uid)),
            _ => echo(asked),
        };
        Bench::new(move |asked| answer(asked, Some("uid-service")), move |asked| answer(asked, on_virtual))
    }

    #[tokio::test]
    async fn a_host_that_is_its_own_virtual_cluster_is_refused_before_anything_is_written() {
        let same = bench(Some("uid-service"));
        let error = bootstrap(&same).run().await.unwrap_err();
        assert!(matches!(error, Error::SameServer(_)), "{error:?}");
        for part in ["team-a/vc", "`virtual.kubeconfig`", "Nothing is written"] {
            assert!(error.to_string().contains(part), "{part} is not in: {error}");
        }
        let lines = same.host_requests.lines().into_iter().chain(same.virtual_requests.lines());
        let writes: Vec<String> = lines.filter(|line| !line.starts_with("GET ")).collect();
        assert_eq!(writes, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_tenant_may_have_a_service_of_that_name() {
        for on_virtual in [None, Some("uid-of-the-tenants")] {
            let bench = bench(on_virtual);
            let bootstrap = bootstrap(&bench);
            let service = bootstrap.host_service().await.unwrap();
            bootstrap.check_service(&service).await.unwrap();
            let asked = bench.virtual_requests.lines();
            assert_eq!(asked, [SERVICE], "the virtual server is asked");
        }
    }
}
