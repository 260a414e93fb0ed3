//! Runs the steps of the actions in .github/actions/kvmc on the tests' fake QEMU. `scripts/action.py` stands for GitHub's
//! runner.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fake;
use super::support::{Bench, scripts};

fn bench() -> Bench {
    let bench = fake::bench();
    fake::own_images(&bench);
    let to = bench.dir().join("bin/sudo");
    std::fs::copy(scripts().join("guide/sudo"), &to).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench
}

fn runs(script: &str) -> String {
    let actions = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/actions/kvmc");
    let words = format!(
        r#"ACTION={}; export RUNNER_TEMP=$(cd ..; pwd)/temp; mkdir ../temp
        SIZE='--masters 1 --workers 1 --load-balancers 0 --vcpus 1 --master-ram 512M --worker-ram 512M'
        up() {{ python3 -B $SCRIPTS/action.py $ACTION/action.yml accel=tcg "args=$SIZE" "$@"; }}
        down() {{ python3 -B $SCRIPTS/action.py $ACTION/down/action.yml "$@"; }}"#,
        actions.display()
    );
    fake::runs(&bench(), &format!("{words}\n{script}"))
}

#[test]
fn the_action_starts_a_cluster_and_the_next_job_starts_from_its_cache() {
    runs(
        r#"mkdir job; up working-directory=job > ../out 2>&1 || { cat ../out; fail 'the first job'; }
        cat ../out
        grep -qx "inventory=$PWD/job/inventory" ../out && grep -qx "ssh_config=$PWD/job/ssh_config" ../out || fail 'the outputs'
        test -s job/inventory && test -s job/ssh_config || fail 'the files'
        grep -q 'freezing a machine' ../out || fail 'nothing was frozen'
        test $(ls ../cache | wc -l) = 1 || fail 'nothing is cached'
        (cd job; kvmc status | grep -q 'worker0 *ready') || fail 'no node'
        down working-directory=job job-status=success
        test ! -e ../artifacts && test ! -e job/inventory || fail 'after the job'
        # The next job runs on a new machine.
        rm -rf $KVMC_STATE_DIR ../temp/*
        up working-directory=job > ../out 2>&1 || { cat ../out; fail 'the second job'; }
        grep -q '## Unpack them' ../out || fail 'the cache was not used'
        if grep -q 'freezing\|## Pack' ../out; then fail 'work that the cache has done'; fi
        down working-directory=job job-status=success
        # Another cluster file is another cache, and without the cache nothing is packed.
        echo 'disk = "5G"' > job/kvmc.toml; rm -rf ../temp/*
        up working-directory=job cache=false > ../out 2>&1; if grep -q 'Pack\|Name the cache' ../out; then fail 'a cache'; fi
        down working-directory=job job-status=success
        up working-directory=job > ../out 2>&1; test $(ls ../cache | wc -l) = 2 || fail 'one cache for two files'
        down working-directory=job job-status=success"#,
    );
}

#[test]
fn a_job_that_fails_leaves_its_logs_and_no_cluster() {
    runs(
        r#"echo 'worker0 no-sshd yes' > ../bin/script
        code=0; up "args=$SIZE --timeout 2 --cold" > ../out 2>&1 || code=$?
        test $code = 1 || { cat ../out; fail "up ended with $code"; }
        if grep -q '## Pack' ../out; then fail 'packed after a failure'; fi
        at=../artifacts/kvmc-up-test-0; ls $at
        grep -q 'worker0' $at/status.txt && grep -q '^{' $at/status.json && grep -q 'master0' $at/timeline.txt || fail 'status and timeline'
        grep -q '<svg' $at/timeline.html && test -s $at/events.txt && test -s $at/doctor.txt && test -e $at/logs.txt || fail 'the other logs'
        test -e $at/console-worker0.txt && test -e $at/console-master0.txt || fail 'the consoles'
        down job-status=failure
        test -s ../artifacts/kvmc-test-0/status.txt || fail 'the logs of the job'
        test -z "$(kvmc ls --json | grep '"name"')" || fail 'a cluster is left'
        # Nothing is there to remove.
        rm -r ../artifacts; down job-status=cancelled; grep -q 'no cluster' ../artifacts/kvmc-test-0/status.txt || fail 'no word'"#,
    );
}

#[test]
fn a_runner_without_kvm_fails_at_once_unless_tcg_is_allowed() {
    runs(
        r#"refused() { words=$1; shift; code=0; up "$@" > ../out 2>&1 || code=$?
          test $code = 1 && grep -q "::error::$words" ../out || { cat ../out; fail "$*: $code"; }
          test ! -e $KVMC_STATE_DIR/clusters || fail "$*: a cluster"; }
        export KVM_DEVICE=/nonexistent
        refused 'this runner has no /nonexistent; .*accel: tcg' accel=kvm
        refused 'unknown accel .auto.; expected kvm or tcg' accel=auto
        refused 'there is no file nope.deb' package=nope.deb
        # With a device, the rule lets every user have it.
        export KVM_DEVICE=$PWD/../kvm UDEV_RULES=$PWD/../rules; mkdir ../rules; touch ../kvm; chmod 600 ../kvm
        ACCEL=kvm $ACTION/kvm.sh
        grep -q 'KERNEL=="kvm".*MODE="0666"' ../rules/99-kvmc.rules || fail 'the rule'
        # A package is installed by apt.
        printf '#!/bin/sh\necho "$*" >> %s\n' $PWD/../apt > ../bin/apt-get; chmod +x ../bin/apt-get; touch kvmc.deb
        PACKAGE=kvmc.deb $ACTION/install.sh
        grep -q "^install .*$PWD/kvmc.deb$" ../apt || fail "apt: $(cat ../apt)""#,
    );
}
