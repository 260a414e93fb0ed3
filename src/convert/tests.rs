//! Foreign files as users have them. The snapshots show what is carried over and what is not.

use std::path::Path;

use insta::assert_snapshot;

use super::{Carried, from_libvirt, from_vagrant};
use crate::spec::{Settings, check, commented, parse_file};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/convert");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The live lines of the cluster file, and what is not carried over.
fn shown(carried: &Carried) -> String {
    let text = commented(&carried.live);
    let layer = parse_file(Path::new("kvmc.toml"), &text).unwrap();
    check(&Settings::resolve([layer])).unwrap();
    let live = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    let live: Vec<_> = live.collect();
    let notes: Vec<_> = carried.notes.iter().map(ToString::to_string).collect();
    format!("{}\n\n{}\n", live.join("\n"), notes.join("\n"))
}

#[test]
fn a_nat_network_snapshot() {
    assert_snapshot!(shown(
        &from_libvirt(&fixture("nat.xml"), "nat.xml").unwrap()
    ));
}

#[test]
fn an_isolated_network_snapshot() {
    let carried = from_libvirt(&fixture("isolated.xml"), "isolated.xml");
    assert_snapshot!(shown(&carried.unwrap()));
}

#[test]
fn a_bridged_network_snapshot() {
    assert_snapshot!(shown(
        &from_libvirt(&fixture("bridge.xml"), "bridge.xml").unwrap()
    ));
}

#[test]
fn a_vagrantfile_with_loops_snapshot() {
    let carried = from_vagrant(&fixture("Vagrantfile.kubernetes"), "Vagrantfile");
    assert_snapshot!(shown(&carried.unwrap()));
}

#[test]
fn a_vagrantfile_with_much_that_is_not_plain_snapshot() {
    let carried = from_vagrant(&fixture("Vagrantfile.mixed"), "Vagrantfile");
    assert_snapshot!(shown(&carried.unwrap()));
}

#[test]
fn files_of_another_kind_are_refused() {
    for (text, expected) in [
        ("", "a.xml is not XML"),
        ("<network>", "a.xml is not XML"),
        ("<domain/>", "expected the element <network>, not <domain>"),
        (
            "<!DOCTYPE a [<!ENTITY b \"c\">]><network/>",
            "a.xml is not XML",
        ),
    ] {
        let error = format!("{:#}", from_libvirt(text, "a.xml").unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    let error = from_vagrant("Vagrant.configure(2) do |c|\n", "V").unwrap_err();
    assert_eq!(error.to_string(), "V:1: this block has no `end`");
}

#[test]
fn an_empty_vagrantfile_is_one_machine() {
    let carried = from_vagrant("", "Vagrantfile").unwrap();
    assert!(shown(&carried).contains("[roles.default]\ncount = 1\n"));
}

#[test]
fn a_text_that_doubles_in_a_loop_takes_no_memory() {
    for grow in ["X = X + X", "X = [X, X]"] {
        let text = format!(
            "X = \"aaaaaaaaaaaaaaaa\"\n(1..64).each do |i|\n  {grow}\nend\n\
             Vagrant.configure(\"2\") do |config|\n  config.vm.define \"a\"\nend\n"
        );
        let carried = from_vagrant(&text, "Vagrantfile").unwrap();
        assert!(shown(&carried).contains("[roles.a]"), "{}", shown(&carried));
    }
}

#[test]
fn a_range_that_kvmc_cannot_have_is_a_note() {
    let text = "Vagrant.configure(\"2\") do |config|\n  config.vm.define \"a\" do |a|\n    \
                a.vm.network \"private_network\", ip: \"10.1.2.3\", netmask: \"255.0.0.0\"\n    \
                a.vm.box = \"\u{1b}]0;x\u{7}\"\n  end\nend\n";
    let shown_text = shown(&from_vagrant(text, "Vagrantfile").unwrap());
    assert!(shown_text.contains("10.1.2.3"), "{shown_text}");
    assert!(!shown_text.contains("address = "), "{shown_text}");
    assert!(!shown_text.contains(['\u{1b}', '\u{7}']), "{shown_text}");
    let xml = "<network><name>n</name><ip address=\"10.0.0.1\" prefix=\"8\"><dhcp>\
               <host name=\"a\" mac=\"52:54:00:00:00:01\" ip=\"10.0.0.9\"/></dhcp></ip></network>";
    let shown_text = shown(&from_libvirt(xml, "n.xml").unwrap());
    assert!(!shown_text.contains("address = "), "{shown_text}");
}
