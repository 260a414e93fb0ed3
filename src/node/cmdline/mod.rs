//! QEMU's command line as types.
//!
//! One struct for each QEMU switch, with QEMU's names for the switch and its keys. Each renders exactly one `-switch
//! value`. Only [`CommandLine::add_disk`] and its like combine switches, such as two `-blockdev` and a `-device` for a
//! disk. [`CommandLine::build`] concatenates them. None of it does I/O: file descriptors are numbers that the caller
//! must have open in the child.
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

/// The node name of a disk's writable image, for `block_resize`.
pub(crate) const TOP_DISK: &str = "disk0";
/// The node name of an extra disk, for `block_resize`. The first has the number 1.
pub(crate) fn extra_disk(number: usize) -> String {
    format!("extra{number}")
}

/// The id of a node's NIC in the network with this index, for `set_link`.
pub(crate) fn netdev(number: usize) -> String {
    format!("net{number}")
}

/// The switches of one QEMU, in their order on the command line.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    args: Vec<String>,
    fdsets: u32,
}

impl CommandLine {
    /// The switches of every node: no default devices, no display, a sandbox, and a start in the paused state.
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

    /// Adds the QMP monitor on a listening socket.
    pub(crate) fn add_monitor(&mut self, fd: RawFd) {
        self.add(&Chardev::listening("qmp", fd));
        self.add(&Mon {
            chardev: "qmp".to_owned(),
        });
    }

    /// Adds the first serial port on a listening socket. Output without a connection is lost.
    pub(crate) fn add_console(&mut self, fd: RawFd) {
        self.add(&Chardev::listening("console", fd));
        self.add(&Serial {
            chardev: "console".to_owned(),
        });
    }

    /// Adds a named virtio-serial port on a listening socket.
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

    /// Adds a virtio-blk disk on a chain of qcow2 images, the writable one first. Each image is passed as a descriptor
    /// set, so this QEMU needs no access to the path.
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
                // Without disk space the guest pauses. It would take an error for a broken disk.
                .with("werror", "stop")
                .with("rerror", "stop");
            if boots {
                device = device.with("bootindex", "0");
            }
            self.add(&device);
        }
    }

    /// Adds a virtio-blk disk, which the guest also knows by its serial number: its images, the writable one first. The
    /// first such disk has the number 1.
    pub(crate) fn add_extra_disk(&mut self, number: usize, images: &[RawFd]) {
        let name = extra_disk(number);
        let mut backing: Option<String> = None;
        for (depth, fd) in images.iter().enumerate().rev() {
            let node = match depth {
                0 => name.clone(),
                depth => format!("{name}-{depth}"),
            };
            let file = self.add_file(&format!("{node}-file"), *fd, depth > 0);
            self.add(&Blockdev::qcow2(
                &node,
                &file,
                backing.as_deref(),
                depth > 0,
            ));
            backing = Some(node);
        }
        self.add(
            &Device::new("virtio-blk-pci")
                .with("drive", &name)
                .with("serial", &name)
                .with("werror", "stop")
                .with("rerror", "stop"),
        );
    }

    /// Adds a read-only virtio-blk disk in the raw format.
    pub(crate) fn add_seed(&mut self, fd: RawFd) {
        let file = self.add_file("seed-file", fd, true);
        self.add(&Blockdev::raw("seed", &file, true));
        self.add(&Device::new("virtio-blk-pci").with("drive", "seed"));
    }

    /// Adds UEFI: its read-only code, and the machine's own variables.
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

    /// Adds a virtio-net NIC. Number 0 is the guest's `eth0`.
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
                // A woken guest is about to change its address, so it must not announce the old one. Linux also
                // deadlocks: its announcement waits for the RTNL lock, and whoever takes the link down holds that lock
                // and waits for the announcement (virtnet_close). One guest in some hundred hung forever.
                .with("guest_announce", "off"),
        );
    }

    /// Adds the device that reports a panic of the guest's kernel.
    pub(crate) fn add_panic_notifier(&mut self) {
        self.add(&Device::new("pvpanic-pci"));
    }

    /// Adds a source of entropy that needs no file of the host.
    pub(crate) fn add_rng(&mut self) {
        self.add(&Object::new("rng-builtin").with("id", "rng0"));
        self.add(&Device::new("virtio-rng-pci").with("rng", "rng0"));
    }

    /// Adds guest memory in a file: shared to write the file, private to leave it unchanged.
    pub(crate) fn add_memory_backend(&mut self, fd: RawFd, size: u64, share: bool) {
        self.add(
            &Object::new("memory-backend-file")
                .with("id", switches::RAM)
                .with("size", &size.to_string())
                .with("mem-path", &format!("/proc/self/fd/{fd}"))
                .with("share", if share { "on" } else { "off" }),
        );
    }

    /// Makes QEMU wait for a state by `migrate-incoming`. A guest's reset ends this QEMU, because it has only the head
    /// of the kernel.
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
                r#"{"backing":null,"driver":"qcow2","file":"file1","node-name":"disk1","read-only":true}"#,
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
    fn an_extra_disk_has_a_serial_number_and_no_backing_file() {
        let mut line = CommandLine::default();
        line.add_extra_disk(1, &[10]);
        assert_eq!(
            line.build(),
            [
                "-add-fd",
                "fd=10,set=1",
                "-blockdev",
                r#"{"discard":"unmap","driver":"file","filename":"/dev/fdset/1","node-name":"extra1-file"}"#,
                "-blockdev",
                r#"{"backing":null,"discard":"unmap","driver":"qcow2","file":"extra1-file","node-name":"extra1"}"#,
                "-device",
                "virtio-blk-pci,drive=extra1,serial=extra1,werror=stop,rerror=stop",
            ]
        );
    }

    #[test]
    fn each_nic_has_its_own_backend() {
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
    fn every_node_is_sandboxed_and_starts_paused() {
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
