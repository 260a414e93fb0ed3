//! The generation of nftables' rules, which the kernel raises with each change (`NFT_MSG_GETGEN`).

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Messages of nftables, as linux/netfilter/nfnetlink.h numbers subsystems and linux/netfilter/nf_tables.h messages.
const NEW_GENERATION: u16 = (10 << 8) | 15;
const GET_GENERATION: u16 = (10 << 8) | 16;
/// `NFTA_GEN_ID`.
const ID: u16 = 1;
/// `nlmsghdr` and `nfgenmsg`, in bytes.
const HEADER: usize = 16;
const GENERAL: usize = 4;

/// The generation of the rules in this thread's network namespace. While it stays, so do all rules of nft and iptables-nft.
///
/// # Errors
/// The kernel has no nftables, or this process lacks CAP_NET_ADMIN.
pub fn generation() -> io::Result<u32> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let kernel = NetlinkAddr::new(0, 0);
    let none = MsgFlags::empty();
    sendto(socket.as_raw_fd(), &request(), &kernel, none)?;
    // The kernel has answered when sendto(2) returns.
    let mut buffer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut buffer, none)?;
    answer(buffer.get(..length).unwrap_or_default())
}

fn request() -> [u8; HEADER + GENERAL] {
    const NLM_F_REQUEST: u16 = 1;
    let mut bytes = [0; HEADER + GENERAL];
    let length = (HEADER + GENERAL) as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&GET_GENERATION.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes
}

/// The generation that an answer of the kernel names.
fn answer(bytes: &[u8]) -> io::Result<u32> {
    const NLMSG_ERROR: u16 = 2;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a generation of nftables");
    let [_, _, _, _, a, b, ..] = bytes else {
        return Err(invalid());
    };
    let rest = bytes.get(HEADER..).ok_or_else(invalid)?;
    match u16::from_ne_bytes([*a, *b]) {
        NEW_GENERATION => {}
        NLMSG_ERROR => {
            let code = rest.first_chunk().ok_or_else(invalid)?;
            let code = i32::from_ne_bytes(*code).checked_neg();
            return Err(Errno::from_raw(code.ok_or_else(invalid)?).into());
        }
        _ => return Err(invalid()),
    }
    let mut attributes = rest.get(GENERAL..).ok_or_else(invalid)?;
    while let [a, b, c, d, value @ ..] = attributes {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        if u16::from_ne_bytes([*c, *d]) == ID && length == 8 {
            let number = value.first_chunk().ok_or_else(invalid)?;
            return Ok(u32::from_be_bytes(*number));
        }
        let next = length.max(4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes()].concat();
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn an_answer_names_the_generation_wherever_it_is() {
        let id = [
            &8_u16.to_ne_bytes()[..],
            &1_u16.to_ne_bytes(),
            &[0, 0, 1, 4],
        ]
        .concat();
        let name = [&7_u16.to_ne_bytes()[..], &3_u16.to_ne_bytes(), b"nft\0"].concat();
        let general = [0; GENERAL];
        let whole = message(NEW_GENERATION, &[&general[..], &name, &id].concat());
        assert_eq!(answer(&whole).unwrap(), 260);
        // Cut anywhere, it names none.
        for length in 0..whole.len() {
            assert!(answer(&whole[..length]).is_err(), "{length}");
        }
        let without = message(NEW_GENERATION, &[&general[..], &name].concat());
        assert!(answer(&without).is_err());
    }

    #[test]
    fn an_error_of_the_kernel_is_told() {
        let denied = message(2, &(-1_i32).to_ne_bytes());
        let error = answer(&denied).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(answer(&message(2, &i32::MIN.to_ne_bytes())).is_err());
        assert!(answer(&message(99, &[0; 16])).is_err());
    }
}
