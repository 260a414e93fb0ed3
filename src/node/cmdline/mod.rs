//! QEMU's command line as types.
//!
//! One struct a QEMU switch, named as QEMU names the switch, its fields as QEMU names the keys; each
//! renders exactly one `-switch value`. Things that take several switches (a disk is two `-blockdev`
//! and a `-device`) are put together only in [`CommandLine::add_disk`] and its like, and
//! [`CommandLine::build`] concatenates. All of it is pure: file descriptors are numbers that the
//! caller promises to have open in the child.
//!
//! Reference: QEMU's manual page, qemu(1).

mod block;
mod switches;

use std::os::fd::RawFd;

pub(crate) use block::{AddFd, Blockdev};
use kvmc_netns::MacAddr;
pub(crate) use switches::{
    Accel, Chardev, Cpu, Device, Global, Kernel, Machine, Memory, Mon, Name, NetBackend, Netdev,
    Object, Sandbox, Serial, Smp, Switch, Uuid,
};

/// The node name of a disk's writable image, as `block_resize` knows it.
pub(crate) const TOP_DISK: &str = "disk0";
/// The id of a node's NIC to its network of this number, as `set_link` knows it.
pub(crate) fn netdev(number: usize) -> String {
    format!("net{number}")
}

/// The switches of one QEMU, in the order they are given.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    args: Vec<String>,
    fdsets: u32,
}

impl CommandLine {
    /// The switches that every node has: nothing by default, nothing shown, confined, paused until
    /// its sockets are attended.
    pub(crate) fn new(name: &str, uuid: &str) -> Self {
        let mut line = Self::default();
        line.add(&Name {
            guest: name.to_owned(),
        });
        line.add(&Uuid(uuid.to_owned()));
        line.flag("-nodefaults");
        line.flag("-no-user-config");
        line.args.extend(["-display".to_owned(), "none".to_owned()]);
        line.add(&Sandbox);
        line.args.extend(["-rtc".to_owned(), "base=utc".to_owned()]);
        line.flag("-S");
        line
    }

    pub(crate) fn add(&mut self, switch: &impl Switch) {
        self.args.push(switch.name().to_owned());
        self.args.push(switch.value());
    }

    fn flag(&mut self, flag: &str) {
        self.args.push(flag.to_owned());
    }

    /// The QMP monitor on a listening socket.
    pub(crate) fn add_monitor(&mut self, fd: RawFd) {
        self.add(&Chardev::listening("qmp", fd));
        self.add(&Mon {
            chardev: "qmp".to_owned(),
        });
    }

    /// The first serial port on a listening socket; what is written with nobody there is lost.
    pub(crate) fn add_console(&mut self, fd: RawFd) {
        self.add(&Chardev::listening("console", fd));
        self.add(&Serial {
            chardev: "console".to_owned(),
        });
    }

    /// A named virtio-serial port on a listening socket.
    pub(crate) fn add_port(&mut self, name: &str, fd: RawFd) {
        self.add(&Chardev::listening("agent", fd));
        self.add(&Device::new("virtio-serial-pci").with("id", "serial0"));
        self.add(
            &Device::new("virtserialport")
                .with("bus", "serial0.0")
                .with("chardev", "agent")
                .with("name", name),
        );
    }

    /// A virtio-blk disk on a chain of qcow2 images, the writable one first. Each image comes as a
    /// descriptor set, so the path and its folders stay closed to this QEMU.
    pub(crate) fn add_disk(&mut self, chain: &[RawFd], boots: bool) {
        let mut backing: Option<String> = None;
        for (depth, fd) in chain.iter().enumerate().rev() {
            self.fdsets += 1;
            let set = self.fdsets;
            self.add(&AddFd { fd: *fd, set });
            let read_only = depth > 0;
            let file = format!("file{depth}");
            let node = format!("disk{depth}");
            self.add(&Blockdev::file(
                &file,
                &format!("/dev/fdset/{set}"),
                read_only,
            ));
            self.add(&Blockdev::qcow2(
                &node,
                &file,
                backing.as_deref(),
                read_only,
            ));
            backing = Some(node);
        }
        if let Some(top) = backing {
            let mut device = Device::new("virtio-blk-pci")
                .with("drive", &top)
                .with("id", "vda")
                // Out of space, the guest stands still; it would take an error for a broken disk.
                .with("werror", "stop")
                .with("rerror", "stop");
            if boots {
                device = device.with("bootindex", "0");
            }
            self.add(&device);
        }
    }

    /// A virtio-blk disk that is only read, without a format of its own.
    pub(crate) fn add_seed(&mut self, fd: RawFd) {
        let file = self.add_file("seed-file", fd, true);
        self.add(&Blockdev::raw("seed", &file, true));
        self.add(&Device::new("virtio-blk-pci").with("drive", "seed"));
    }

    /// UEFI: code that is only read, and the machine's own variables.
    pub(crate) fn add_pflash(&mut self, code: RawFd, variables: RawFd) {
        for ((name, fd), read_only) in switches::PFLASH
            .into_iter()
            .zip([code, variables])
            .zip([true, false])
        {
            let file = self.add_file(&format!("{name}-file"), fd, read_only);
            self.add(&Blockdev::raw(name, &file, read_only));
        }
    }

    fn add_file(&mut self, name: &str, fd: RawFd, read_only: bool) -> String {
        self.fdsets += 1;
        let set = self.fdsets;
        self.add(&AddFd { fd, set });
        self.add(&Blockdev::file(
            name,
            &format!("/dev/fdset/{set}"),
            read_only,
        ));
        name.to_owned()
    }

    /// A virtio-net NIC; the guest's `eth0` is number 0.
    pub(crate) fn add_nic(&mut self, number: usize, backend: NetBackend, mac: MacAddr) {
        self.add(&Netdev {
            id: netdev(number),
            backend,
        });
        self.add(
            &Device::new("virtio-net-pci")
                .with("netdev", &netdev(number))
                .with("mac", &mac.to_string())
                .with("romfile", "")
                // A woken guest is about to change its address; and Linux announces it from a work item that
                // waits for the RTNL lock, which who takes the link down at that moment holds while it waits
                // for the work item (virtnet_close): one guest in some hundred hung for ever.
                .with("guest_announce", "off"),
        );
    }

    /// Tells QEMU when the guest's kernel panics.
    pub(crate) fn add_panic_notifier(&mut self) {
        self.add(&Device::new("pvpanic-pci"));
    }

    /// A source of entropy that needs no file of the host.
    pub(crate) fn add_rng(&mut self) {
        self.add(&Object::new("rng-builtin").with("id", "rng0"));
        self.add(&Device::new("virtio-rng-pci").with("rng", "rng0"));
    }

    /// Guest memory in a file: shared, so that it is what is kept, or private, so that it is kept.
    pub(crate) fn add_memory_backend(&mut self, fd: RawFd, size: u64, share: bool) {
        self.add(
            &Object::new("memory-backend-file")
                .with("id", switches::RAM)
                .with("size", &size.to_string())
                .with("mem-path", &format!("/proc/self/fd/{fd}"))
                .with("share", if share { "on" } else { "off" }),
        );
    }

    /// Starts without a state, which comes by `migrate-incoming`; the guest's reset ends it, since
    /// its kernel is only a head.
    pub(crate) fn await_state(&mut self) {
        self.args
            .extend(["-incoming".to_owned(), "defer".to_owned()]);
        self.flag("-no-reboot");
    }

    pub(crate) fn build(self) -> Vec<String> {
        self.args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_chain_of_descriptor_sets_with_only_the_top_writable() {
        let mut line = CommandLine::default();
        line.add_disk(&[10, 11], false);
        assert_eq!(
            line.build(),
            [
                "-add-fd",
                "fd=11,set=1",
                "-blockdev",
                r#"{"driver":"file","filename":"/dev/fdset/1","node-name":"file1","read-only":true}"#,
                "-blockdev",
                r#"{"driver":"qcow2","file":"file1","node-name":"disk1","read-only":true}"#,
                "-add-fd",
                "fd=10,set=2",
                "-blockdev",
                r#"{"discard":"unmap","driver":"file","filename":"/dev/fdset/2","node-name":"file0"}"#,
                "-blockdev",
                r#"{"backing":"disk1","discard":"unmap","driver":"qcow2","file":"file0","node-name":"disk0"}"#,
                "-device",
                "virtio-blk-pci,drive=disk0,id=vda,werror=stop,rerror=stop",
            ]
        );
    }

    #[test]
    fn each_card_has_an_end_of_its_own() {
        let mut line = CommandLine::default();
        line.add_nic(0, NetBackend::Tap(7), MacAddr([0x52, 0x54, 0, 0, 0, 1]));
        line.add_nic(1, NetBackend::Hub(1), MacAddr([0x52, 0x54, 0, 0, 0, 2]));
        assert_eq!(
            line.build(),
            [
                "-netdev",
                "tap,id=net0,fd=7",
                "-device",
                "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,romfile=,guest_announce=off",
                "-netdev",
                "hubport,id=net1,hubid=1",
                "-device",
                "virtio-net-pci,netdev=net1,mac=52:54:00:00:00:02,romfile=,guest_announce=off",
            ]
        );
    }

    #[test]
    fn every_node_is_confined_and_paused() {
        let args = CommandLine::new("kvmc-k80-master0", "u").build();
        let has = |a: &str| args.iter().any(|x| x == a);
        assert!(has("-nodefaults") && has("-no-user-config") && has("-S"));
        assert!(has(
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        ));
    }

    #[test]
    fn a_comma_in_a_value_stays_in_the_value() {
        let name = Name {
            guest: "a,b".to_owned(),
        };
        assert_eq!(name.value(), "guest=a,,b,debug-threads=on");
    }
}
