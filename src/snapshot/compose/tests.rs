use proptest::prelude::*;

use super::*;
use crate::snapshot::stream::tests::{Bytes, frozen, saved_devices};

const RAM: u64 = 1 << 20;

fn composed(machine: &Machine, frozen: Option<&[u8]>, delta: &Delta) -> Vec<u8> {
    let mut out = Vec::new();
    compose(&mut out, machine, frozen, &saved_devices(), delta).unwrap();
    out
}

#[test]
fn a_woken_nodes_stream_has_the_firmware_of_the_frozen_machine_and_the_delta() {
    let state = frozen(RAM);
    let machine = Machine::woken(&state, RAM).unwrap();
    let data = [[1; PAGE], [0; PAGE], [2; PAGE]].concat();
    let delta = Delta::new(vec![0, 7, 255], data);
    let bytes = composed(&machine, Some(&state), &delta);
    let expected = Bytes::head("pc-q35-7.2")
        .raw(&[1])
        .be32(ID)
        .name(b"ram")
        .be32(0)
        .be32(4)
        .be64((RAM + 0x6000) | 4)
        .name(b"ram0")
        .be64(RAM)
        .name(b"pc.bios")
        .be64(0x4000)
        .name(b"vga")
        .be64(0x2000)
        .be64(0x10)
        .raw(&[0x7e])
        .be32(ID)
        .raw(&[3])
        .be32(ID)
        .be64(8)
        .name(b"pc.bios")
        .raw(&[0xb1; PAGE])
        .be64(0x1000 | 0x22)
        .raw(&[0])
        .be64(0x1000 | 2)
        .name(b"vga")
        .raw(&[9])
        .be64(8)
        .name(b"ram0")
        .raw(&[1; PAGE])
        .be64(0x7000 | 0x22)
        .raw(&[0])
        .be64(0xf_f000 | 0x28)
        .raw(&[2; PAGE])
        .be64(0x10)
        .raw(&[0x7e])
        .be32(ID)
        .raw(&saved_devices()[8..])
        .raw(&[6])
        .be32(2)
        .raw(b"{}")
        .0;
    assert!(bytes == expected);
}

#[test]
fn a_booted_nodes_stream_has_its_own_memory_alone() {
    let machine = Machine::booted(Architecture::Amd64, "pc-q35-7.2", RAM).unwrap();
    let bytes = composed(&machine, None, &Delta::new(vec![3], vec![5; PAGE]));
    let stream = stream::parse(&bytes).unwrap();
    let ram = Block {
        name: "pc.ram".to_owned(),
        size: RAM,
    };
    assert_eq!(stream.blocks, [ram]);
    let pages: Vec<_> = stream
        .pages
        .iter()
        .map(|p| (p.block, p.address, p.content))
        .collect();
    assert_eq!(pages, [(0, 0x3000, Content::Bytes(&[5; PAGE]))]);
}

#[test]
fn an_arm64_stream_says_how_many_bits_of_an_address_are_within_a_page() {
    let machine = Machine::booted(Architecture::Arm64, "virt-7.2", RAM).unwrap();
    let bytes = composed(&machine, None, &Delta::default());
    let head = Bytes::head("virt-7.2")
        .raw(&[5])
        .name(b"configuration/target-page-bits")
        .be32(1)
        .be32(12)
        .raw(&[1]);
    assert!(bytes.starts_with(&head.0));
    assert_eq!(stream::parse(&bytes).unwrap().page_bits, Some(12));
    // What this wrote is taken for a frozen machine's state, whose memory has another name.
    let error = Machine::woken(&bytes, RAM).unwrap_err().to_string();
    assert_eq!(
        error,
        "the frozen machine has no memory ram0 of 1048576 bytes"
    );
}

#[test]
fn what_does_not_fit_the_machine_is_refused() {
    let state = frozen(RAM);
    let machine = Machine::woken(&state, RAM).unwrap();
    let refused = |frozen: Option<&[u8]>, devices: &[u8], delta: &Delta| {
        let mut out = Vec::new();
        let error = compose(&mut out, &machine, frozen, devices, delta);
        error.unwrap_err().to_string()
    };
    let none = Delta::default();
    let devices = saved_devices();
    assert_eq!(
        refused(Some(&frozen(2 * RAM)), &devices, &none),
        "the frozen machine has no memory ram0 of 1048576 bytes"
    );
    let mut other = state.clone();
    other[22] = b'3';
    assert_eq!(
        refused(Some(&other), &devices, &none),
        "the frozen machine is a pc-q35-7.3; expected a pc-q35-7.2"
    );
    assert_eq!(
        refused(Some(&state), &devices[..14], &none),
        "the state of the devices is not complete"
    );
    let beyond = Delta::new(vec![256], vec![1; PAGE]);
    assert_eq!(
        refused(Some(&state), &devices, &beyond),
        "a page lies beyond the memory"
    );
    for kind in ["", "pc q35", "../pc"] {
        Machine::booted(Architecture::Amd64, kind, RAM).unwrap_err();
    }
}

proptest! {
    #[test]
    fn what_was_composed_is_read_as_the_same_pages(
        pages in proptest::collection::btree_map(0..256_u32, any::<u8>(), 0..40),
        is_woken in any::<bool>(),
    ) {
        let data = pages.values().flat_map(|byte| [*byte; PAGE]).collect();
        let delta = Delta::new(pages.keys().copied().collect(), data);
        let state = frozen(RAM);
        let bytes = if is_woken {
            composed(&Machine::woken(&state, RAM).unwrap(), Some(&state), &delta)
        } else {
            let machine = Machine::booted(Architecture::Amd64, "pc-q35-7.2", RAM);
            composed(&machine.unwrap(), None, &delta)
        };
        let stream = stream::parse(&bytes).unwrap();
        let read: Vec<_> = stream
            .pages
            .iter()
            .filter(|page| page.block == 0)
            .map(|page| match page.content {
                Content::Fill(byte) => (page.address, vec![byte; PAGE]),
                Content::Bytes(bytes) => (page.address, bytes.to_vec()),
            })
            .collect();
        let expected: Vec<_> = delta.iter().map(|(at, bytes)| (at, bytes.to_vec())).collect();
        prop_assert!(read == expected);
        let devices = [&saved_devices()[8..], b"\x06\0\0\0\x02{}"].concat();
        prop_assert_eq!(stream.devices, devices.as_slice());
        // A composed stream is a state to compose from, too.
        if is_woken {
            let again = composed(&Machine::woken(&bytes, RAM).unwrap(), Some(&bytes), &delta);
            prop_assert!(again == bytes);
        }
    }
}
