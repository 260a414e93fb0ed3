//! A node that cannot wake boots, and one line says why. An interrupted freeze leaves nothing.

use super::fake;

const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0";
/// Writes the fake's script into the fake's folder.
const SCRIPT: &str = "script() { printf '%s\\n' \"$@\" > ../bin/script; }";

fn falls_back(before: &str, words: &[&str]) -> String {
    let said = fake::runs(
        &fake::bench(),
        &format!(
            "{SCRIPT}
             host > ../before
             {before}
             {UP} 2> ../said || {{ cat ../said; exit 1; }}
             cat ../said
             test $(kvmc status | grep -c ready) = 2 || fail 'not all are ready'
             kvmc down
             host > ../after; same ../before ../after 'the host after down'
             test -z \"$(find $KVMC_STATE_DIR/warm -name '.freeze-*')\" || fail 'a half freeze is left'"
        ),
    );
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    said
}

#[test]
fn an_old_qemu_that_knows_no_shared_memory_boots_cold() {
    let said = falls_back(
        "script 'refuse migrate-set-capabilities'",
        &[
            "boot instead of waking: ",
            "QEMU refused migrate-set-capabilities",
        ],
    );
    assert!(!said.contains("woken"), "{said}");
}

#[test]
fn a_freeze_that_cannot_be_written_boots_cold() {
    falls_back(
        "script 'refuse migrate'",
        &["boot instead of waking: ", "QEMU refused migrate"],
    );
}

#[test]
fn a_state_that_cannot_be_loaded_boots_instead() {
    let said = falls_back(
        "script 'worker0 refuse migrate-incoming'",
        &["worker0 cannot be woken and boots instead: "],
    );
    assert!(said.contains("master0    woken"), "the other wakes: {said}");
    assert!(!said.contains("worker0    woken"), "{said}");
}

#[test]
fn no_space_for_the_memory_boots_cold() {
    falls_back(
        "mkdir -p $KVMC_STATE_DIR/warm; mount -t tmpfs -o size=64m none $KVMC_STATE_DIR/warm",
        &["boot instead of waking: ", "64M free in"],
    );
}

#[test]
fn cold_is_cold() {
    let said = fake::runs(
        &fake::bench(),
        &format!(
            "{UP} --cold; test ! -e $KVMC_STATE_DIR/warm || fail 'something was frozen'; kvmc down"
        ),
    );
    assert!(
        !said.contains("freezing") && !said.contains("woken"),
        "{said}"
    );
}

#[test]
fn an_interrupted_freeze_leaves_nothing_and_the_next_up_succeeds() {
    for signal in ["INT", "KILL"] {
        fake::runs(
            &fake::bench(),
            &format!(
                "{SCRIPT}
                 qemus() {{ pgrep -f -- '-name guest=kvmc-freeze' | while read p; do grep -q \"$KVMC_STATE_DIR\" /proc/$p/maps /proc/$p/cmdline 2>/dev/null && echo $p; ls -l /proc/$p/fd 2>/dev/null | grep -q \"$KVMC_STATE_DIR\" && echo $p; done; true; }}
                 host > ../before
                 script 'boot 20000'
                 {UP} 2> ../said &
                 pid=$!
                 n=0; until grep -q freezing ../said && test -n \"$(qemus)\"; do n=$((n+1)); test $n -lt 300 || fail \"no freeze: $(cat ../said)\"; sleep 0.1; done
                 kill -{signal} $pid; wait $pid && fail 'it went on'
                 cat ../said
                 n=0; while test -n \"$(qemus)\"; do n=$((n+1)); test $n -lt 50 || fail 'its QEMU goes on'; sleep 0.1; done
                 host > ../after; same ../before ../after 'the host after SIG{signal} in a freeze'
                 script 'boot 30'
                 {UP}
                 test -z \"$(find $KVMC_STATE_DIR/warm -name '.freeze-*')\" || fail 'a half freeze is left'
                 test $(kvmc status | grep -c ready) = 2 || fail 'not all are ready'
                 kvmc down"
            ),
        );
    }
}
