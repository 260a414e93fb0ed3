use super::*;

/// A stream as QEMU writes it, in the terms of its documentation.
#[derive(Debug, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn be16(self, number: u16) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(crate) fn be32(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(crate) fn be64(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(crate) fn name(self, name: &[u8]) -> Self {
        self.raw(&[u8::try_from(name.len()).unwrap()]).raw(name)
    }

    pub(crate) fn head(machine: &str) -> Self {
        Self::default()
            .raw(&HEADER)
            .raw(&[7])
            .be32(u32::try_from(machine.len()).unwrap())
            .raw(machine.as_bytes())
    }

    fn end(self) -> Self {
        self.be64(0x10).raw(&[0x7e]).be32(2)
    }
}

/// The state of a frozen machine with blocks ram0, pc.bios and vga.
pub(crate) fn frozen(ram: u64) -> Vec<u8> {
    Bytes::head("pc-q35-7.2")
        .raw(&[5])
        .name(b"configuration/capabilities")
        .be32(1)
        .be32(1)
        .name(b"x-ignore-shared")
        .raw(&[1])
        .be32(2)
        .name(b"ram")
        .be32(0)
        .be32(4)
        .be64((ram + 0x6000) | 4)
        .name(b"ram0")
        .be64(ram)
        .be64(0)
        .name(b"pc.bios")
        .be64(0x4000)
        .be64(0xfffc_0000)
        .name(b"vga")
        .be64(0x2000)
        .be64(u64::MAX)
        .end()
        .raw(&[2])
        .be32(2)
        .be64(8)
        .name(b"pc.bios")
        .raw(&[0xb1; PAGE])
        .be64(0x1000 | 0x22)
        .raw(&[0])
        .end()
        .raw(&[8])
        .be16(0xb)
        .be16(0)
        .raw(&[3])
        .be32(2)
        .be64(0x1000 | 2)
        .name(b"vga")
        .raw(&[9])
        .end()
        .raw(b"\x04\0\0\0\0\x05timer\0\0\0\0\0\0\0\x02the state\0")
        .0
}

/// A state of devices as `xen-save-devices-state` writes it.
pub(crate) fn saved_devices() -> Vec<u8> {
    let sections = b"\x04\0\0\0\0\x05timer\0\0\0\0\0\0\0\x02another state\0";
    Bytes::default().raw(&HEADER).raw(sections).0
}

#[test]
fn a_frozen_machines_state_is_read_in_its_parts() {
    let state = frozen(1 << 20);
    let stream = parse(&state).unwrap();
    assert_eq!(stream.machine, "pc-q35-7.2");
    assert_eq!(stream.page_bits, None);
    let blocks: Vec<_> = stream
        .blocks
        .iter()
        .map(|b| (b.name.as_str(), b.size))
        .collect();
    assert_eq!(
        blocks,
        [("ram0", 1 << 20), ("pc.bios", 0x4000), ("vga", 0x2000)]
    );
    let pages: Vec<_> = stream
        .pages
        .iter()
        .map(|p| (p.block, p.address, p.content))
        .collect();
    assert_eq!(
        pages,
        [
            (1, 0, Content::Bytes(&[0xb1; PAGE])),
            (1, 0x1000, Content::Fill(0)),
            (2, 0x1000, Content::Fill(9)),
        ]
    );
    assert!(stream.devices.starts_with(b"\x04\0\0\0\0\x05timer"));
    assert!(stream.devices.ends_with(b"the state\0"));
}

#[test]
fn every_cut_of_a_state_is_an_error() {
    let state = frozen(1 << 20);
    let end = state.len() - parse(&state).unwrap().devices.len();
    for length in 0..=end {
        let error = parse(&state[..length]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("a migration stream"), "{text}");
    }
}

#[test]
fn what_does_not_belong_into_a_stream_is_refused() {
    let head = || Bytes::head("virt-7.2");
    let memory = |total: u64| {
        head()
            .raw(&[1])
            .be32(2)
            .name(b"ram")
            .be32(0)
            .be32(4)
            .be64(total | 4)
    };
    let one = || memory(0x2000).name(b"a").be64(0x2000);
    let cases = [
        (
            Bytes::default().raw(b"QEVM\0\0\0\x02"),
            "it does not begin as QEMU's do",
        ),
        (
            Bytes::default().raw(&HEADER).raw(&[1]),
            "the machine's name is missing; found 0x01",
        ),
        (
            Bytes::default().raw(&HEADER).raw(&[7]).be32(u32::MAX),
            "4294967295 bytes are missing",
        ),
        (Bytes::head("../a"), "the machine's name is \"../a\""),
        (
            head()
                .raw(&[5])
                .name(CAPABILITIES)
                .be32(1)
                .be32(u32::MAX)
                .name(b"multifd"),
            "it needs the capability multifd",
        ),
        (
            head().raw(&[5]).name(b"configuration/uuid").be32(1),
            "it has the unknown part configuration/uuid of version 1",
        ),
        (
            head().raw(&[1]).be32(2).name(b"dirty").be32(0).be32(1),
            "the first section is dirty of version 1; expected ram of version 4",
        ),
        (
            memory(0x1000).name(b"a").be64(0x2000),
            "the blocks are larger than their sum",
        ),
        (
            memory(0x3000)
                .name(b"a")
                .be64(0x1000)
                .name(b"a")
                .be64(0x1000),
            "the list of blocks has \"a\" of 4096 bytes",
        ),
        (
            memory(0x3000).name(b"a").be64(0),
            "the list of blocks has \"a\" of 0 bytes",
        ),
        (
            one().be64(0x2000 | 2).name(b"a").raw(&[0]),
            "a page lies at 0x2000, but a has 0x2000 bytes",
        ),
        (
            one().be64(2).name(b"b").raw(&[0]),
            "a page is of the unknown block b",
        ),
        (one().be64(0x22).raw(&[0]), "the first page names no block"),
        (one().be64(0x40), "a page has the unknown flags 0x40"),
        (
            one().be64(0x2000 | 4).name(b"b").be64(0x2000),
            "a second list of blocks follows",
        ),
        (
            one().be64(0x10).raw(&[0x7e]).be32(3),
            "a section ends as another one",
        ),
        (
            one().end().raw(&[4]),
            "a section of kind 4 lies between those of memory",
        ),
        (
            one().end().raw(&[3]).be32(2).end().raw(&[6]),
            "no device follows the memory",
        ),
    ];
    for (bytes, expected) in cases {
        let error = parse(&bytes.0).unwrap_err();
        assert_eq!(error.root_cause().to_string(), expected);
    }
}

#[test]
fn a_machine_has_at_most_so_many_blocks() {
    let all = |count: u64| {
        let mut bytes = Bytes::head("virt-7.2")
            .raw(&[1])
            .be32(2)
            .name(b"ram")
            .be32(0)
            .be32(4)
            .be64((count * 0x1000) | 4);
        for number in 0..count {
            bytes = bytes.name(number.to_string().as_bytes()).be64(0x1000);
        }
        bytes.end().raw(&[3]).be32(2).end().raw(&[0]).0
    };
    let most = u64::try_from(MOST_BLOCKS).unwrap();
    assert_eq!(parse(&all(most)).unwrap().blocks.len(), MOST_BLOCKS);
    parse(&all(most + 1)).unwrap_err();
}

#[test]
fn a_state_of_devices_must_be_whole() {
    let whole = saved_devices();
    assert_eq!(devices(&whole).unwrap(), &whole[8..]);
    for cut in [0, 4, 8, 9, whole.len() - 1] {
        devices(&whole[..cut]).unwrap_err();
    }
}
