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
            // mov dx, 0x501; mov al, VALUE; out dx, al; hlt
            code: &[0xba, 0x01, 0x05, 0xb0, VALUE, 0xee, 0xf4],
            // An x86 begins 16 bytes below the end.
            offset: (64 << 10) - 16,
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
