//! Whole verbs on the tests' fake QEMU.

use super::fake;

/// The fake answers kvmc's requests as QEMU does.
#[test]
fn a_cluster_of_fakes_lives_through_all_the_verbs() {
    let bench = fake::bench();
    let said = fake::runs(
        &bench,
        "host > ../before
         kvmc up --accel tcg $SMALL --masters 1 --workers 1 --load-balancers 0
         kvmc status
         test $(kvmc status | grep -c ready) = 2 || fail 'status'
         kvmc up --accel tcg
         kvmc stop; kvmc start --cold; kvmc stop
         kvmc down
         host > ../after; same ../before ../after 'the host after down'",
    );
    for words in [
        "freezing a machine",
        "woken",
        "lease",
        "clean, ",
        "is up; nothing to do",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
}
