//! user_data in the forms that cloud-init takes, read from seeds by cloud-init's own code. No guest runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::fake;

/// Makes what base-files and ca-certificates make when they are installed.
const CONFIGURE: &str = "for d in bin lib lib64 sbin; do ln -s usr/$d $d; done
cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt";

/// A root with cloud-init and the modules that it needs, as packages have them and nobody configured.
fn cloud_init() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-init");
        if !root.exists() {
            let new = root.with_extension(std::process::id().to_string());
            let made = Command::new("mmdebstrap")
                .args([
                    "--quiet",
                    "--mode=root",
                    "--variant=extract",
                    "--format=directory",
                ])
                .args(["--include=cloud-init", "trixie"])
                .arg(&new)
                .status()
                .unwrap();
            assert!(made.success(), "cloud-init's package cannot be had");
            let configured = Command::new("sh")
                .args(["-euc", CONFIGURE])
                .current_dir(&new)
                .status()
                .unwrap();
            assert!(configured.success(), "cloud-init's root is not complete");
            // Another run may have made it meanwhile.
            if std::fs::rename(&new, &root).is_err() {
                std::fs::remove_dir_all(&new).unwrap();
            }
        }
        root
    })
}

/// A role for each file of user data. The images have no agent, so each node has a seed.
const ROLES: &str = r##"
truncate -s 8M mine.raw; printf '\125\252' | dd of=mine.raw bs=1 seek=510 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 mine.raw mine.qcow2
cat > plain <<'END'
#cloud-config
users: [default, {name: ann}]
bootcmd: [of-the-user]
hostname: of-the-user
write_files: [{path: /of-the-user}]
END
cat > how <<'END'
#cloud-config
merge_how: dict(replace)+list(replace)+str()
users: [{name: ann}, {name: admin, lock_passwd: true}]
bootcmd: [of-the-user]
END
printf '#cloud-config\nusers: {ann: {shell: /bin/sh}}\nbootcmd:\n' > mapping
cat > archive <<'END'
#cloud-config-archive
- type: text/cloud-config
  content: |
    users: [{name: ann}]
    bootcmd: [of-the-user]
- |
  #!/bin/sh
  echo of-the-user
END
printf '\n\n## template: jinja\n#cloud-config\nusers: [{name: "of-{{ v1.local_hostname }}"}]\n' > template
printf '#cloud-config-jsonp\n[{"op": "add", "path": "/users", "value": [{"name": "ann"}]}]\n' > patch
printf '#!/bin/sh\necho of-the-user MIME-Version:\n' > script
printf '#cloud-boothook\n#!/bin/sh\necho of-the-user\n' > hook
printf '#part-handler\ndef list_types(): return ["text/x-mine"]\ndef handle_part(*a): pass\n' > handler
{
  printf 'Content-Type: multipart/mixed; boundary="==kvmc=="\nmime-version: 1.0\n\n'
  printf -- '--==kvmc==\nContent-Type: text/cloud-config\n\n'; cat plain
  printf -- '\n--==kvmc==\nContent-Type: text/cloud-config-archive\n\n'; cat archive
  printf -- '\n--==kvmc==\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n'; base64 script
  printf -- '\n--==kvmc==--\n'
} > message
{ echo; cat message; } | gzip > packed
all='plain how mapping archive template patch script hook handler message packed'
{ for f in $all; do printf '[roles.%s]\ncount = 1\nimage = "./mine.qcow2"\nuser_data = "%s"\n' $f $f; done; } > kvmc.toml
"##;

#[test]
fn no_form_of_user_data_evicts_the_admin_or_the_report() {
    let script = format!(
        r##"{ROLES}
        kvmc up --accel tcg --ram 256M --vcpus 1 --masters 0 --workers 0 --load-balancers 0 2>../said || fail "$(cat ../said)"
        root={root}; mkdir -p ../read; mount --bind $root ../read
        cp "$SCRIPTS/cloud_init.py" ../read/tmp/read.$$.py
        for f in $all; do
          cp $KVMC_STATE_DIR/clusters/k80/nodes/${{f}}0/seed.img ../read/tmp/seed.$$
          chroot ../read /usr/bin/python3 -I /tmp/read.$$.py /usr/lib/python3/dist-packages /tmp/seed.$$ ${{f}}0 > ../$f.json 2>../err || fail "$f: $(cat ../err)"
        done
        rm ../read/tmp/*.$$*; umount ../read
        python3 - $all <<'PYTHON'
import json, sys
for form in sys.argv[1:]:
    is_ = json.load(open(f"../{{form}}.json"))
    config, users, hooks = is_["config"], is_["users"], is_["hooks"]
    def check(what, right):
        assert right, f"{{form}}: {{what}}: {{is_}}"
    admin = users.get("admin", {{}})
    check("admin", admin.get("lock_passwd") is False and len(admin["ssh_authorized_keys"]) == 1 and admin["sudo"])
    check("the report", any("stage" in hook for hook in hooks))
    check("kvmc's values", config["hostname"] == form + "0" and config["manage_etc_hosts"] is False)
    check("kvmc's files", config["write_files"][0]["path"] == "/etc/hosts")
    check("kvmc's keys", "rsa_private" in config["ssh_keys"] or "ed25519_private" in config["ssh_keys"])
    if form in ("plain", "how", "mapping", "archive", "patch", "message", "packed"):
        check("the user's user", "ann" in users)
    if form in ("plain", "how", "archive", "message", "packed"):
        check("the user's bootcmd", config["bootcmd"] == ["of-the-user"])
    if form in ("archive", "script", "message", "packed"):
        check("the user's script", any("of-the-user" in script for script in is_["scripts"]))
    if form in ("message", "packed"):
        check("both scripts", len(is_["scripts"]) == 2)
        check("the user's files", config["write_files"][1]["path"] == "/of-the-user")
    if form == "template":
        check("the user's user", "of-template0" in users)
    if form == "hook":
        check("the user's hook", any("of-the-user" in hook for hook in hooks))
print("ok")
PYTHON
        kvmc down"##,
        root = cloud_init().display()
    );
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, &script);
}

#[test]
fn mistakes_in_user_data_are_named_with_file_and_line_before_anything_is_made() {
    let script = r##"truncate -s 8M mine.raw; printf '\125\252' | dd of=mine.raw bs=1 seek=510 conv=notrunc status=none
        refuse() {
          for dry in '' --dry-run; do
            ! kvmc up --accel tcg $SMALL --load-balancers 0 --masters 1 --workers 0 --image ./mine.raw --user-data user $dry 2>../err || fail "taken: $(cat user)"
            grep -qF -- "$1" ../err || fail "says: $(cat ../err)"
            test ! -e $KVMC_STATE_DIR/clusters || fail 'a cluster is left'
            test -z "$(ls)" -o "$(ls | tr '\n' ' ')" = 'mine.raw user ' || fail "files are left: $(ls)"
          done
        }
        printf '#cloud-config\na: 1\n---\nb: 1\n' > user; refuse 'user:3: a second YAML document'
        printf '#!/bin/sh\r\necho\r\n' > user; refuse 'user:1: the lines of this script end with CR LF'
        printf '\n\n#!/bin/sh\r\n' | gzip > user; refuse 'user:3: the lines of this script'
        printf 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\na: 1\n---\nb: 1\n--b--\n' > user; refuse 'user:8: a second YAML document'
        printf '#cloud-config\nusers:\n' > user; refuse 'user:2:1: `users` holds no list'
        printf '\357\273\277#cloud-config\n' > user; refuse 'byte order mark'
        : > user; refuse 'user is empty'"##;
    let bench = fake::bench();
    fake::own_images(&bench);
    fake::runs(&bench, script);
}
