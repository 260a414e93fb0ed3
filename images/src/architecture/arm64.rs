//! The table of arm64.

use super::platform::{Platform, Probe, Qemu, Uefi};

pub(super) const PLATFORM: Platform = Platform {
    name: "arm64",
    machine: "aarch64",
    elf_machine: 183,
    // mov x8, #93; mov x0, #42; svc #0
    exit_42: &[
        0xa8, 0x0b, 0x80, 0xd2, 0x40, 0x05, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
    ],
    console: "ttyAMA0",
    emulated_words: &[],
    has_vmgenid: false,
    qemu: Qemu {
        program: "qemu-system-aarch64",
        package: "qemu-system-arm",
        machine: "virt,usb=off,gic-version=max,dump-guest-core=off",
        cpu: "host",
        // Boot to the agent's hello, in seconds of processor time: 31 with pointer authentication, 11
        // with QEMU's own algorithm for it, 9 to 10 without, 9 without vectors of variable length too;
        // neoverse-n1 14, cortex-a72 16. GICv2 or no ITS made no difference.
        emulated_cpu: "max,pauth=off,sve=off,sme=off",
        user_program: "qemu-aarch64-static",
        probe: Probe {
            // PSCI's SYSTEM_OFF: movz w0, #0x8400, lsl #16; movk w0, #8; hvc #0; b .
            code: &[
                0x00, 0x80, 0xb0, 0x52, 0x00, 0x01, 0x80, 0x72, 0x02, 0x00, 0x00, 0xd4, 0x00, 0x00,
                0x00, 0x14,
            ],
            offset: 0,
            arguments: &["-machine", "virt,gic-version=max"],
            agreed: 0,
        },
    },
    uefi: Uefi {
        package: "qemu-efi-aarch64",
        images: &[
            (
                "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
                "/usr/share/AAVMF/AAVMF_VARS.fd",
            ),
            (
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/AAVMF/AAVMF_VARS.fd",
            ),
            (
                "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
                "/usr/share/edk2/aarch64/vars-template-pflash.raw",
            ),
        ],
    },
};
