//! Sessions of `kvmc ssh` at a rollback, on the tests' fake QEMU and a fake ssh.

use std::os::unix::fs::PermissionsExt;

use super::fake;
use super::snapshots::WORDS;

/// Goes on until SIGTERM, as ssh(1) does, and ends as that does.
const SSH: &str = r#"#!/bin/bash
trap 'exit 255' TERM
while test $1 != --; do shift; done
echo "on $2"
while :; do sleep 0.05; done
"#;

#[test]
fn sessions_on_nodes_that_go_back_end_and_are_told_and_no_others() {
    let bench = fake::bench();
    let path = bench.dir().join("bin/ssh");
    std::fs::write(&path, SSH).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = "$UP; kvmc snapshot save a; kvmc fork --from a x; all_ready
        python3 $SCRIPTS/sessions.py
        kvmc --cluster x down; test ! -e $K || fail 'down leaves something'";
    fake::runs(&bench, &format!("{WORDS}\n{script}"));
}
