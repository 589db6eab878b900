//! Which of the node's addresses belongs to which pod. Pure; the disk remembers it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The addresses of one `podCIDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ips {
    first: u32,
    last: u32,
    /// Where the search goes on, so that an address is not given away again at once.
    next: u32,
    taken: BTreeSet<u32>,
}

// === impl Ips ===

impl Ips {
    /// `10.64.0.0/20`; the network's own address, the first host and the broadcast address are not given away.
    pub(super) fn parse(cidr: &str) -> Option<Ips> {
        let (base, bits) = cidr.split_once('/')?;
        let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
        let bits: u32 = bits.parse().ok().filter(|bits| (8..=29).contains(bits))?;
        let size = 1_u32 << (32 - bits);
        let base = base & !(size - 1);
        Some(Ips { first: base + 2, last: base + size - 2, next: base + 2, taken: BTreeSet::new() })
    }

    /// A free address; `None` when all are taken.
    pub(super) fn take(&mut self) -> Option<IpAddr> {
        let free = (self.next..=self.last).chain(self.first..self.next).find(|one| !self.taken.contains(one))?;
        self.taken.insert(free);
        self.next = if free == self.last { self.first } else { free + 1 };
        Some(IpAddr::V4(Ipv4Addr::from(free)))
    }

    /// Keeps an address that a pod has already; false if it is not one of these, or somebody else's.
    pub(super) fn keep(&mut self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        let ip = u32::from(ip);
        (self.first..=self.last).contains(&ip) && self.taken.insert(ip)
    }

    pub(super) fn give_back(&mut self, ip: IpAddr) {
        if let IpAddr::V4(ip) = ip {
            self.taken.remove(&u32::from(ip));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_come_back() {
        let mut ips = Ips::parse("10.0.0.0/29").unwrap();
        assert!(ips.keep("10.0.0.3".parse().unwrap()));
        assert!(!ips.keep("10.0.0.3".parse().unwrap()) && !ips.keep("10.0.1.3".parse().unwrap()));
        let all: Vec<String> = std::iter::from_fn(|| ips.take()).map(|ip| ip.to_string()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        ips.give_back("10.0.0.4".parse().unwrap());
        assert_eq!(ips.take(), Some("10.0.0.4".parse().unwrap()));
        assert_eq!(Ips::parse("10.0.0.0"), None);
    }
}
