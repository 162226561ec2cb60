//! Ranges of IP addresses that the operator lists, and addresses that no range opens by accident.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses and ranges that the operator lists.
///
/// A range does not open what it holds of addresses with a meaning of their own, such as the metadata service of a
/// cloud: those are listed one by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses(Vec<Cidr>);

/// A range of addresses, written as `10.1.0.0/16`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    bits: u32,
}

/// Why a string is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither an address nor a range.
    #[error("{0:?} is neither an address nor a range such as 10.1.0.0/16")]
    Form(String),
    /// The address is not the first of the range.
    #[error("{0:?} does not begin with the first address of its range")]
    First(String),
}

/// IPv4 addresses that reach the node itself, everybody, or what a cloud answers to its machines alone: the registry of
/// special addresses (RFC 6890), and the documentation of Azure ("What is IP address 168.63.129.16") and Alibaba Cloud
/// ("Instance metadata"). Those of AWS, Google Cloud and most others are link-local.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];
/// The same for IPv6, with the metadata services of AWS ("Instance metadata service", `fd00:ec2::254` and its neighbours)
/// and Google Cloud (`fd20:ce::254`).
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::UNSPECIFIED, 127),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 9),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    (Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0), 32),
];
/// Where IPv6 addresses hold one of IPv4: what routes them on may deliver there. The number is of bits behind it:
/// IPv4-compatible, IPv4-translated (RFC 2765), NAT64 (RFC 6052) and 6to4 (RFC 3056).
const HOLD_V4: &[(Ipv6Addr, u32, u32)] = &[
    (Ipv6Addr::UNSPECIFIED, 96, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),
];
const V4_BITS: u32 = 32;
const V6_BITS: u32 = 128;

impl Addresses {
    /// These ranges.
    pub fn new(ranges: Vec<Cidr>) -> Self {
        Self(ranges)
    }

    /// Every address without a meaning of its own.
    pub fn any() -> Self {
        let all = |first: IpAddr| Cidr { first, bits: 0 };
        Self(vec![all(Ipv4Addr::UNSPECIFIED.into()), all(Ipv6Addr::UNSPECIFIED.into())])
    }

    /// Whether the operator lists `address`.
    pub fn has(&self, address: IpAddr) -> bool {
        // An IPv4 address is the same in the clothes of IPv6.
        let address = address.to_canonical();
        let is_special = is_special(address);
        self.0.iter().any(|range| range.contains(address) && (range.is_one() || !is_special))
    }
}

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => within_v4(address, first, self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => within_v6(address, first, self.bits),
            _ => false,
        }
    }

    fn is_one(&self) -> bool {
        self.bits == width(self.first)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(|_| form())?;
        let bits = bits.map_or(Ok(width(first)), str::parse).map_err(|_| form())?;
        if bits > width(first) || first.to_canonical() != first {
            return Err(form());
        }
        let rest = match first {
            IpAddr::V4(first) => u128::from(first.to_bits().checked_shl(bits).unwrap_or(0)),
            IpAddr::V6(first) => first.to_bits().checked_shl(bits).unwrap_or(0),
        };
        if rest != 0 {
            return Err(CidrError::First(text.to_owned()));
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() { write!(f, "{}", self.first) } else { write!(f, "{}/{}", self.first, self.bits) }
    }
}

/// Whether `address` means the node itself, everybody, or a service that a cloud offers to its machines alone.
fn is_special(address: IpAddr) -> bool {
    let is_special_v4 =
        |address: Ipv4Addr| SPECIAL_V4.iter().any(|(first, bits)| within_v4(address, *first, *bits));
    match address {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => {
            SPECIAL_V6.iter().any(|(first, bits)| within_v6(address, *first, *bits))
                || held(address).is_some_and(is_special_v4)
        }
    }
}

/// The IPv4 address that an IPv6 address holds.
fn held(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (_, _, behind) = HOLD_V4.iter().find(|(first, bits, _)| within_v6(address, *first, *bits))?;
    let bits = address.to_bits().checked_shr(*behind)? & u128::from(u32::MAX);
    u32::try_from(bits).ok().map(Ipv4Addr::from_bits)
}

fn within_v4(address: Ipv4Addr, first: Ipv4Addr, bits: u32) -> bool {
    let differs = address.to_bits() ^ first.to_bits();
    differs.checked_shr(V4_BITS.saturating_sub(bits)).unwrap_or(0) == 0
}

fn within_v6(address: Ipv6Addr, first: Ipv6Addr, bits: u32) -> bool {
    let differs = address.to_bits() ^ first.to_bits();
    differs.checked_shr(V6_BITS.saturating_sub(bits)).unwrap_or(0) == 0
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { V4_BITS } else { V6_BITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(ranges: &[&str]) -> Addresses {
        Addresses::new(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    fn has(ranges: &[&str], address: &str) -> bool {
        listed(ranges).has(address.parse().unwrap())
    }

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("203.0.113.8/31", "203.0.113.9", "203.0.113.10"),
            ("203.0.113.8", "203.0.113.8", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            assert!(has(&[range], inside), "{range} {inside}");
            assert!(!has(&[range], outside), "{range} {outside}");
        }
        assert!(!has(&[], "10.1.2.3") && !has(&["::/0"], "10.1.2.3") && !has(&["0.0.0.0/0"], "2001:db8::"));
        assert!(Addresses::any().has([10, 1, 2, 3].into()) && has(&["10.1.0.0/16"], "::ffff:10.1.2.3"));
    }

    #[test]
    fn an_address_with_a_meaning_of_its_own_is_listed_one_by_one() {
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
        ];
        for address in special {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Addresses::any().has(address), "{address}");
            assert!(!has(&["169.254.0.0/16", "127.0.0.0/8", "fe80::/10"], &address.to_string()), "{address}");
            let canonical = address.to_canonical().to_string();
            assert!(has(&[&canonical], &address.to_string()), "{address}");
        }
        for plain in
            ["100.100.100.201", "168.63.129.17", "223.255.255.255", "fd00:ec3::1", "64:ff9b::808:808"]
        {
            assert!(Addresses::any().has(plain.parse().unwrap()), "{plain}");
        }
    }

    #[test]
    fn a_range_is_written_in_one_way() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/64"] {
            assert_eq!(good.parse::<Cidr>().map(|range| range.to_string()).as_deref(), Ok(good));
        }
        assert_eq!("10.0.0.1/32".parse::<Cidr>().unwrap().to_string(), "10.0.0.1");
        for bad in [
            "",
            "10.0.0.0/33",
            "010.0.0.0/8",
            "10.0.0/8",
            "::ffff:10.0.0.0/104",
            "a",
            "10.0.0.0/",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError::Form(bad.to_owned())), "{bad}");
        }
        for bad in ["10.0.0.1/8", "2001:db8::1/64", "10.0.0.1/0"] {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError::First(bad.to_owned())), "{bad}");
        }
    }
}
