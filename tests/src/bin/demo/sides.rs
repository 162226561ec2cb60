//! Reads both sides of the demo and finds where they disagree.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use weft_tests::pairs::Identity;
use weft_tests::world::World;

/// The namespace of the example in the virtual cluster.
const NAMESPACE: &str = "nginx";

/// What one side shows of an object, as the columns of a table.
pub(crate) type Facts = Vec<String>;

/// One object on both sides.
#[derive(Debug)]
pub(crate) struct Row {
    /// Namespace and name in the virtual cluster.
    pub(crate) virtual_name: String,
    /// Its name on the host; empty when it has no partner.
    pub(crate) host_name: String,
    /// The columns, as the virtual side shows them.
    pub(crate) facts: Facts,
}

/// Both sides at one moment.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) pods: Vec<Row>,
    pub(crate) services: Vec<Row>,
    pub(crate) claims: Vec<Row>,
    /// Every difference, as a sentence; none when the demo has succeeded.
    pub(crate) problems: Vec<String>,
}

impl Sides {
    /// Reads everything.
    pub(crate) async fn read(world: &World) -> Result<Self> {
        let mut sides = Self::default();
        sides.pods = sides.compare(world, pod_facts).await?;
        sides.services = sides.compare(world, service_facts).await?;
        sides.claims = sides.compare(world, claim_facts).await?;
        sides.workloads(&world.tenant().virtual_plane().client().await?).await?;
        Ok(sides)
    }

    /// The first difference, and how many there are.
    pub(crate) fn summary(&self) -> String {
        match self.problems.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first}; and {} more", others.len()),
        }
    }

    /// Pairs the objects of one kind and compares what both sides show.
    async fn compare<K>(&mut self, world: &World, facts: fn(&K) -> Facts) -> Result<Vec<Row>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let tenant = world.tenant();
        let virtuals = list::<K>(tenant.virtual_plane().client().await?, NAMESPACE).await?;
        let hosts = list::<K>(tenant.host_plane().client().await?, tenant.namespace()).await?;
        let mut hosts = by_identity(hosts);
        let mut rows = Vec::new();
        for object in &virtuals {
            let partners = hosts.remove(&key(object)).unwrap_or_default();
            self.check(object, &partners, facts);
            rows.push(row(object, &partners, facts));
        }
        for host in hosts.into_values().flatten() {
            let what = format!("{} {}", K::kind(&()), host.name_any());
            self.problems.push(format!("{what} is on the host, but not in the virtual cluster"));
        }
        Ok(rows)
    }

    fn check<K>(&mut self, object: &K, partners: &[K], facts: fn(&K) -> Facts)
    where
        K: Resource<DynamicType = ()>,
    {
        let what = format!("{} {}", K::kind(&()), object.name_any());
        match partners {
            [host] if facts(host) == facts(object) => {}
            [host] => {
                let (here, there) = (facts(object).join(" "), facts(host).join(" "));
                self.problems.push(format!("{what} is [{here}], but [{there}] on the host"));
            }
            [] => self.problems.push(format!("{what} is not on the host")),
            several => self.problems.push(format!("{what} is on the host {} times", several.len())),
        }
    }

    /// The example is complete when its workloads have all their replicas.
    async fn workloads(&mut self, client: &Client) -> Result<()> {
        for workload in list::<Deployment>(client.clone(), NAMESPACE).await? {
            let ready = workload.status.as_ref().and_then(|status| status.ready_replicas);
            self.replicas(&workload, workload.spec.replicas, ready);
        }
        for workload in list::<StatefulSet>(client.clone(), NAMESPACE).await? {
            let ready = workload.status.as_ref().and_then(|status| status.ready_replicas);
            self.replicas(&workload, workload.spec.replicas, ready);
        }
        Ok(())
    }

    fn replicas<K: Resource<DynamicType = ()>>(
        &mut self,
        workload: &K,
        wanted: Option<i32>,
        ready: Option<i32>,
    ) {
        let (wanted, ready) = (wanted.unwrap_or(1), ready.unwrap_or(0));
        if ready < wanted {
            let what = format!("{} {}", K::kind(&()), workload.name_any());
            self.problems.push(format!("{what} has {ready} of {wanted} replicas ready"));
        }
    }
}

async fn list<K>(client: Client, namespace: &str) -> Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    Ok(Api::<K>::namespaced(client, namespace).list(&ListParams::default()).await?.items)
}

/// Namespace and name in the virtual cluster, and which life of that name.
type Key = (String, String, Option<String>);

fn key<K: Resource>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any(), object.uid())
}

/// Host objects of the example and those of nobody. What the syncer brings from other namespaces,
/// and what was on the host before, is not the example's.
fn by_identity<K: Resource<DynamicType = ()>>(hosts: Vec<K>) -> BTreeMap<Key, Vec<K>> {
    let mut map: BTreeMap<Key, Vec<K>> = BTreeMap::new();
    for host in hosts {
        match Identity::of(&host) {
            Some(identity) if identity.namespace == NAMESPACE => {
                map.entry((identity.namespace, identity.name, identity.uid)).or_default().push(host);
            }
            None if K::kind(&()) == "Pod" => map.entry(key(&host)).or_default().push(host),
            _ => {}
        }
    }
    map
}

fn row<K: Resource>(object: &K, partners: &[K], facts: fn(&K) -> Facts) -> Row {
    let mut facts = facts(object);
    facts.push(age(object));
    Row {
        virtual_name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        host_name: partners.first().map(kube::ResourceExt::name_any).unwrap_or_default(),
        facts,
    }
}

fn pod_facts(pod: &Pod) -> Facts {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    vec![
        node.unwrap_or_default(),
        status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
        status.and_then(|status| status.phase.clone()).unwrap_or_default(),
        if ready { "yes" } else { "no" }.to_owned(),
    ]
}

fn service_facts(service: &Service) -> Facts {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let ports: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
    vec![spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default(), ports.join(",")]
}

fn claim_facts(claim: &PersistentVolumeClaim) -> Facts {
    let status = claim.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref()?.get("storage").cloned());
    vec![
        status.and_then(|status| status.phase.clone()).unwrap_or_default(),
        capacity.map(|quantity| quantity.0).unwrap_or_default(),
    ]
}

fn age<K: Resource>(object: &K) -> String {
    let Some(created) = object.creation_timestamp() else { return String::new() };
    format!("{}s", Timestamp::now().as_second().saturating_sub(created.0.as_second()).max(0))
}
