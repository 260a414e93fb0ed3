//! All verbs on real Debian guests. The template is built once, into a store that stays in the build
//! folder.

use std::path::Path;

use super::support::{Bench, script};

/// apt's messages about a mirror that it does not reach.
const OUT_OF_REACH: [&str; 4] = [
    "resolve",
    "Could not connect",
    "Unable to connect",
    "timed out",
];

/// Runs a script of `scripts/guests` in its own namespace. Shows its output when it fails.
fn runs(name: &str) {
    runs_with(name, &[]);
}

fn runs_with(name: &str, arguments: &[&str]) {
    runs_on("trixie", name, arguments);
}

/// The same with a template of a suite.
fn runs_on(suite: &str, name: &str, arguments: &[&str]) {
    runs_with_packages(suite, &[], name, arguments);
}

/// The same with further packages in the template.
fn runs_with_packages(suite: &str, packages: &[&str], name: &str, arguments: &[&str]) {
    let bench = Bench::new();
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build");
    let built = template(suite, packages, &state);
    // All of this needs Debian's mirror. Another publisher's mirror may be out of reach.
    if let Err(said) = &built
        && suite != "trixie"
        && OUT_OF_REACH.iter().any(|words| said.contains(words))
    {
        println!("skipped: the mirror of {suite} is out of reach: {said}");
        return;
    }
    built.unwrap();
    bench.take_images(&state.join("images"));
    bench.runs(&script(&format!("guests/{name}"), arguments));
}

/// Builds a template in the host's own namespace, since only that one reaches mirrors.
fn template(suite: &str, packages: &[&str], state: &Path) -> Result<(), String> {
    let built = std::process::Command::new(env!("CARGO_BIN_EXE_kvmc"))
        .args(["image", "build", "--suite", suite])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .env("KVMC_STATE_DIR", state)
        .output()
        .unwrap();
    match built.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
    }
}

#[test]
fn what_its_user_changes_on_a_node_stays() {
    runs("users.sh");
}

#[test]
fn a_cluster_lives_through_all_the_verbs() {
    runs("verbs.sh");
}

#[test]
fn p15_woken_nodes_are_different_machines_and_stay_so() {
    runs("warm.sh");
}

#[test]
fn roles_of_any_name_come_up_with_their_own_image_size_groups_and_variables() {
    runs("roles.sh");
}

#[test]
fn nodes_that_were_not_reseeded_share_random_bytes() {
    runs("no_reseed.sh");
}

#[test]
fn p7_p20_p22_nodes_that_die_or_run_out_of_space_lose_nothing() {
    runs("deaths.sh");
}

#[test]
fn forty_woken_nodes_share_nothing() {
    runs("forty.sh");
}

#[test]
fn a_failed_up_leaves_nothing() {
    runs("failed_up.sh");
}

#[test]
fn p2_an_interrupted_or_killed_up_leaves_nothing_or_goes_on() {
    runs("interrupted.sh");
}

#[test]
fn three_clusters_at_once_one_with_two_networks_ipv6_and_forwards() {
    runs("networks.sh");
}

#[test]
fn images_built_by_scripts_and_playbooks_and_committed_from_nodes_are_cloned_as_the_template_is() {
    runs("layers.sh");
}

#[test]
fn a_template_of_ubuntu_works_as_debians_does() {
    runs_on("noble", "suite.sh", &["noble", "Ubuntu"]);
}

/// An image as publishers make them, which is built once and stays in the build folder.
fn cloud_image(suite: &str) -> String {
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cloud-{suite}.qcow2"));
    if !image.exists() {
        let built = std::process::Command::new(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud-image"),
        )
        .arg(suite)
        .arg(image.with_extension("new"))
        .status()
        .unwrap();
        assert!(built.success(), "the cloud image cannot be built");
        std::fs::rename(image.with_extension("new"), &image).unwrap();
    }
    image.display().to_string()
}

/// Runs cloud.sh on an image of a suite.
fn cloud(how: &str, suite: &str, firmware: &str) {
    let image = cloud_image(suite);
    // Every run includes this one, which therefore must not take long.
    let extent = match (how, suite) {
        ("warm", "trixie") => "short",
        _ => "whole",
    };
    runs_with("cloud.sh", &[how, &image, firmware, extent]);
}

#[test]
#[ignore = "builds an image and boots its three nodes for five minutes; run it by name"]
fn a_cloud_image_boots_by_uefi_as_a_cluster_with_user_data() {
    cloud("cold", "bookworm", "uefi");
}

#[test]
#[ignore = "builds an image and boots its three nodes for five minutes; run it by name"]
fn a_cloud_image_boots_by_bios_as_a_cluster_with_user_data() {
    cloud("cold", "trixie", "bios");
}

#[test]
#[ignore = "builds an image and boots its three nodes for five minutes; run it by name"]
fn a_cloud_image_is_prepared_by_uefi_once_and_its_nodes_wake_with_user_data() {
    cloud("warm", "bookworm", "uefi");
}

/// Every run includes this test. It covers both starts of a cloud image: the boot that prepares it, and the
/// waking.
#[test]
fn a_cloud_image_is_prepared_by_bios_once_and_its_nodes_wake_with_user_data() {
    cloud("warm", "trixie", "bios");
}

#[test]
#[ignore = "builds an image and boots its three nodes for five minutes; run it by name"]
fn a_cloud_image_of_ubuntu_boots_as_a_cluster_with_user_data() {
    cloud("cold", "noble", "bios");
}

#[test]
#[ignore = "builds an image and boots its three nodes for five minutes; run it by name"]
fn a_cloud_image_of_ubuntu_is_prepared_once_and_its_nodes_wake_with_user_data() {
    cloud("warm", "noble", "bios");
}

#[test]
#[ignore = "builds an image and boots it by UEFI for minutes; run it by name"]
fn snapshots_of_cold_prepared_and_larger_nodes_and_of_uefis_variables() {
    runs_with("kinds.sh", &[&cloud_image("bookworm")]);
}

#[test]
fn p46_p47_p48_p56_guests_go_on_from_a_snapshot_with_other_random_numbers_and_the_hosts_clock() {
    runs("snapshot.sh");
}

#[test]
fn p49_a_connection_and_an_etcd_of_three_outlive_rollbacks_and_a_playbook_that_breaks_all_nodes() {
    let packages = ["etcd-server", "etcd-client"];
    runs_with_packages("trixie", &packages, "instant.sh", &[]);
}
