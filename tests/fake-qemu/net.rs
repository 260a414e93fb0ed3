//! The guest's network: DHCP, an answer to pings, and a banner on port 22, over the tap.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use kvmc_images::agent::{BootStage, Event};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

use crate::agent::event_message;
use crate::args::unsafe_fd;
use crate::guest::Guest;

/// `struct virtio_net_hdr` before each frame, virtio 1.x 5.1.6; no offload is asked for, so all zero.
const HEADER: usize = 10;
const BANNER: &[u8] = b"SSH-2.0-kvmc's-fake\r\n";
/// Connections at once.
const LISTENERS: usize = 4;

struct Tap(File);

impl Device for Tap {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Out<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame, Out<'_>)> {
        let mut buffer = vec![0; 4096];
        let length = self.0.read(&mut buffer).ok()?;
        buffer.truncate(length);
        (length > HEADER).then_some((Frame(buffer), Out(&mut self.0)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        Some(Out(&mut self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        // The host leaves checksums to the NIC, which the fake does not have.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}

struct Frame(Vec<u8>);

impl phy::RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.get(HEADER..).unwrap_or_default())
    }
}

struct Out<'a>(&'a mut File);

impl phy::TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; HEADER + length];
        let result = f(frame.get_mut(HEADER..).unwrap_or_default());
        let _full_queue = self.0.write(&frame);
        result
    }
}

pub(crate) fn serve(guest: &Arc<Guest>) {
    let Some(fd) = guest.args.tap else { return };
    let mut tap = Tap(File::from(unsafe_fd(fd)));
    let guest = Arc::clone(guest);
    std::thread::spawn(move || {
        loop {
            guest.wait(|i| i.identified && i.link_up && i.state == "running");
            if guest.look(|i| i.identified && i.link_up && i.state == "running") {
                one_boot(&guest, &mut tap);
            }
        }
    });
}

/// Runs the network from the identity to the next boot.
fn one_boot(guest: &Arc<Guest>, tap: &mut Tap) {
    let (boot, mac) = guest.look(|i| (i.boot, i.mac));
    std::thread::sleep(guest.script.time("lease", 0));
    let mut config = Config::new(EthernetAddress(mac).into());
    // Its pid is 1 in its own namespace, as that of others is in theirs.
    config.random_seed = mac
        .iter()
        .fold(boot, |seed, byte| seed << 8 | u64::from(*byte));
    let mut interface = Interface::new(config, tap, Instant::now());
    let mut sockets = SocketSet::new(Vec::new());
    let mut dhcp = dhcpv4::Socket::new();
    let mut retry = dhcpv4::RetryConfig::default();
    retry.discover_timeout = Duration::from_millis(500);
    retry.initial_request_timeout = Duration::from_millis(500);
    dhcp.set_retry_config(retry);
    let dhcp = sockets.add(dhcp);
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|_| {
            let buffer = || tcp::SocketBuffer::new(vec![0; 2048]);
            sockets.add(tcp::Socket::new(buffer(), buffer()))
        })
        .collect();
    while guest.look(|i| i.boot == boot && i.identified) {
        let now = Instant::now();
        if guest.look(|i| i.state == "running") {
            interface.poll(now, tap, &mut sockets);
        }
        if let Some(event) = sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
            follow(guest, &mut interface, event);
        }
        let (has_sshd, key) = (!guest.script.is("no-sshd"), guest.script.get("host-key"));
        for each in &listeners {
            match guest.script.is("echo") {
                true => echo(&mut sockets, *each),
                false => greet(&mut sockets, *each, has_sshd, key.as_deref()),
            }
        }
        let pause = interface
            .poll_delay(now, &sockets)
            .map_or(50, |d| d.total_millis().clamp(1, 50));
        let mut polled = [PollFd::new(tap.0.as_fd(), PollFlags::POLLIN)];
        let _interrupted = poll(
            &mut polled,
            PollTimeout::from(u16::try_from(pause).unwrap_or(50)),
        );
    }
}

fn follow(guest: &Arc<Guest>, interface: &mut Interface, event: dhcpv4::Event<'_>) {
    match event {
        dhcpv4::Event::Configured(lease) => {
            set_address(interface, Some(lease.address));
            if let Some(router) = lease.router {
                let _table_full = interface.routes_mut().add_default_ipv4_route(router);
            }
            let address = lease.address.address().to_string();
            let is_new = guest.look(|i| i.address.as_deref() != Some(&address));
            guest.change(|i| i.address = Some(address.clone()));
            if is_new {
                let data = json!({ "address": address });
                guest.say(&event_message(&Event::Stage(BootStage::Lease), &data));
                guest.say(&event_message(&Event::Ready, &data));
            }
        }
        dhcpv4::Event::Deconfigured => set_address(interface, None),
    }
}

fn set_address(interface: &mut Interface, address: Option<Ipv4Cidr>) {
    interface.update_ip_addrs(|all| {
        all.clear();
        if let Some(address) = address {
            let _one_fits = all.push(IpCidr::Ipv4(address));
        }
    });
}

/// sshd: its banner, and with a host key its part of a key exchange up to that key.
fn greet(sockets: &mut SocketSet<'_>, handle: SocketHandle, has_sshd: bool, key: Option<&str>) {
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    match socket.state() {
        _ if !has_sshd => socket.abort(),
        tcp::State::Closed => drop(socket.listen(22)),
        tcp::State::Established if socket.can_recv() && key.is_some() => {
            let _whole = socket.recv(|bytes| (bytes.len(), ()));
            let _sent = socket.send_slice(&exchange(key.unwrap_or_default()));
            socket.close();
        }
        tcp::State::Established
            if key.is_none() && socket.can_send() && socket.send_queue() == 0 =>
        {
            let _sent = socket.send_slice(BANNER);
            socket.close();
        }
        tcp::State::CloseWait => socket.close(),
        _ => {}
    }
}

/// Returns what comes.
fn echo(sockets: &mut SocketSet<'_>, handle: SocketHandle) {
    let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
    match socket.state() {
        tcp::State::Closed => drop(socket.listen(22)),
        tcp::State::Established if socket.can_recv() && socket.can_send() => {
            let heard = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
            let _sent = socket.send_slice(&heard.unwrap_or_default());
        }
        tcp::State::CloseWait => socket.close(),
        _ => {}
    }
}

/// Banner, proposal and reply (RFC 4253, RFC 8731) with a host key of OpenSSH's form, all in one.
fn exchange(key: &str) -> Vec<u8> {
    let key = ssh_key::PublicKey::from_openssh(key)
        .unwrap()
        .to_bytes()
        .unwrap();
    let length = u32::try_from(key.len()).unwrap().to_be_bytes();
    let reply = [&[31][..], &length, &key].concat();
    [BANNER, &packet(&[20]), &packet(&reply)].concat()
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 5).unwrap().to_be_bytes();
    [&length[..], &[4], payload, &[0; 4]].concat()
}
