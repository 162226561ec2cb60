//! Which nodes of the host pods run on, and what the virtual cluster sees of them: `nodes`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::policy::nodes::{NODE_LABELS, NodePolicy};

use crate::config::Error;
use crate::config::patterns::{self, patterns};

/// Which nodes of the host pods run on, and what the virtual cluster sees of them. A change needs a restart of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nodes {
    /// `fake`: a made-up node for each host node that runs a pod, without permissions. `mirrored`: one for each selected node
    /// of the host, with what it has; the syncer needs to list and watch `nodes` of the whole host.
    pub mode: NodeMode,
    /// Labels of the host's nodes that pods may run on, and that are mirrored; all nodes where there are none. Each host pod
    /// gets them as its node selector, in either mode.
    pub selector: BTreeMap<String, String>,
    /// Keys of labels that mirrored nodes show, as `example.com/*`. Others, such as those of node groups, roles and customers,
    /// stay on the host. Pods choose nodes only by those that `pods.allow.nodeLabels` lists as well.
    pub labels: Vec<String>,
    /// Keys of annotations that mirrored nodes show; none by default. Those of networks and drivers have addresses and
    /// identifiers of the host.
    pub annotations: Vec<String>,
    /// Whether mirrored nodes have the taints of the host's and are cordoned with them, so that a `DaemonSet` leaves them out.
    /// `NoExecute` is shown as `NoSchedule`, because the host evicts its pods itself.
    pub taints: bool,
    /// Whether mirrored nodes list the images that are on the machine, those of other tenants among them.
    pub images: bool,
    /// Whether `allocatable` is shown without what pods of others request on the node. The syncer needs to list and watch
    /// `pods` of the whole host; without, mirrored nodes show what their machine could give to pods if it were empty.
    pub net_allocatable: bool,
}

/// What stands for the host's nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeMode {
    /// A made-up node for each that runs a pod.
    #[default]
    Fake,
    /// A node for each that is selected, with what it has.
    Mirrored,
}

impl Default for Nodes {
    fn default() -> Self {
        let NodePolicy { taints, images, .. } = NodePolicy::default();
        Self {
            mode: NodeMode::default(),
            selector: BTreeMap::new(),
            labels: NODE_LABELS.iter().map(|label| (*label).to_owned()).collect(),
            annotations: Vec::new(),
            taints,
            images,
            net_allocatable: false,
        }
    }
}

impl Nodes {
    pub(super) fn check(&self) -> Result<(), Error> {
        patterns::check("nodes.labels", &self.labels)?;
        patterns::check("nodes.annotations", &self.annotations)?;
        let is_usable = |(key, value): &(&String, &String)| is_label_key(key) && is_label_value(value);
        if let Some((key, value)) = self.selector.iter().find(|label| !is_usable(label)) {
            let why = format!("{key:?}: {value:?} is no label such as pool: tenants");
            return Err(Error::Value { key: "nodes.selector", why });
        }
        if self.net_allocatable && self.mode == NodeMode::Fake {
            let why =
                "made-up nodes have no `allocatable` of the host's; set `nodes.mode: mirrored`, or remove it";
            return Err(Error::Value { key: "nodes.netAllocatable", why: why.to_owned() });
        }
        Ok(())
    }

    /// Whether nodes of the host are mirrored.
    pub fn are_mirrored(&self) -> bool {
        self.mode == NodeMode::Mirrored
    }

    /// What the core shows of a host node. An entry that [`Self::check`] refuses shows nothing.
    pub(super) fn policy(&self) -> NodePolicy {
        NodePolicy {
            labels: patterns(&self.labels),
            annotations: patterns(&self.annotations),
            taints: self.taints,
            images: self.images,
        }
    }
}

fn is_label_key(key: &str) -> bool {
    weft_core::key_pattern::check(key).is_ok() && !key.contains('*')
}

fn is_label_value(value: &str) -> bool {
    let is_end = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    value.len() <= 63
        && value.chars().all(is_part)
        && is_end(value.chars().next())
        && is_end(value.chars().last())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::testing::config;

    fn refused(nodes: &Value) -> Option<String> {
        config(&json!({"nodes": nodes})).nodes.check().err().map(|error| error.to_string())
    }

    #[test]
    fn without_settings_nodes_are_made_up_and_show_what_the_core_shows() {
        let config = config(&json!({}));
        assert!(!config.nodes.are_mirrored());
        assert_eq!(config.policy().nodes, NodePolicy::default());
        assert!(config.policy().pods.node_selector.is_empty());
    }

    #[test]
    fn the_selector_is_that_of_pods_in_either_mode() {
        for mode in ["fake", "mirrored"] {
            let selector = json!({"example.com/pool": "tenants"});
            let config = config(&json!({"nodes": {"mode": mode, "selector": selector}}));
            assert_eq!(json!(config.policy().pods.node_selector), selector, "{mode}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_key_and_says_what_to_do() {
        for (nodes, key, part) in [
            (json!({"labels": ["a b"]}), "nodes.labels", "a b"),
            (json!({"annotations": ["*a"]}), "nodes.annotations", "*a"),
            (json!({"selector": {"pool": "a,b"}}), "nodes.selector", "pool: tenants"),
            (json!({"selector": {"pool*": "a"}}), "nodes.selector", "pool*"),
            (json!({"selector": {"pool": "-a"}}), "nodes.selector", "-a"),
            (json!({"netAllocatable": true}), "nodes.netAllocatable", "nodes.mode: mirrored"),
        ] {
            let text = refused(&nodes).unwrap_or_default();
            assert!(text.contains(&format!("`{key}`")) && text.contains(part), "{nodes}: {text}");
        }
        let all =
            json!({"mode": "mirrored", "netAllocatable": true, "selector": {"a.b/c": "", "d": "E_f.1"}});
        assert_eq!(refused(&all), None);
    }
}
