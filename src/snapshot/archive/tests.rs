use super::*;
use crate::snapshot::manifest::{FORMAT as MANIFEST_FORMAT, Name};

fn manifest() -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT,
        name: "before".parse::<Name>().unwrap(),
        note: String::new(),
        parent: None,
        time: 1.0,
        kvmc: "0.1.0".to_owned(),
        nodes: Default::default(),
    }
}

fn always() -> Result<()> {
    Ok(())
}

/// A folder with two files to export.
fn sources(dir: &Path) -> Vec<Source> {
    let mut ram = vec![0; 3 * CHUNK + 100];
    ram[CHUNK + 5] = 1;
    ram[3 * CHUNK + 99] = 2;
    let files = [
        ("frozen/a-1/ram", ram),
        ("before/master0.stream", vec![9; 70_000]),
    ];
    let all = files.into_iter().map(|(name, bytes)| {
        let path = dir.join(name.replace('/', "_"));
        std::fs::write(&path, bytes).unwrap();
        Source {
            name: name.to_owned(),
            path,
        }
    });
    all.collect()
}

fn exported(dir: &Path, name: &str) -> PathBuf {
    let to = dir.join(name);
    let size = export(&to, ("k80", "ids"), &manifest(), &sources(dir), &always).unwrap();
    assert_eq!(size, std::fs::metadata(&to).unwrap().len());
    to
}

fn imported(from: &Path) -> Result<(tempfile::TempDir, Contents)> {
    let folder = tempfile::tempdir().unwrap();
    let contents = import(from, folder.path(), u64::MAX, &always)?;
    Ok((folder, contents))
}

#[test]
fn what_is_exported_is_imported_with_its_holes() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let plain = exported(dir.path(), "a.tar");
    let packed = exported(dir.path(), "a.tar.zst");
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(length(&packed) < length(&plain) / 100);
    for archive in [plain, packed] {
        let mode = std::fs::metadata(&archive).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "an archive has the keys of a cluster");
        let (folder, contents) = imported(&archive).unwrap();
        assert_eq!(contents.manifest, manifest());
        assert_eq!(
            (contents.cluster.as_str(), contents.identity.as_str()),
            ("k80", "ids")
        );
        assert_eq!(inspect(&archive).unwrap(), contents);
        for source in sources(dir.path()) {
            let path = folder.path().join(&source.name);
            assert!(std::fs::read(&path).unwrap() == std::fs::read(&source.path).unwrap());
        }
        let ram = std::fs::metadata(folder.path().join("frozen/a-1/ram")).unwrap();
        assert!(ram.blocks() * 512 <= 64 << 10, "{} blocks", ram.blocks());
    }
}

#[test]
fn a_file_that_exists_is_not_replaced_and_an_interrupted_one_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let to = exported(dir.path(), "a.tar");
    let sources = sources(dir.path());
    let again = export(&to, ("k80", ""), &manifest(), &sources, &always);
    assert!(again.unwrap_err().to_string().ends_with("a.tar exists"));
    let calls = std::cell::Cell::new(0);
    let stop = || {
        calls.set(calls.get() + 1);
        ensure!(calls.get() < 9, "interrupted");
        Ok(())
    };
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    let other = dir.path().join("b.tar");
    let error = export(&other, ("k80", ""), &manifest(), &sources, &stop).unwrap_err();
    assert!(format!("{error:#}").contains("interrupted"), "{error:#}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(exported(dir.path(), "a.tar")).unwrap();
    let path = dir.path().join("damaged.tar");
    let end = whole.len() - 1024;
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        imported(&path).map(drop).unwrap_err()
    };
    for cut in [0, 3, 511, 600, 2048, 100_000, end - 600] {
        refused(&whole[..cut]);
    }
    // Within the content of a file, with a digest each.
    for at in [5000, CHUNK, 2 * CHUNK + 1, end - 3000] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let error = refused(&changed).to_string();
        assert!(error.contains("expected `"), "{at}: {error}");
    }
    std::fs::write(&path, b"\x28\xb5\x2f\xfd and more").unwrap();
    let error = inspect(&path).unwrap_err();
    assert!(
        error.to_string().ends_with("is not an exported snapshot"),
        "{error:#}"
    );
}

/// An archive that somebody else made.
fn foreign(dir: &Path, files: &[(&str, &[u8])], entries: &[(&str, &[u8])], kind: u8) -> PathBuf {
    let listed = files.iter().map(|(name, bytes)| Entry {
        name: (*name).to_owned(),
        stored: Stored {
            size: bytes.len() as u64,
            digest: blake3::hash(bytes).to_hex().to_string(),
        },
    });
    let contents = Contents {
        format: FORMAT,
        cluster: "k80".to_owned(),
        manifest: manifest(),
        identity: String::new(),
        files: listed.collect(),
    };
    let path = dir.join("foreign.tar");
    let mut archive = tar::Builder::new(File::create(&path).unwrap());
    let text = serde_json::to_vec(&contents).unwrap();
    for (name, bytes) in [(CONTENTS, text.as_slice())].iter().chain(entries) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o4777);
        if *name != CONTENTS {
            header.set_entry_type(tar::EntryType::new(kind));
        }
        // The builder refuses such names, a hostile program does not.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.finish().unwrap();
    path
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "../a",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        ".a",
        "a/.b",
        "",
        "a/b/c/d/e",
        "a\\b",
        "ä",
        "a b",
        "-a",
    ] {
        let files = [(name, b"x".as_slice())];
        let path = foreign(dir.path(), &files, &files, b'0');
        let error = format!("{:#}", imported(&path).map(drop).unwrap_err());
        assert!(
            error.contains("it has a file with the name"),
            "{name}: {error}"
        );
    }
    let twice = [("a", b"x".as_slice()), ("a", b"y")];
    let path = foreign(dir.path(), &twice, &twice, b'0');
    let error = format!("{:#}", imported(&path).map(drop).unwrap_err());
    assert!(error.contains("two files of the same name"), "{error}");
}

#[test]
fn files_that_are_not_listed_or_no_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let listed = [("a", b"x".as_slice())];
    let refused = |entries: &[(&str, &[u8])], kind| {
        let path = foreign(dir.path(), &listed, entries, kind);
        format!("{:#}", imported(&path).map(drop).unwrap_err())
    };
    imported(&foreign(dir.path(), &listed, &listed, b'0')).unwrap();
    let error = refused(&[("b", b"x")], b'0');
    assert!(
        error.contains("it has `b` where `a` is expected"),
        "{error}"
    );
    for kind in *b"1256" {
        let error = refused(&listed, kind);
        assert!(error.contains("where `a` is expected"), "{error}");
    }
    let error = refused(&[], b'0');
    assert!(error.contains("it lacks `a`"), "{error}");
    let error = refused(&[("a", b"xx")], b'0');
    assert!(error.contains("it has 2 bytes; expected 1"), "{error}");
}

#[test]
fn fuzz_archives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    kvmc_fuzz::run("snapshot-archive", |bytes| {
        std::fs::write(&path, bytes).unwrap();
        match imported(&path) {
            Ok((folder, contents)) => {
                let all = contents
                    .names()
                    .all(|name| folder.path().join(name).is_file());
                format!("ok {all}")
            }
            Err(e) => e.root_cause().to_string().chars().take(20).collect(),
        }
    });
}

/// What a file says of its size bounds what is written: nothing is, where that does not fit.
#[test]
fn an_archive_that_holds_more_than_there_is_room_for_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let packed = exported(dir.path(), "a.tar.zst");
    let size = inspect(&packed).unwrap().size();
    let expected = 3 * u64::try_from(CHUNK).unwrap() + 100 + 70_000;
    assert_eq!(size, expected);
    let folder = tempfile::tempdir().unwrap();
    let error = import(&packed, folder.path(), size - 1, &always).unwrap_err();
    assert!(error.to_string().contains("expected at most"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut huge = inspect(&packed).unwrap();
    for file in &mut huge.files {
        file.stored.size = u64::MAX / 2 + 1;
    }
    assert_eq!(huge.size(), u64::MAX, "a sum does not begin again at zero");
}
