//! A context for the tests of the pod's mapper.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::context::{Ctx, Facts, Lookup, Moment, Notes, Version};
use crate::names::Names;
use crate::object::{HostObject, Key, Kind, VirtualObject};

/// A virtual cluster `vc` in the host namespace `team-a`, with nothing in it.
pub(super) struct World {
    names: Names,
    /// To change what is true.
    pub(super) facts: Facts,
    now: Moment,
    notes: Notes,
}

impl World {
    pub(super) fn new() -> Self {
        let version = Version { major: 1, minor: 36 };
        let facts = Facts {
            owner: None,
            kubernetes: vec![IpAddr::from([10, 96, 0, 1])],
            dns: vec![IpAddr::from([10, 96, 0, 10])],
            cluster_domain: "cluster.local".into(),
            workload_service_account: "workload".into(),
            node_searches: Vec::new(),
            hosts_file_image: None,
            host_version: version,
            virtual_version: version,
            policy: crate::policy::Policy::open(),
        };
        Self {
            names: Names::new("vc", "team-a").unwrap(),
            facts,
            now: Moment::default(),
            notes: Notes::default(),
        }
    }

    pub(super) fn ctx(&self) -> Ctx<'_> {
        Ctx {
            names: &self.names,
            facts: &self.facts,
            lookup: self,
            now: &self.now,
            host_object: None,
            notes: &self.notes,
        }
    }
}

impl Lookup for World {
    fn object(&self, _key: &Key) -> Option<Arc<VirtualObject>> {
        None
    }

    fn namespace_labels(&self, _namespace: &str) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }

    fn host_object(&self, _key: &Key) -> Option<Arc<HostObject>> {
        None
    }

    fn find(
        &self,
        _kind: &Kind,
        _namespace: Option<&str>,
        _labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        Vec::new()
    }

    fn is_complete(&self, _kind: &Kind) -> bool {
        true
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        unimplemented!("built-in mappers run where they are called")
    }
}

/// A virtual object.
pub(super) fn virtual_object(json: Value) -> VirtualObject {
    VirtualObject::from_json(json).unwrap()
}

/// A host object.
pub(super) fn host_object(json: Value) -> HostObject {
    HostObject::from_json(json).unwrap()
}
