//! Network policies: stored and checked, whoever may enforce them.

use super::findings::Findings;
use super::place::Place;
use super::values::{self, network};
use crate::names;
use std::net::IpAddr;

const TYPES: &[&str] = &["Ingress", "Egress"];

pub(super) fn policy(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    values::selector(&spec.get("podSelector"), found);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).each() {
            rule.get("ports").each().for_each(|one| port(&one, found));
            rule.get(peers).each().for_each(|one| peer(&one, found));
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > TYPES.len() {
        return found.invalid(&types, "may not specify more than two policyTypes");
    }
    types.each().for_each(|one| found.member(&one, TYPES));
}

fn port(at: &Place<'_, '_>, found: &mut Findings) {
    found.optional_one_of(&at.get("protocol"), &["TCP", "UDP", "SCTP"]);
    let (first, last) = (at.get("port"), at.get("endPort"));
    if !first.is_given() {
        if last.is_given() {
            found.invalid(&last, "may not be specified when `port` is not specified");
        }
    } else if first.value().is_string() {
        if last.is_given() {
            found.invalid(&last, "may not be specified when `port` is non-numeric");
        }
        found.test(&first, names::port_name);
    } else {
        values::port(&first, found);
        if last.is_given() {
            if last.number() < first.number() {
                found.invalid(&last, "must be greater than or equal to `port`");
            }
            values::port(&last, found);
        }
    }
}

fn peer(at: &Place<'_, '_>, found: &mut Findings) {
    let given = ["podSelector", "namespaceSelector", "ipBlock"].iter().filter(|kind| at.has(kind)).count();
    for kind in ["podSelector", "namespaceSelector"] {
        values::selector(&at.get(kind), found);
    }
    if at.has("ipBlock") {
        block(&at.get("ipBlock"), found);
    }
    if given == 0 {
        found.required(at, "must specify a peer");
    } else if given > 1 && at.has("ipBlock") {
        found.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn block(at: &Place<'_, '_>, found: &mut Findings) {
    let whole = at.get("cidr");
    if whole.is_empty() {
        return found.required(&whole, "");
    }
    values::cidr(&whole, found);
    let Some(outer) = network(whole.text()) else { return };
    for one in at.get("except").each() {
        values::cidr(&one, found);
        let is_inside = network(one.text()).is_none_or(|inner| contains(outer, inner));
        if !is_inside {
            found.invalid(&one, "must be a strict subset of `cidr`");
        }
    }
}

/// Whether the second network is a true part of the first.
fn contains(outer: (IpAddr, u8), inner: (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(u32::from(four)) << 96, true),
        IpAddr::V6(six) => (u128::from(six), false),
    };
    let ((whole, is_four), (part, is_part_four)) = (bits(outer.0), bits(inner.0));
    let mask = if outer.1 == 0 { 0 } else { u128::MAX << (128 - u32::from(outer.1)) };
    is_four == is_part_four && whole & mask == part & mask && outer.1 < inner.1
}
