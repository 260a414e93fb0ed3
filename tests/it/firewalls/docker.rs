//! A cluster beside Docker's own daemon, unpacked from Debian's package: a container, a published port, a restart.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::runs;

/// The folder of Docker and of a busybox for its containers. Docker is not installed, since it would start on the machine.
fn docker() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
    let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/unpack");
    let packages = ["docker.io", "containerd", "runc", "busybox-static"];
    let done = Command::new(unpack)
        .arg(&dir)
        .args(packages)
        .status()
        .unwrap();
    assert!(done.success(), "Docker cannot be unpacked");
    dir
}

/// Starts Docker in the test's namespaces. Its folders, socket and pid file are the test's own.
const DAEMON: &str = r#"
PATH="$DOCKER/usr/sbin:$DOCKER/usr/bin:$PATH"
top=$(cd ..; pwd)/docker
export DOCKER_HOST="unix://$top/sock"
# firewalls.sh hides the host's control groups behind a tmpfs; these are the same, mounted anew.
for group in cpu cpuacct cpuset memory devices freezer blkio pids; do
  mkdir -p /sys/fs/cgroup/$group
  mount -t cgroup -o $group cgroup /sys/fs/cgroup/$group 2>/dev/null || rmdir /sys/fs/cgroup/$group
done
mkdir -p /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd 2>/dev/null || rmdir /sys/fs/cgroup/systemd
ls /sys/fs/cgroup | grep -q . || mount -t cgroup2 cgroup /sys/fs/cgroup
daemon() {
  mkdir -p $top
  dockerd --data-root $top/data --exec-root $top/exec --host $DOCKER_HOST --pidfile $top/pid --storage-driver vfs > $top/log 2>&1 &
  dockerd=$!; SERVERS="${SERVERS:-} $dockerd"
  eventually 60 docker info > /dev/null 2>&1 || { cat $top/log; fail "dockerd does not start"; }
}
ends() { kill $dockerd; wait $dockerd || true; }
"#;

#[test]
fn p10_p11_beside_dockers_own_daemon() {
    runs(&format!(
        r#"DOCKER={}
        {DAEMON}
        daemon
        mkdir -p $top/root/bin $top/root/www; echo hello > $top/root/www/index.html
        cp $DOCKER/bin/busybox $top/root/bin/busybox
        tar -C $top/root -c . | docker import - box > /dev/null
        # What a container gets of a server, in bytes.
        got() {{ timeout 20 docker run --rm box /bin/busybox timeout 5 /bin/busybox nc "$@" < /dev/null | wc -c; }}
        page() {{ ip netns exec "$1" python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())' "$2" | grep -q hello; }}
        publish() {{ docker run --rm -d -p 8080:80 box /bin/busybox httpd -f -h /www > /dev/null; eventually 10 page outside http://203.0.113.2:8080/; }}
        # Docker makes its chains anew in another order when it starts again.
        rules | sort > ../before
        $UP --reach-from docker0
        nodes; lives 'beside the daemon'
        before=$(pids)
        test "$(got 203.0.113.1 8000)" = 200000 || fail "a container does not reach the outside"
        test "$(got 192.168.80.102 8000)" = 200000 || fail "a container does not reach a node"
        publish || fail "the published port, from outside"
        page a http://203.0.113.2:8080/ || fail "the published port, from a node"

        ends; daemon
        eventually 15 whole || fail 'rules are still missing'
        lives 'after its restart'
        test "$(pids)" = "$before" || fail 'a node was touched'
        test "$(got 192.168.80.102 8000)" = 200000 || fail "a container does not reach a node after the restart"
        publish || fail "the published port after the restart"
        docker ps -q | xargs docker kill > /dev/null
        kvmc down
        rules | sort > ../after
        same ../before ../after 'rules after down'

        # Without the setting containers are outside like all others.
        $UP; ip link del va; ip link del vb; ip netns del a; ip netns del b; nodes
        test "$(got 192.168.80.102 8000)" = 0 || fail "a container reaches a node that it may not reach"
        kvmc down; ends"#,
        docker().display()
    ));
}
