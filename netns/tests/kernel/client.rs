//! A DHCP client that sends and receives raw frames. It uses the judge's codec, not the server's.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use kvmc_netns::MacAddr;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::judge::{self, MessageType, Request, Value};

const BROADCAST: MacAddr = MacAddr([0xff; 6]);

/// A client on one link.
pub(crate) struct Client {
    socket: OwnedFd,
    link: LinkAddr,
    mac: MacAddr,
}

/// A received reply.
pub(crate) struct Reply {
    pub(crate) to: MacAddr,
    pub(crate) from: MacAddr,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    /// IP header.
    pub(crate) ip: Vec<u8>,
    /// UDP header and DHCP message.
    pub(crate) udp: Vec<u8>,
    pub(crate) message: judge::Reply,
}

impl Client {
    /// A client on the link of this name, with a MAC address of its own.
    pub(crate) fn on(link: &str, mac: MacAddr) -> Self {
        let address = nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter(|a| a.interface_name == link)
            .find_map(|a| a.address?.as_link_addr().copied())
            .unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let all = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all).unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
        Self {
            socket,
            link: address,
            mac,
        }
    }

    /// A message of this client.
    pub(crate) fn message(&self, kind: MessageType, xid: u32, options: &[Value]) -> Request {
        Request::new(kind, self.mac.0, xid, options)
    }

    /// Sends to everybody, as a client without an address does.
    pub(crate) fn broadcast(&self, message: &Request) {
        let addresses = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        self.send(BROADCAST, addresses, message);
    }

    /// Sends to one server, as a client with an address does.
    pub(crate) fn send(&self, to: MacAddr, ip: (Ipv4Addr, Ipv4Addr), message: &Request) {
        self.send_bytes(to, ip, &message.to_vec());
    }

    /// Announces an address by ARP, RFC 5227 section 2.3.
    pub(crate) fn announce(&self, address: Ipv4Addr) {
        let mut frame = [
            &BROADCAST.0[..],
            &self.mac.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        ]
        .concat();
        for mac in [self.mac.0, [0; 6]] {
            frame.extend(mac);
            frame.extend(address.octets());
        }
        let sent = sendto(
            self.socket.as_raw_fd(),
            &frame,
            &self.link,
            MsgFlags::empty(),
        );
        assert_eq!(sent.unwrap(), frame.len());
    }

    /// Sends any bytes to the server's port.
    pub(crate) fn send_bytes(&self, to: MacAddr, ip: (Ipv4Addr, Ipv4Addr), payload: &[u8]) {
        let length = u16::try_from(8 + payload.len()).unwrap();
        let mut frame = [to.0, self.mac.0].concat();
        frame.extend([8, 0]);
        let mut header = vec![0x45, 0];
        header.extend((20 + length).to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        header.extend([ip.0.octets(), ip.1.octets()].concat());
        let sum = !sum(&header);
        header.splice(10..12, sum.to_be_bytes());
        frame.extend(header);
        // No UDP checksum: RFC 768 allows it.
        for word in [68, 67, length, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame.extend(payload);
        let fd = self.socket.as_raw_fd();
        assert_eq!(
            sendto(fd, &frame, &self.link, MsgFlags::empty()).unwrap(),
            frame.len()
        );
    }

    /// The reply to `xid`, if one comes within `patience`.
    pub(crate) fn reply(&self, xid: u32, patience: Duration) -> Option<Reply> {
        let until = Instant::now() + patience;
        let mut frame = vec![0; 2048];
        while Instant::now() < until {
            let length = match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => continue,
                heard => heard.unwrap(),
            };
            let found = to_client(&frame[..length]).filter(|r| r.message.xid == xid);
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// A frame that holds UDP over IPv4 from port 67 to port 68.
fn to_client(frame: &[u8]) -> Option<Reply> {
    let array = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok();
    let mac = |at: usize| Some(MacAddr(frame.get(at..at + 6)?.try_into().ok()?));
    let is_ours = frame.get(12..15)? == [8, 0, 0x45]
        && frame.get(23)? == &17
        && frame.get(34..38)? == [0, 67, 0, 68];
    if !is_ours {
        return None;
    }
    let total = usize::from(u16::from_be_bytes(frame.get(16..18)?.try_into().ok()?));
    let udp = frame.get(34..14 + total)?;
    Some(Reply {
        to: mac(0)?,
        from: mac(6)?,
        source: array(26)?.into(),
        destination: array(30)?.into(),
        ip: frame.get(14..34)?.to_vec(),
        udp: udp.to_vec(),
        message: judge::Reply::read(udp.get(8..)?).unwrap(),
    })
}

impl Reply {
    pub(crate) fn kind(&self) -> MessageType {
        self.message.kind
    }

    /// Checks that all lengths and sums agree, RFC 791, 768 and 1542.
    pub(crate) fn check_wire(&self) {
        assert_eq!(sum(&self.ip), 0xffff, "checksum of the IP header");
        let udp_length = u16::from_be_bytes([self.udp[4], self.udp[5]]);
        assert_eq!(usize::from(udp_length), self.udp.len());
        assert_ne!(&self.udp[6..8], [0, 0], "a UDP checksum is there");
        let mut covered = self.ip[12..20].to_vec();
        covered.extend([0, 17]);
        covered.extend(udp_length.to_be_bytes());
        covered.extend(&self.udp);
        assert_eq!(sum(&covered), 0xffff, "UDP checksum");
        assert!(self.udp.len() - 8 >= 300, "{} bytes", self.udp.len() - 8);
    }
}

/// The ones' complement sum of RFC 1071. It is all ones over bytes with a right checksum.
fn sum(bytes: &[u8]) -> u16 {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(2), 0);
    padded.as_chunks().0.iter().fold(0_u16, |sum, pair| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes(*pair));
        sum + u16::from(carry)
    })
}
