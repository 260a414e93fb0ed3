//! Images from nodes: committed, built by scripts, exported and imported. On the tests' fake QEMU, with disks
//! that hold a real file system.

use super::fake;
use super::support::Bench;

/// Makes `mine.raw`, a disk with one partition. Its ext4 holds a minimal system, and data that no image may
/// contain.
const DISK: &str = r#"mkdir -p tree/etc/ssh tree/home/admin
echo root:x:0:0::/root:/bin/sh > tree/etc/passwd
echo 'admin:$6$hash:1::::::' > tree/etc/shadow
echo 0123456789abcdef0123456789abcdef > tree/etc/machine-id
echo 'a key of its own' > tree/etc/ssh/ssh_host_rsa_key
mke2fs -q -F -t ext4 -b 4096 -d tree fs 16M
truncate -s 17M mine.raw; dd if=fs of=mine.raw bs=1M seek=1 conv=notrunc status=none
printf '\203\0\0\0\0\010\0\0\0\200\0\0' | dd of=mine.raw bs=1 seek=450 conv=notrunc status=none
printf '\125\252' | dd of=mine.raw bs=1 seek=510 conv=notrunc status=none
rm -r tree fs
kvmc image import mine.raw -t base >/dev/null
UP="kvmc up --accel tcg $SMALL --load-balancers 0 --workers 0 --disk 1G"
refuse() { words=$1; shift; ! "$@" >../out 2>../err || fail "taken: $*"; grep -qF -- "$words" ../err || fail "$* says: $(cat ../err)"; }
of() { kvmc image inspect $1 --json | python3 -c 'import json,sys; i=json.load(sys.stdin); print(i[sys.argv[1]])' $2; }
"#;

fn runs(script: &str) -> String {
    let bench: Bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &format!("{DISK}\n{script}"))
}

#[test]
fn a_node_becomes_an_image_that_goes_elsewhere_and_comes_back_the_same() {
    runs(
        r#"$UP --masters 2 --image base
        refuse 'is not stopped' kvmc image commit master0 -t mine
        kvmc stop
        refuse 'is a name in the catalogue' kvmc image commit master0 -t debian-13
        refuse 'invalid image name' kvmc image commit master0 -t a/b
        refuse 'master7' kvmc image commit master7 -t mine
        id=$(kvmc image commit master0 -t mine)
        test "$(of mine id)" = $id && test "$(of mine parent)" = "$(of base id)" || fail 'its parent'
        kvmc image inspect mine | grep -q 'committed from k80/master0' || fail "$(kvmc image inspect mine)"
        kvmc image inspect mine --verify >/dev/null
        disk=$(readlink -f $KVMC_STATE_DIR/images/$id/disk.qcow2)
        qemu-img convert -O raw $disk flat
        debugfs -R 'ls -p /etc/ssh' 'flat?offset=1048576' 2>/dev/null | grep -q ssh_host && fail 'the host key is in it'
        debugfs -R 'cat /etc/shadow' 'flat?offset=1048576' 2>/dev/null | grep -qx 'admin:!:1::::::' || fail 'the password is in it'
        kvmc down
        # rm refuses a used image, and the images below it.
        $UP --masters 1 --image mine
        refuse 'used by cluster k80' kvmc image rm mine
        refuse 'used by image' kvmc image rm base
        kvmc image prune --all 2>../pruned
        of mine id >/dev/null && of base id >/dev/null || fail "prune took what is in use: $(cat ../pruned)"
        kvmc down
        kvmc image export mine mine.kvmc
        refuse 'exists; remove it' kvmc image export mine mine.kvmc
        kvmc image export mine packed.zst 2>../said; grep -q 'packed.zst' ../said || fail "$(cat ../said)"
        test $(stat -c %s packed.zst) -lt $(stat -c %s mine.kvmc) || fail 'it is not packed'
        parent=$(of base id)
        for file in mine.kvmc packed.zst; do
          mkdir ../elsewhere; export KVMC_STATE_DIR=$(cd ../elsewhere && pwd)
          test "$(kvmc image import $file)" = $id || fail "$file came back as another image"
          test "$(of mine parent)" = $parent || fail 'its parent did not come along'
          kvmc image inspect mine --verify >/dev/null
          $UP --masters 1 --image mine
          kvmc down
          kvmc image rm mine; kvmc image prune --all
          test "$(kvmc image ls --json)" = '[]' || fail "$(kvmc image ls)"
          rm -r $KVMC_STATE_DIR
        done"#,
    );
}

#[test]
fn p16_an_archive_that_is_cut_changed_or_made_up_leaves_nothing_in_the_store() {
    runs(
        r#"$UP --masters 1 --image base; kvmc stop
        kvmc image commit master0 -t mine >/dev/null; kvmc down
        kvmc image export mine mine.kvmc
        mkdir ../elsewhere; export KVMC_STATE_DIR=$(cd ../elsewhere && pwd)
        empty() { test "$(kvmc image ls --json)" = '[]' || fail "$1: $(kvmc image ls)"; }
        head -c 100000 mine.kvmc > cut; refuse 'is damaged or cut short' kvmc image import cut; empty cut
        python3 - <<'PYTHON'
import io, json, tarfile
def rewrite(to, change):
    with tarfile.open("mine.kvmc") as old, tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as new:
        for member in old:
            data = old.extractfile(member).read()
            data = change(member, data)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
def flip(member, data):
    return data[:-1] + bytes([data[-1] ^ 1]) if member.name.endswith("qcow2") else data
def climb(member, data):
    if member.name.endswith("disk.qcow2"):
        member.name = "../../../etc/evil"
    return data
def format(member, data):
    return data.replace(b'"format": 1', b'"format": 9') if member.name == "kvmc-image.json" else data
def lead(member, data):
    # The upper layer's disk names its parent's disk. This makes it name a file of the host.
    at = data.find(b"../")
    if member.name.endswith("qcow2") and 0 < at < 1024:
        data = data[:at] + b"/etc/shadow".ljust(46, b"/") + data[at + 46:]
    return data
rewrite("flipped", flip); rewrite("climbing", climb); rewrite("newer", format); rewrite("leading", lead)
PYTHON
        refuse 'is not what was exported' kvmc image import flipped; empty flipped
        refuse 'is not an exported image' kvmc image import climbing; empty climbing
        refuse 'has format 9' kvmc image import newer; empty newer
        # The parent was read whole, and stays. The layer with the wrong backing file does not.
        refuse 'backing file `/etc/shadow' kvmc image import leading
        test "$(kvmc image ls --json | grep -c '"parent": null')" = 1 && ! kvmc image ls --json | grep -q '"parent": "' || fail "$(kvmc image ls)"
        refuse 'leave out --arch' kvmc image import mine.kvmc --arch arm64
        test ! -e /etc/evil || fail 'it wrote outside'
        test -z "$(find $KVMC_STATE_DIR/images/pulls -name 'make-*')" || fail 'something is left'
        rm -r $KVMC_STATE_DIR"#,
    );
}

#[test]
fn a_cloud_image_is_prepared_once_and_its_nodes_wake() {
    runs(
        r#"echo 'prepare fit yes' > ../bin/script
        printf '#cloud-config\nruncmd: [true]\n' > user.yaml
        $UP --masters 2 --image base --user-data user.yaml --dry-run | grep -q 'prepare the image mine' || fail 'the plan'
        $UP --masters 2 --image base --user-data user.yaml 2>../said || fail "$(cat ../said)"
        grep -q 'preparing mine; its first start is done once' ../said && test $(grep -c woken ../said) = 2 || fail "$(cat ../said)"
        test ! -e $KVMC_STATE_DIR/clusters/k80/nodes/master0/seed.img || fail 'a node with the agent has a seed'
        id=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["nodes"][0]["base"]["image"])' $KVMC_STATE_DIR/clusters/k80/cluster.json)
        test "$(of $id parent)" = "$(of base id)" && test "$(of $id guest)" = agent || fail "$(kvmc image inspect $id)"
        refuse 'used by image' kvmc image rm base
        refuse 'used by cluster k80' kvmc image rm $id
        $UP --masters 3 --image base 2>../said || fail "$(cat ../said)"
        kvmc down
        # kvmc keeps the prepared image, and finds it by its source. With --cold it uses the unchanged image.
        $UP --masters 1 --image base 2>../said; ! grep -q preparing ../said || fail "$(cat ../said)"; kvmc down
        $UP --masters 1 --image base --cold; test -e $KVMC_STATE_DIR/clusters/k80/nodes/master0/seed.img || fail 'cold, it has no seed'
        kvmc down; kvmc image prune; of $id id >/dev/null || fail 'prune took what an up would take'
        # Like an image that another version of kvmc prepared, which this version does not look for.
        rm $KVMC_STATE_DIR/images/tags/prepared*; kvmc image prune; refuse 'the store has no image' kvmc image inspect $id
        of base id >/dev/null || fail 'prune took a cloud image'
        kvmc image prune --all; test "$(kvmc image ls --json)" = '[]' || fail "$(kvmc image ls)"
        test -z "$(ls -A $KVMC_STATE_DIR/warm | grep -v 'lock$')" || fail "$(ls -A $KVMC_STATE_DIR/warm)""#,
    );
}

#[test]
fn a_template_of_another_version_goes_when_no_cluster_lies_on_it() {
    runs(
        r#"new=$(kvmc image build); kvmc image prune
        other() { rm -rf $KVMC_STATE_DIR/images/$1; cp -a $KVMC_STATE_DIR/images/$new $KVMC_STATE_DIR/images/$1
          sed -i 's/"key": *"[0-9a-f]*"/"key": "00"/' $KVMC_STATE_DIR/images/$1/image.json; grep -q '"key": "00"' $KVMC_STATE_DIR/images/$1/image.json || fail 'its key'; }
        old=00000000000000000000000000000001 mine=00000000000000000000000000000002
        other $old
        kvmc image ls | grep $old | grep -q 'agent, direct, outdated' && test $(kvmc image ls | grep -c outdated) = 1 || fail "$(kvmc image ls)"
        test $(of $old outdated) = True && test $(of $new outdated) = False || fail 'its JSON'
        $UP --masters 1 --image $old
        kvmc image prune 2>../said; of $old id >/dev/null || fail "prune took what is in use: $(cat ../said)"
        kvmc down
        # prune keeps an image with a tag.
        other $mine; echo $mine > $KVMC_STATE_DIR/images/tags/mine@amd64
        kvmc image prune 2>../said; grep -q "removed the image.*$(echo $old | cut -c1-12)" ../said || fail "$(cat ../said)"
        refuse 'the store has no image' kvmc image inspect $old
        of mine id >/dev/null && of $new id >/dev/null && of base id >/dev/null || fail "prune took too much: $(cat ../said)"
        # prune also keeps it while this version has not built its own, since up by its name uses it.
        kvmc image rm $new; rm $KVMC_STATE_DIR/images/tags/mine@amd64
        kvmc image prune; of $mine id >/dev/null || fail 'prune took the only one'
        kvmc image build 2>../said; grep -q 'kvmc image prune. removes it' ../said || fail "$(cat ../said)"
        kvmc image prune; refuse 'the store has no image' kvmc image inspect $mine
        # A damaged image neither prevents a new template nor makes others count as outdated.
        new=$(kvmc image build); other $old; : > $KVMC_STATE_DIR/images/$old/disk.qcow2; rm -r $KVMC_STATE_DIR/images/$new
        kvmc image build >/dev/null || fail 'it stops a build'
        ! kvmc image prune 2>../said && grep -q 'disk.qcow2' ../said && test -e $KVMC_STATE_DIR/images/$old || fail "$(cat ../said)""#,
    );
}

/// Programs that log their arguments, in place of those that would reach a real guest.
const STUBS: &str = r#"for p in ssh scp ansible-playbook; do
  printf '#!/bin/sh\necho "%s $*" >> ../asked\ntest ! -e ../fails || { echo "%s says no" >&2; exit 3; }\n' $p $p > ../bin/$p
  chmod 755 ../bin/$p
done
echo '#!/bin/sh' > setup.sh; echo '- hosts: all' > site.yml; mkdir app
"#;

#[test]
fn a_build_does_what_it_was_told_in_order_and_leaves_an_image_alone() {
    runs(&format!(
        r#"{STUBS}
        BUILD="kvmc image build --accel tcg --master-ram 512M --vcpus 1 --disk 1G"
        refuse 'is not FROM:TO' $BUILD --from base --copy app
        refuse 'setup.none' $BUILD --from base --run setup.none
        refuse 'unknown image `nothing`' $BUILD --from nothing --run setup.sh
        test ! -e ../asked && test ! -e $KVMC_STATE_DIR/clusters/build-* || fail 'something was done'
        host > ../before
        id=$($BUILD --from base --package vim --copy app:/opt/app --run setup.sh --run site.yml -t ready)
        host > ../after; same ../before ../after 'the host after a build'
        test "$(of ready id)" = $id && test "$(of ready parent)" = "$(of base id)" || fail 'its parent'
        sed -i 's,/[^ ]*/,,g' ../asked; cat ../asked
        grep -n 'apt-get install\|scp .* app .*copy0\|run0$\|ansible-playbook -i inventory site.yml\|rm -rf .kvmc-build' ../asked | cut -d: -f1 > ../order
        test $(wc -l < ../order) -ge 5 && sort -n -c ../order || fail "the order: $(cat ../asked)"
        touch ../fails
        refuse 'ssh ended with exit status: 3' $BUILD --from ready --run setup.sh -t more
        rm ../fails
        host > ../after; same ../before ../after 'the host after a build that failed'
        refuse 'the store has no image `more`' kvmc image inspect more
        # A built image can be the base of others. rm removes them from the top down.
        $BUILD --from ready --run setup.sh -t more >/dev/null
        refuse 'used by image' kvmc image rm ready
        kvmc image rm more; kvmc image rm ready; kvmc image rm base"#
    ));
}

#[test]
fn an_image_that_is_not_in_the_store_is_said_with_what_is() {
    runs(
        r#"kvmc image import mine.raw -t second >/dev/null
        for verb in 'rm nosuch' 'inspect nosuch' 'export nosuch file.kvmc'; do
          refuse "the store has no image \`nosuch\` for $(dpkg --print-architecture); it has base, " kvmc image $verb
          grep -q second ../err || fail "second is not named: $(cat ../err)"
          ! grep -q -e catalogue -e ubuntu ../err || fail "it speaks of what could be downloaded: $(cat ../err)"
        done
        test ! -e file.kvmc || fail 'it made a file'
        # rm does not remove the image of that name for another architecture.
        other=arm64; test $(dpkg --print-architecture) = amd64 || other=amd64
        printf x | dd of=mine.raw bs=1 seek=100 conv=notrunc status=none
        id=$(kvmc image import mine.raw --arch $other -t elsewhere)
        test "$(of $(echo $id | cut -c1-8) architecture)" = $other || fail 'its digest does not name it'
        refuse "which --arch $other" kvmc image rm elsewhere
        kvmc image rm elsewhere --arch $other
        # A cluster's image may be a download.
        refuse 'the catalogue has' $UP --masters 1 --image nosuch
        for image in $(kvmc image ls --json | sed -n 's/^    "id": "\(.*\)",/\1/p'); do kvmc image rm $image; done
        refuse '; the store is empty' kvmc image rm nosuch; cat ../err"#,
    );
}
