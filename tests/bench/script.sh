#!/bin/sh
# A script as a person would write it without kvmc: clones of one disk, taps on a bridge, dnsmasq, and every
# QEMU launched at once. It has the same machine, devices and template as kvmc, without tuning and confinement.
# Only no_timer_check is added: without it a guest panics now and then on a busy host.
# script.sh FOLDER BASE-DISK KERNEL INITRD NODES
set -eu
folder=$1 base=$2 kernel=$3 initrd=$4 nodes=$5
mkdir -p "$folder"
ip link add name br0 type bridge
ip addr add 192.168.90.1/24 dev br0
ip link set br0 up
sysctl -q -w net.ipv4.ip_forward=1
nft -f - <<NFT
table ip script {
  chain nat { type nat hook postrouting priority srcnat; oifname != "br0" ip saddr 192.168.90.0/24 masquerade; }
}
NFT
hosts=""
for i in $(seq 1 "$nodes"); do hosts="$hosts --dhcp-host=52:54:00:90:00:$(printf %02x "$i"),192.168.90.$((i + 1))"; done
# shellcheck disable=SC2086
dnsmasq --conf-file=/dev/null --user=root --interface=br0 --bind-interfaces --except-interface=lo --no-ping \
  --dhcp-range=192.168.90.2,192.168.90.254 --dhcp-leasefile="$folder/leases" --pid-file="$folder/dnsmasq.pid" \
  --log-facility="$folder/dnsmasq.log" --log-dhcp --no-resolv $hosts
for i in $(seq 1 "$nodes"); do
  qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$folder/$i.qcow2"
  ip tuntap add "tap$i" mode tap
  ip link set "tap$i" master br0 up
  qemu-system-x86_64 -nodefaults -no-user-config -display none -name "script-$i" \
    -machine q35 -accel tcg -cpu max -smp 1 -m 512M \
    -kernel "$kernel" -initrd "$initrd" -append "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet no_timer_check" \
    -blockdev "driver=file,filename=$folder/$i.qcow2,node-name=f0" -blockdev driver=qcow2,file=f0,node-name=d0 \
    -device virtio-blk-pci,drive=d0 \
    -netdev "tap,id=n0,ifname=tap$i,script=no,downscript=no" \
    -device "virtio-net-pci,netdev=n0,mac=52:54:00:90:00:$(printf %02x "$i"),romfile=" \
    -device virtio-serial-pci -chardev null,id=agent -device virtserialport,chardev=agent,name=org.kvmc.agent.0 \
    -object rng-builtin,id=rng0 -device virtio-rng-pci,rng=rng0 \
    -serial "file:$folder/$i.console" >"$folder/$i.log" 2>&1 &
  echo "$!" >"$folder/$i.pid"
done
