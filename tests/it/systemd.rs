//! A cluster beside systemd: what starts it ends, and the nodes go on. See docs/OUTSIDE.md.

use super::fake;
use super::support::script;

#[test]
fn nodes_outlive_the_session_or_service_that_started_them() {
    fake::bench().runs(&script("systemd.sh", &[]));
}

#[test]
fn a_systemd_that_refuses_is_told_in_one_line() {
    fake::runs(
        &fake::bench(),
        "mount -t tmpfs none /run/systemd 2>/dev/null || { mkdir -p /run/systemd; mount -t tmpfs none /run/systemd; }
         mkdir -p /run/systemd/system /run/dbus; mount -t tmpfs none /run/dbus
         kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold 2> ../said
         cat ../said
         test $(grep -c 'systemd gives kvmc no scope' ../said) = 1 || fail 'the line'
         grep -q 'the nodes may end with this session or service' ../said || fail 'what it means'
         kvmc status | grep -q ' ready ' || fail 'not ready'
         kvmc up --accel tcg 2>&1 | grep -q 'no scope' && fail 'told though nothing starts'
         rmdir /run/systemd/system
         kvmc stop; kvmc start --cold 2>&1 | grep -q scope && fail 'told without systemd'
         kvmc down",
    );
}
