//! Finds the address ranges of the host's Services without cluster-wide permissions.
//!
//! Who may read `ServiceCIDR` objects reads them. For everybody else the host is asked by dry runs of Services whether
//! an address is in its range: the address of the virtual cluster's own Service is, and the length of the prefix is
//! found by halving. Hosts before the multi-CIDR allocator name the range in their first refusal
//! (<https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>, KEP-1880).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};
use weft_core::object::{Host, HostObject, ResourceType};

use crate::api::{self, Api};
use crate::control::writer::dry_run;

/// Lengths of prefixes that a range of IPv4 can have: it holds at least eight addresses.
const PREFIXES_V4: (u8, u8) = (8, 29);
/// The same of IPv6.
const PREFIXES_V6: (u8, u8) = (48, 125);

/// Why the ranges are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not answer dry runs.
    #[error(
        "failed to find the host's range of Service addresses by a dry run of a Service; set `controlPlane.serviceCidrs`"
    )]
    Refused(#[source] api::Error),
    /// The answers do not fit together.
    #[error(
        "the host accepts no address near {0}, that of the virtual cluster's Service; set `controlPlane.serviceCidrs` to \
             the host's range of Service addresses"
    )]
    Inconsistent(IpAddr),
    /// There is nothing to begin with.
    #[error("the host Service {0} has no cluster IP; it must not be headless")]
    NoAddress(String),
}

/// What the host said about one address.
enum Reply {
    Inside,
    Outside,
    /// It named the range.
    Range(IpNet),
}

/// Asks about addresses of one family.
struct Asker<'a> {
    host: &'a Api<Host>,
    namespace: &'a str,
    /// An address inside of the range.
    known: IpAddr,
    /// How the host refuses an address that is taken, and so inside of its range; none where it accepts those.
    taken: Option<String>,
}

/// The ranges of the host's Services: one for each address of `service`, the virtual cluster's own.
pub(super) async fn find(
    host: &Api<Host>,
    namespace: &str,
    service: &HostObject,
) -> Result<Vec<IpNet>, Error> {
    let addresses = weft_core::context::cluster_ips(service);
    if addresses.is_empty() {
        return Err(Error::NoAddress(service.name().to_owned()));
    }
    let declared = declared(host).await;
    let mut ranges = Vec::new();
    for known in addresses {
        let range = match declared.iter().find(|range| range.contains(&known)) {
            Some(range) => *range,
            None => Asker { host, namespace, known, taken: None }.find().await?,
        };
        ranges.push(range);
    }
    Ok(ranges)
}

/// The ranges in `ServiceCIDR` objects; none where the host has no such kind or does not show it.
async fn declared(host: &Api<Host>) -> Vec<IpNet> {
    let resource = ResourceType {
        group: "networking.k8s.io".into(),
        ..ResourceType::core("ServiceCIDR", "servicecidrs")
    };
    // The API server makes this one from its own flag.
    let Ok(object) = host.get(&resource, "", "kubernetes").await else { return Vec::new() };
    let ranges = object.pointer("/spec/cidrs").and_then(Value::as_array).into_iter().flatten();
    ranges.filter_map(Value::as_str).filter_map(|range| range.parse().ok()).collect()
}

impl Asker<'_> {
    async fn find(mut self) -> Result<IpNet, Error> {
        let (foreign, outside) = self.ask(foreign(self.known)).await?;
        let (known, taken) = self.ask(self.known).await?;
        match (foreign, known) {
            (Reply::Range(range), _) | (_, Reply::Range(range)) => return Ok(range),
            // Refused like an address that is surely not of the host's.
            (_, Reply::Outside) if taken == outside => return Err(Error::Inconsistent(self.known)),
            (_, Reply::Outside) => self.taken = Some(taken),
            (_, Reply::Inside) => {}
        }
        let (mut low, mut high) = if self.known.is_ipv4() { PREFIXES_V4 } else { PREFIXES_V6 };
        let longest = high;
        while low < high {
            let middle = low.midpoint(high);
            match self.ask(sibling(self.known, middle)).await?.0 {
                Reply::Range(range) => return Ok(range),
                Reply::Inside => high = middle,
                Reply::Outside => low = middle + 1,
            }
        }
        // Not asked about yet, where every answer was no.
        if low == longest && matches!(self.ask(sibling(self.known, low)).await?.0, Reply::Outside) {
            return Err(Error::Inconsistent(self.known));
        }
        IpNet::new(self.known, low).map(|range| range.trunc()).map_err(|_| Error::Inconsistent(self.known))
    }

    /// Asks about one address; the text is that of a refusal, without the address.
    async fn ask(&self, address: IpAddr) -> Result<(Reply, String), Error> {
        let message = match dry_run(self.host, self.namespace, &probe(address)).await {
            Ok(()) => return Ok((Reply::Inside, String::new())),
            Err(api::Error::Status { code: 422, message, .. }) => message,
            Err(error) => return Err(Error::Refused(error)),
        };
        let text = message.replace(&address.to_string(), "");
        let reply = match range_in(&message).filter(|range| range.contains(&self.known)) {
            Some(range) => Reply::Range(range),
            None if self.taken.as_ref() == Some(&text) => Reply::Inside,
            None => Reply::Outside,
        };
        Ok((reply, text))
    }
}

/// A Service that is never created.
fn probe(address: IpAddr) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"generateName": "weft-dry-run-"},
        "spec": {
            "clusterIP": address.to_string(), "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 443}],
        },
    })
}

/// An address that no host gives to Services: one for documentation (RFC 5737, RFC 3849).
fn foreign(known: IpAddr) -> IpAddr {
    match known {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// An address that shares exactly `prefix` bits with `known`. Neither the first nor the last of any range: those two
/// are never given to Services.
fn sibling(known: IpAddr, prefix: u8) -> IpAddr {
    match known {
        IpAddr::V4(address) => {
            let other = u32::from(address) ^ (1 << (31 - prefix));
            Ipv4Addr::from(other & !0b11 | 0b01).into()
        }
        IpAddr::V6(address) => {
            let other = u128::from(address) ^ (1 << (127 - prefix));
            Ipv6Addr::from(other & !0b11 | 0b01).into()
        }
    }
}

/// The range that a refusal names.
fn range_in(message: &str) -> Option<IpNet> {
    let of_range = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, '.' | ':' | '/');
    message.split(|letter| !of_range(letter)).find_map(|word| word.trim_matches(['.', ':']).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::scripted::{Answer, Asked, Requests, scripted};

    fn refuse(message: &str) -> Answer {
        let status = json!({"kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "message": message});
        Answer::Reply(http::StatusCode::UNPROCESSABLE_ENTITY, status)
    }

    /// A host with the multi-CIDR allocator; it refuses addresses that are taken, as the older allocator did.
    fn allocator(range: &'static str, taken: &'static [&'static str]) -> impl Fn(&Asked) -> Answer {
        let range: IpNet = range.parse().unwrap();
        move |asked| {
            let address = asked.body["spec"]["clusterIP"].as_str().unwrap_or_default();
            let Ok(parsed) = address.parse::<IpAddr>() else { return Answer::failure(403, "Forbidden") };
            let ends = [range.network(), range.broadcast()].contains(&parsed);
            if !range.contains(&parsed) || ends {
                return refuse(&format!(
                    "failed to allocate IP {address}: the provided network does not match the current range"
                ));
            }
            if taken.contains(&address) {
                return refuse(&format!("failed to allocate IP {address}: provided IP is already allocated"));
            }
            Answer::ok(asked.body.clone())
        }
    }

    async fn found(
        address: &str,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> (Result<Vec<IpNet>, Error>, Requests) {
        let service = json!({"metadata": {"name": "vc"}, "spec": {"clusterIPs": [address]}});
        let service = HostObject::from_json(service).unwrap();
        let (host, requests) = scripted(answer);
        (find(&host, "team-a", &service).await, requests)
    }

    #[tokio::test]
    async fn the_prefix_is_found_by_few_dry_runs_whatever_its_length_and_where_the_address_lies() {
        for (range, addresses) in [
            ("10.96.0.0/12", ["10.96.0.10", "10.111.255.254", "10.104.0.0"]),
            ("10.96.0.0/16", ["10.96.128.0", "10.96.0.1", "10.96.255.254"]),
            ("172.20.4.0/22", ["172.20.4.9", "172.20.7.254", "172.20.6.0"]),
            ("192.168.1.8/29", ["192.168.1.9", "192.168.1.12", "192.168.1.14"]),
            ("10.0.0.0/8", ["10.0.0.1", "10.255.255.254", "10.128.0.0"]),
            ("fd00:10:96::/108", ["fd00:10:96::1", "fd00:10:96::f:fffe", "fd00:10:96::8:0"]),
        ] {
            for address in addresses {
                let (result, requests) = found(address, allocator(range, &[])).await;
                assert_eq!(result.unwrap(), [range.parse::<IpNet>().unwrap()], "{address}");
                assert!(requests.all().len() <= 10, "{} requests", requests.all().len());
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_inside_as_much_as_a_free_one() {
        let taken = &["10.96.0.10", "10.96.64.9", "10.96.128.9", "10.96.0.1", "10.96.0.9"];
        let (result, _) = found("10.96.0.10", allocator("10.96.0.0/16", taken)).await;
        assert_eq!(result.unwrap()[0].to_string(), "10.96.0.0/16");
    }

    #[tokio::test]
    async fn a_refusal_that_names_the_range_ends_the_search() {
        let (result, requests) = found("10.43.7.7", |asked| match asked.path.as_str() {
            "/api/v1/namespaces/team-a/services" => {
                refuse("provided IP is not in the valid range. The range of valid IPs is 10.43.0.0/16")
            }
            _ => Answer::failure(404, "NotFound"),
        })
        .await;
        assert_eq!((result.unwrap()[0].to_string(), requests.all().len()), ("10.43.0.0/16".to_owned(), 3));
    }

    #[tokio::test]
    async fn who_may_read_the_declared_range_asks_nothing_else() {
        let declared =
            json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/20", "fd00::/112"]}});
        let (result, requests) = found("10.96.1.1", move |_| Answer::ok(declared.clone())).await;
        assert_eq!(result.unwrap()[0].to_string(), "10.96.0.0/20");
        assert_eq!(requests.lines(), ["GET /apis/networking.k8s.io/v1/servicecidrs/kubernetes"]);
    }

    #[tokio::test]
    async fn a_host_that_refuses_dry_runs_or_contradicts_itself_is_an_error_that_names_the_setting() {
        let (result, _) = found("10.96.0.1", |_| Answer::failure(403, "Forbidden")).await;
        assert!(result.unwrap_err().to_string().contains("set `controlPlane.serviceCidrs`"));
        let (result, _) = found("10.96.0.1", allocator("10.1.0.0/16", &[])).await;
        assert!(matches!(result, Err(Error::Inconsistent(_))));
    }
}
