//! A session in a terminal, from `init` to `down`, on the tests' fake QEMU. `KVMC_SCREENS=DIR` keeps its screens.

use super::access;
use super::fake;

#[test]
fn a_session_in_a_terminal_reads_well_from_init_to_down() {
    let screens = std::env::var("KVMC_SCREENS").unwrap_or_default();
    fake::runs(
        &access::bench(),
        &format!(
            r#"# A host with the memory that seven nodes of the default size ask for.
            sed 's/^MemAvailable:.*/MemAvailable: 67108864 kB/' /proc/meminfo > ../meminfo; mount --bind ../meminfo /proc/meminfo
            host > ../before
            KVMC_SCREENS='{screens}' KVMC_ACCEL=tcg TERM=xterm-256color python3 $SCRIPTS/session.py
            rm -rf kvmc.toml site.txt back; host > ../after
            same ../before ../after 'the host after the session'"#
        ),
    );
}
