//! The table of amd64.

use super::platform::{Platform, Probe, Qemu, Uefi};

/// isa-debug-exit ends QEMU with `(value << 1) | 1`, see QEMU's hw/misc/debugexit.c.
const VALUE: u8 = 0x31;

pub(super) const PLATFORM: Platform = Platform {
    name: "amd64",
    machine: "x86_64",
    elf_machine: 62,
    // mov eax, 60; mov edi, 42; syscall
    exit_42: &[
        0xb8, 0x3c, 0x00, 0x00, 0x00, 0xbf, 0x2a, 0x00, 0x00, 0x00, 0x0f, 0x05,
    ],
    console: "ttyS0",
    emulated_words: &["tsc=reliable", "no_timer_check"],
    has_vmgenid: true,
    qemu: Qemu {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        machine: "q35,usb=off,vmport=off,smm=off,graphics=off,dump-guest-core=off",
        cpu: "host",
        // These features take a tenth of an emulated start.
        emulated_cpu: "max,la57=off,smap=off,smep=off,pku=off",
        user_program: "qemu-x86_64-static",
        probe: Probe {
            code: include_bytes!("probe-amd64.bin"),
            offset: (64 << 10) - 256,
            arguments: &[
                "-machine",
                "q35",
                "-device",
                "isa-debug-exit,iobase=0x501,iosize=1",
            ],
            agreed: ((VALUE as i32) << 1) | 1,
        },
    },
    uefi: Uefi {
        package: "ovmf",
        images: &[
            (
                "/usr/share/OVMF/OVMF_CODE_4M.fd",
                "/usr/share/OVMF/OVMF_VARS_4M.fd",
            ),
            (
                "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
                "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
            ),
            (
                "/usr/share/edk2/ovmf/OVMF_CODE.fd",
                "/usr/share/edk2/ovmf/OVMF_VARS.fd",
            ),
            (
                "/usr/share/OVMF/OVMF_CODE.fd",
                "/usr/share/OVMF/OVMF_VARS.fd",
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use crate::exec;

    #[test]
    fn the_probes_binary_is_made_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/architecture/probe-amd64.S"
        );
        let words = |line: &[&str]| line.iter().map(ToString::to_string).collect::<Vec<_>>();
        let object = at("probe.o");
        if exec::run("as", &words(&["--64", source, "-o", &object])).is_err() {
            println!("skipped: no assembler for amd64");
            return;
        }
        let copy = words(&["-O", "binary", "-j", ".text", &object, &at("probe.bin")]);
        exec::run("objcopy", &copy).unwrap();
        let made = fs_err::read(at("probe.bin")).unwrap();
        assert_eq!(made, include_bytes!("probe-amd64.bin"));
    }
}
