//! Addresses and networks: `ip('10.0.0.1')`, `cidr('10.0.0.0/8')`.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(in crate::cel) type Address = IpAddr;

/// An address of which the first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

pub(super) const TABLE: &[Row] = &[
    ("ip(<string>) <IP>", Cost::Read, ip),
    ("isIP(<string>) <bool>", Cost::Read, is_ip),
    ("ip.isCanonical(<string>) <bool>", Cost::Copy, is_canonical),
    ("<IP>.family() <int>", Cost::One, family),
    ("<IP>.isUnspecified() <bool>", Cost::One, is_unspecified),
    ("<IP>.isLoopback() <bool>", Cost::One, is_loopback),
    ("<IP>.isLinkLocalMulticast() <bool>", Cost::One, is_link_local_multicast),
    ("<IP>.isLinkLocalUnicast() <bool>", Cost::One, is_link_local_unicast),
    ("<IP>.isGlobalUnicast() <bool>", Cost::One, is_global_unicast),
    ("string(<IP>) <string>", Cost::One, to_string),
    ("cidr(<string>) <CIDR>", Cost::Read, cidr),
    ("isCIDR(<string>) <bool>", Cost::Read, is_cidr),
    ("<CIDR>.containsIP(<string>) <bool>", Cost::WalkSecond, contains_ip),
    ("<CIDR>.containsIP(<IP>) <bool>", Cost::One, contains_ip),
    ("<CIDR>.containsCIDR(<string>) <bool>", Cost::WalkSecond, contains_cidr),
    ("<CIDR>.containsCIDR(<CIDR>) <bool>", Cost::One, contains_cidr),
    ("<CIDR>.ip() <IP>", Cost::One, ip_of),
    ("<CIDR>.prefixLength() <int>", Cost::One, prefix_length),
    ("<CIDR>.masked() <CIDR>", Cost::One, masked),
    ("string(<CIDR>) <string>", Cost::One, to_string),
];

// === impl Network ===

impl Network {
    fn parse(text: &str) -> Result<Network, String> {
        let wrong = |why: &str| {
            let error = format!("netip.ParsePrefix({text:?}): {why}");
            format!("network address parse error during conversion from string: {error}")
        };
        let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("unable to parse IP"))?;
        let is_plain = bits.bytes().all(|digit| digit.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse().ok().filter(|_| is_plain);
        let bits: u8 =
            bits.filter(|bits| *bits <= width(address)).ok_or_else(|| wrong("prefix length out of range"))?;
        if is_mapped(address) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        Ok(Network { address, bits })
    }

    fn masked(self) -> Network {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Network { address, ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == address.is_ipv4();
        same_family && Network { address, ..self }.masked().address == self.masked().address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn parse(text: &str) -> Result<IpAddr, String> {
    let parsed: Result<IpAddr, _> = text.parse();
    match parsed {
        Ok(address) if is_mapped(address) => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        Ok(address) => Ok(address),
        Err(_) if text.contains('%') => Err(format!("IP address {text:?} with zone value is not allowed")),
        Err(_) => {
            let error = format!("ParseAddr({text:?}): unable to parse IP");
            Err(format!("IP Address {text:?} parse error during conversion from string: {error}"))
        }
    }
}

fn read<'a, 't>(work: &mut Work<'_>, args: &'a [Value<'t>]) -> Result<&'a str, Failure> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    Ok(text)
}

fn ip<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    parse(read(work, args)?).map(Value::Ip).map_err(Failure::of)
}

fn is_ip<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(parse(read(work, args)?).is_ok()))
}

fn is_canonical<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let text = read(work, args)?;
    let address = parse(text).map_err(Failure::of)?;
    Ok(Value::Bool(address.to_string() == text))
}

fn of_address<'t>(args: &[Value<'_>], is_so: fn(IpAddr) -> bool) -> Outcome<'t> {
    match args {
        [Value::Ip(address)] => Ok(Value::Bool(is_so(*address))),
        _ => Err(Failure::no_overload()),
    }
}

fn family<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Ip(address)] => Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 })),
        _ => Err(Failure::no_overload()),
    }
}

fn is_unspecified<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_address(args, |address| address.is_unspecified())
}

fn is_loopback<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_address(args, |address| address.is_loopback())
}

fn is_link_local_multicast<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_address(args, |address| match address {
        IpAddr::V4(address) => matches!(address.octets(), [224, 0, 0, _]),
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_unicast<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_address(args, is_link_local)
}

/// As Go has it: also addresses of private networks.
fn is_global_unicast<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_address(args, |address| {
        let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let is_special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        !is_broadcast && !is_special && !is_link_local(address)
    })
}

fn to_string<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Ip(address)] => Ok(Value::text(address.to_string())),
        [Value::Cidr(network)] => Ok(Value::text(network.to_string())),
        _ => Err(Failure::no_overload()),
    }
}

fn cidr<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let parsed = Network::parse(read(work, args)?);
    parsed.map(Value::Cidr).map_err(Failure::of)
}

fn is_cidr<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(Network::parse(read(work, args)?).is_ok()))
}

fn contains_ip<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (network, address) = match args {
        [Value::Cidr(network), Value::Ip(address)] => (network, *address),
        [Value::Cidr(network), text] => (network, parse(read(work, std::slice::from_ref(text))?).map_err(Failure::of)?),
        _ => return Err(Failure::no_overload()),
    };
    Ok(Value::Bool(network.contains(address)))
}

fn contains_cidr<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (network, other) = match args {
        [Value::Cidr(network), Value::Cidr(other)] => (network, *other),
        [Value::Cidr(network), text] => {
            (network, Network::parse(read(work, std::slice::from_ref(text))?).map_err(Failure::of)?)
        }
        _ => return Err(Failure::no_overload()),
    };
    Ok(Value::Bool(network.bits <= other.bits && network.contains(other.address)))
}

fn network(args: &[Value<'_>]) -> Result<Network, Failure> {
    match args {
        [Value::Cidr(network)] => Ok(*network),
        _ => Err(Failure::no_overload()),
    }
}

fn ip_of<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    network(args).map(|network| Value::Ip(network.address))
}

fn prefix_length<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    network(args).map(|network| Value::Int(i64::from(network.bits)))
}

fn masked<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    network(args).map(|network| Value::Cidr(network.masked()))
}
