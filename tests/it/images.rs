//! Images from outside: downloads from a server with faults, and refused images. No guest runs.

use super::fake;
use super::support::{Bench, script};

/// Runs a case of downloads.sh in its own namespace.
fn case(name: &str) {
    Bench::new().runs(&script("downloads.sh", &[name]));
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

/// Makes a file that passes for a disk image, with a boot sector's signature.
const DISK: &str = r#"truncate -s 8M mine.raw
printf '\125\252' | dd of=mine.raw bs=1 seek=510 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 mine.raw mine.qcow2
UP="kvmc up --accel tcg $SMALL --load-balancers 0 --masters 2 --workers 1"
"#;

#[test]
fn an_image_without_an_agent_is_seeded_and_ready_by_lease_and_ssh() {
    let script = format!(
        r##"{DISK}
        printf '#cloud-config\npackages: [vim]\n' > user.yaml
        $UP --master-image ./mine.qcow2 --user-data user.yaml 2>../said || fail "$(cat ../said)"
        test "$(grep -c 'nodes of mine boot instead of waking: there is no system in it' ../said)" = 1 || fail "$(cat ../said)"
        K=$KVMC_STATE_DIR/clusters/k80/nodes
        for node in master0 master1; do
          test "$(stat -c %a $K/$node/seed.img)" = 600 || fail "the seed of $node"
          grep -qa "\"hostname\": \"$node\"" $K/$node/seed.img || fail "$node is not named in its seed"
          grep -qa CIDATA $K/$node/seed.img && grep -qa "Merge-Type" $K/$node/seed.img || fail "user_data is not in the seed"
          tr '\0' ' ' < /proc/$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' $K/$node/process.json)/cmdline > ../line
          grep -q 'drive=seed' ../line && ! grep -q -e '-kernel' ../line || fail "$(cat ../line)"
        done
        test ! -e $K/worker0/seed.img || fail 'a node with the agent has a seed'
        ! cmp -s $K/master0/seed.img $K/master1/seed.img || fail 'two nodes have one seed'
        id=$(kvmc image ls --json | python3 -c 'import json,sys; print([i["id"] for i in json.load(sys.stdin) if i["guest"] == "cloud-init"][0])')
        ! kvmc image rm $id 2>../err || fail 'an image in use was removed'
        grep -q 'used by cluster k80' ../err || fail "$(cat ../err)"
        kvmc stop; kvmc start; kvmc status --json 2>/dev/null | grep -c '"state": "ready' | grep -qx 3 || fail "$(kvmc status)"
        kvmc down; kvmc image rm $id"##
    );
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &script);
}

#[test]
fn bad_input_19_20_28_what_images_and_user_data_cannot_be() {
    let script = format!(
        r##"{DISK}
        refuse() {{ words=$1; shift; ! "$@" 2>../err || fail "taken: $*"; grep -qF -- "$words" ../err || fail "$* says: $(cat ../err)"; test ! -e $KVMC_STATE_DIR/clusters || fail 'a cluster is left'; }}
        refuse 'No such file' $UP --image ./none.qcow2
        refuse 'is not a file' $UP --image /etc/
        echo '<html>' > page.qcow2; refuse 'it is a web page' $UP --image ./page.qcow2
        qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw evil.qcow2 8M; refuse 'its backing file is' $UP --image ./evil.qcow2
        qemu-img convert -f raw -O vmdk mine.raw mine.vmdk; refuse 'it is a VMDK' $UP --image ./mine.vmdk
        refuse "\`qemu-img convert -f vmdk -O qcow2 $PWD/mine.vmdk $PWD/mine.qcow2\` converts it" $UP --image ./mine.vmdk
        cp mine.qcow2 mine-arm64.qcow2; refuse 'mine-arm64.qcow2` says arm64' $UP --image ./mine-arm64.qcow2
        cp mine.qcow2 debian-13-nocloud-amd64.qcow2; refuse 'use genericcloud' $UP --image ./debian-13-nocloud-amd64.qcow2
        refuse 'did you mean `debian-13`' $UP --image debian-31
        echo 'a: 1' > user.yaml; refuse '#cloud-config' $UP --image ./mine.qcow2 --user-data user.yaml
        printf '#cloud-config\nb: [\n' > user.yaml; refuse 'user.yaml:' $UP --image ./mine.qcow2 --user-data user.yaml
        printf '#cloud-config\nb: 1\n' > user.yaml; refuse 'has cloud-init' $UP --user-data user.yaml"##
    );
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &script);
}

#[test]
fn an_image_that_cannot_be_used_is_named_by_its_file_with_the_command_that_makes_one() {
    let script = format!(
        r##"{DISK}
        cp mine.raw inner.raw; tar -czf a.tar.gz inner.raw; qemu-img create -q -f qcow2 empty.qcow2 2G
        qemu-img convert -f raw -O vpc -o subformat=fixed mine.raw 'a b.vhd'; gzip -k 'a b.vhd'
        for verb in "$UP --image" 'kvmc image import'; do
          for try in "a b.vhd|it is a fixed VHD|qemu-img convert -f vpc -O qcow2 '$PWD/a b.vhd' '$PWD/a b.qcow2'"             "a b.vhd.gz|it is a fixed VHD, packed with gzip|gzip -dc '$PWD/a b.vhd.gz' > '$PWD/a b.vhd'"             "a.tar.gz|a tar archive with \`inner.raw\`, packed with gzip|tar -xf $PWD/a.tar.gz inner.raw"             "empty.qcow2|its disk of 2.0G has no partition table|made for clouds"; do
            file=${{try%%|*}} rest=${{try#*|}}
            case $verb in
              kvmc*) ! $verb "./$file" 2>../err || fail "taken: $file" ;;
              *) ! kvmc up --accel tcg $SMALL --load-balancers 0 --masters 1 --workers 0 --image "./$file" 2>../err || fail "taken: $file" ;;
            esac
            grep -qF -- "${{rest%%|*}}" ../err || fail "$verb $file says: $(cat ../err)"
            grep -F -- "${{rest#*|}}" ../err | grep -q 'hint: ' || fail "$verb $file has no cure: $(cat ../err)"
            ! grep -E 'images/pulls|make-[A-Za-z0-9]|/copy|/unpacked' ../err || fail "$verb $file names a file of the store: $(cat ../err)"
          done
        done
        test ! -e "$KVMC_STATE_DIR/clusters" || fail 'a cluster is left'"##
    );
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &script);
}

#[test]
fn a_disk_that_nobody_sized_is_as_large_as_its_image_and_stays_so() {
    let script = format!(
        r##"{DISK}
        qemu-img resize -q mine.qcow2 6G
        disk() {{ kvmc status --json 2>/dev/null | python3 -c 'import json,sys; print(*sorted({{n["disk"] >> 20 for n in json.load(sys.stdin)["nodes"]}}))'; }}
        ! $UP --image ./mine.qcow2 --disk 5 2>../err || fail 'a disk smaller than its image was taken'
        grep -q 'disk: 5G for master0 is smaller than its image mine (6G)' ../err || fail "$(cat ../err)"
        grep -q 'such as --disk 6G' ../err || fail "$(cat ../err)"
        $UP --image ./mine.qcow2 2>../said || fail "$(cat ../said)"
        test "$(disk)" = 6144 || fail "disks: $(disk)"
        for node in master0 worker0; do
          qemu-img info -U $KVMC_STATE_DIR/clusters/k80/nodes/$node/disk.qcow2 | grep -q 'virtual size: 6 GiB' || fail "the disk of $node"
        done
        $UP --image ./mine.qcow2 2>../said && grep -q 'nothing to do' ../said || fail "again: $(cat ../said)"
        kvmc up --accel tcg $SMALL --workers 2 2>../said || fail "growing: $(cat ../said)"
        test "$(disk)" = 6144 || fail "disks after growing: $(disk)"
        ! $UP --disk 5 2>../err || fail 'a smaller size was taken'
        grep -q '5G is less than the 6G of the nodes' ../err || fail "$(cat ../err)"
        kvmc down
        $UP 2>../said || fail "$(cat ../said)"
        test "$(disk)" = 4096 || fail "disks of the template: $(disk)"
        kvmc down"##
    );
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &script);
}
