//! Which endpoint a request goes to: a pure choice from a port's endpoints.
//!
//! Two random candidates, the less loaded one wins (Mitzenmacher 2001): near the best balance for one look at two
//! counters, and no herd on the endpoint that was idle a moment ago.

use crate::table::{Backend, Entry, Port, State};
use rand::Rng;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

/// Where the traffic comes from decides which of the Service's policies holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Through a NodePort.
    Outside,
    /// From a pod of this node.
    Pod,
}

/// What a choice depends on besides the table.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    pub from: From,
    /// The node that picks.
    pub node: &'a str,
    /// Who asks, for `sessionAffinity: ClientIP`.
    pub client: Option<IpAddr>,
    /// Endpoints that already failed this request.
    pub tried: &'a [IpAddr],
}

/// The endpoint to use. `reachable` says of a node whether requests to it got through lately; endpoints on nodes that
/// are not are the last resort, as are terminating ones.
pub fn pick<'a>(
    entry: &Entry,
    port: &'a Port,
    want: Want<'_>,
    reachable: impl Fn(&str) -> bool,
    rng: &mut impl Rng,
) -> Option<&'a Backend> {
    let local_only = match want.from {
        From::Outside => entry.external_local,
        From::Pod => entry.internal_local,
    };
    let allowed = |backend: &&Backend| {
        (!local_only || backend.endpoint.node == want.node)
            && backend.endpoint.ip.is_some_and(|ip| !want.tried.contains(&ip))
    };
    let wishes: [&dyn Fn(&Backend) -> bool; 4] = [
        &|backend| backend.state == State::Ready && reachable(&backend.endpoint.node),
        &|backend| backend.state == State::Terminating && reachable(&backend.endpoint.node),
        &|backend| backend.state == State::Ready,
        &|_| true,
    ];
    let affinity = want.client.filter(|_| entry.affinity_by_client);
    wishes.iter().find_map(|wish| {
        let candidates: Candidates<'a> =
            port.endpoints.iter().filter(allowed).filter(|backend| wish(backend)).collect();
        match affinity {
            Some(client) => rendezvous(&candidates, client),
            None => less_loaded_of_two(&candidates, rng),
        }
    })
}

type Candidates<'a> = Vec<&'a Backend>;

/// Highest hash wins, so that an endpoint's coming or going moves only the clients it gains or loses.
fn rendezvous<'a>(candidates: &[&'a Backend], client: IpAddr) -> Option<&'a Backend> {
    let weight = |backend: &&Backend| {
        let mut hasher = DefaultHasher::new();
        (client, backend.endpoint.ip, backend.port).hash(&mut hasher);
        hasher.finish()
    };
    candidates.iter().copied().max_by_key(|backend| weight(backend))
}

fn less_loaded_of_two<'a>(candidates: &[&'a Backend], rng: &mut impl Rng) -> Option<&'a Backend> {
    match candidates.len() {
        0 => None,
        1 => Some(candidates[0]),
        count => {
            let first = rng.random_range(0..count);
            let other = (first + rng.random_range(1..count)) % count;
            let (first, other) = (candidates[first], candidates[other]);
            Some(if other.endpoint.in_flight() < first.endpoint.in_flight() { other } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Endpoint, Load};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 64, 0, last])
    }

    fn backend(last: u8, node: &str, state: State) -> Backend {
        Backend { endpoint: Arc::new(Endpoint::new(ip(last), node)), port: 80, state }
    }

    fn port(endpoints: Vec<Backend>) -> Port {
        Port { port: 80, endpoints, ..Port::default() }
    }

    fn want(tried: &[IpAddr]) -> Want<'_> {
        Want { from: From::Outside, node: "a", client: None, tried }
    }

    #[test]
    fn every_ready_endpoint_gets_its_share_and_terminating_ones_none() {
        let port = port(vec![
            backend(1, "a", State::Ready),
            backend(2, "a", State::Ready),
            backend(3, "b", State::Ready),
            backend(4, "b", State::Terminating),
        ]);
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = BTreeMap::new();
        for _ in 0..3000 {
            let picked = pick(&Entry::default(), &port, want(&[]), |_| true, &mut rng).expect("some endpoint is ready");
            *counts.entry(picked.endpoint.ip).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_busy_one_of_two_is_left_alone() {
        let port = port(vec![backend(1, "a", State::Ready), backend(2, "a", State::Ready)]);
        let _busy = Load::on(&port.endpoints[0].endpoint);
        let mut rng = SmallRng::seed_from_u64(2);
        for _ in 0..100 {
            let picked = pick(&Entry::default(), &port, want(&[]), |_| true, &mut rng).expect("two are ready");
            assert_eq!(picked.endpoint.ip, Some(ip(2)));
        }
    }

    #[test]
    fn terminating_then_unreachable_endpoints_are_the_last_resorts() {
        let mut rng = SmallRng::seed_from_u64(3);
        let port = port(vec![backend(1, "b", State::Ready), backend(2, "a", State::Terminating)]);
        let up = |node: &str| node == "a";
        let first = pick(&Entry::default(), &port, want(&[]), up, &mut rng).expect("one terminates reachably");
        assert_eq!(first.endpoint.ip, Some(ip(2)));
        let then = pick(&Entry::default(), &port, want(&[ip(2)]), up, &mut rng).expect("one is ready somewhere");
        assert_eq!(then.endpoint.ip, Some(ip(1)));
        assert!(pick(&Entry::default(), &port, want(&[ip(1), ip(2)]), up, &mut rng).is_none());
    }

    #[test]
    fn a_local_policy_keeps_to_the_node() {
        let mut rng = SmallRng::seed_from_u64(4);
        let port = port(vec![backend(1, "b", State::Ready)]);
        let entry = Entry { external_local: true, ..Entry::default() };
        assert!(pick(&entry, &port, want(&[]), |_| true, &mut rng).is_none());
        let from_pod = Want { from: From::Pod, ..want(&[]) };
        assert!(pick(&entry, &port, from_pod, |_| true, &mut rng).is_some());
    }

    #[test]
    fn affinity_keeps_a_client_on_its_endpoint() {
        let mut rng = SmallRng::seed_from_u64(5);
        let mut port = port((1..=8).map(|last| backend(last, "a", State::Ready)).collect());
        let entry = Entry { affinity_by_client: true, ..Entry::default() };
        let from = Want { client: Some(IpAddr::from([192, 0, 2, 7])), ..want(&[]) };
        let first = pick(&entry, &port, from, |_| true, &mut rng).expect("eight are ready").endpoint.ip;
        for _ in 0..20 {
            assert_eq!(pick(&entry, &port, from, |_| true, &mut rng).expect("still").endpoint.ip, first);
        }
        port.endpoints.retain(|backend| backend.endpoint.ip == first || backend.endpoint.ip == Some(ip(1)));
        assert_eq!(pick(&entry, &port, from, |_| true, &mut rng).expect("still").endpoint.ip, first);
    }
}
