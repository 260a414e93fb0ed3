//! Spans of addresses, to reserve what a foreign file keeps from its machines.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

/// The addresses of `subnet` for nodes that lie in none of `used`, as spans that `network.reserved` reads. Both ends of a
/// span belong to it.
pub(super) fn outside(subnet: Ipv4Network, used: &[(Ipv4Addr, Ipv4Addr)]) -> Vec<String> {
    let number = |a: Ipv4Addr| u64::from(u32::from(a));
    let (first, last) = (number(subnet.network()) + 2, number(subnet.broadcast()));
    let mut used: Vec<_> = used.iter().map(|(a, b)| (number(*a), number(*b))).collect();
    used.push((last, last));
    used.sort_unstable();
    let mut spans = Vec::new();
    let mut next = first;
    for (from, to) in used {
        if from > next {
            spans.push((next, (from - 1).min(last - 1)));
        }
        next = next.max(to.saturating_add(1));
    }
    let address = |n: u64| Ipv4Addr::from(u32::try_from(n).unwrap_or(u32::MAX));
    let text = |(a, b): (u64, u64)| match a == b {
        true => address(a).to_string(),
        false => format!("{}-{}", address(a), address(b)),
    };
    spans
        .into_iter()
        .filter(|(a, b)| a <= b)
        .map(text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subnet: &str, used: &[(&str, &str)]) -> Vec<String> {
        let used: Vec<_> = used
            .iter()
            .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))
            .collect();
        outside(subnet.parse().unwrap(), &used)
    }

    #[test]
    fn what_lies_between_the_used_spans_is_named() {
        assert_eq!(of("10.0.0.0/24", &[("10.0.0.2", "10.0.0.254")]), [""; 0]);
        assert_eq!(
            of(
                "10.0.0.0/24",
                &[("10.0.0.100", "10.0.0.200"), ("10.0.0.10", "10.0.0.10")]
            ),
            [
                "10.0.0.2-10.0.0.9",
                "10.0.0.11-10.0.0.99",
                "10.0.0.201-10.0.0.254"
            ]
        );
        assert_eq!(
            of("10.0.0.0/24", &[("10.0.0.3", "10.0.0.253")]),
            ["10.0.0.2", "10.0.0.254"]
        );
        assert_eq!(of("10.0.0.0/24", &[("9.0.0.1", "11.0.0.1")]), [""; 0]);
        assert_eq!(of("10.0.0.0/30", &[]), ["10.0.0.2"]);
    }
}
