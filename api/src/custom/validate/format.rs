//! The formats that strings may be told to have. One that nobody knows is none.

use crate::{names, time};
use base64::Engine as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a text has a format.
pub(crate) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse(text).is_some(),
        "date" => time::parse(&format!("{text}T00:00:00Z")).is_some(),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_network(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text.replace(['\r', '\n'], "")).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text),
        "mac" => is_mac(text),
        "hostname" => names::dns_subdomain(&text.to_lowercase()).is_empty(),
        "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()),
        _ => true,
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let within = |most: u8| bits.parse::<u8>().is_ok_and(|bits| bits <= most);
    address.parse::<Ipv4Addr>().is_ok() && within(32) || address.parse::<Ipv6Addr>().is_ok() && within(128)
}

/// With or without dashes.
fn is_uuid(text: &str) -> bool {
    let dashes = text.char_indices().filter(|(_, letter)| *letter == '-').map(|(at, _)| at);
    let is_placed = matches!(dashes.collect::<Vec<_>>().as_slice(), [] | [8, 13, 18, 23]);
    let digits: Vec<char> = text.chars().filter(|letter| *letter != '-').collect();
    is_placed && digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit)
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let is_pair = |part: &&str| part.len() == 2 && part.chars().all(|letter| letter.is_ascii_hexdigit());
    matches!(parts.len(), 6 | 8) && parts.iter().all(is_pair)
}

/// Go's durations, such as `1h30m`, and days and weeks beside them.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let digits =
            rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.').len();
        let unit = &rest[digits..];
        let letters = unit.len() - unit.trim_start_matches(|letter: char| letter.is_alphabetic()).len();
        let is_known = matches!(&unit[..letters], "ns" | "us" | "µs" | "ms" | "s" | "m" | "h" | "d" | "w");
        if rest[..digits].parse::<f64>().is_err() || !is_known {
            return false;
        }
        rest = unit[letters..].trim_start();
        parts += 1;
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("date-time", "2026-01-01T00:00:00Z", "yesterday"),
            ("date", "2026-02-28", "2026-02-30"),
            ("duration", "1h30m", "1x"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("cidr", "fd00::/8", "10.0.0.0/33"),
            ("byte", "aGk=", "?"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567e89b"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("never-heard", "anything", ""),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(bad.is_empty() || !fits(format, bad), "{format} {bad}");
        }
    }
}
