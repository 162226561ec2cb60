//! How long a watch lasts before it is begun anew: so late is one noticed that died without a word.

use std::time::Duration;

use weft_core::object::ResourceType;

/// Pods are what people wait for: a watch of them that died is noticed soonest.
const POD: Duration = Duration::from_secs(10);
/// How long other watches last.
const OTHER: Duration = Duration::from_secs(55);

/// Of one of this resource.
pub(super) fn lifetime(resource: &ResourceType) -> Duration {
    if resource.kind == "Pod" { POD } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_watch_of_pods_is_noticed_soonest() {
        assert_eq!(lifetime(&ResourceType::core("Pod", "pods")), POD);
        assert_eq!(lifetime(&ResourceType::core("Node", "nodes")), OTHER);
        assert!(POD < OTHER);
    }
}
