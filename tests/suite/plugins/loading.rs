//! Components that are refused at load, and the errors.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use weft::author::workbench::Workbench;
use weft::config::grants::Entry;
use weft::config::grants::Side;
use weft::plugin::component::{self, Loaded};
use weft::plugin::generation::{self, Generation};
use weft::plugin::metrics::Metrics;
use weft::plugin::sandbox::Sandbox;
use weft::registry::descriptor::{Descriptor, LookupPermission, Mapping};
use weft_core::digest;
use weft_core::object::ResourceType;
use weft_core::references::Reference;
use weft_tests::guests::compiled;
use weft_tests::guests::misbehaving::Guest;

use super::bench::{all, ensure_one_line, ensure_plain, pod};
use super::unloadable::{self, bytes};

/// Number of damaged files.
const DAMAGED: usize = 200;

fn load(bytes: &[u8], wasi: bool) -> Result<Loaded, component::Error> {
    // A sandbox for each file, so that they cannot affect each other.
    component::load(&Sandbox::new(None)?, bytes, wasi)
}

/// Fails unless the file is refused in plain text that contains these words.
fn ensure_refused(bytes: &[u8], wasi: bool, words: &[&str]) -> Result<()> {
    let Err(error) = load(bytes, wasi) else { bail!("it is loaded") };
    ensure_words(&format!("{:#}", anyhow::Error::from(error)), words)
}

fn ensure_words(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing: {text}");
    }
    // A list has one line per entry.
    text.lines().try_for_each(ensure_one_line)
}

#[test]
fn files_that_are_not_plugins_are_refused_with_the_reason() -> Result<()> {
    let files = unloadable::files()?;
    all(files.iter().map(|file| (file.title, ensure_refused(&file.bytes, false, file.words))))?;
    // Imports without a stub are refused even if WASI is allowed.
    let (log, sockets) = ("weft:mapping/log@0.1.0", "wasi:sockets/ab@0.2.10");
    let importing = unloadable::renamed(&bytes(Guest::Obedient)?, log, sockets)?;
    ensure_refused(&importing, true, &["does not fit", "wasi:sockets/ab"])
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() -> Result<()> {
    let good = bytes(Guest::Obedient)?;
    // Every length of the header, then some up to the last byte.
    let ends = (0..64).chain((64..good.len()).step_by(good.len() / 40)).chain([good.len() - 1]);
    for end in ends {
        let part = good.get(..end).context("is within")?;
        let loaded = load(part, false);
        ensure!(loaded.is_err(), "the first {end} bytes of {} are loaded", good.len());
    }
    Ok(())
}

#[test]
fn a_damaged_file_is_refused_or_works_and_never_crashes() -> Result<()> {
    let good = bytes(Guest::Obedient)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("guest.wasm");
    let mut random = Random(0x5eed_0001);
    let mut worked = 0;
    for _ in 0..DAMAGED {
        let mut damaged = good.clone();
        let place = random.below(damaged.len());
        *damaged.get_mut(place).context("is within")? ^= random.byte();
        fs::write(&path, &damaged)?;
        let mut bench = Workbench::new(None, &[])?;
        if bench.load(&path, None).is_ok() {
            // The result does not matter: the guard has checked it.
            drop(bench.to_host(
                &weft::author::workbench::surroundings()?,
                &pod("patch", &json!([]))?,
                None,
            )?);
            worked += 1;
        }
    }
    // Damage in names and strings is not detected: if no file worked, the test has tested nothing.
    ensure!(worked > 0 && worked < DAMAGED, "{worked} of {DAMAGED} files worked");
    Ok(())
}

/// Xorshift: the same damage each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end as u64)).unwrap_or_default()
    }

    /// Never zero, which would be no damage.
    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() % 255).unwrap_or_default() + 1
    }
}

/// The guest under another name, or with another entry of the operator.
fn generation(name: &str, entry: Value) -> Result<Result<Generation, generation::Error>> {
    let sandbox = Arc::new(Sandbox::new(Some(&compiled()?))?);
    let loaded = component::load(&sandbox, &bytes(Guest::Obedient)?, false)?;
    let mut entry: Entry = serde_json::from_value(entry)?;
    if entry.kinds.is_empty() {
        entry = loaded.descriptor.grant_all(entry);
    }
    Ok(Generation::new(name, loaded, entry, sandbox, Arc::new(Metrics::default())))
}

fn ensure_unused(name: &str, entry: Value, words: &[&str]) -> Result<()> {
    let Err(error) = generation(name, entry)? else { bail!("it is used") };
    ensure_words(&format!("{:#}", anyhow::Error::from(error)), words)
}

#[test]
fn a_component_that_does_not_match_its_entry_is_not_used() -> Result<()> {
    let settings = |action: Value| json!({"settings": {"configure": action}});
    let rows: [(&str, &str, Value, &[&str]); 9] = [
        ("another name", "other", json!({}), &["\"guest\"", "guest.wasm"]),
        (
            "another digest",
            "guest",
            json!({"digest": "sha256:00"}),
            &["its digest is", "`digest` pins sha256:00"],
        ),
        (
            "fewer grants",
            "guest",
            json!({"kinds": ["v1/Pod"], "lookups": [{"kind": "v1/Secret", "side": "host"}]}),
            &[
                "map v1/ConfigMap (mutate(500))",
                "`kinds`",
                "look up v1/Secret (virtual)",
                "look up v1/Service",
            ],
        ),
        ("settings of another shape", "guest", settings(json!(7)), &["settings/configure", "string"]),
        (
            "settings that it refuses",
            "guest",
            settings(json!("refuse")),
            &["settings cannot be used", "fake line"],
        ),
        ("settings with many problems", "guest", settings(json!("flood")), &["settings cannot be used"]),
        (
            "settings that make it trap",
            "guest",
            settings(json!("trap")),
            &["cannot take its settings", "unreachable"],
        ),
        ("settings that make it grow", "guest", settings(json!("grow")), &["more memory than 64 MiB"]),
        ("settings that keep it busy", "guest", settings(json!("spin")), &["longer than 5000 ms"]),
    ];
    all(rows.into_iter().map(|(title, name, entry, words)| (title, ensure_unused(name, entry, words))))?;
    let pinned = json!({"digest": digest::of_bytes(&bytes(Guest::Obedient)?)});
    ensure!(generation("guest", pinned)?.is_ok(), "the pinned file is not used");
    Ok(())
}

/// Title, field of the error, a word of the error, and the change.
type Change<T> = (&'static str, &'static str, &'static str, fn(&mut T));

/// Changes of the first mapping.
const OF_A_MAPPING: &[Change<Mapping>] = &[
    ("a cluster role", "kind", "cannot be mapped", |mapping| {
        mapping.resource = resource("rbac.authorization.k8s.io", "ClusterRole", "clusterroles");
    }),
    ("a webhook", "kind", "cannot be mapped", |mapping| {
        mapping.resource =
            resource("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks");
    }),
    ("a deployment", "kind", "cannot be mapped", |mapping| {
        mapping.resource = resource("apps", "Deployment", "deployments");
    }),
    ("a node", "kind", "v1/Node cannot be mapped", |mapping| {
        mapping.resource = resource("", "Node", "nodes");
    }),
    ("a namespace", "kind", "cannot be mapped", |mapping| {
        mapping.resource = resource("", "Namespace", "namespaces");
    }),
    ("a path in the plural", "plural", "lower-case name", |mapping| {
        mapping.resource = resource("", "Pod", "pods/../secrets");
    }),
    ("a path in the group", "kind", "no DNS name", |mapping| {
        mapping.resource = resource("a/../..", "Pod", "pods");
    }),
    ("no direction", "directions", "at least one", |mapping| {
        (mapping.to_host, mapping.to_virtual) = (false, false);
    }),
    ("metadata to write on the host", "host-writes", "not in metadata", |mapping| {
        mapping.host_writes.push("/metadata/finalizers".into());
    }),
    ("the whole object to write", "host-writes", "not in metadata", |mapping| {
        mapping.host_writes.push(String::new());
    }),
    ("the kind to write", "host-writes", "not in metadata", |mapping| {
        mapping.host_writes.push("/kind".into());
    }),
    ("the tenant's metadata to write", "virtual-writes", "not in metadata", |mapping| {
        mapping.virtual_writes.push("/metadata/labels".into());
    }),
    ("a selector in metadata", "selectors", "/metadata/labels", |mapping| {
        mapping.selectors.push("/metadata/labels".into());
    }),
    ("a reference in metadata", "references", "/metadata/name", |mapping| {
        mapping.references.push(Reference::new("/metadata/name", "v1/Secret"));
    }),
    ("a reference in all annotations", "references", "or to an annotation", |mapping| {
        mapping.references.push(Reference::new("/metadata/annotations/*", "v1/Secret"));
    }),
    ("a reference in an annotation of weft", "references", "or to an annotation", |mapping| {
        mapping.references.push(Reference::new("/metadata/annotations/weft.dev~1identity", "v1/Secret"));
    }),
    ("an annotation with a namespace beside it", "references", "or to an annotation", |mapping| {
        let reference = Reference::new("/metadata/annotations/a", "v1/Secret");
        mapping.references.push(Reference { namespace_field: Some("b".into()), ..reference });
    }),
    ("65 paths", "host-writes", "more than 64", |mapping| mapping.host_writes = vec!["/spec".to_owned(); 65]),
];

/// Changes of the rest of the descriptor.
const OF_A_DESCRIPTOR: &[Change<Descriptor>] = &[
    ("a kind twice", "mappings[2].kind", "v1/Pod is mapped twice", |all| {
        all.mappings.extend(all.mappings.first().cloned());
    }),
    ("65 mappings", "mappings", "1 to 64", |all| {
        all.mappings = all.mappings.iter().cycle().take(65).cloned().collect();
    }),
    ("no mapping", "mappings", "1 to 64", |all| all.mappings.clear()),
    ("65 lookups", "mappings", "lookups no more than 64", |all| {
        all.lookups = all.lookups.iter().cycle().take(65).cloned().collect();
    }),
    ("a lookup of a path", "lookups[0].plural", "lower-case name", |all| {
        let resource = ResourceType::core("Secret", "secrets?watch=1");
        all.lookups = vec![LookupPermission { side: Side::Virtual, resource, fields: Vec::new() }];
    }),
    ("a name that is a path", "name", "RFC 1123", |all| all.name = "../guest".into()),
    ("a long name", "name", "RFC 1123", |all| all.name = "g".repeat(64)),
];

/// A descriptor with one change is refused, and the error names the field.
#[test]
fn an_invalid_descriptor_is_refused_by_its_field() -> Result<()> {
    let good = load(&bytes(Guest::Obedient)?, false)?.descriptor;
    good.check()?;
    ensure_plain(&good.summary)?;
    all(OF_A_MAPPING.iter().map(|(title, field, word, change)| {
        let mut descriptor = good.clone();
        descriptor.mappings.iter_mut().take(1).for_each(change);
        let field = format!("mappings[0].{field}");
        (*title, ensure_invalid(&descriptor, field.trim_end_matches('.'), word))
    }))?;
    all(OF_A_DESCRIPTOR.iter().map(|(title, field, word, change)| {
        let mut descriptor = good.clone();
        change(&mut descriptor);
        (*title, ensure_invalid(&descriptor, field, word))
    }))
}

fn ensure_invalid(descriptor: &Descriptor, field: &str, word: &str) -> Result<()> {
    let Err(invalid) = descriptor.check() else { bail!("it passes") };
    ensure!(invalid.field == field, "it is refused for {}: {invalid}", invalid.field);
    ensure_words(&invalid.to_string(), &[field, word])
}

fn resource(group: &'static str, kind: &'static str, plural: &'static str) -> ResourceType {
    ResourceType { group: group.into(), ..ResourceType::core(kind, plural) }
}
