//! Images from outside: downloads from a server with faults, and what is refused. No guest runs.

use std::path::Path;

use super::support::Bench;

/// Runs a case of downloads.sh in a namespace of its own.
fn case(name: &str) {
    let bench = Bench::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/downloads.sh");
    let output = bench.shell(&format!("exec sh -eu {} {name}", path.display()));
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
    assert!(
        output.status.success(),
        "{name} ended with {}",
        output.status
    );
}

#[test]
fn p16_a_flipped_byte_is_not_taken() {
    case("flipped-byte");
}

#[test]
fn p16_a_transfer_that_is_cut_stays_outside_the_store() {
    case("cut");
}

#[test]
fn p16_a_transfer_that_was_cut_goes_on_from_there() {
    case("resumed");
}

#[test]
fn p16_a_reset_connection_leaves_nothing_in_the_store() {
    case("reset");
}

#[test]
fn p16_a_web_page_is_no_image() {
    case("html");
}

#[test]
fn p16_wrong_checksums_are_believed() {
    case("wrong-sums");
}

#[test]
fn p16_a_list_without_the_image_is_said() {
    case("short-sums");
}

#[test]
fn p16_an_image_replaced_after_its_list_was_read_is_verified_by_the_new_list() {
    case("changed-between");
}

#[test]
fn p16_a_server_that_ignores_ranges_begins_anew() {
    case("no-range");
}

#[test]
fn p16_another_part_than_asked_for_is_not_appended() {
    case("other-part");
}

#[test]
fn redirects_are_followed_and_circles_are_not() {
    case("redirect");
}

#[test]
fn bad_input_23_statuses_are_said_with_what_to_do() {
    case("statuses");
}

#[test]
fn bad_input_23_addresses_and_proxies_are_said_with_what_to_do() {
    case("addresses");
}

#[test]
fn packed_and_raw_images_are_taken_and_those_of_another_architecture_are_not() {
    case("forms");
}

#[test]
fn p16_of_two_pulls_at_once_one_downloads() {
    case("two-at-once");
}

#[test]
fn p16_a_full_disk_leaves_nothing_in_the_store() {
    case("full-disk");
}

#[test]
fn p16_an_interrupted_pull_goes_on_from_there() {
    case("interrupted");
}

#[test]
fn a_newer_image_is_found_and_the_one_before_stays() {
    case("refreshed");
}

#[test]
fn p16_a_signed_list_is_checked() {
    case("signed");
}
