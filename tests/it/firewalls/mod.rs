//! The firewalls of others, with their own tools, around a cluster of fakes. A port of the bridge in its own
//! namespace stands for a node.

mod beside;
mod docker;
mod lost;
mod reach;

use super::fake;
use super::support::script;

fn runs(text: &str) -> String {
    let library = script("firewalls.sh", &[]);
    fake::runs(&fake::bench(), &format!("{library}\n{text}"))
}

/// Docker's rules as dockerd 27 writes them, applied by iptables-restore.
const DOCKER: &str = r#"docker_rules() {
iptables-$1-restore <<RULES
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
RULES
}
"#;

const FIREWALLD: &str = r#"
for d in /run/dbus /run/firewalld /etc/firewalld /var/log; do mkdir -p $d; mount -t tmpfs none $d; done
dbus-daemon --system --nofork --nopidfile >/dev/null 2>&1 & SERVERS="${SERVERS:-} $!"
eventually 10 test -S /run/dbus/system_bus_socket
firewalld --nofork --nopid >/dev/null 2>&1 & SERVERS="$SERVERS $!"
eventually 30 firewall-cmd --state >/dev/null 2>&1
"#;
