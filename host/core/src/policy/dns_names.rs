//! DNS names that a host object may lead to: the names of others outside, and of the inside what the operator lists.

use std::net::IpAddr;

use crate::key_pattern::ANY;
use crate::names::is_dns_subdomain;

/// Names inside the host, its cluster and its network, that the operator lists.
///
/// An entry is a name, `*.zone` for every name below the zone, or `*` for any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsNames(Vec<String>);

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// Outside, or where the operator lets it lead.
    Allowed,
    /// To what may be the host's own: its Services, pods and nodes.
    Inside,
    /// It is no DNS name: an address, or nothing that DNS knows.
    NoName,
}

/// Last labels that no public DNS has, and that clusters and clouds use for what is theirs: `cluster.local`,
/// `metadata.google.internal`, nodes as `ip-10-0-0-1.ec2.internal`. RFC 6761, RFC 6762, RFC 8375, and the resolution of
/// ICANN on `internal`.
const INSIDE: &[&str] = &["arpa", "internal", "intranet", "local", "localdomain", "localhost"];
/// Labels by which the DNS of a cluster tells Services and pods apart, whatever its domain: "DNS for Services and Pods"
/// in the documentation of Kubernetes.
const OF_CLUSTERS: &[&str] = &["pod", "svc"];
/// Shorter names are read in the namespaces of the host by resolvers with search domains: `name` and `name.namespace`.
const FEWEST_LABELS: usize = 3;

impl DnsNames {
    /// These names.
    pub fn new(entries: impl IntoIterator<Item = String>) -> Self {
        Self(entries.into_iter().map(|entry| plain(&entry)).collect())
    }

    /// Any name.
    pub fn any() -> Self {
        Self(vec![ANY.to_owned()])
    }

    /// What `name` leads to.
    pub fn leads(&self, name: &str) -> Leads {
        let name = plain(name);
        if !is_dns_subdomain(&name) || is_address(&name) {
            Leads::NoName
        } else if !is_inside(&name) || self.0.iter().any(|entry| matches(entry, &name)) {
            Leads::Allowed
        } else {
            Leads::Inside
        }
    }
}

/// Whether `entry` can be listed.
pub fn is_entry(entry: &str) -> bool {
    entry == ANY || is_dns_subdomain(entry.strip_prefix("*.").unwrap_or(entry))
}

/// Upper case and a dot at the end make no difference to DNS.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn matches(entry: &str, name: &str) -> bool {
    match entry.strip_prefix("*.") {
        Some(zone) => name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.')),
        None => entry == ANY || entry == name,
    }
}

/// Whether what reads the name may take it for an address: `inet_aton` and the URL standard do so for any name whose last
/// label is a number, `127.1` and `0x7f000001` among them.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last.strip_prefix("0x");
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number(last) || hexadecimal.is_some_and(is_hexadecimal) || name.parse::<IpAddr>().is_ok()
}

fn is_inside(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    labels.len() < FEWEST_LABELS
        || INSIDE.contains(&last)
        || labels.iter().skip(1).any(|label| OF_CLUSTERS.contains(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(entries: &[&str]) -> DnsNames {
        DnsNames::new(entries.iter().map(|entry| (*entry).to_owned()))
    }

    #[test]
    fn names_outside_are_everybodys_and_names_inside_are_listed() {
        let none = DnsNames::default();
        for outside in [
            "db.example.com",
            "DB.Example.com.",
            "a.b.rds.amazonaws.com",
            "svc.example.com",
            "1.2.example.com",
        ] {
            assert_eq!(none.leads(outside), Leads::Allowed, "{outside}");
        }
        let inside = [
            "web",
            "web.",
            "WEB",
            "web.team-b",
            "example.com",
            "web.team-b.svc",
            "Web.Team-B.SVC.",
            "db.team-b.svc.cluster.local",
            "db.team-b.svc.host.example.com",
            "10-0-0-1.team-b.pod.cluster.local",
            "a.b.cluster.local",
            "localhost",
            "a.b.localhost",
            "metadata.google.internal",
            "ip-10-0-0-1.ec2.internal",
            "1.0.0.10.in-addr.arpa",
        ];
        for name in inside {
            assert_eq!(none.leads(name), Leads::Inside, "{name}");
            assert_eq!(DnsNames::any().leads(name), Leads::Allowed, "{name}");
        }
    }

    #[test]
    fn an_entry_is_a_name_or_a_zone() {
        let names = listed(&["db.team-b.svc.cluster.local", "*.corp.internal", "Example.com"]);
        for allowed in [
            "db.team-b.svc.cluster.local",
            "DB.team-b.svc.cluster.local.",
            "a.b.corp.internal",
            "example.com",
        ] {
            assert_eq!(names.leads(allowed), Leads::Allowed, "{allowed}");
        }
        for other in ["web.team-b.svc.cluster.local", "corp.internal", "acorp.internal", "example.org"] {
            assert_eq!(names.leads(other), Leads::Inside, "{other}");
        }
        for (entry, is_good) in
            [("*", true), ("*.a", true), ("a.b", true), ("", false), ("*.", false), ("a.*", false)]
        {
            assert_eq!(is_entry(entry), is_good, "{entry}");
        }
    }

    #[test]
    fn addresses_are_no_names() {
        let addresses = [
            "10.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.01",
            "169.254.169.254.",
            "a.b.0x",
            "::1",
            "[::1]",
            "fd00:ec2::254",
            "",
            ".",
            "a..b",
            "a b",
            "a/b.example.com",
            "a_b.example.com",
            "ä.example.com",
            "db.example.com..",
        ];
        for text in addresses {
            assert_eq!(DnsNames::any().leads(text), Leads::NoName, "{text}");
        }
    }
}
