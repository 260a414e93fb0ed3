//! A cluster beside a host's firewall: its packets pass, also after a reload, and the rules are as before afterwards.

use super::{DOCKER, FIREWALLD, runs};

/// Sets up a host's firewall, starts a cluster and reloads the firewall. After `stop` and `down` all rules
/// must be as before.
fn beside(setup: &str, reload: &str) -> String {
    runs(&format!(
        "{setup}
         rules > ../before
         $UP
         nodes; lives 'beside it'
         before=$(pids)
         {reload}
         eventually 15 whole || fail 'rules are still missing'
         lives 'after a reload'
         test \"$(pids)\" = \"$before\" || fail 'a node was touched'
         kvmc status
         $UP
         whole || fail 'up after a reload'
         kvmc stop
         rules > ../stopped
         same ../before ../stopped 'rules after stop'
         kvmc start
         kvmc down
         rules > ../after
         same ../before ../after 'rules after down'"
    ))
}

#[test]
fn p10_p11_beside_docker_by_nft() {
    let setup = format!("{DOCKER} docker_rules nft");
    let said = beside(&setup, "docker_rules nft");
    assert!(said.contains("DOCKER-USER of iptables (nft)"), "{said}");
}

#[test]
fn p10_p11_beside_docker_by_legacy_iptables() {
    beside(
        &format!("{DOCKER} docker_rules legacy"),
        "docker_rules legacy",
    );
}

#[test]
fn p10_p11_beside_iptables_that_drop_in_both_backends() {
    beside(
        "drops() { for b in legacy nft; do iptables-$b -F
           for c in INPUT FORWARD OUTPUT; do iptables-$b -P $c DROP; done
           iptables-$b -A INPUT -i lo -j ACCEPT; iptables-$b -A OUTPUT -o lo -j ACCEPT; done; }
         drops",
        "drops",
    );
}

#[test]
fn p10_p11_beside_ufw() {
    beside(
        "# Its files on the host stay as they are: it works on copies.
         mkdir -p ../ufw; cp -a /etc/ufw ../ufw/etc; cp -a /lib/ufw ../ufw/lib; cp /etc/default/ufw ../ufw/default
         sed -i 's/^IPV6=.*/IPV6=no/' ../ufw/default
         mount --bind ../ufw/etc /etc/ufw; mount --bind ../ufw/lib /lib/ufw; mount --bind ../ufw/default /etc/default/ufw
         also() { find /etc/ufw /etc/default/ufw -type f -exec sha256sum {} + | sort; ufw status verbose; }
         ufw --force enable",
        "ufw reload; lives 'just after'; ufw --force enable",
    );
}

/// firewalld makes a zone's chains at its first use, and keeps them, empty, until it is reloaded. So the test
/// reloads it before it compares rules. Before that it checks that no rule names the cluster.
#[test]
fn p10_p11_beside_firewalld() {
    let setup = format!(
        "{FIREWALLD}
         also() {{
           ! nft list ruleset | grep k80 || echo 'a rule of the cluster'
           firewall-cmd --reload >/dev/null; firewall-cmd --list-all-zones; find /etc/firewalld -type f
         }}"
    );
    beside(
        &setup,
        "firewall-cmd --reload; eventually 15 whole; firewall-cmd --complete-reload",
    );
}

#[test]
fn p10_p11_by_ipv6_beside_firewalld() {
    runs(&format!(
        "{FIREWALLD}
         outside6
         also() {{
           ! nft list ruleset | grep k80 || echo 'a rule of the cluster'
           firewall-cmd --reload >/dev/null; firewall-cmd --list-all-zones; find /etc/firewalld -type f
         }}
         rules > ../before
         $UP --ipv6
         nodes6
         lives6 'beside it'
         before=$(pids)
         for how in --reload --complete-reload; do
           firewall-cmd $how
           eventually 15 whole || fail \"rules are still missing after $how\"
           lives6 \"after $how\"
         done
         test \"$(pids)\" = \"$before\" || fail 'a node was touched'
         kvmc down
         rules > ../after
         same ../before ../after 'rules after down'"
    ));
}

/// The cluster has IPv6, so the IPv6 rules of others count too. The router advertises the resolver.
#[test]
fn p10_p11_by_ipv6_beside_ufw_and_ip6tables_that_drop() {
    let said = runs(
        r#"
        outside6
        mkdir -p ../ufw; cp -a /etc/ufw ../ufw/etc; cp -a /lib/ufw ../ufw/lib; cp /etc/default/ufw ../ufw/default
        sed -i 's/^IPV6=.*/IPV6=yes/' ../ufw/default
        mount --bind ../ufw/etc /etc/ufw; mount --bind ../ufw/lib /lib/ufw; mount --bind ../ufw/default /etc/default/ufw
        # firewalld makes all of its IPv6 rules only at a reload.
        ufw --force enable; ufw reload
        for c in INPUT FORWARD OUTPUT; do ip6tables-legacy -P $c DROP; done
        ip6tables-legacy -A INPUT ! -i k80 -j ACCEPT; ip6tables-legacy -A OUTPUT ! -o k80 -j ACCEPT
        rules > ../before
        $UP --ipv6
        nodes6
        lives6 'beside them'
        ip6tables-nft-save | grep -q 'INPUT .*kvmc k80' || fail 'nothing is added beside ufw'
        cat > ../asks.py <<'PY'
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6); s.settimeout(5)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, socket.if_nametoindex("eth0")))
while True:
    m = s.recv(1500)
    if m[0] == 134: break
at = 16
while at < len(m):
    if m[at] == 25: print("resolver", socket.inet_ntop(socket.AF_INET6, m[at + 8:at + 24]))
    at += 8 * m[at + 1]
PY
        ip netns exec a python3 ../asks.py | grep -qx "resolver $gateway" || fail 'the router tells no resolver'
        ufw reload; ip6tables-legacy -F FORWARD; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
        eventually 15 whole || fail 'rules are still missing'
        eventually 15 grep -qx 1 /proc/sys/net/ipv6/conf/all/forwarding || fail 'IPv6 forwarding'
        lives6 'after a reload'
        kvmc status; kvmc down
        rules > ../after; same ../before ../after 'rules after down'
        "#,
    );
    assert!(said.contains("FORWARD of ip6tables (legacy)"), "{said}");
}
