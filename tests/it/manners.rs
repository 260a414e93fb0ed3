//! Completion, manual pages, colours and quiet runs, on the tests' fake QEMU.

use super::fake;

const UP: &str = "UP=\"kvmc up --accel tcg $SMALL --load-balancers 0 --masters 1 --workers 1\"";

fn runs(script: &str) {
    fake::runs(&fake::bench(), &format!("{UP}\n{script}"));
}

#[test]
fn shells_complete_the_names_of_nodes_clusters_and_images() {
    runs(
        r#"cat > ../complete.bash <<'BASH'
source <(kvmc completions bash)
COMP_WORDS=(kvmc "$@"); COMP_CWORD=$#; COMP_TYPE=9
compopt() { :; }
_clap_complete_kvmc kvmc "${@: -1}" "${@: -2:1}"
echo "${COMPREPLY[@]}"
BASH
        complete() { bash ../complete.bash "$@" 2>&1; }
        is() { words=$1; shift; test "$(complete "$@")" = "$words" || fail "$*: $(complete "$@")"; }
        # Nothing is there, and nothing is said of that.
        is '' ssh m
        is 'status' stat
        $UP 2> /dev/null
        is 'master0' ssh m
        is 'worker0' ssh w
        is 'k80' --cluster k
        is '' --cluster nope ssh m
        is 'master0' --cluster k80 ssh m
        test -n "$(complete image rm '')" || fail 'no image'
        is 'debian-12 debian-13' image pull debian-1
        test "$(KVMC_COMPLETE=fish kvmc -- kvmc ssh w | cut -f1)" = worker0 || fail 'fish'
        _CLAP_COMPLETE_INDEX=2 KVMC_COMPLETE=zsh kvmc -- kvmc ssh w | grep -q '^worker0' || fail 'zsh'
        for shell in zsh fish; do kvmc completions $shell | grep -q KVMC_COMPLETE || fail $shell; done
        # A user who may not read root's state has the folder's ssh_config, and hears of no error.
        there=$(mktemp -d); cp $(command -v kvmc) $there/; cp ssh_config $there/; chmod -R a+rX $there
        trap 'code=$?; rm -r $there; kvmc down >/dev/null 2>&1; exit $code' EXIT
        as_user() { (cd $there; setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent KVMC_COMPLETE=fish "$@" 2>&1); }
        as_user $there/kvmc -- kvmc ssh m | grep -q '^master0' || fail "as a user: $(as_user $there/kvmc -- kvmc ssh m)"
        test -z "$(as_user $there/kvmc -- kvmc image rm x)" || fail 'an error is said'
        # A damaged record, and a wrong kvmc.toml.
        echo '{' > $KVMC_STATE_DIR/clusters/k80/cluster.json; is 'master0' ssh m
        echo 'x =' > kvmc.toml; is 'master0' --cluster k80 ssh m; rm kvmc.toml
        KVMC_COMPLETE=tcsh kvmc -- kvmc ssh m > ../out 2>&1 || true; test ! -s ../out || fail 'an unknown shell'
        kvmc doctor --fix > /dev/null 2>&1 || true"#,
    );
}

#[test]
fn every_verb_has_a_manual_page_that_groff_reads() {
    runs(
        r#"kvmc man --out ../man1
        for verb in up status events image image-ls forward-add; do test -s ../man1/kvmc-$verb.1 || fail "no page of $verb"; done
        test ! -e ../man1/kvmc-keeper.1 || fail 'a page of a hidden verb'
        command -v groff > /dev/null || exit 0
        for page in ../man1/*.1; do
          groff -k -man -Tutf8 -ww "$page" > ../text 2> ../said || fail "$page"
          test -s ../text && test ! -s ../said || fail "$page: $(cat ../said)"
        done"#,
    );
}

#[test]
fn colours_and_quiet_are_chosen_by_flags_and_variables() {
    runs(
        r#"kvmc --quiet up --accel tcg $SMALL --load-balancers 0 --masters 1 --workers 1 > ../out 2>&1
        test ! -s ../out || fail "quiet says: $(cat ../out)"
        esc=$(printf '\033'); green="${esc}\[32mready${esc}\[0m"
        kvmc status > ../out; if grep -q "$esc" ../out; then fail 'colours in a file'; fi
        kvmc --color always status | grep -q "$green" || fail 'always'
        CLICOLOR_FORCE=1 kvmc status | grep -q "$green" || fail 'CLICOLOR_FORCE'
        if kvmc --color never status | grep -q "$esc"; then fail 'never'; fi
        if CLICOLOR_FORCE=1 NO_COLOR=1 kvmc status | grep -q "$esc"; then fail 'NO_COLOR'; fi
        if kvmc --color always status --json | grep -q "$esc"; then fail 'JSON in colours'; fi
        terminal() { script -qec "$1" /dev/null < /dev/null; }
        terminal 'env TERM=xterm kvmc status' | grep -q "$green" || fail 'on a terminal'
        if terminal 'env TERM=xterm NO_COLOR=1 kvmc status' | grep -q "${esc}\[32m"; then fail 'NO_COLOR on a terminal'; fi
        kvmc --quiet --color always ssh nobody true 2> ../said && fail 'no error' || true
        grep -q "${esc}\[31merror:${esc}\[0m .*no node" ../said || fail "$(cat -v ../said)"
        kvmc --color always statsu 2> ../said && fail 'no such verb' || true
        grep -q "$esc" ../said || fail 'clap does not obey'
        kvmc --quiet down > ../out 2>&1; test ! -s ../out || fail "quiet says: $(cat ../out)""#,
    );
}

#[test]
fn the_timeline_of_a_start_is_text_json_and_a_picture() {
    runs(
        r#"code=0; kvmc timeline 2> ../said || code=$?; test $code = 4 || fail "without a cluster: $code"
        $UP 2> /dev/null
        kvmc timeline > ../out; cat ../out
        head -1 ../out | grep -q '^cluster k80 at 20.*: 2 of 2 nodes ready, in ' || fail 'the summary'
        grep -q 'worker0 *[kwilsr ]* .*[0-9]\.[0-9][0-9] s' ../out || fail 'the bars'
        kvmc timeline --svg ../t.svg --html ../t.html
        python3 - <<'PY' || fail 'the picture'
import json, subprocess, xml.etree.ElementTree as tree
svg = tree.parse("../t.svg").getroot()
titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
assert any(t.startswith("master0 waited for ready: ") for t in titles), titles
assert "<svg" in open("../t.html").read()
line = json.loads(subprocess.check_output(["kvmc", "timeline", "--json"]))
assert [s["stage"] for s in line["nodes"][0]["stages"]][0] == "started" and line["took"] > 0
PY
        # The next start is another one.
        before=$(kvmc timeline --json | grep began); kvmc stop; kvmc start
        test "$(kvmc timeline --json | grep began)" != "$before" || fail 'the start before'
        kvmc timeline --svg /nonexistent/x 2> ../said && fail 'no error' || grep -q '/nonexistent/x' ../said || fail "$(cat ../said)""#,
    );
}
