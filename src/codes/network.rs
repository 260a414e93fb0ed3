//! Codes of the host's network: ports, ranges, links and firewalls.

use super::code::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        name: "port-in-use",
        messages: &[
            "forward `{}`: {} port {} of this host is in use",
            "forward `{}`: cannot listen on",
        ],
        means: "Another program listens on the port that is to be forwarded.",
        cure: "`ss -lnp` shows which. End it, or choose another port.",
    },
    Code {
        name: "port-forwarded",
        messages: &["forward `{}`: cluster `{}` forwards that port already"],
        means: "Another cluster of this host forwards the port.",
        cure: "Choose another port, or remove the other forward.",
    },
    Code {
        name: "not-my-address",
        messages: &["forward `{}`: {} is not an address of this host"],
        means: "A forward is to listen on an address that no link of this host has.",
        cure: "`ip address` lists them. Without an address, a forward listens on all.",
    },
    Code {
        name: "dns-port-taken",
        messages: &["{} port 53 of {} is taken by"],
        means: "A name server of this host has taken the address of the cluster's bridge, such as dnsmasq or BIND.",
        cure: "End it, or let it listen on other addresses, such as by `bind-interfaces`.",
    },
    Code {
        name: "dhcp-port-taken",
        messages: &["UDP port 67 on {} is taken by"],
        means: "A DHCP server of this host serves every link.",
        cure: "End it, or let it serve its own links only.",
    },
    Code {
        name: "range-taken",
        messages: &[
            "{} overlaps",
            "would be this host's address in {}, but",
            "{}, which has just been added",
        ],
        means: "The cluster's range is used by a link, a route or another cluster, such as a LAN, a VPN or Docker.",
        cure: "Take the free range that the hint names, or `--subnet auto`.",
    },
    Code {
        name: "no-range-free",
        messages: &["no private /{} is free on this host"],
        means: "Every private range of this size is taken.",
        cure: "Ask for a smaller one with `--subnet`.",
    },
    Code {
        name: "address-answers",
        messages: &[
            "another machine on the bridge answers for",
            "somebody on the bridge answers for each of",
            "nodes.{}.address: `{}` is the address of",
        ],
        means: "An address that a node is to have is used by another machine.",
        cure: "Choose another address, or end the other machine.",
    },
    Code {
        name: "no-address-free",
        messages: &[
            "no address is free in {} for",
            "no MAC address is free for",
            "no user id is free for",
        ],
        means: "The range has no room for another node.",
        cure: "Choose a larger subnet for a new cluster, or remove nodes with {rm NODE}.",
    },
    Code {
        name: "bridge-taken",
        messages: &[
            "{} exists, but kvmc did not make it for this cluster",
            "{} is the bridge of cluster",
            "`{}` exists and is another program's",
            "has the name of another link of this cluster",
        ],
        means: "A link has the name that the cluster's bridge is to have.",
        cure: "Choose another name with `--bridge NAME`.",
    },
    Code {
        name: "link-missing",
        messages: &["there is no link `{}`", "`{}` is not as it was set up"],
        means: "Another program has removed or changed a link of the cluster.",
        cure: "{up} makes it again.",
    },
    Code {
        name: "firewall-blocks",
        messages: &["packets {}, and a rule elsewhere cannot undo that"],
        means: "A rule of another program drops packets that the cluster needs. An accept of kvmc's cannot undo a drop in another table.",
        cure: "Do what the error says with that program's own tool, such as firewall-cmd, ufw or its nft file.",
    },
    Code {
        name: "firewall-unreadable",
        messages: &[
            "cannot read the host's firewall rules",
            "firewalld has rules on this host but does not answer",
        ],
        means: "kvmc reads all rules of the host to see whether they let the nodes through, and could not.",
        cure: "`nft list ruleset` and `systemctl status firewalld` say why.",
    },
    Code {
        name: "firewall-refuses",
        messages: &[
            "cannot add a rule to",
            "cannot remove rules from",
            "cannot remove the NAT rules",
        ],
        means: "nft or iptables has refused a rule of kvmc's.",
        cure: "The error has its words. {doctor} names missing modules and programs.",
    },
    Code {
        name: "ipv6-off",
        messages: &["ipv6: network {} needs IPv6"],
        means: "The kernel was booted without IPv6.",
        cure: "Leave `ipv6` out, or boot the host without `ipv6.disable=1`.",
    },
    Code {
        name: "resolver-refuses",
        messages: &["systemd-resolved does not accept the cluster's names"],
        means: "The nodes run, but this host cannot resolve their names.",
        cure: "`resolvectl status` and `systemctl status systemd-resolved` say why. The files for ssh and Ansible use addresses, and work.",
    },
    Code {
        name: "sysctl-refused",
        messages: &[
            "cannot {} the kernel parameter",
            "cannot switch forwarding off",
        ],
        means: "/proc/sys is read-only here, as in a container.",
        cure: "Set the parameter on the host, or run the container with `--privileged`.",
    },
    Code {
        name: "netlink-refused",
        messages: &["cannot open a netlink socket", "cannot create the tap `{}`"],
        means: "The kernel does not let kvmc make links.",
        cure: "It needs root's rights and /dev/net/tun; {doctor} checks both.",
    },
    Code {
        name: "fork-name-taken",
        messages: &["there is a cluster `{}` already"],
        means: "A fork needs a name that no cluster has, also no stopped one.",
        cure: "Choose another name; {ls} lists the clusters.",
    },
    Code {
        name: "fork-needs-memory",
        messages: &["only a running one or a snapshot can be forked"],
        means: "A fork goes on from the memory of nodes, which a stopped cluster has in its snapshots only.",
        cure: "Start the cluster, or name one of its snapshots with `--from`; {snapshot ls} lists them.",
    },
    Code {
        name: "fork-namespace",
        messages: &[
            "cannot make a network namespace for cluster `{}`",
            "the network namespace outside of the fork's is gone",
            "no private /30 is free on this host for the fork's link",
        ],
        means: "A fork has a network namespace of its own and a link that leads out of it. One of them cannot be made, or was lost.",
        cure: "It needs root's rights. {down} removes the fork in any case.",
    },
];
