//! Each bad input gives one clear error and an exit code other than 0, and leaves the host untouched.

use super::support::Bench;

/// A cluster small enough for any host.
const SMALL: &str =
    "kvmc up --accel tcg --masters 1 --workers 0 --load-balancers 0 --master-ram 256M";

fn refuses(script: &str, words: &[&str]) {
    refuses_after("", script, words);
}

fn refuses_after(setup: &str, script: &str, words: &[&str]) {
    let said = Bench::new().refused(setup, script);
    for word in words {
        assert!(said.contains(word), "`{script}` said no `{word}`: {said}");
    }
}

#[test]
fn numbers_of_nodes() {
    refuses("kvmc up --masters 0", &["masters", "at least 1"]);
    refuses("kvmc up --workers -1", &["workers", "`-1`"]);
    refuses("kvmc up --workers 300", &["304 nodes do not fit in /24"]);
}

#[test]
fn ram() {
    refuses(
        "kvmc up --master-ram 2gb",
        &["master_ram", "`2gb` is not a size"],
    );
    refuses("kvmc up --master-ram 0", &["master_ram"]);
    refuses(
        "MASTER_RAM=100T kvmc up",
        &[
            "master_ram",
            "expected 12T or less",
            "environment MASTER_RAM",
        ],
    );
    refuses(
        "kvmc up --worker-ram 12T --accel tcg",
        &["memory", "available", "--overcommit"],
    );
}

#[test]
fn disk_smaller_than_the_template() {
    refuses(
        "kvmc up --disk 100M",
        &["disk", "smaller than the template"],
    );
}

#[test]
fn subnets() {
    refuses(
        "kvmc up --subnet 192.168.80.5/24",
        &["host bits", "192.168.80.0/24"],
    );
    refuses("kvmc up --subnet fd00::/64", &["IPv6"]);
    refuses("kvmc up --subnet 192.168.80.0/31", &["/31"]);
    refuses_after(
        "ip link add d0 type veth peer name d1; ip link set d1 up; ip addr add 192.168.80.9/24 dev d0; ip link set d0 up",
        SMALL,
        &["192.168.80.0/24", "d0", "--subnet"],
    );
}

#[test]
fn bridges() {
    refuses("kvmc up --bridge kvmc-cluster-br1", &["16", "15"]);
    refuses_after(
        "ip link add k80 type bridge",
        SMALL,
        &["k80 exists, but kvmc did not make it"],
    );
}

#[test]
fn a_link_of_another_is_not_to_be_deleted() {
    let said = Bench::new().refused(
        "ip link add uplink0 type bridge; ip link add p0 type veth peer name p1; ip link set p0 master uplink0",
        "kvmc up --bridge uplink0 --accel tcg --vcpus 1",
    );
    assert!(
        said.contains("(kind: bridge, ports: p0)")
            && said.contains("choose another name with --bridge NAME"),
        "{said}"
    );
    assert!(!said.contains("delete"), "{said}");
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_nearest_key() {
    let bench = Bench::new();
    std::fs::write(
        bench.project().join("kvmc.toml"),
        "masters = 1\nwrokers = 2\n",
    )
    .unwrap();
    let said = bench.refused("", "kvmc up");
    assert!(
        said.contains("kvmc.toml:2: unknown key `wrokers`; did you mean `workers`?"),
        "{said}"
    );
}

#[test]
fn verbs_without_a_cluster() {
    refuses("kvmc start", &["there is no cluster `k80`", "kvmc up"]);
    refuses("kvmc ssh master0", &["there is no cluster `k80`"]);
    let bench = Bench::new();
    let twice = bench.shell("kvmc down && kvmc down");
    assert!(twice.status.success(), "{twice:?}");
}

#[test]
fn a_state_folder_too_deep_for_a_socket() {
    refuses(
        &format!("export KVMC_STATE_DIR=/tmp/$(printf %090d 0); {SMALL}"),
        &["too long for a socket", "107"],
    );
    refuses("KVMC_STATE_DIR=relative kvmc up", &["not an absolute path"]);
}

#[test]
fn qemu_missing() {
    // Mounts are private to the shell of the test.
    refuses_after(
        "mount --bind /dev/null /usr/bin/qemu-system-x86_64",
        "kvmc up",
        &["qemu-system-x86_64", "doctor --fix"],
    );
}

#[test]
fn not_enough_privilege_says_which_is_missing() {
    refuses(
        "setpriv --bounding-set=-net_admin --inh-caps=-net_admin kvmc up --accel tcg",
        &["CAP_NET_ADMIN", "sudo"],
    );
}

#[test]
fn other_words() {
    refuses(
        "CPU_ARCHITECTURE=sparc kvmc up",
        &["expected amd64 or arm64"],
    );
    refuses("kvmc up --cluster ../x", &["not a cluster name"]);
    refuses("kvmc up --package --oops=1", &["error"]);
}

#[test]
fn a_file_of_the_user_is_not_overwritten() {
    let bench = Bench::new();
    std::fs::write(bench.project().join("inventory"), "[mine]\n").unwrap();
    let said = bench.refused("", SMALL);
    assert!(
        said.contains("inventory exists, but kvmc did not make it"),
        "{said}"
    );
}

#[test]
fn settings_rise_from_file_over_environment_to_flag() {
    let bench = Bench::new();
    std::fs::write(
        bench.project().join("kvmc.toml"),
        "vcpus = 1\nmasters = 5\ndisk = 6\n",
    )
    .unwrap();
    let output =
        bench.shell("VIRTUAL_CPUS=2 DISK_SIZE=7 CPU_ARCHITECTURE=adm64 kvmc config --disk 8G");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |name: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("masters"), "masters 5 kvmc.toml:2");
    assert_eq!(line("vcpus"), "vcpus 2 environment VIRTUAL_CPUS");
    assert_eq!(line("disk"), "disk 8G flag --disk");
    assert_eq!(line("worker_ram"), "worker_ram 4G default");
}
