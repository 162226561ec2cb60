//! What a plugin or a declaration may map, and whether its description of the kind makes sense.

use super::Declaration;
use crate::labels;
use crate::names::is_dns_label;
use crate::object::ResourceType;
use crate::paths;
use crate::references::Reference;

/// Longest list that a declaration may have, which is more of anything than a kind needs.
pub const MOST: usize = 64;

/// Groups whose kinds nobody may map: who writes these has permissions that weft does not check, or makes pods
/// that weft does not see.
const CLOSED_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];
/// Kinds of the core group that nobody may map.
const CLOSED_CORE: &[&str] = &[
    "Binding",
    "ComponentStatus",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "ServiceAccount",
];

/// Why a declaration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct Invalid {
    /// The field: `mappings[0].references`.
    pub field: String,
    /// What is wrong and what to do.
    pub why: String,
}

impl Declaration {
    /// Passes if the kind may be mapped and its description makes sense. `at` is the declaration's own place,
    /// such as `mappings[0]`; fields are named after those of [`Declaration`], the kind's as `kind` and `plural`.
    pub fn check(&self, at: &str) -> Result<(), Invalid> {
        check_kind(at, &self.resource)?;
        for (field, paths) in [
            ("managed", &self.managed),
            ("back", &self.back),
            ("selectors", &self.selectors),
            ("labels", &self.labels),
        ] {
            check_length(at, field, paths.len())?;
            if let Some(path) = paths.iter().find(|path| !is_content(path)) {
                return Err(invalid(
                    at,
                    field,
                    format!("{path:?} must be a path to a field that is not in metadata"),
                ));
            }
        }
        for (field, paths) in [("managed", &self.managed), ("back", &self.back)] {
            if let Some(path) = paths.iter().find(|path| path.split('/').any(|segment| segment == "*")) {
                let why =
                    format!("{path:?} must be one field: `*` stands for no elements here; name the list");
                return Err(invalid(at, field, why));
            }
        }
        // An element is everything at its place, or nothing would limit the ones that are moved there.
        let is_index =
            |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(path) = self.selectors.iter().find(|path| path.split('/').any(is_index)) {
            return Err(invalid(at, "selectors", format!("{path:?} must name elements of a list by `*`")));
        }
        check_length(at, "references", self.references.len())?;
        if let Some(Reference { path, .. }) =
            self.references.iter().find(|reference| !has_its_field(reference))
        {
            let why = format!(
                "{path:?} must end in the name's field, and its namespace stand in another field beside it"
            );
            return Err(invalid(at, "references", why));
        }
        let is_place = |reference: &&Reference| is_content(&reference.path) || is_annotation(reference);
        match self.references.iter().find(|reference| !is_place(reference)) {
            Some(Reference { path, .. }) => {
                let why = format!(
                    "{path:?} must be a path to a field that is not in metadata, or to an annotation"
                );
                Err(invalid(at, "references", why))
            }
            None => Ok(()),
        }
    }
}

/// Passes if `resource` can be the name of a kind, and the kind may be mapped.
pub fn check_kind(at: &str, resource: &ResourceType) -> Result<(), Invalid> {
    check_resource(at, resource)?;
    check_open(at, resource)
}

/// Passes if `resource` can be the name of a kind.
pub fn check_resource(at: &str, resource: &ResourceType) -> Result<(), Invalid> {
    let plural = &resource.plural;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_plain(&resource.version) || !is_plain(&resource.kind) {
        return Err(invalid(at, "kind", "needs a version and a kind of letters and digits".to_owned()));
    }
    if !is_plain(plural) || plural.to_lowercase() != **plural {
        return Err(invalid(at, "plural", format!("{plural:?} must be the lower-case name in URLs")));
    }
    if !resource.group.is_empty() && !resource.group.split('.').all(is_dns_label) {
        return Err(invalid(at, "kind", format!("the group {:?} is no DNS name", resource.group)));
    }
    Ok(())
}

fn check_open(at: &str, resource: &ResourceType) -> Result<(), Invalid> {
    let (group, kind) = (&*resource.group, &*resource.kind);
    if CLOSED_GROUPS.contains(&group) || (group.is_empty() && CLOSED_CORE.contains(&kind)) {
        let why = format!("{} cannot be mapped by a plugin or a declaration", resource.kind());
        return Err(invalid(at, "kind", why));
    }
    Ok(())
}

fn check_length(at: &str, field: &str, length: usize) -> Result<(), Invalid> {
    if length > MOST {
        return Err(invalid(at, field, format!("has more than {MOST} entries")));
    }
    Ok(())
}

/// Whether a path is to something that mappings may write.
fn is_content(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let root = path.split('/').next().unwrap_or_default();
    !matches!(root, "" | "*" | "metadata" | "apiVersion" | "kind")
}

/// Whether the namespace of a reference has a field of its own, if it has any: beside an element of a list there is none.
fn has_its_field(reference: &Reference) -> bool {
    let name = reference.path.rsplit('/').next().unwrap_or_default();
    let is_another = |field: &String| !field.is_empty() && *field != paths::unescape(name);
    reference.namespace_field.as_ref().is_none_or(|field| name != "*" && is_another(field))
}

/// Whether a reference is in one annotation that is not weft's. There is no field beside it.
fn is_annotation(reference: &Reference) -> bool {
    let segment = reference.path.strip_prefix("/metadata/annotations/");
    segment.is_some_and(|segment| {
        let is_one = !segment.is_empty() && !segment.contains(['/', '*']);
        is_one && reference.namespace_field.is_none() && !labels::is_reserved(&paths::unescape(segment))
    })
}

fn invalid(at: &str, field: &str, why: String) -> Invalid {
    let field = if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
    Invalid { field, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Selection;

    fn declaration() -> Declaration {
        Declaration {
            resource: resource("cert-manager.io", "Certificate", "certificates"),
            selection: Selection::All,
            references: vec![Reference::new("/spec/secretName", "v1/Secret")],
            selectors: vec!["/spec/selector".to_owned()],
            labels: vec!["/spec/template/metadata/labels".to_owned()],
            managed: vec!["/spec".to_owned()],
            back: vec!["/status".to_owned()],
            installs_definition: false,
            acts_for_others: false,
        }
    }

    fn resource(group: &'static str, kind: &'static str, plural: &'static str) -> ResourceType {
        ResourceType { group: group.into(), ..ResourceType::core(kind, plural) }
    }

    /// The field that a declaration with this change is refused for.
    fn refused(change: impl FnOnce(&mut Declaration)) -> Option<String> {
        let mut declaration = declaration();
        change(&mut declaration);
        declaration.check("mappings[0]").err().map(|invalid| invalid.field)
    }

    fn refused_kind(group: &'static str, kind: &'static str, plural: &'static str) -> Option<String> {
        refused(|declaration| declaration.resource = resource(group, kind, plural))
    }

    #[test]
    fn a_kind_that_holds_permissions_or_makes_pods_cannot_be_mapped() {
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused_kind("networking.k8s.io", "Ingress", "ingresses"), None);
        let closed = [
            ("rbac.authorization.k8s.io", "Role", "roles"),
            ("apps", "Deployment", "deployments"),
            ("", "ServiceAccount", "serviceaccounts"),
            ("", "Namespace", "namespaces"),
        ];
        for (group, kind, plural) in closed {
            assert_eq!(refused_kind(group, kind, plural).as_deref(), Some("mappings[0].kind"), "{kind}");
        }
    }

    #[test]
    fn a_kind_has_a_name_that_the_api_could_give() {
        for group in ["Example.org", "example..org", "-a.org", "a/b"] {
            assert_eq!(
                refused_kind(group, "Widget", "widgets").as_deref(),
                Some("mappings[0].kind"),
                "{group}"
            );
        }
        assert_eq!(refused_kind("a.org", "Wid/get", "widgets").as_deref(), Some("mappings[0].kind"));
        for plural in ["", "Widgets", "widgets/status"] {
            assert_eq!(
                refused_kind("a.org", "Widget", plural).as_deref(),
                Some("mappings[0].plural"),
                "{plural}"
            );
        }
    }

    #[test]
    fn paths_lead_to_the_content_of_an_object() {
        for path in ["spec", "", "/", "/*", "/*/a", "/metadata", "/metadata/labels", "/kind", "/apiVersion"] {
            let path = path.to_owned();
            let field = |change: fn(&mut Declaration) -> &mut Vec<String>| {
                refused(|declaration| change(declaration).push(path.clone()))
            };
            assert_eq!(field(|declaration| &mut declaration.managed).as_deref(), Some("mappings[0].managed"));
            assert_eq!(field(|declaration| &mut declaration.back).as_deref(), Some("mappings[0].back"));
            assert_eq!(
                field(|declaration| &mut declaration.selectors).as_deref(),
                Some("mappings[0].selectors")
            );
            assert_eq!(field(|declaration| &mut declaration.labels).as_deref(), Some("mappings[0].labels"));
        }
    }

    #[test]
    fn a_reference_leads_to_the_content_or_to_an_annotation_of_others() {
        let with = |path: &str| {
            refused(|declaration| declaration.references.push(Reference::new(path, "v1/Secret")))
        };
        assert_eq!(with("/metadata/annotations/example.com~1secret"), None);
        let places = [
            "/metadata/name",
            "/metadata/annotations/weft.dev~1identity",
            "/metadata/annotations/*",
            "/metadata/annotations/",
            "spec/secretName",
        ];
        for path in places {
            assert_eq!(with(path).as_deref(), Some("mappings[0].references"), "{path}");
        }
        let beside = refused(|declaration| {
            let reference = Reference::new("/metadata/annotations/example.com~1secret", "v1/Secret");
            let namespace_field = Some("namespace".to_owned());
            declaration.references.push(Reference { namespace_field, ..reference });
        });
        assert_eq!(beside.as_deref(), Some("mappings[0].references"));
    }

    #[test]
    fn what_is_written_is_named_without_wildcards() {
        let list = || "/spec/items/*/name".to_owned();
        let managed = refused(|declaration| declaration.managed.push(list()));
        let back = refused(|declaration| declaration.back.push(list()));
        assert_eq!(managed.as_deref(), Some("mappings[0].managed"));
        assert_eq!(back.as_deref(), Some("mappings[0].back"));
    }

    #[test]
    fn a_namespace_stands_in_a_field_beside_the_name() {
        let with = |path: &str, field: &str| {
            let namespace_field = Some(field.to_owned());
            let reference = Reference { namespace_field, ..Reference::new(path, "v1/Secret") };
            refused(|declaration| declaration.references.push(reference))
        };
        assert_eq!(with("/spec/refs/*/name", "namespace"), None);
        for (path, field) in [("/spec/refs/*", "namespace"), ("/spec/name", ""), ("/spec/na~1me", "na/me")] {
            assert_eq!(with(path, field).as_deref(), Some("mappings[0].references"), "{path} {field:?}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let long = vec!["/spec/a".to_owned(); MOST + 1];
        assert_eq!(
            refused(|declaration| declaration.selectors = long).as_deref(),
            Some("mappings[0].selectors")
        );
    }

    #[test]
    fn a_field_without_a_place_stands_alone() {
        let mut declaration = declaration();
        declaration.managed.push("spec".to_owned());
        let invalid = declaration.check("").expect_err("it is no pointer");
        assert_eq!(invalid.to_string(), "managed \"spec\" must be a path to a field that is not in metadata");
    }
}
