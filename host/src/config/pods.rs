//! How pods run on the host, and what of it they may use: `pods`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::key_pattern::ANY;
use weft_core::policy::pods::{
    MAX_TERMINATION_GRACE_PERIOD_SECONDS, NODE_LABELS, PodPolicy, SecurityLevel, TAINTS, Taints,
    nameable_volumes,
};

use crate::config::Error;
use crate::config::patterns::{self, patterns};

/// How pods run on the host, and what of it they may use. What is not allowed is refused with its field, whoever made the
/// pod; a pod that runs already stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pods {
    /// Host ServiceAccount that pods run as; `weft-workload-<cluster>` by default. It needs no permissions.
    pub service_account: Option<String>,
    /// The Pod Security Standard that every pod keeps to: `restricted`, `baseline` or `privileged`. A privileged tenant
    /// can take over the nodes that its pods run on, and with them all that runs there.
    pub security: PodSecurity,
    /// What of the host pods may choose. Each list replaces its default.
    pub allow: AllowedToPods,
    /// The longest time that a pod may take to end; a longer one becomes this. Draining a node waits that long.
    pub max_termination_grace_period_seconds: u32,
    /// The full name of pods with a subdomain, as those of a StatefulSet that sets `subdomain`.
    pub hosts_file: HostsFile,
}

/// How pods with a `subdomain` know their full name: `<hostname>.<subdomain>.<namespace>.svc.<domain>`, which
/// `hostname -f` shows and some databases and brokers need to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostsFile {
    /// Whether an init container of weft's writes the name into the hosts file of such pods. Without, `hostname -f` shows the
    /// short name; the full one is resolved by DNS all the same.
    pub enabled: bool,
    /// Image of weft for that init container, which the tenant's pods must be able to pull; the chart uses the syncer's. Where
    /// there is none, it is as if this were turned off.
    pub image: String,
}

/// A level of the Pod Security Standards, as of Kubernetes 1.37.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PodSecurity {
    /// Current practice of hardening pods.
    Restricted,
    /// No known way out of the pod.
    #[default]
    Baseline,
    /// Nothing of the standards is checked.
    Privileged,
}

/// What of the host pods may choose. An entry is a name, the beginning of one and `*`, `example.com/*` for all names of a
/// domain, or `*` for every one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedToPods {
    /// Keys of node labels in node selectors, node affinities and topology keys. With `kubernetes.io/hostname`, pods may
    /// choose nodes by name as well; the host's scheduler places them all the same.
    pub node_labels: Vec<String>,
    /// Taints of nodes that pods may tolerate, as `kubectl taint` writes them: `key`, `key=value`, `key:Effect` or
    /// `key=value:Effect`. Other tolerations are left out of the host pod, so that it may run on fewer nodes.
    pub taints: Vec<String>,
    /// Runtime classes of the host.
    pub runtime_classes: Vec<String>,
    /// Types of volumes that the node mounts from what the tenant names, such as `nfs`. `hostPath` needs
    /// `pods.security: privileged`.
    pub volumes: Vec<String>,
    /// Drivers of inline CSI volumes. What a driver reads because of `volumeAttributes` may be the host's: look at that first.
    pub csi_drivers: Vec<String>,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            service_account: None,
            security: PodSecurity::default(),
            allow: AllowedToPods::default(),
            max_termination_grace_period_seconds: MAX_TERMINATION_GRACE_PERIOD_SECONDS,
            hosts_file: HostsFile::default(),
        }
    }
}

impl Default for HostsFile {
    fn default() -> Self {
        Self { enabled: true, image: String::new() }
    }
}

impl HostsFile {
    /// The image, where such pods get a file.
    pub fn used_image(&self) -> Option<&str> {
        Some(self.image.as_str()).filter(|image| self.enabled && !image.is_empty())
    }
}

impl Default for AllowedToPods {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        Self {
            node_labels: owned(NODE_LABELS),
            taints: owned(TAINTS),
            runtime_classes: Vec::new(),
            volumes: Vec::new(),
            csi_drivers: Vec::new(),
        }
    }
}

impl Pods {
    pub(super) fn check(&self) -> Result<(), Error> {
        let allow = &self.allow;
        let refuse = |key, why: String| Err(Error::Value { key, why });
        for (key, list) in [
            ("pods.allow.nodeLabels", &allow.node_labels),
            ("pods.allow.runtimeClasses", &allow.runtime_classes),
            ("pods.allow.csiDrivers", &allow.csi_drivers),
        ] {
            patterns::check(key, list)?;
        }
        if let Err(error) = taints(&allow.taints) {
            return refuse("pods.allow.taints", error.to_string());
        }
        let image = &self.hosts_file.image;
        if image.contains(char::is_whitespace) {
            return refuse(
                "pods.hostsFile.image",
                format!("{image:?} is not an image; give one without spaces"),
            );
        }
        let known: Vec<&str> = [ANY].into_iter().chain(nameable_volumes()).collect();
        match allow.volumes.iter().find(|volume| !known.contains(&volume.as_str())) {
            Some(volume) => {
                refuse("pods.allow.volumes", format!("{volume:?} must be one of {}", known.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// What the core judges pods by. An entry that [`Self::check`] refuses allows nothing.
    pub(super) fn policy(&self) -> PodPolicy {
        let allow = &self.allow;
        PodPolicy {
            security: self.security.into(),
            node_labels: patterns(&allow.node_labels),
            // A setting of `nodes`.
            node_selector: BTreeMap::new(),
            taints: taints(&allow.taints).unwrap_or_default(),
            runtime_classes: patterns(&allow.runtime_classes),
            volumes: patterns(&allow.volumes),
            csi_drivers: patterns(&allow.csi_drivers),
            max_termination_grace_period_seconds: self.max_termination_grace_period_seconds.into(),
        }
    }
}

fn taints(list: &[String]) -> Result<Taints, weft_core::policy::pods::UnusableTaint> {
    Taints::parse(list.iter().map(String::as_str))
}

impl From<PodSecurity> for SecurityLevel {
    fn from(security: PodSecurity) -> Self {
        match security {
            PodSecurity::Restricted => Self::Restricted,
            PodSecurity::Baseline => Self::Baseline,
            PodSecurity::Privileged => Self::Privileged,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::config;

    fn pods(settings: &Value) -> Pods {
        config(&json!({"pods": settings})).pods
    }

    #[test]
    fn without_settings_pods_are_judged_by_the_default_of_the_core() {
        assert_eq!(pods(&json!({})).policy(), PodPolicy::default());
        assert_eq!(config(&json!({})).policy().pods, PodPolicy::default());
        assert!(pods(&json!({})).check().is_ok());
    }

    #[test]
    fn every_setting_opens_what_it_names() {
        let all = json!({
            "security": "privileged", "maxTerminationGracePeriodSeconds": 7,
            "allow": {"nodeLabels": ["*"], "taints": ["*"], "runtimeClasses": ["*"], "volumes": ["*"], "csiDrivers": ["*"]},
        });
        let open = PodPolicy { max_termination_grace_period_seconds: 7, ..PodPolicy::open() };
        assert_eq!(pods(&all).policy(), open);
        assert_eq!(pods(&json!({"security": "restricted"})).policy().security, SecurityLevel::Restricted);
    }

    #[test]
    fn a_hosts_file_needs_an_image_and_can_be_turned_off() {
        let used = |settings: &Value| {
            pods(&json!({"hostsFile": settings})).hosts_file.used_image().map(str::to_owned)
        };
        assert_eq!(used(&json!({})), None, "outside of the chart nobody knows one");
        assert_eq!(used(&json!({"image": "weft:1"})).as_deref(), Some("weft:1"));
        assert_eq!(used(&json!({"image": "weft:1", "enabled": false})), None);
        let error = pods(&json!({"hostsFile": {"image": "weft 1"}})).check().unwrap_err().to_string();
        assert!(error.contains("`pods.hostsFile.image`") && error.contains("weft 1"), "{error}");
    }

    #[test]
    fn an_entry_that_cannot_be_used_is_refused_by_its_key() {
        for (list, entry) in [
            ("nodeLabels", "*a"),
            ("taints", "gpu:Never"),
            ("runtimeClasses", ""),
            ("volumes", "hostPath"),
            ("volumes", "csi"),
            ("csiDrivers", "*.example.com"),
        ] {
            let settings = pods(&json!({"allow": {list: [entry]}}));
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(&format!("`pods.allow.{list}`")) && error.contains(entry), "{error}");
        }
    }
}
