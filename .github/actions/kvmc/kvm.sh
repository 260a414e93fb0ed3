#!/bin/bash
# Opens /dev/kvm for all users of the runner, and fails where there is none. ACCEL=tcg needs none.
set -eu
device=${KVM_DEVICE:-/dev/kvm}
case $ACCEL in
  tcg) exit 0 ;;
  kvm) ;;
  *) echo "::error::unknown accel \`$ACCEL\`; expected kvm or tcg"; exit 2 ;;
esac
if [ ! -e "$device" ]; then
  echo "::error::this runner has no $device; take one with nested virtualization, or set \`accel: tcg\`, which is slow"
  exit 1
fi
rules=${UDEV_RULES:-/etc/udev/rules.d}
if [ -d "$rules" ]; then
  echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' | sudo tee "$rules/99-kvmc.rules" >/dev/null
  sudo udevadm control --reload-rules && sudo udevadm trigger --name-match=kvm || true
fi
[ -w "$device" ] || sudo chmod a+rw "$device"
