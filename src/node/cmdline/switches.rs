//! QEMU's switches, one struct each.

use std::os::fd::RawFd;

/// One `-switch value`.
pub(crate) trait Switch {
    fn name(&self) -> &'static str;
    fn value(&self) -> String;
}

/// Doubles commas, because a single comma begins another option.
pub(super) fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// `-name`
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) guest: String,
}

impl Switch for Name {
    fn name(&self) -> &'static str {
        "-name"
    }
    fn value(&self) -> String {
        format!("guest={},debug-threads=on", escape(&self.guest))
    }
}

/// `-uuid`. It also tells our QEMU processes from others in /proc.
#[derive(Debug)]
pub(crate) struct Uuid(pub(crate) String);

impl Switch for Uuid {
    fn name(&self) -> &'static str {
        "-uuid"
    }
    fn value(&self) -> String {
        self.0.clone()
    }
}

/// `-sandbox`, with all its restrictions. They exclude `-daemonize` and `-runas`, which kvmc does itself.
#[derive(Debug)]
pub(crate) struct Sandbox;

impl Switch for Sandbox {
    fn name(&self) -> &'static str {
        "-sandbox"
    }
    fn value(&self) -> String {
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned()
    }
}

/// `-machine`
#[derive(Debug)]
pub(crate) struct Machine {
    /// The machine type with its own keys.
    pub(crate) kind: &'static str,
    /// The guest's memory is the object [`RAM`].
    pub(crate) has_backend: bool,
    /// The firmware is in the nodes [`PFLASH`].
    pub(crate) has_pflash: bool,
}

/// The names of the block nodes for UEFI's code and variables.
pub(super) const PFLASH: [&str; 2] = ["pflash0", "pflash1"];

/// The id of the memory backend.
pub(super) const RAM: &str = "ram0";

impl Switch for Machine {
    fn name(&self) -> &'static str {
        "-machine"
    }
    fn value(&self) -> String {
        let mut value = self.kind.to_owned();
        if self.has_backend {
            value.push_str(",memory-backend=");
            value.push_str(RAM);
        }
        if self.has_pflash {
            for name in PFLASH {
                value.push_str(&format!(",{name}={name}"));
            }
        }
        value
    }
}

/// `-accel`
#[derive(Debug)]
pub(crate) enum Accel {
    Kvm,
    /// `tb-size` in MiB. Without it, QEMU takes up to 1 GB for translated code.
    Tcg {
        tb_size: u32,
    },
}

impl Switch for Accel {
    fn name(&self) -> &'static str {
        "-accel"
    }
    fn value(&self) -> String {
        match self {
            Self::Kvm => "kvm".to_owned(),
            Self::Tcg { tb_size } => format!("tcg,thread=multi,tb-size={tb_size}"),
        }
    }
}

/// `-cpu`
#[derive(Debug)]
pub(crate) struct Cpu(pub(crate) String);

impl Switch for Cpu {
    fn name(&self) -> &'static str {
        "-cpu"
    }
    fn value(&self) -> String {
        self.0.to_owned()
    }
}

/// `-global`: a property of all devices of a type.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) driver: &'static str,
    pub(crate) property: &'static str,
    pub(crate) value: &'static str,
}

impl Switch for Global {
    fn name(&self) -> &'static str {
        "-global"
    }
    fn value(&self) -> String {
        format!("{}.{}={}", self.driver, self.property, self.value)
    }
}

/// `-smp`
#[derive(Debug)]
pub(crate) struct Smp {
    pub(crate) cpus: u32,
}

impl Switch for Smp {
    fn name(&self) -> &'static str {
        "-smp"
    }
    fn value(&self) -> String {
        format!("cpus={}", self.cpus)
    }
}

/// `-m`, in MiB.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) size: u64,
}

impl Switch for Memory {
    fn name(&self) -> &'static str {
        "-m"
    }
    fn value(&self) -> String {
        format!("size={}M", self.size)
    }
}

/// `-kernel`, `-initrd` and `-append`, which belong together.
///
/// QEMU reads both files by path only, so the descriptors are passed as `/proc/self/fd`.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) kernel: RawFd,
    pub(crate) initrd: RawFd,
    pub(crate) append: String,
}

impl Kernel {
    pub(crate) fn switches(&self) -> [KernelSwitch; 3] {
        [
            KernelSwitch("-kernel", format!("/proc/self/fd/{}", self.kernel)),
            KernelSwitch("-initrd", format!("/proc/self/fd/{}", self.initrd)),
            KernelSwitch("-append", self.append.clone()),
        ]
    }
}

/// One of the three switches of [`Kernel`].
#[derive(Debug)]
pub(crate) struct KernelSwitch(&'static str, String);

impl Switch for KernelSwitch {
    fn name(&self) -> &'static str {
        self.0
    }
    fn value(&self) -> String {
        self.1.clone()
    }
}

/// `-chardev socket`, on a socket that listens already.
#[derive(Debug)]
pub(crate) struct Chardev {
    id: String,
    fd: RawFd,
}

impl Chardev {
    pub(crate) fn listening(id: &str, fd: RawFd) -> Self {
        Self {
            id: id.to_owned(),
            fd,
        }
    }
}

impl Switch for Chardev {
    fn name(&self) -> &'static str {
        "-chardev"
    }
    fn value(&self) -> String {
        format!(
            "socket,id={},fd={},server=on,wait=off",
            escape(&self.id),
            self.fd
        )
    }
}

/// `-mon`
#[derive(Debug)]
pub(crate) struct Mon {
    pub(crate) chardev: String,
}

impl Switch for Mon {
    fn name(&self) -> &'static str {
        "-mon"
    }
    fn value(&self) -> String {
        format!("chardev={},mode=control", escape(&self.chardev))
    }
}

/// `-serial`
#[derive(Debug)]
pub(crate) struct Serial {
    pub(crate) chardev: String,
}

impl Switch for Serial {
    fn name(&self) -> &'static str {
        "-serial"
    }
    fn value(&self) -> String {
        format!("chardev:{}", self.chardev)
    }
}

/// `-netdev`
#[derive(Debug)]
pub(crate) struct Netdev {
    pub(crate) id: String,
    pub(crate) backend: NetBackend,
}

/// The backend of a NIC.
#[derive(Debug)]
pub(crate) enum NetBackend {
    /// A tap by its descriptor. By name, QEMU would silently create a missing tap without the bridge.
    Tap(RawFd),
    /// A hub with this number and nothing else on it.
    Hub(usize),
}

impl Switch for Netdev {
    fn name(&self) -> &'static str {
        "-netdev"
    }
    fn value(&self) -> String {
        let id = escape(&self.id);
        match self.backend {
            NetBackend::Tap(fd) => format!("tap,id={id},fd={fd}"),
            NetBackend::Hub(number) => format!("hubport,id={id},hubid={number}"),
        }
    }
}

/// `-device`
#[derive(Debug)]
pub(crate) struct Device(Properties);

impl Device {
    pub(crate) fn new(driver: &str) -> Self {
        Self(Properties(driver.to_owned()))
    }
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push(key, value);
        self
    }
}

impl Switch for Device {
    fn name(&self) -> &'static str {
        "-device"
    }
    fn value(&self) -> String {
        self.0.0.clone()
    }
}

/// `-object`
#[derive(Debug)]
pub(crate) struct Object(Properties);

impl Object {
    pub(crate) fn new(qom_type: &str) -> Self {
        Self(Properties(qom_type.to_owned()))
    }
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push(key, value);
        self
    }
}

impl Switch for Object {
    fn name(&self) -> &'static str {
        "-object"
    }
    fn value(&self) -> String {
        self.0.0.clone()
    }
}

#[derive(Debug)]
struct Properties(String);

impl Properties {
    fn push(&mut self, key: &str, value: &str) {
        self.0.push(',');
        self.0.push_str(key);
        self.0.push('=');
        self.0.push_str(&escape(value));
    }
}
