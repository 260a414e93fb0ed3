//! `sync`, on nodes that a fake ssh stands for. The program for the node's Python is the real one.

use super::access::runs;

/// `same_tree FOLDER COPY`: kinds, modes, links, contents, and the times of files.
const SAME: &str = r#"tree() { (cd $1; find . -mindepth 1 ! -type p -printf '%P %y %m %l ' \( -type f -printf '%s %T@' -o -true \) -printf '\n' | sort; find . -type f -exec cksum {} + | sort); }
  same_tree() { tree $1 > ../tree.a; tree $2 > ../tree.b; same ../tree.a ../tree.b "$3"; }"#;

fn synced(script: &str) {
    runs(&format!("{SAME}\n{script}"));
}

#[test]
fn a_folder_of_nodes_gets_what_differs_and_nothing_else() {
    synced(
        r#"mkdir -p src/sub/deep src/empty; echo one > src/a; echo two > 'src/sub/b: c'; : > src/sub/deep/none
        ln -s a src/link; ln -s /etc src/out; mkfifo src/pipe; chmod 750 src/sub; chmod 555 src/sub/deep; chmod 4711 src/a
        printf x > "src/$(printf 'n\377 \047')"; truncate -s 3M src/holes; echo end >> src/holes
        kvmc sync src workers:app/x 2> ../err; cat ../err
        grep -q 'worker1 *1[01] copied, 3M' ../err && grep -q '1 path left out' ../err || fail 'words'
        for n in worker0 worker1; do same_tree src ../ssh/$n/app/x "the copy on $n"; done
        test "$(du -k ../ssh/worker0/app/x/holes | cut -f 1)" -lt 1000 || fail 'holes are filled'
        kvmc sync src workers:app/x 2> ../err; test "$(grep -c 'nothing to copy' ../err)" = 2 || fail "$(cat ../err)"
        # Only what differs is copied: contents, modes, kinds, links.
        inode=$(stat -c %i ../ssh/worker0/app/x/a)
        echo three > 'src/sub/b: c'; chmod 600 src/a; ln -sfn /usr src/out; rm -r src/empty; : > src/empty; echo x > ../ssh/worker0/app/x/more
        kvmc sync src worker0:app/x 2> ../err; grep -q 'worker0 *3 copied' ../err || fail "$(cat ../err)"
        test "$(stat -c %i ../ssh/worker0/app/x/a)" = $inode || fail 'a mode does not copy a file'
        rm ../ssh/worker0/app/x/more; same_tree src ../ssh/worker0/app/x 'after changes'
        # A folder where only root of the host could write is one of the node's user like others.
        rm 'src/sub/b: c'; echo four > src/sub/deep/none; touch ../ssh/worker0/app/x/sub/deep/old
        kvmc sync --dry-run --delete src worker0:app/x > ../out
        printf '%s\n' 'worker0: remove sub/deep/old' 'worker0: remove sub/b: c' 'worker0: copy sub/deep/none' | sort > ../expected; sort ../out > ../sorted; same ../expected ../sorted 'the dry run'
        test -e ../ssh/worker0/app/x/sub/deep/old || fail 'a dry run removes'
        kvmc sync --delete --json src worker0:app/x > ../out
        python3 -c 'import json; node, = json.load(open("../out")); assert (node["copied"], node["removed"], node["bytes"], node["failures"], node["error"]) == (1, 2, 5, 0, None), node'
        same_tree src ../ssh/worker0/app/x 'after a removal'
        # The home folder, by its names.
        kvmc sync src/sub worker0: 2>/dev/null; test -e ../ssh/worker0/deep/none || fail home"#,
    );
}

#[test]
fn what_is_left_out_is_neither_copied_nor_removed() {
    synced(
        r#"mkdir -p src/target/x src/a ../ssh/worker0/app/target ../ssh/worker0/app/old ../ssh/worker0/app/older/deep
        echo 1 > src/target/x/big; echo 1 > src/a/b.o; echo 1 > src/a/keep.o; echo 1 > src/a/c
        touch ../ssh/worker0/app/target/own ../ssh/worker0/app/old/x.o ../ssh/worker0/app/old/y ../ssh/worker0/app/older/deep/z
        kvmc sync --delete --exclude target/ --exclude '*.o' --exclude '!keep.o' src worker0:app 2> ../err
        test "$(cd ../ssh/worker0/app; find . -type f | sort | tr '\n' ' ')" = './a/c ./a/keep.o ./old/x.o ./target/own ' || fail "$(cat ../err; find ../ssh/worker0/app)"
        test ! -e ../ssh/worker0/app/older || fail 'an old folder stays'
        fails 2 '`[z-a]` is no pattern' kvmc sync --exclude '[z-a]' src worker0:app"#,
    );
}

#[test]
fn no_path_leads_out_of_the_folder_and_no_kind_is_mistaken_for_another() {
    synced(
        r#"mkdir -p src/sub src/dir ../ssh/worker0/app ../outside; echo new > src/sub/x; echo new > src/file; echo new > src/dir/y
        echo kept > ../outside/x; ln -s "$(cd ../outside; pwd)" ../ssh/worker0/app/sub; ln -s "$(cd ../outside; pwd)/x" ../ssh/worker0/app/file; echo old > ../ssh/worker0/app/dir
        kvmc sync src worker0:app 2> ../err || { cat ../err; fail sync; }
        test "$(cat ../outside/x)" = kept || fail 'a link was followed'
        same_tree src ../ssh/worker0/app 'links and files in the way'
        # A link on the way of the folder itself is the user's.
        mkdir ../elsewhere; ln -s "$(cd ../elsewhere; pwd)" ../ssh/worker0/linked; kvmc sync src worker0:linked 2>/dev/null; same_tree src ../elsewhere 'a linked folder'
        # A folder that is not empty makes no place for a file, unless it may be removed.
        rm -r src/dir; echo file > src/dir
        fails 1 'worker0: `dir`: a folder of this name is not empty on the node' kvmc sync src worker0:app
        test -e ../ssh/worker0/app/dir/y || fail 'it was removed'
        kvmc sync --delete src worker0:app 2>/dev/null; same_tree src ../ssh/worker0/app 'a file for a folder'
        before=$(find ../ssh ../home 2>/dev/null | sort | cksum)
        export HOME=$PWD/../ssh/worker0
        for path in '' '~' . .. / "$HOME"; do fails 1 'would remove the user' kvmc sync --delete src "worker0:$path"; done
        fails 1 'is no folder' kvmc sync src worker0:app/file
        fails 1 'is not a folder' kvmc sync src/file worker0:app
        fails 1 'does not exist' kvmc sync none worker0:app
        fails 2 'names no node' kvmc sync src app
        fails 4 'did you mean `worker0`?' kvmc sync src wroker0:app
        fails 2 'cannot be used with' kvmc sync --watch --json src worker0:app
        test "$(find ../ssh ../home 2>/dev/null | sort | cksum)" = "$before" || fail 'a refused sync changed something'"#,
    );
}

#[test]
fn a_node_that_fails_keeps_whole_files_and_the_others_go_on() {
    synced(
        r#"mkdir src; head -c 3000000 /dev/urandom > src/big; echo small > src/small; echo old > ../old
        mkdir -p ../ssh/worker0/app; mount -t tmpfs -o size=1m none ../ssh/worker0/app; cp ../old ../ssh/worker0/app/big
        fails 3 'worker0: no space is left on the node for `big`' kvmc sync src workers:app
        cmp ../old ../ssh/worker0/app/big || fail 'half of a file'; test "$(ls -A ../ssh/worker0/app)" = big || fail "$(ls -A ../ssh/worker0/app)"
        same_tree src ../ssh/worker1/app 'the other node'
        umount ../ssh/worker0/app
        touch ../ssh/nopython.worker0; fails 3 'worker0: the node has no python3' kvmc sync src workers:app; rm ../ssh/nopython.worker0
        touch ../ssh/gone.worker0; fails 3 'worker0: connect to host worker0 port 22: No route to host' kvmc sync src workers:app; rm ../ssh/gone.worker0
        # What cannot be read hides nothing that is to be removed.
        # A file that changes while it is read: the node keeps the one before.
        kvmc sync src worker0:app 2>/dev/null; truncate -s 60M src/big; cp --reflink=never src/small ../ssh/worker0/app/big
        while :; do printf x >> src/big; sleep 0.002; done & writes=$!
        code=0; kvmc sync src worker0:app 2> ../err || code=$?; kill $writes
        test $code = 1 && grep -q 'worker0: `big`: it changes while it is read' ../err && cmp src/small ../ssh/worker0/app/big || { cat ../err; fail "a file that changes: $code"; }
        kvmc sync src worker0:app 2>/dev/null; same_tree src ../ssh/worker0/app 'once it is quiet'
        touch ../ssh/hang.worker0
        kvmc sync src workers:app > ../out 2> ../err & sync_pid=$!
        until_there ../ssh/hangs.worker0; n=0; until grep -q '^worker1 ' ../err; do n=$((n + 1)); test $n -lt 200 || fail "$(cat ../err)"; sleep 0.05; done
        kill -INT $sync_pid; code=0; wait $sync_pid || code=$?
        test $code = 130 && grep -q 'interrupted; what was copied to worker0 is incomplete' ../err || fail "$code: $(cat ../err)"
        until_gone $(cat ../ssh/hangs.worker0)"#,
    );
}

#[test]
fn a_watched_folder_follows_every_change_across_restarts_of_a_node() {
    synced(
        r#"mkdir -p src/sub; echo one > src/a; echo two > src/sub/b
        kvmc sync --watch --delete --exclude '*.tmp' --timeout 60 src workers:app > ../out 2> ../err & sync_pid=$!
        until_same() { n=0; until diff -r --no-dereference -x '*.tmp' src ../ssh/$1/app > /dev/null 2>&1; do n=$((n + 1)); test $n -lt 200 || { cat ../err; diff -r src ../ssh/$1/app; fail "$2 on $1"; }; sleep 0.05; done; }
        both() { until_same worker0 "$1"; until_same worker1 "$1"; }
        both 'the first copy'
        echo more >> src/a; both 'a change'
        mkdir -p src/new/deep; echo x > src/new/deep/file; echo x > src/left.tmp; both 'new folders'
        mv src/new src/moved; both 'a moved folder'; echo y > src/moved/deep/file; both 'a change in a moved folder'
        rm -r src/sub; ln -s a src/link; both 'a removal'; test ! -e ../ssh/worker0/app/sub || fail sub
        test ! -e ../ssh/worker0/app/left.tmp || fail 'what is left out'
        for n in $(seq 50); do echo $n > src/many; done; both 'many changes'
        # A node restarts: what changed meanwhile comes, also what changed there.
        touch ../ssh/gone.worker0; kill -9 $(cat ../pid.worker0); echo while > src/while; rm src/link; echo other > ../ssh/worker0/app/other
        until_same worker1 'the other node'
        n=0; until grep -q 'worker0 *lost: .*; trying again' ../err; do n=$((n + 1)); test $n -lt 100 || { cat ../err; fail lost; }; sleep 0.1; done
        rm ../ssh/gone.worker0; both 'after the restart'; test ! -e ../ssh/worker0/app/other || fail 'other'
        test "$(grep -c lost ../err)" = 1 || fail "$(cat ../err)"
        kill -INT $sync_pid; code=0; wait $sync_pid || code=$?
        test $code = 130 && grep -q 'interrupted; all nodes have what the folder holds' ../err || fail "$code: $(cat ../err)"
        # A node that does not come back is given up, and Ctrl-C names those that lack something.
        touch ../ssh/gone.worker0; kvmc sync --watch --timeout 2 src workers:app > ../out 2> ../err & sync_pid=$!
        n=0; until grep -q 'worker0 *given up: it did not come back within 2 s' ../err; do n=$((n + 1)); test $n -lt 100 || { cat ../err; fail 'given up'; }; sleep 0.1; done
        echo last > src/last; until_same worker1 'the one that is left'
        kill -INT $sync_pid; code=0; wait $sync_pid || code=$?
        test $code = 130 && grep -q 'interrupted; what was copied to worker0 is incomplete' ../err || fail "$code: $(cat ../err)"
        rm ../ssh/gone.worker0; kvmc sync --watch --delete src worker0:app 2> ../err & sync_pid=$!
        until_same worker0 again; rm -r src; code=0; wait $sync_pid || code=$?
        test $code = 1 && grep -q 'was removed or replaced' ../err && test -e ../ssh/worker0/app/a || fail "a folder that is gone: $code: $(cat ../err)"
        mkdir src; kvmc sync --watch src worker0:app 2> ../err & sync_pid=$!
        n=0; until grep -q 'worker0' ../err; do n=$((n + 1)); test $n -lt 100; sleep 0.1; done
        kvmc down 2>/dev/null; kill -9 $(cat ../pid.worker0); code=0; wait $sync_pid || code=$?
        test $code = 1 && grep -q 'worker0: the cluster is removed' ../err || fail "$code: $(cat ../err)""#,
    );
}
