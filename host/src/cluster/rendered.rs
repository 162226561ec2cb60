//! The configuration among the objects that the chart renders: it is judged before anything is written.

use std::path::Path;

use serde_json::Value;

use crate::config::control_plane::StorageType;
use crate::config::{Config, Error};

/// The configuration; none if the chart renders none.
///
/// # Errors
/// It cannot be used: the error names the key.
pub fn configuration(objects: &[Value]) -> Result<Option<Config>, Error> {
    text(objects).map(|text| Config::parse(Path::new("weft.yaml"), text)).transpose()
}

/// Whether the configuration has a DNS in the virtual cluster, also where nothing else of it is understood.
pub fn has_dns(objects: &[Value]) -> bool {
    let config = text(objects).and_then(|text| serde_saphyr::from_str::<Value>(text).ok());
    config.is_none_or(|config| config.pointer("/dns/enabled") != Some(&Value::Bool(false)))
}

fn text(objects: &[Value]) -> Option<&str> {
    objects.iter().find_map(|object| object.pointer("/data/weft.yaml")?.as_str())
}

/// The stores before and after, if they differ: then the objects of the virtual cluster would not be found again.
pub fn storage_change(before: Option<&Config>, after: Option<&Config>) -> Option<[StorageType; 2]> {
    let [before, after] =
        [before, after].map(|config| config?.control_plane.as_ref().map(|plane| plane.storage.r#type));
    let (before, after) = (before?, after?);
    (before != after).then_some([before, after])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(more: &str) -> Result<Option<Config>, Error> {
        let text = format!("cluster: {{name: vc, namespace: team-a}}\n{more}");
        configuration(&[
            json!({"kind": "Service"}),
            json!({"kind": "ConfigMap", "data": {"weft.yaml": text}}),
        ])
    }

    #[test]
    fn what_the_syncer_would_refuse_is_refused_with_its_key() {
        let error = of("controlPlane: {version: '1.20'}").unwrap_err().to_string();
        assert!(error.contains("controlPlane.version") && error.contains("1.20"), "{error}");
        assert!(configuration(&[json!({"kind": "Service"})]).unwrap().is_none());
    }

    #[test]
    fn a_dns_is_there_unless_it_is_turned_off() {
        let config = |text: &str| [json!({"kind": "ConfigMap", "data": {"weft.yaml": text}})];
        assert!(has_dns(&config("cluster: {name: a}")) && has_dns(&[]));
        assert!(!has_dns(&config("{dns: {enabled: false}, newer: 1}")));
    }

    #[test]
    fn another_store_is_a_change_and_other_values_are_none() {
        let [sqlite, etcd] = ["sqlite", "etcd"].map(|store| {
            of(&format!("controlPlane: {{version: v1.36.3, storage: {{type: {store}}}}}")).unwrap()
        });
        let change = storage_change(sqlite.as_ref(), etcd.as_ref());
        assert_eq!(change, Some([StorageType::Sqlite, StorageType::Etcd]));
        assert_eq!(storage_change(etcd.as_ref(), etcd.as_ref()), None);
        assert_eq!(storage_change(None, etcd.as_ref()), None, "nothing is known of before");
    }
}
