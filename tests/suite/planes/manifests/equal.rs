//! Both sides of the applications: every object has its pair, and they have the same to say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde_json::Value;
use weft_tests::pairs::Identity;
use weft_tests::tenant::Tenant;

use super::super::both::{at, ensure_same, name_of, text, uid};
use super::applied::Application;

/// Kinds of which every virtual object has a host object, with what both have in common.
const EVERY: &[(&str, &[&str])] = &[
    (
        "v1/Pod",
        &[
            "/spec/nodeName",
            "/spec/restartPolicy",
            "/spec/securityContext",
            "/spec/hostAliases",
            "/spec/terminationGracePeriodSeconds",
            "/spec/activeDeadlineSeconds",
            "/spec/shareProcessNamespace",
            "/status/phase",
            "/status/podIP",
            "/status/podIPs",
            "/status/startTime",
            "/status/containerStatuses",
            "/status/initContainerStatuses",
        ],
    ),
    (
        "v1/Service",
        &[
            "/spec/type",
            "/spec/clusterIP",
            "/spec/clusterIPs",
            "/spec/ports",
            "/spec/sessionAffinity",
            "/spec/sessionAffinityConfig",
            "/spec/publishNotReadyAddresses",
            "/spec/externalTrafficPolicy",
            "/spec/internalTrafficPolicy",
            "/spec/trafficDistribution",
        ],
    ),
    ("v1/PersistentVolumeClaim", &["/spec/volumeName", "/spec/resources", "/spec/accessModes", "/status"]),
    ("networking.k8s.io/v1/Ingress", &["/spec/ingressClassName", "/spec/rules/0/host", "/status"]),
    ("networking.k8s.io/v1/NetworkPolicy", &["/spec/policyTypes"]),
    // The plugin counts the pods, because the host cannot.
    ("policy/v1/PodDisruptionBudget", &[]),
];
/// Kinds that are on the host while something there names them.
const USED: &[(&str, &[&str])] =
    &[("v1/ConfigMap", &["/data", "/binaryData", "/immutable"]), ("v1/Secret", &["/data", "/type"])];
/// What containers get from the syncer: facts of the virtual pod, and variables of Services.
const ENVIRONMENT: &[&str] = &["env", "envFrom"];

/// The virtual namespaces of the applications, and the host namespace of the virtual cluster.
pub(super) struct Sides {
    virtual_client: Client,
    host_client: Client,
    host_namespace: String,
    namespaces: BTreeSet<String>,
}

/// All objects of these, by kind.
pub(super) struct Seen {
    of_tenant: BTreeMap<String, Vec<Value>>,
    on_host: BTreeMap<String, Vec<Value>>,
}

impl Sides {
    pub(super) async fn of(tenant: &Tenant, applications: &[Application]) -> Result<Self> {
        Ok(Self {
            virtual_client: tenant.virtual_plane().client().await?,
            host_client: tenant.host_plane().client().await?,
            host_namespace: tenant.namespace().to_owned(),
            namespaces: applications.iter().map(|application| application.name.clone()).collect(),
        })
    }

    pub(super) async fn see(&self) -> Result<Seen> {
        let mut seen = Seen { of_tenant: BTreeMap::new(), on_host: BTreeMap::new() };
        for resource in kinds() {
            let kind = format!("{}/{}", resource.api_version, resource.kind);
            let all = Api::all_with(self.virtual_client.clone(), &resource);
            let is_of_application =
                |object: &Value| self.namespaces.contains(text(object, "/metadata/namespace"));
            let virtual_objects = list(all).await?.into_iter().filter(is_of_application).collect();
            seen.of_tenant.insert(kind.clone(), virtual_objects);
            let own = Api::namespaced_with(self.host_client.clone(), &self.host_namespace, &resource);
            seen.on_host.insert(kind, list(own).await?);
        }
        Ok(seen)
    }
}

fn kinds() -> [ApiResource; 9] {
    [
        ApiResource::erase::<Pod>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
        ApiResource::erase::<Ingress>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
    ]
}

async fn list(api: Api<DynamicObject>) -> Result<Vec<Value>> {
    let objects = api.list(&ListParams::default()).await?.items.into_iter();
    Ok(objects.map(serde_json::to_value).collect::<Result<_, _>>()?)
}

impl Seen {
    /// The host objects of a kind.
    pub(super) fn on_host(&self, kind: &str) -> &[Value] {
        self.on_host.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    fn of_tenant(&self, kind: &str) -> &[Value] {
        self.of_tenant.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// Everything that is there, on both sides, but for what the virtual cluster has for pods of all namespaces.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let sides = [("virtual", &self.of_tenant), ("host", &self.on_host)];
        let mut names = BTreeSet::new();
        for (side, kinds) in sides {
            for (kind, object) in kinds.iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)))
            {
                if !is_of_all_namespaces(object) {
                    let namespace = text(object, "/metadata/namespace");
                    names.insert(format!("{side} {kind} {namespace}/{}", name_of(object)));
                }
            }
        }
        names
    }

    /// Fails unless the sides agree; says all that differs.
    pub(super) fn ensure_equal(&self) -> Result<()> {
        let mut differences = Vec::new();
        for (kind, common) in EVERY {
            ensure!(!self.of_tenant(kind).is_empty(), "no application has a {kind}");
            for object in self.of_tenant(kind) {
                let equal =
                    self.host_of(kind, object).and_then(|host| ensure_pair(kind, object, host, common));
                differences.extend(equal.err());
            }
        }
        for (kind, common) in USED {
            for host in self.on_host(kind) {
                let Some(identity) = identity(host)? else { continue };
                let is_its = |object: &&Value| Some(uid(object)) == identity.uid.as_deref();
                // Those of the virtual cluster's own namespaces are no application's.
                let Some(object) = self.of_tenant(kind).iter().find(is_its) else { continue };
                differences.extend(ensure_pair(kind, object, host, common).err());
            }
        }
        let services = self.of_tenant("v1/Service").iter();
        differences.extend(services.filter_map(|service| self.ensure_endpoints(service).err()));
        let differences: Vec<_> = differences.iter().map(|difference| format!("{difference:#}")).collect();
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }

    fn host_of(&self, kind: &str, object: &Value) -> Result<&Value> {
        for host in self.on_host(kind) {
            if identity(host)?.is_some_and(|identity| identity.uid.as_deref() == Some(uid(object))) {
                return Ok(host);
            }
        }
        bail!("the {kind} {} of {} is not on the host", name_of(object), text(object, "/metadata/namespace"))
    }

    /// A Service that selects pods has them as its endpoints, on both sides.
    fn ensure_endpoints(&self, service: &Value) -> Result<()> {
        let host = self.host_of("v1/Service", service)?;
        let (ours, hosts) = (endpoints(&self.of_tenant, service), endpoints(&self.on_host, host));
        let is_alias = text(service, "/spec/type") == "ExternalName";
        ensure!(is_alias == ours.is_empty(), "the Service {} has the endpoints {ours:?}", name_of(service));
        ensure!(ours == hosts, "the Service {} has {ours:?}, on the host {hosts:?}", name_of(service));
        Ok(())
    }
}

fn ensure_pair(kind: &str, object: &Value, host: &Value, common: &[&str]) -> Result<()> {
    let title = || format!("the {kind} {} of {}", name_of(object), text(object, "/metadata/namespace"));
    ensure_same(&(object.clone(), host.clone()), common).with_context(title)?;
    for containers in ["/spec/initContainers", "/spec/containers"].iter().filter(|_| kind == "v1/Pod") {
        let (ours, hosts) = (containers_of(object, containers), containers_of(host, containers));
        ensure!(ours == hosts, "{} has {ours:#?}, on the host {hosts:#?}", title());
    }
    Ok(())
}

/// The variables of the API server, for pods without service links: they stay as long as the virtual cluster.
fn is_of_all_namespaces(object: &Value) -> bool {
    let labels = at(object, "/metadata/labels");
    text(labels, "/weft.dev~1purpose") == "environment" && labels.get("weft.dev/namespace").is_none()
}

/// Whose host object it is.
fn identity(host: &Value) -> Result<Option<Identity>> {
    let object: DynamicObject = serde_json::from_value(host.clone())?;
    Ok(Identity::of(&object))
}

fn containers_of(pod: &Value, pointer: &str) -> Vec<Value> {
    let mut containers = at(pod, pointer).as_array().cloned().unwrap_or_default();
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        container.retain(|field, _| !ENVIRONMENT.contains(&field.as_str()));
    }
    containers
}

/// The ready addresses of a Service, with the ports by which they are reached.
fn endpoints(side: &BTreeMap<String, Vec<Value>>, service: &Value) -> BTreeSet<(String, String)> {
    let slices = side.get("discovery.k8s.io/v1/EndpointSlice").into_iter().flatten();
    let is_its = |slice: &&Value| {
        text(slice, "/metadata/labels/kubernetes.io~1service-name") == name_of(service)
            && at(slice, "/metadata/namespace") == at(service, "/metadata/namespace")
    };
    let list = |object: &Value, field: &str| at(object, field).as_array().cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    for slice in slices.filter(is_its) {
        for endpoint in
            list(slice, "/endpoints").iter().filter(|one| at(one, "/conditions/ready") == &Value::Bool(true))
        {
            for port in list(slice, "/ports") {
                let port =
                    format!("{} {} {}", text(&port, "/name"), at(&port, "/port"), text(&port, "/protocol"));
                found.insert((text(endpoint, "/addresses/0").to_owned(), port));
            }
        }
    }
    found
}
