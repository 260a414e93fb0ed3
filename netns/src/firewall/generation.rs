//! The generation of nftables' rules, which the kernel raises with each change (`NFT_MSG_GETGEN`).

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::netlink;

/// Messages of nftables, as linux/netfilter/nfnetlink.h numbers subsystems and linux/netfilter/nf_tables.h messages.
const NEW_GENERATION: u16 = (10 << 8) | 15;
const GET_GENERATION: u16 = (10 << 8) | 16;
/// `NFTA_GEN_ID`.
const ID: u16 = 1;
/// Bytes of `nfgenmsg`, which begins each message.
const GENERAL: usize = 4;

/// The generation of the rules in this thread's network namespace. While it stays, so do all rules of nft and iptables-nft.
///
/// # Errors
/// The kernel has no nftables, or this process lacks CAP_NET_ADMIN.
pub fn generation() -> io::Result<u32> {
    const NLM_F_REQUEST: u16 = 1;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let mut request = Vec::new();
    netlink::push(
        &mut request,
        GET_GENERATION,
        NLM_F_REQUEST,
        0,
        &[0; GENERAL],
    );
    let kernel = NetlinkAddr::new(0, 0);
    let none = MsgFlags::empty();
    sendto(socket.as_raw_fd(), &request, &kernel, none)?;
    // The kernel has answered when sendto(2) returns.
    let mut buffer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut buffer, none)?;
    answer(buffer.get(..length).unwrap_or_default())
}

/// The generation that an answer of the kernel names.
fn answer(bytes: &[u8]) -> io::Result<u32> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a generation of nftables");
    let message = netlink::messages(bytes).next().ok_or_else(invalid)?;
    if message.kind == netlink::ERROR {
        return Err(io::Error::from_raw_os_error(netlink::errno(message.body)));
    }
    let body = message.body.get(GENERAL..).ok_or_else(invalid)?;
    let id = netlink::attributes(body).find(|attribute| attribute.kind == ID);
    let id = id.and_then(|id| id.value.try_into().ok());
    match id {
        Some(id) if message.kind == NEW_GENERATION => Ok(u32::from_be_bytes(id)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(netlink::HEAD + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes()].concat();
        bytes.resize(netlink::HEAD, 0);
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
