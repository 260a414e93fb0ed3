//! Ring 2: the files for Ansible and ssh in folders as users have them, on the tests' fake QEMU; and what Ansible and
//! ssh themselves make of them.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::fake;
use super::support::Bench;

const UP: &str = "kvmc up --accel tcg $SMALL --masters 1 --workers 0 --load-balancers 0 --cold";

fn runs(script: &str) -> String {
    fake::runs(
        &fake::bench(),
        &format!("up() {{ {UP} \"$@\"; }}\n{script}"),
    )
}

/// Both are refused, and touch nothing; what they say.
fn refused(bench: &Bench, arguments: &str) -> String {
    let shown = bench.refused("", &format!("timeout 20 kvmc up --dry-run {arguments}"));
    let said = bench.refused("", &format!("timeout 20 kvmc up {arguments}"));
    assert_eq!(shown, said);
    said
}

/// Makes something at a path.
type Make<'a> = &'a dyn Fn(&Path);

#[test]
fn what_stands_in_the_place_of_a_file_is_refused_before_any_work() {
    let fifo = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    let cases: [(&str, Make<'_>, &str); 5] = [
        (
            "inventory",
            &|p| std::fs::create_dir(p).unwrap(),
            "inventory is a directory",
        ),
        ("known_hosts", &fifo, "known_hosts is a FIFO"),
        ("inventory", &fifo, "inventory is a FIFO"),
        (
            "id_rsa",
            &|p| symlink("/root/.ssh/id_rsa", p).unwrap(),
            "id_rsa is a link",
        ),
        (
            "id_rsa.pub",
            &|p| std::fs::write(p, "ssh-rsa AAAA me@home\n").unwrap(),
            "id_rsa.pub exists, but kvmc did not make it",
        ),
    ];
    for (name, make, expected) in cases {
        // Without QEMU and without a template: nothing is looked for before.
        let bench = Bench::new();
        make(&bench.project().join(name));
        let said = refused(&bench, "");
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("`kvmc up --files .kvmc`"), "{said}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_or_named_is_refused_before_any_work() {
    let bench = Bench::new();
    let read_only = "mount --bind . . && mount -o remount,ro,bind . && cd . && kvmc up";
    for how in ["", " --dry-run"] {
        let said = bench.refused("", &format!("{read_only}{how}"));
        assert!(
            said.contains("cannot be written") && said.contains("--files"),
            "{said}"
        );
    }
    for (folder, expected) in [
        ("'a${HOME}'", "has `${`"),
        ("\"$(printf 'a\\nb')\"", "has a line break"),
    ] {
        let said = refused(&bench, &format!("--files {folder}"));
        assert!(said.contains(expected), "{said}");
    }
    let said = refused(&bench, "--files no/where");
    assert!(said.contains("no/where is to be in is not there"), "{said}");
}

#[test]
fn files_that_are_gone_come_back_and_what_the_user_changed_stays() {
    let said = runs(
        r#"up; sha256sum * > ../all
        rm inventory id_rsa
        up --dry-run | grep -qxF "restore inventory, id_rsa in $PWD" || fail "$(up --dry-run)"
        up; sha256sum -c --quiet ../all || fail 'not as they were'
        echo '[mine]' >> inventory; cp inventory ../mine
        (mkdir ../else; cd ../else; up) 2>&1 | grep -F "keys are in $PWD" || fail 'where they are'
        kvmc up --cold --workers 1 2> ../said; cat ../said >&2
        grep -q "$PWD/inventory is left, because it was changed after kvmc wrote it; the current one is $KVMC_STATE_DIR/clusters/k80/inventory" ../said
        kvmc stop; kvmc start; cmp inventory ../mine || fail 'written over'
        grep -q worker0 ssh_config || fail 'the others follow the cluster'
        kvmc down 2> ../said || fail "down ended with $?: $(cat ../said)"
        cat ../said >&2
        test "$(ls -A)" = inventory || fail "left: $(ls -A)"; cmp inventory ../mine
        ! kvmc status 2>/dev/null || fail 'the cluster is there'
        ! up 2> ../said || fail 'taken'
        grep -F 'inventory was made by kvmc and may have been changed since' ../said || fail "$(cat ../said)"
        rm inventory; mkfifo ../f; up; rm inventory; mv ../f inventory; up; timeout 30 kvmc down; test -p inventory"#,
    );
    assert!(
        said.contains("not removed, because it was changed after kvmc wrote it: "),
        "{said}"
    );
}

#[test]
fn a_folder_that_moved_or_is_gone_does_not_stop_start() {
    runs(
        r#"mkdir ../a; cd ../a; up; kvmc stop
        mv ../a ../b; cd ../b; kvmc start 2> ../said; cat ../said >&2
        grep -F "/a is gone; inventory, ssh_config and keys are in $KVMC_STATE_DIR/clusters/k80" ../said || fail where
        up 2>&1 | grep -F 'up --files .`' || fail 'the way out'
        rm -r ../b/*; up --files .; test $(ls | wc -l) = 5 || fail "$(ls)"
        # A folder of kvmc's comes back, and goes.
        mkdir inventory.d; up --files .kvmc; test "$(ls -A)" = "$(printf '.kvmc\ninventory.d')" || fail "$(ls -A)"
        ssh -G -F .kvmc/ssh_config master0 | grep -qF "$PWD/.kvmc/id_rsa" || fail ssh_config
        rm -r .kvmc; up; test -s .kvmc/inventory || fail 'not restored'
        kvmc stop; cd ..; rm -r b; (cd project; kvmc start); kvmc down; test ! -e b"#,
    );
}

#[test]
fn two_clusters_do_not_write_over_each_other() {
    runs(
        r#"up; sha256sum * > ../all
        two() { up --cluster two --bridge k81 --subnet 192.168.81.0/24 "$@"; }
        for how in '' --dry-run; do
          ! two $how 2> ../said || fail taken
          grep -qF "$PWD has the files of cluster \`k80\`" ../said || fail "$(cat ../said)"
          grep -qF '`kvmc --cluster two up --files .kvmc`' ../said || fail "$(cat ../said)"
        done
        sha256sum -c --quiet ../all
        two --files .kvmc; up --files .; sha256sum -c --quiet ../all
        ! up --files .kvmc 2> ../said || fail 'moved over the other'
        kvmc down --cluster two; test ! -e .kvmc; sha256sum -c --quiet ../all; kvmc down; test -z "$(ls -A)""#,
    );
}

#[test]
fn the_password_is_in_the_inventory_unless_it_is_unwanted_or_in_the_way() {
    runs(
        r#"old() { printf '#!/bin/sh\necho "ansible [core %s]"\n' $1 > ../bin/ansible; chmod +x ../bin/ansible; }
        up; grep -q ^ansible_password= inventory || fail 'by default'
        mount --bind /dev/null /usr/bin/sshpass 2>/dev/null || true
        old 2.19.1; up; grep -q ^ansible_password= inventory || fail 'a newer Ansible'
        old 2.18.9; up; grep '^# ansible_password=' inventory || fail 'an older Ansible'
        ! grep -q ^ansible_password= inventory; grep -q 'ansible-core 2.18.9 refuses' inventory
        kvmc doctor | grep 'sshpass .*warning.*2.18.9' || fail "$(kvmc doctor)"
        printf '#!/bin/sh\necho "$@" >> ../asked\n' > ../bin/apt-get; chmod +x ../bin/apt-get
        kvmc doctor --fix; grep 'install.* sshpass' ../asked || fail 'not installed'
        umount /usr/bin/sshpass 2>/dev/null || true
        echo > ../bin/sshpass; chmod +x ../bin/sshpass
        kvmc doctor | grep 'sshpass  *ok' || fail "$(kvmc doctor)"
        up; grep -q ^ansible_password= inventory || fail 'with sshpass again'
        up --inventory-password=false; ! grep ansible_password inventory || fail 'unwanted'
        up; ! grep ansible_password inventory || fail 'unwanted, later'"#,
    );
}

/// Folders of all that somebody between us and ssh may read as his own.
const FOLDERS: [&str; 14] = [
    "a b",
    "it's",
    "say \"hi\"",
    "100%h",
    "{{ x }}",
    "{% if %}",
    "# c",
    "semi;colon",
    "$HOME `id`",
    "ünïcödé 日本",
    "-dash",
    "back\\slash",
    "*?[a] ~,=&|<>()!",
    "\\\"'%{$#;",
];

/// Runs Ansible through the inventory of each folder, against a real sshd in the node's place.
fn pings(title: &str, ansible: &Path, before: &str) {
    let sshd = std::env::var_os("KVMC_SSHD").map_or_else(|| "/usr/sbin/sshd".into(), PathBuf::from);
    for program in [&sshd, ansible] {
        if !program.is_file() {
            println!("skipped: {title} ({} is not installed)", program.display());
            return;
        }
    }
    let bench = fake::bench();
    for folder in FOLDERS {
        std::fs::create_dir_all(bench.dir().join("f").join(folder)).unwrap();
    }
    let libraries = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    fake::runs(
        &bench,
        &format!(
            r#"{before}
        up() {{ {UP} "$@"; }}
        up
        sshd={sshd}; ansible={ansible}
        python3 - > ../hostkey <<'PY'
import json, os
keys = json.load(open(os.environ["KVMC_STATE_DIR"] + "/clusters/k80/secrets.json"))["hosts"]["master0"]
print(keys["ed25519"]["private"], end="")
PY
        chmod 600 ../hostkey; cp id_rsa.pub ../authorized; mkdir -p /run/sshd ../login
        cp /etc/passwd ../passwd; echo "admin:x:0:0::$(cd ..; pwd)/login:/bin/sh" >> ../passwd
        grep -q ^sshd: ../passwd || echo 'sshd:x:64999:64999::/run/sshd:/bin/false' >> ../passwd
        mount --bind ../passwd /etc/passwd
        cat > ../sshd.conf <<CONF
HostKey $(cd ..; pwd)/hostkey
Port 2222
ListenAddress 127.0.0.1
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
RequiredRSASize 1024
AuthorizedKeysFile $(cd ..; pwd)/authorized
Subsystem sftp internal-sftp
PidFile none
CONF
        LD_LIBRARY_PATH={libraries} $sshd -D -f ../sshd.conf -E ../sshd.log & server=$!
        nft -f - <<NFT
table ip stand_in {{ chain out {{ type nat hook output priority -100; ip daddr 192.168.80.2 tcp dport 22 redirect to :2222; }}; }}
NFT
        n=0; until ss -Hltn 'sport = :2222' | grep -q .; do n=$((n + 1)); test $n -lt 100 || fail "$(cat ../sshd.log)"; sleep 0.1; done
        for folder in ../f/*; do
          (cd "$folder"; up --files . 2>/dev/null
           ssh -n -F ssh_config master0 true || fail "ssh from $folder"
           ANSIBLE_SSH_ARGS=-C $ansible -i inventory all -m ping < /dev/null > ../../said 2>&1 || {{ cat ../../said ../../sshd.log inventory; fail "$folder"; }}
           # And where roles see it.
           test "$($ansible -i inventory all -m debug -a 'msg={{{{ansible_ssh_private_key_file}}}}' 2>&1 | grep -c FAILED)" = 0) || exit 1
          echo "ok: $folder"
        done
        cd ../project; kvmc down"#,
            sshd = sshd.display(),
            ansible = ansible.display(),
        ),
    );
}

#[test]
fn ansible_goes_through_an_inventory_in_any_folder() {
    pings("Ansible with sshpass", Path::new("/usr/bin/ansible"), "");
}

#[test]
fn an_old_ansible_without_sshpass_goes_through_an_inventory_in_any_folder() {
    let without = "test ! -e /usr/bin/sshpass || mount --bind /dev/null /usr/bin/sshpass";
    pings(
        "Ansible without sshpass",
        Path::new("/usr/bin/ansible"),
        without,
    );
}

/// `KVMC_NEWEST_ANSIBLE` names one, such as `pip install ansible-core` in a venv makes it.
#[test]
fn the_newest_ansible_goes_through_an_inventory_in_any_folder() {
    let newest = std::env::var_os("KVMC_NEWEST_ANSIBLE").map(PathBuf::from);
    let newest = newest.unwrap_or_else(|| "/opt/ansible/bin/ansible".into());
    pings("the newest Ansible", &newest, "");
}
