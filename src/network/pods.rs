//! Address ranges that Kubernetes' network plugins give to pods and services unless told otherwise. Pure.

use ipnetwork::Ipv4Network;

/// Default ranges and whose they are; the same in docs/KUBERNETES.md.
const DEFAULTS: [(&str, &str); 9] = [
    ("192.168.0.0/16", "Calico's pods"),
    ("10.244.0.0/16", "Flannel's and Antrea's pods"),
    ("10.0.0.0/8", "Cilium's pods"),
    ("10.32.0.0/12", "Weave Net's pods"),
    ("10.42.0.0/16", "k3s' pods"),
    ("10.43.0.0/16", "k3s' services"),
    ("10.96.0.0/12", "kubeadm's services"),
    ("10.233.0.0/18", "Kubespray's services"),
    ("10.233.64.0/18", "Kubespray's pods"),
];

/// What overlaps a subnet, in words.
pub(crate) fn collisions(subnet: Ipv4Network) -> Vec<String> {
    let all = DEFAULTS.iter().filter_map(|(range, whose)| {
        let range: Ipv4Network = range.parse().ok()?;
        range.overlaps(subnet).then(|| format!("{whose} ({range})"))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ranges_of_pods_that_hold_the_subnet_are_named() {
        let named = |subnet: &str| collisions(subnet.parse().unwrap()).join(", ");
        assert_eq!(named("192.168.80.0/24"), "Calico's pods (192.168.0.0/16)");
        assert_eq!(
            named("10.244.3.0/24"),
            "Flannel's and Antrea's pods (10.244.0.0/16), Cilium's pods (10.0.0.0/8)"
        );
        assert_eq!(named("172.16.0.0/24"), "");
        let read = |(range, _): &(&str, &str)| range.parse::<Ipv4Network>().is_ok();
        assert!(DEFAULTS.iter().all(read));
    }
}
