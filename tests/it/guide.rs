//! Runs every command of the user's guide, docs/guide, from its pages, on the tests' fake QEMU, and follows its links.
//! `scripts/guide/page.py` says how a page is written.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::fake;
use super::support::scripts;

/// Blocks of the whole guide that do not run here.
const NOT_RUN: usize = 9;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The names and texts of the guide's pages.
fn pages() -> Vec<(String, String)> {
    let folder = root().join("docs/guide/src");
    let mut pages: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    pages.sort();
    pages
}

fn runs(page: &str) {
    let bench = fake::bench();
    // `image prune` and `down --all` of a page remove no image of other tests.
    fake::own_images(&bench);
    let guide = scripts().join("guide");
    for name in ["ssh", "scp", "sudo", "hostname"] {
        let to = bench.dir().join("bin").join(name);
        std::fs::copy(guide.join(name), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = format!(
        r#"mount -t tmpfs none /srv
        # A host with the memory that the first page asks for.
        sed 's/^MemAvailable:.*/MemAvailable: 67108864 kB/' /proc/meminfo > ../meminfo; mount --bind ../meminfo /proc/meminfo
        mkdir ../work ../nodes; export WORK=$(cd ../work; pwd) KVMC_ACCEL=tcg ANSIBLE_PIPELINING=1 ANSIBLE_LOCALHOST_WARNING=0
        python3 $SCRIPTS/guide/page.py {page} > ../page.sh
        bash ../page.sh
        test -z "$(kvmc ls --json | grep '"name"')" || fail 'the page leaves a cluster'"#,
        page = root().join("docs/guide/src").join(page).display(),
    );
    fake::runs(&bench, &script);
}

macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test]
        fn $test() {
            runs($page);
        })*
    };
}

pages! {
    the_first_cluster_comes_and_goes_as_the_guide_says: "first-cluster.md",
    cluster_files_work_as_the_guide_says: "cluster-file.md",
    playbooks_run_as_the_guide_says: "playbooks.md",
    images_come_and_go_as_the_guide_says: "images.md",
    networks_work_as_the_guide_says: "networks.md",
    emulation_works_as_the_guide_says: "emulation.md",
    a_cluster_changes_as_the_guide_says: "changing.md",
    the_seeing_verbs_show_what_the_guide_says: "seeing.md",
    snapshots_and_forks_are_as_the_guide_says: "snapshots.md",
    trouble_is_met_as_the_guide_says: "trouble.md",
    what_other_tools_had_comes_over_as_the_guide_says: "migration.md",
}

#[test]
fn every_page_of_the_guide_is_in_its_summary_and_is_run() {
    let names: BTreeSet<_> = pages().into_iter().map(|(name, _)| name).collect();
    let mut tested: BTreeSet<_> = PAGES.iter().map(ToString::to_string).collect();
    tested.insert("SUMMARY.md".to_owned());
    assert_eq!(names, tested);
    let (_, summary) = pages()
        .into_iter()
        .find(|(n, _)| n == "SUMMARY.md")
        .unwrap();
    for page in PAGES {
        assert!(summary.contains(&format!("]({page})")), "{page}");
    }
    let book = std::fs::read_to_string(root().join("docs/guide/book.toml")).unwrap();
    assert!(book.contains("src = \"src\""), "{book}");
}

/// Commands only stand in blocks that are run, and the blocks that are not run say why.
#[test]
fn blocks_of_the_guide_that_are_not_run_are_counted_and_say_why() {
    let mut skipped = 0;
    for (page, text) in pages() {
        let mut note = "";
        let mut within = false;
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("```") {
                within = !within;
                if within {
                    let known = ["console", "toml", "yaml", "xml", "ruby"];
                    assert!(known.contains(&kind), "{page}: a block `{kind}`");
                    let is_file = note.starts_with("<!-- file ");
                    assert!(kind == "console" || is_file, "{page}: `{kind}` is no file");
                    if let Some(why) = note.strip_prefix("<!-- not run: ") {
                        assert!(why.len() > "it -->".len() + 10, "{page}: {note}");
                        skipped += 1;
                    }
                }
                note = "";
            } else if !line.trim().is_empty() {
                note = line;
            }
            assert!(within || !line.starts_with("    $ "), "{page}: {line}");
        }
    }
    assert_eq!(skipped, NOT_RUN);
}

/// The anchor that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    let lower = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The links of a page without its blocks of code.
fn links(text: &str) -> Vec<String> {
    let mut within = false;
    let prose: String = text
        .lines()
        .filter(|line| {
            let fence = line.starts_with("```");
            within ^= fence;
            !within && !fence
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|t| Some(t.split_once(')')?.0.to_owned()))
        .collect()
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file_and_a_heading() {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/guide/src"] {
        let files = std::fs::read_dir(root().join(folder)).unwrap();
        pages.extend(files.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|path| path.extension().is_some_and(|e| e == "md"));
    assert!(pages.len() > 15, "{pages:?}");
    let mut seen = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let shown = page.display();
            assert!(target.exists(), "{shown}: no {link}");
            let in_guide = page.starts_with(root().join("docs/guide"));
            assert!(
                !in_guide || !path.contains('/'),
                "{shown}: {link} leaves the book"
            );
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let headings = there.lines().filter(|l| l.starts_with('#'));
                let found = headings.map(anchor).any(|a| a == heading);
                assert!(found, "{shown}: no heading for {link}");
            }
        }
    }
    assert!(seen > 20, "{seen} links");
}
