//! `mount` and `share`, on nodes that a fake ssh stands for: both sides of each are on this host, in one mount namespace.

use std::os::unix::fs::PermissionsExt;

use super::access::{UP, bench};
use super::fake;

/// sudo(8) for the node's side.
const SUDO: &str = "#!/bin/sh\ntest \"$1\" = -n && shift\nexec \"$@\"\n";

/// Runs a script, unless this host cannot mount by FUSE.
fn tied(script: &str) {
    if !std::path::Path::new("/dev/fuse").exists() || !has("sshfs") || !has("fusermount3") {
        println!("skipped: no sshfs or no /dev/fuse");
        return;
    }
    let bench = bench();
    let sudo = bench.dir().join("bin/sudo");
    std::fs::write(&sudo, SUDO).unwrap();
    std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
    fake::runs(
        &bench,
        &format!(
            "{UP}
        until_line() {{ n=0; until kvmc status | grep -q \"$1\"; do n=$((n + 1)); test $n -lt 200 || {{ kvmc status; fail \"no $1\"; }}; sleep 0.1; done; }}
        ties() {{ for p in /proc/[0-9]*; do tr '\\0' ' ' 2>/dev/null < $p/cmdline | grep -q \"^[^ ]*\\(kvmc attach\\|sshfs\\) .*\" && readlink $p/cwd > /dev/null && tr '\\0' ' ' < $p/cmdline | grep -F \"$KVMC_STATE_DIR\"; done; true; }}
        {script}"
        ),
    );
}

fn has(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| std::path::Path::new(dir).join(program).exists())
}

#[test]
fn a_nodes_folder_is_mounted_here_until_it_is_unmounted_or_the_cluster_stops() {
    tied(
        r#"mkdir -p ../ssh/worker0/data; echo one > ../ssh/worker0/data/a; mkdir full; touch full/x
        kvmc mount worker0:data here; ssh_pid=$(cat ../pid.worker0); test "$(cat here/a)" = one || fail read
        echo two > here/b; test "$(cat ../ssh/worker0/data/b)" = two || fail write
        kvmc status | grep -q "^mounted: worker0:data on $PWD/here, attached" || { kvmc status; fail status; }
        kvmc status --json | python3 -c 'import json, sys; tie, = json.load(sys.stdin)["ties"]; assert (tie["kind"], tie["node"], tie["state"]) == ("mount", "worker0", "attached"), tie'
        fails 1 'is not empty' kvmc mount worker1:data here
        fails 1 'is not empty' kvmc mount worker0:data full
        fails 1 'No such file' kvmc mount worker0:none other
        fails 2 'is on 2 nodes' kvmc mount workers:data other
        fails 2 'names no node' kvmc mount here there
        fails 4 'did you mean `worker0`?' kvmc mount wroker0:data other
        fails 4 'nothing mounted on `full`; there is' kvmc umount full
        touch ../ssh/gone.worker1; fails 1 'connect to host worker1 port 22: No route to host' kvmc mount worker1:data other; rm ../ssh/gone.worker1
        test "$(grep -c fuse.sshfs /proc/self/mountinfo)" = 1 || fail 'a mount that failed stays'
        # The connection is lost and comes back.
        kill -9 $ssh_pid; sleep 0.5; n=0; until test "$(cat here/a 2>/dev/null)" = one; do n=$((n + 1)); test $n -lt 50 || fail 'not again'; sleep 0.2; done
        (cd here; kvmc umount .); grep fuse.sshfs /proc/self/mountinfo && fail 'still mounted'; kvmc status | grep mounted && fail 'still in status'
        kvmc mount --json --read-only worker0:data here > ../out; grep -q '"state": "attached"' ../out && grep -q '"read_only": true' ../out || fail "$(cat ../out)"; touch here/x 2>/dev/null && fail 'read only'; test "$(cat here/a)" = one || fail 'read only'
        # Somebody else's sshfs in its place stays.
        kvmc umount here; mkdir '../ssh/worker0/a,b #c'; kvmc mount 'worker0:a,b #c' 'o t'; grep 'fuse.sshfs kvmc:worker0:a,b' /proc/self/mountinfo || { cat /proc/self/mountinfo; fail source; }
        kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/ties/*.json); n=0; while grep -q fuse.sshfs /proc/self/mountinfo; do n=$((n + 1)); test $n -lt 50 || fail 'a dead mount'; sleep 0.1; done
        printf '#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n' > ../other; chmod 755 ../other; sshfs -o ssh_command="$(cd ..; pwd)/other" other:/etc 'o t'
        kvmc umount 'o t'; grep 'fuse.sshfs other:/etc' /proc/self/mountinfo || fail 'another sshfs is gone'; umount 'o t'
        kvmc mount worker1: other; kvmc stop 2>/dev/null; grep fuse.sshfs /proc/self/mountinfo && fail 'mounted after stop'
        test -z "$(ties)" || fail "a process is left: $(ties)"
        fails 1 'cluster `k80` is stopped' kvmc mount worker0:data here
        kvmc start 2>/dev/null; kvmc mount worker0:data here
        # Whoever kills the process finds no dead mount.
        kill -9 $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/ties/*.json); n=0; while grep -q fuse.sshfs /proc/self/mountinfo; do n=$((n + 1)); test $n -lt 50 || fail 'a dead mount'; sleep 0.1; done
        until_line 'its process has ended'; kvmc mount worker0:data here; test "$(cat here/a)" = one || fail 'after a kill'
        kvmc rm worker0 2>/dev/null; n=0; while grep -q fuse.sshfs /proc/self/mountinfo; do n=$((n + 1)); test $n -lt 50 || fail 'mounted after rm'; sleep 0.1; done
        kvmc mount worker1: here; kvmc down 2>/dev/null; grep fuse.sshfs /proc/self/mountinfo && fail 'mounted after down'
        test -z "$(ties)" || fail "a process is left: $(ties)""#,
    );
}

#[test]
fn nodes_see_a_folder_of_this_host_and_nothing_beside_it() {
    tied(
        r#"mkdir -p src/sub ../ssh/worker0/full; echo one > src/sub/a; touch ../ssh/worker0/full/x; ln -s /etc/passwd src/out; echo secret > secret
        kvmc share src workers:work/src; ssh_pid=$(cat ../pid.worker0); for n in worker0 worker1; do test "$(cat ../ssh/$n/work/src/sub/a)" = one || fail "read on $n"; done
        kvmc exec worker0 -- 'cd work/src && mkdir new && echo two > new/b && mv new/b new/c && chmod 4755 new/c && ln -s c new/l && head -c 3000000 /dev/urandom > big && ls > /dev/null && rm sub/a && truncate -s 5 big && df . > /dev/null'
        test "$(cat src/new/l)" = two && test "$(stat -c %a src/new/c)" = 755 && test ! -e src/sub/a && test "$(stat -c %s src/big)" = 5 || fail "$(ls -lR src)"
        head -c 5000000 /dev/urandom > src/random; test "$(cat ../ssh/worker0/work/src/out 2>/dev/null | wc -c)" = 0 || test "$(readlink ../ssh/worker0/work/src/out)" = /etc/passwd || fail 'a link is followed here'
        cmp src/random ../ssh/worker1/work/src/random || fail 'many bytes'
        for n in $(seq 300); do : > src/sub/$n; done; test "$(ls ../ssh/worker1/work/src/sub | wc -l)" = 300 || fail 'a large folder'
        kvmc status | grep -q "^shared: $PWD/src as worker0:work/src, attached" || { kvmc status; fail status; }
        fails 1 'is there already' kvmc share src worker0:work/src/
        fails 1 'on worker0 is not empty' kvmc share src worker0:full
        fails 1 'does not exist' kvmc share none worker0:x
        fails 1 'is not a folder' kvmc share secret worker0:x
        fails 1 'is the whole host' kvmc share / worker0:x
        fails 4 'shares nothing as `worker0:x`; there is' kvmc unshare worker0:x
        touch ../ssh/nopython.worker0; fails 1 'worker0 has no sshfs' kvmc share src worker0:x; grep -q 'apt-get install -y sshfs' ../err || fail "$(cat ../err)"; rm ../ssh/nopython.worker0
        # The node restarts, and has the folder again.
        touch ../ssh/gone.worker0; kill -9 $ssh_pid; until_line 'No route to host'
        rm ../ssh/gone.worker0; until_line "$PWD/src as worker0:work/src, attached"; test "$(cat ../ssh/worker0/work/src/new/c)" = two || fail 'after a restart'
        kvmc unshare --json worker0:work/src > ../out; grep -q '"kind": "share"' ../out && grep -q '"state": "ended"' ../out || fail "$(cat ../out)"; n=0; while grep -q "worker0/work/src fuse.sshfs" /proc/mounts; do n=$((n + 1)); test $n -lt 50 || fail 'still shared'; sleep 0.1; done
        kvmc share --read-only src worker0:work/src; touch ../ssh/worker0/work/src/x 2>/dev/null && fail 'read only'
        kvmc stop 2>/dev/null; test -z "$(ties)" || fail "a process is left: $(ties)"; kvmc down 2>/dev/null"#,
    );
}
