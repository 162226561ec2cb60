//! Contexts of virtual clusters in a kubeconfig: their names, and what they remember of the host.

use kube::config::Kubeconfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::Place;

/// Name of the extension of a context that `weft connect` writes.
const EXTENSION: &str = "connection.weft.dev";

/// What a context of ours remembers, as an extension of the context, which every client keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The virtual cluster's name.
    pub cluster: String,
    /// Its host namespace.
    pub namespace: String,
    /// The context of its host.
    #[serde(default)]
    pub host_context: Option<String>,
    /// What was the current context before.
    #[serde(default)]
    pub previous_context: Option<String>,
}

impl Link {
    /// The virtual cluster.
    pub fn place(&self) -> Place {
        Place { namespace: self.namespace.clone(), name: self.cluster.clone() }
    }
}

/// The name of the context of a virtual cluster.
pub fn name(place: &Place) -> String {
    format!("weft_{}_{}", place.namespace, place.name)
}

/// How the host cluster is reached if nobody names a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostContext {
    /// By this context: the current one, or the host's if that is a virtual cluster of ours.
    Named(String),
    /// As a pod of the host does: the current context is a virtual cluster that was connected to from there.
    Pod,
    /// There is no current context.
    None,
}

/// The way to the host with this kubeconfig.
pub fn of_host(kubeconfig: &Kubeconfig) -> HostContext {
    let current = kubeconfig.current_context.clone().filter(|name| !name.is_empty());
    let Some(current) = current else { return HostContext::None };
    let context = kubeconfig.contexts.iter().find(|entry| entry.name == current);
    let extensions = context.and_then(|entry| entry.context.as_ref()?.extensions.as_ref());
    let ours = extensions.into_iter().flatten().find(|extension| extension.name == EXTENSION);
    let link: Option<Link> = ours.and_then(|ours| serde_json::from_value(ours.extension.clone()).ok());
    match link {
        None => HostContext::Named(current),
        Some(Link { host_context: Some(host), .. }) => HostContext::Named(host),
        Some(_) => HostContext::Pod,
    }
}

/// Adds a virtual cluster under `name`, in place of one of that name, and makes it the current context.
pub fn add(config: &mut Value, name: &str, cluster: Value, user: Value, link: &Link) {
    remove_entries(config, name);
    let context = json!({
        "cluster": name,
        "user": name,
        "extensions": [{"name": EXTENSION, "extension": link}],
    });
    for (list, key, entry) in
        [("clusters", "cluster", cluster), ("users", "user", user), ("contexts", "context", context)]
    {
        push(config, list, json!({"name": name, key: entry}));
    }
}

/// Removes the entries of a virtual cluster. Contexts that would go back to it go back further.
pub fn remove(config: &mut Value, name: &str) -> Option<Link> {
    let link = link(config, name)?;
    remove_entries(config, name);
    for context in list_mut(config, "contexts") {
        let Some(extensions) = context.pointer_mut("/context/extensions").and_then(Value::as_array_mut)
        else {
            continue;
        };
        let ours = extensions.iter_mut().filter(|extension| extension["name"] == EXTENSION);
        for previous in ours.filter_map(|extension| extension.pointer_mut("/extension/previousContext")) {
            if previous == name {
                *previous = json!(link.previous_context);
            }
        }
    }
    Some(link)
}

/// The contexts of virtual clusters.
pub fn links(config: &Value) -> Vec<(String, Link)> {
    let names = list(config, "contexts").filter_map(|entry| entry.get("name")?.as_str());
    names.filter_map(|name| Some((name.to_owned(), link(config, name)?))).collect()
}

/// What the context `name` remembers, if it is one of ours.
pub fn link(config: &Value, name: &str) -> Option<Link> {
    let context = list(config, "contexts").find(|entry| entry.get("name").is_some_and(|own| own == name))?;
    let extensions = context.pointer("/context/extensions")?.as_array()?;
    let ours = extensions.iter().find(|extension| extension["name"] == EXTENSION)?;
    serde_json::from_value(ours.get("extension")?.clone()).ok()
}

/// Whether there is a context of this name.
pub fn has(config: &Value, name: &str) -> bool {
    list(config, "contexts").any(|entry| entry.get("name").is_some_and(|own| own == name))
}

/// The current context.
pub fn current(config: &Value) -> Option<&str> {
    config.get("current-context")?.as_str().filter(|name| !name.is_empty())
}

/// Makes `name` the current context.
pub fn select(config: &mut Value, name: &str) {
    if let Some(fields) = config.as_object_mut() {
        fields.insert("current-context".to_owned(), name.into());
    }
}

fn remove_entries(config: &mut Value, name: &str) {
    for list in ["clusters", "users", "contexts"] {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry.get("name").is_none_or(|own| own != name));
        }
    }
}

fn push(config: &mut Value, list: &str, entry: Value) {
    let Some(fields) = config.as_object_mut() else { return };
    let entries = fields.entry(list).or_insert_with(|| json!([]));
    // An empty list may be written as null.
    if !entries.is_array() {
        *entries = json!([]);
    }
    if let Some(entries) = entries.as_array_mut() {
        entries.push(entry);
    }
}

fn list<'a>(config: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    config.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn list_mut<'a>(config: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    config.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link_to(cluster: &str, previous: &str) -> Link {
        Link {
            cluster: cluster.to_owned(),
            namespace: "team-a".to_owned(),
            host_context: Some("kind".to_owned()),
            previous_context: Some(previous.to_owned()),
        }
    }

    fn config() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "kind", "users": null, "x-own": 1,
            "contexts": [{"name": "kind", "context": {"cluster": "kind", "user": "kind"}}],
        })
    }

    #[test]
    fn a_context_is_added_once_and_removed_without_a_trace() {
        let (before, mut config) = (config(), config());
        for server in ["a", "b"] {
            add(
                &mut config,
                "weft_team-a_one",
                json!({"server": server}),
                json!({}),
                &link_to("one", "kind"),
            );
        }
        assert_eq!(config["clusters"], json!([{"name": "weft_team-a_one", "cluster": {"server": "b"}}]));
        assert_eq!(links(&config), [("weft_team-a_one".to_owned(), link_to("one", "kind"))]);
        assert_eq!(remove(&mut config, "weft_team-a_one"), Some(link_to("one", "kind")));
        assert_eq!((&config["contexts"], &config["x-own"]), (&before["contexts"], &before["x-own"]));
        assert_eq!(links(&config), []);
    }

    #[test]
    fn a_context_that_goes_back_to_a_removed_one_goes_back_further() {
        let mut config = config();
        add(&mut config, "one", json!({}), json!({}), &link_to("one", "kind"));
        add(&mut config, "two", json!({}), json!({}), &link_to("two", "one"));
        remove(&mut config, "one");
        assert_eq!(link(&config, "two"), Some(link_to("two", "kind")));
    }

    #[test]
    fn foreign_contexts_are_not_ours_to_remove() {
        let mut config = config();
        assert_eq!(remove(&mut config, "kind"), None);
        assert_eq!(config, self::config());
    }

    #[test]
    fn clusters_are_managed_with_the_context_of_the_host() {
        let parse = |config: &Value| serde_json::from_value::<Kubeconfig>(config.clone()).unwrap();
        let mut config = config();
        let kind = HostContext::Named("kind".to_owned());
        assert_eq!(of_host(&parse(&config)), kind);
        add(&mut config, "one", json!({"server": "https://a"}), json!({}), &link_to("one", "other"));
        select(&mut config, "one");
        assert_eq!(of_host(&parse(&config)), kind);
        let from_a_pod = Link { host_context: None, ..link_to("one", "") };
        add(&mut config, "one", json!({"server": "https://a"}), json!({}), &from_a_pod);
        assert_eq!(of_host(&parse(&config)), HostContext::Pod);
        select(&mut config, "");
        assert_eq!(of_host(&parse(&config)), HostContext::None);
    }
}
