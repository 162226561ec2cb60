//! The tables of fields name what the API of the supported versions of Kubernetes has: each field, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use weft_core::fields::{self, Class, Line};
use weft_tests::binaries::kubernetes_module;
use weft_tests::schema::{self, Types};

/// The versions of the libraries that have the types of the supported minors; no minor gets fields later.
const VERSIONS: [&str; 3] = ["v0.35.4", "v0.36.3", "v0.37.2"];

/// The fields of a kind, by minor.
type ByMinor = BTreeMap<u32, BTreeSet<String>>;

#[test]
fn every_field_of_the_supported_versions_has_a_class_and_no_other_has_one() -> Result<()> {
    let folders = VERSIONS.iter().map(|version| schema::download(version)).collect::<Result<Vec<_>>>();
    let folders = match folders {
        Ok(folders) => folders,
        Err(error) => return skip(&format!("{error:#}")),
    };
    let mut types = BTreeMap::new();
    for (version, folders) in VERSIONS.iter().zip(&folders) {
        types.insert(schema::minor(version)?, Types::read(folders)?);
    }
    let mut wrong = Vec::new();
    for (kind, to_host, status) in fields::texts() {
        let name = go_name(kind);
        let schema = types.iter().map(|(minor, types)| Ok((*minor, types.fields(&name)?)));
        let schema = schema.collect::<Result<ByMinor>>()?;
        let of_status = schema.iter().map(|(minor, fields)| (*minor, in_status(fields))).collect();
        for (texts, schema) in [(to_host.as_slice(), &schema), (&[status], &of_status)] {
            let lines = texts.iter().map(|text| fields::lines(text)).collect::<Result<Vec<_>, _>>()?.concat();
            wrong
                .extend(differences(&lines, schema).iter().map(|difference| format!("{kind}: {difference}")));
        }
    }
    ensure!(
        wrong.is_empty(),
        "host/core/src/fields differs from the API of Kubernetes:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

#[test]
fn the_tables_know_the_minor_that_virtual_clusters_have() -> Result<()> {
    let pins = fs::read_to_string(kubernetes_module().join("go.mod"))?;
    let pin = pins.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    let pinned = schema::minor(pin.context("go.mod has no k8s.io/kubernetes")?)?;
    let known = VERSIONS.iter().map(|version| schema::minor(version)).collect::<Result<Vec<_>>>()?;
    ensure!(
        known.contains(&pinned),
        "1.{pinned} is none of the minors {known:?}, which the tables of fields know"
    );
    Ok(())
}

#[test]
fn a_difference_between_table_and_api_is_found() -> Result<()> {
    let lines = fields::lines(
        "spec.a   copy\nspec.b   drop   gone\nspec.c[].d   copy   1.37+\nspec.e   copy\nspec.f.*   refuse   closed\n\
         spec.g   copy   1.37+\nspec.h   refuse   gone",
    )?;
    let fields = |names: &[&str]| names.iter().map(|name| format!("spec.{name}")).collect::<BTreeSet<_>>();
    let schema = ByMinor::from([
        (36, fields(&["a", "b.x[].y", "g", "new", "hh"])),
        (37, fields(&["a", "b.x[].y", "c[].d", "g", "new", "hh"])),
    ]);
    let expected = [
        "spec.e is in 1.36: no; the table says: yes",
        "spec.e is in 1.37: no; the table says: yes",
        "spec.f.* is in 1.36: no; the table says: yes",
        "spec.f.* is in 1.37: no; the table says: yes",
        "spec.g is in 1.36: yes; the table says: no",
        "spec.h is in 1.36: no; the table says: yes",
        "spec.h is in 1.37: no; the table says: yes",
        "spec.hh has no class",
        "spec.new has no class",
    ];
    assert_eq!(differences(&lines, &schema), expected);
    Ok(())
}

/// What the table says and the API does not, and the other way round.
fn differences(lines: &[Line], schema: &ByMinor) -> Vec<String> {
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    let mut found = Vec::new();
    for line in lines {
        for (minor, fields) in schema {
            let (is_there, is_said) =
                (fields.iter().any(|field| covers(line, field)), line.minors.contains(minor));
            if is_there != is_said {
                let (is_there, is_said) = (yes_or_no(is_there), yes_or_no(is_said));
                found.push(format!("{} is in 1.{minor}: {is_there}; the table says: {is_said}", line.path));
            }
        }
    }
    let all: BTreeSet<&String> = schema.values().flatten().collect();
    let classed = lines.iter().filter(|line| !line.path.ends_with(".*"));
    let classed: Vec<&Line> = classed.collect();
    let unclassed = all.into_iter().filter(|field| !classed.iter().any(|line| covers(line, field)));
    found.extend(unclassed.map(|field| format!("{field} has no class")));
    found
}

/// Whether a line is about a field: about that one, or about one around it with everything inside.
fn covers(line: &Line, field: &str) -> bool {
    let (path, is_whole) = match line.path.strip_suffix(".*") {
        Some(outside) => (outside, true),
        None => (line.path.as_str(), matches!(line.rule.class, Class::Drop | Class::Refuse)),
    };
    field
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || (is_whole && rest.starts_with(['.', '[', '{'])))
}

fn in_status(fields: &BTreeSet<String>) -> BTreeSet<String> {
    fields.iter().filter(|field| field.starts_with("status.")).cloned().collect()
}

/// `discovery.EndpointSlice`, `v1.Pod`.
fn go_name(kind: &str) -> String {
    let package = if kind == "EndpointSlice" { "discovery" } else { "v1" };
    format!("{package}.{kind}")
}

#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn skip(why: &str) -> Result<()> {
    // Where all toolchains are promised, a skipped test is a failure.
    if std::env::var_os("WEFT_ALL_TOOLCHAINS").is_some() {
        bail!("the tables of fields are not compared: {why}");
    }
    eprintln!("SKIPPED the comparison of the tables of fields: {why}");
    Ok(())
}
