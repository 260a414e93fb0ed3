//! Codes of the host: programs, devices, rights, room, and kvmc's own files.

use super::code::Code;

pub(super) const CODES: &[Code] = &[
    Code {
        name: "program-missing",
        messages: &[
            "the program `{}` is not installed",
            "`ansible-playbook`, which is not installed",
        ],
        means: "kvmc runs this program, and it is in no folder of PATH.",
        cure: "{doctor --fix} installs it with the package manager of this host.",
    },
    Code {
        name: "device-missing",
        messages: &["the device {} is missing"],
        means: "The kernel has not loaded the module that gives this device, or a container hides it.",
        cure: "Load the module as the error says. A container needs `--device` for it.",
    },
    Code {
        name: "rights-missing",
        messages: &["root's rights are missing", "missing capabilities: {}"],
        means: "kvmc makes links, rules of the firewall and users for QEMU, which the kernel allows root only.",
        cure: "Run it with sudo. In a container, give it the capabilities that the error names.",
    },
    Code {
        name: "disk-full",
        messages: &[
            "{} needed, {} free at",
            "{} needed in {}, {} free",
            "{} free in {}, but a machine's memory",
        ],
        means: "The state folder's file system has too little room for what is to be made.",
        cure: "Free some; {df} shows what kvmc takes, and {image prune} removes what nobody uses. KVMC_STATE_DIR names a folder on another disk.",
    },
    Code {
        name: "memory-short",
        messages: &["of memory{}, {} is available"],
        means: "The nodes' RAM would not fit into what this host or this cgroup has free, and the kernel would kill a node later.",
        cure: "Lower RAM or the number of nodes, or pass `--overcommit`, which counts on guests that use less than they may.",
    },
    Code {
        name: "kvm-unusable",
        messages: &["KVM was requested but cannot be used"],
        means: "`accel` asks for KVM. /dev/kvm is missing, is not open to this user, or does not run a guest.",
        cure: "Leave `--accel` out to emulate, or mend what the error names: the firmware's switch, the module, the device's rights.",
    },
    Code {
        name: "user-ids-missing",
        messages: &["this user namespace lacks the ids"],
        means: "kvmc runs in a container whose user namespace is too small for the users of the nodes.",
        cure: "Give the container all ids, such as `podman run --userns=host`.",
    },
    Code {
        name: "folder-of-others",
        messages: &["{} belongs to {}; kvmc uses no folder of others"],
        means: "Somebody else has made kvmc's state folder, and could put other files in the place of kvmc's.",
        cure: "`chown root` the folder if it is yours, or have KVMC_STATE_DIR name another.",
    },
    Code {
        name: "few-descriptors",
        messages: &["this process may open only {} descriptors"],
        means: "The limit of open files is below what kvmc needs.",
        cure: "`ulimit -n 4096` in the shell raises it.",
    },
    Code {
        name: "no-package-manager",
        messages: &["no known package manager; expected"],
        means: "`doctor --fix` knows apt-get, dnf, pacman and zypper.",
        cure: "Install the packages that the error lists by hand.",
    },
    Code {
        name: "no-systemd",
        messages: &[
            "systemd is not installed on this host",
            "systemctl is not installed",
        ],
        means: "`service` writes a unit of systemd's, and this host runs another init.",
        cure: "Start clusters by a script of your own: {up} does nothing where everything runs.",
    },
    Code {
        name: "systemctl-failed",
        messages: &["`systemctl {}` ended with"],
        means: "systemd has refused the unit.",
        cure: "`systemctl status kvmc` and `journalctl -u kvmc` say why.",
    },
    Code {
        name: "foreign-programs",
        messages: &[
            "the kernel has a rule to run {} programs with",
            "{} is not installed, but {} programs need it",
            "cannot mount binfmt_misc on",
        ],
        means: "The template of another architecture is configured by its own programs, which this kernel cannot run yet.",
        cure: "{doctor --fix --arch arm64} installs and registers what is missing.",
    },
    Code {
        name: "firmware-missing",
        messages: &["the UEFI firmware for {} is not installed"],
        means: "An image boots by UEFI, whose firmware is a package of its own.",
        cure: "Install the package that the error names.",
    },
    Code {
        name: "state-path",
        messages: &[
            "the path of the state folder is too long",
            "set KVMC_STATE_DIR to a path that begins with /",
        ],
        means: "A socket's path may have 107 bytes, and the state folder's leaves too little of that, or is relative.",
        cure: "Set KVMC_STATE_DIR to a short path that begins with `/`.",
    },
    Code {
        name: "newer-record",
        messages: &["{} has format {}, but this kvmc knows"],
        means: "A newer kvmc has written this file. This one leaves it alone.",
        cure: "Use the kvmc that wrote it.",
    },
    Code {
        name: "record-damaged",
        messages: &["the record of cluster `{}` cannot be read"],
        means: "`cluster.json` is cut or changed, such as after a full disk.",
        cure: "{doctor --fix} restores its last good copy; where there is none, {down} removes the cluster.",
    },
    Code {
        name: "other-namespace",
        messages: &["cluster `{}` runs in another network namespace"],
        means: "The cluster's bridge and taps are in a namespace that this process does not see.",
        cure: "Run kvmc in that namespace, with `ip netns exec` or `nsenter --net`.",
    },
    Code {
        name: "cluster-locked",
        messages: &["the cluster is locked by {}"],
        means: "Another kvmc works on the same cluster.",
        cure: "Wait for it, or pass `--wait SECONDS`, which waits by itself.",
    },
    Code {
        name: "no-such-cluster",
        messages: &["there is no cluster `{}`"],
        means: "No cluster of this name is in this state folder. It has another name, or is another user's.",
        cure: "{ls} lists all clusters; {up} creates this one.",
    },
    Code {
        name: "no-such-node",
        messages: &[
            "cluster `{}` has no node `{}`",
            "has no node or group `{}`",
            "has no nodes in group `{}`",
        ],
        means: "A word names neither a node nor a role nor a group of the cluster.",
        cure: "{status} shows the nodes.",
    },
    Code {
        name: "no-start-yet",
        messages: &["no node of cluster `{}` has started yet"],
        means: "There is nothing to draw a timeline of.",
        cure: "{up} starts the nodes.",
    },
    Code {
        name: "partly-removed",
        messages: &["cluster `{}` is partly removed"],
        means: "A `down` was ended before it was done.",
        cure: "{down} removes the rest.",
    },
    Code {
        name: "removed-meanwhile",
        messages: &["cluster `{}` was removed while"],
        means: "Another kvmc has removed the cluster while this verb waited for its lock.",
        cure: "{up} makes it anew, if that is wanted.",
    },
    Code {
        name: "changed-meanwhile",
        messages: &["another verb has changed cluster `{}` meanwhile"],
        means: "The cluster is not what it was when this verb looked.",
        cure: "Run the verb again; it looks again.",
    },
    Code {
        name: "remains-in-the-way",
        messages: &[
            "cluster `{}` has no record, but this host has",
            "the remains of cluster `{}` were not removed",
            "the rest of cluster `{}` cannot be removed",
        ],
        means: "A removed cluster has left processes, links or files, which a new one of the same name would meet.",
        cure: "{doctor} lists the remains, and {down} or {doctor --fix} removes them.",
    },
    Code {
        name: "needs-consent",
        messages: &["this removes {} with all data on"],
        means: "The change removes nodes, and their disks with them.",
        cure: "Add `--yes` if that is wanted. {plan} shows what would be removed.",
    },
    Code {
        name: "not-a-plan",
        messages: &[
            "{} is not a plan of kvmc",
            "{} is a damaged plan",
            "{} has plan format",
            "{} is a plan of cluster `{}`, not of",
        ],
        means: "The file is no saved plan of this cluster that this kvmc can read.",
        cure: "{plan --out FILE} writes one.",
    },
    Code {
        name: "plan-is-old",
        messages: &[
            "the host has changed since the plan was made",
            "{} since the plan was made",
            "it is no longer needed to",
        ],
        means: "A saved plan says what was to be done when it was made. Something has changed since, so it would do another thing.",
        cure: "Make a new plan and read it.",
    },
    Code {
        name: "disk-in-use",
        messages: &["{} is in use by {}; two machines on one disk would destroy it"],
        means: "A process has the node's disk open, such as a QEMU that kvmc does not know.",
        cure: "End that process first.",
    },
    Code {
        name: "file-in-the-way",
        messages: &[
            "{} is {}; kvmc writes a file there",
            "{} exists, and kvmc did not make it",
            "exists, but kvmc did not make it",
            "was made by kvmc and may have been changed since",
            "{} has the files of cluster",
        ],
        means: "kvmc is to write a file of the project, and something else is at its place.",
        cure: "Move it away, or put the files elsewhere with `--files DIR`.",
    },
    Code {
        name: "keys-missing",
        messages: &[
            "secrets.json is missing",
            "host keys for `{}` are missing",
            "the keys are gone",
        ],
        means: "The cluster's keys are in its folder, and were removed from there.",
        cure: "Nodes cannot be made without them. {down} and {up} make the cluster anew.",
    },
    Code {
        name: "keeper-of-other-version",
        messages: &[
            "the keeper is of another version of kvmc",
            "the request has protocol version",
        ],
        means: "kvmc was replaced while the cluster runs, and its keeper is still the old one.",
        cure: "{up} replaces the keeper without disturbing the nodes.",
    },
    Code {
        name: "keeper-silent",
        messages: &[
            "the keeper does not answer",
            "the keeper did not answer within",
            "the keeper does not accept a connection",
            "the keeper closed the connection without",
        ],
        means: "The process that serves the cluster hangs, or ended this moment.",
        cure: "{up} starts another one; {logs} has its last words.",
    },
    Code {
        name: "keeper-ended",
        messages: &["the keeper ended at once"],
        means: "The process that serves the cluster cannot start, such as because a port is taken.",
        cure: "The error has its last line. Mend that, then run the verb again.",
    },
    Code {
        name: "keeper-misunderstood",
        messages: &[
            "the keeper sent an invalid answer",
            "the keeper sent an answer of the wrong kind",
        ],
        means: "The keeper and this kvmc do not understand each other.",
        cure: "{up} replaces the keeper.",
    },
    Code {
        name: "node-not-ready",
        messages: &["not ready after {} s; the last stage was"],
        means: "A node did not reach all stages of its start in time. The error has the last stage and the end of its console.",
        cure: "{console NODE} shows the whole console. A slow host needs `--timeout SECONDS`.",
    },
    Code {
        name: "qemu-ended",
        messages: &["QEMU ended: {}"],
        means: "The node's QEMU has ended before the node was ready. The error has its message.",
        cure: "{logs NODE} has everything that it wrote. Mend what it names and run {up} again.",
    },
    Code {
        name: "qemu-refused",
        messages: &["QEMU refused {}", "`{}` was refused:"],
        means: "QEMU does not do what kvmc asks by QMP.",
        cure: "{logs NODE} may say more. A QEMU older than 7.2 lacks commands that kvmc uses.",
    },
    Code {
        name: "wake-failed",
        messages: &[
            "the woken node does not take its identity",
            "the node cannot be woken",
        ],
        means: "A node that was to wake from a frozen machine did not answer.",
        cure: "`--cold` boots the nodes instead; {image prune --all} removes frozen machines, which are made again.",
    },
    Code {
        name: "freeze-failed",
        messages: &[
            "a machine cannot be frozen",
            "{} has changed since it was frozen",
        ],
        means: "The machine whose copies new nodes wake from could not be made, or is not what it was.",
        cure: "kvmc goes on without it, and boots the nodes. {doctor} says what the host lacks.",
    },
];
