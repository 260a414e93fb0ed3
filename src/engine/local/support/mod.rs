//! `support`: packs what a bug report needs, without secrets.

mod scrub;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use self::scrub::Scrub;
use super::Local;
use crate::hint::add_hint;
use crate::model::{DoctorReport, SupportReport};
use crate::state::{ClusterDir, Found};

/// Most bytes of one file, its last ones.
const LONGEST: u64 = 2 << 20;
/// The folder in the archive.
const FOLDER: &str = "kvmc-support";
/// A cluster's files, by their names.
const FILES: [&str; 9] = [
    "cluster.json",
    "events.jsonl",
    "events.jsonl.old",
    "keeper.log",
    "keeper.json",
    "leases",
    "firewall.json",
    "links.json",
    "cut-off.json",
];
/// A node's files, by their names.
const NODE_FILES: [&str; 6] = [
    "console.log",
    "console.log.old",
    "qemu.log",
    "qmp.log",
    "process.json",
    "end.json",
];

/// What the verb knows besides the state folder.
#[derive(Debug)]
pub(crate) struct SupportParts {
    /// The versions of kvmc, QEMU and the kernel.
    pub(crate) versions: String,
    pub(crate) doctor: Result<DoctorReport>,
    /// The status as JSON, or why there is none.
    pub(crate) status: Result<Value>,
}

impl Local {
    /// Packs logs, record, status, doctor's words and versions into a new file.
    ///
    /// # Errors
    /// Fails if the file exists or cannot be written. What cannot be read is left out, and named in the archive.
    pub(crate) fn support(&self, out: &Path, parts: &SupportParts) -> Result<SupportReport> {
        let dir = self.dir();
        let scrub = secrets(&dir);
        let pack = Pack::create(out)?;
        let packed = self.pack(pack, &scrub, parts);
        if packed.is_err() {
            // Half an archive would stand in the way of the next.
            let _told_by_the_error = std::fs::remove_file(out);
        }
        packed
    }

    fn pack(&self, mut pack: Pack, scrub: &Scrub, parts: &SupportParts) -> Result<SupportReport> {
        let dir = self.dir();
        pack.add("versions.txt", &scrub.text(&parts.versions))?;
        let doctor = parts.doctor.as_ref().map(serde_json::to_value);
        match doctor {
            Ok(doctor) => pack.add("doctor.json", &scrub.json(doctor?))?,
            Err(error) => pack.add("doctor.txt", &scrub.text(&format!("{error:#}\n")))?,
        }
        match &parts.status {
            Ok(status) => pack.add("status.json", &scrub.json(status.clone()))?,
            Err(error) => pack.add("status.txt", &scrub.text(&format!("{error:#}\n")))?,
        }
        for log in [self.state.log(), self.state.log().with_extension("log.old")] {
            pack.add_file(&log, "", scrub)?;
        }
        for name in FILES {
            pack.add_file(&dir.artifact(name), "cluster/", scrub)?;
        }
        for node in folders(&dir.path().join("nodes")) {
            let files = dir.node(&node);
            for name in NODE_FILES {
                let folder = format!("cluster/nodes/{node}/");
                pack.add_file(&files.path().join(name), &folder, scrub)?;
            }
        }
        pack.finish()
    }
}

/// The sorted names of what is in a folder.
fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The secrets of a cluster, as far as they can be read.
fn secrets(dir: &ClusterDir) -> Scrub {
    let mut scrub = Scrub::default();
    let read = std::fs::read(dir.secrets()).ok();
    if let Some(secrets) = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        scrub.add_values(&secrets);
    }
    let record = Found::look(dir).record();
    for role in record.iter().flat_map(|r| &r.spec.roles) {
        if let Some(text) = dir.stored_user_data(&role.name) {
            scrub.add_user_data(&text);
        }
    }
    scrub
}

/// The archive while it is written.
struct Pack {
    path: PathBuf,
    archive: tar::Builder<GzEncoder<std::fs::File>>,
    files: Vec<String>,
}

impl Pack {
    fn create(out: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        // Only its owner may read it, and it replaces nothing.
        let mut options = std::fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(out);
        let file = match file {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let error =
                    anyhow::anyhow!("{} cannot be made: it is there already", out.display());
                return Err(add_hint(
                    error,
                    "`--out FILE` writes another one".to_owned(),
                ));
            }
            file => file.with_context(|| format!("{} cannot be made", out.display()))?,
        };
        let archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self {
            path: out.to_owned(),
            archive,
            files: Vec::new(),
        })
    }

    fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(crate::ids::now() as u64);
        let added =
            self.archive
                .append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes());
        added.with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Adds the end of a file. One that is not there is left out.
    fn add_file(&mut self, path: &Path, folder: &str, scrub: &Scrub) -> Result<()> {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Ok(());
        };
        let bytes = match end_of(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return self.add(&format!("{folder}{name}.error"), &format!("{e}\n")),
        };
        let json = path.extension().is_some_and(|e| e == "json");
        let text = match (json, serde_json::from_slice::<Value>(&bytes)) {
            (true, Ok(value)) => scrub.json(value),
            // What its keys would tell to be secret cannot be told in a part of it.
            (true, Err(e)) => format!("left out, because it is damaged: {e}\n"),
            (false, _) => scrub.text(&String::from_utf8_lossy(&bytes)),
        };
        self.add(&format!("{folder}{name}"), &text)
    }

    fn finish(self) -> Result<SupportReport> {
        let file = self.archive.into_inner().and_then(GzEncoder::finish);
        let file = file.and_then(|file| file.sync_all().map(|()| file));
        let file = file.with_context(|| format!("{} cannot be written", self.path.display()))?;
        let size = file.metadata().map_or(0, |meta| meta.len());
        Ok(SupportReport {
            schema: crate::model::SCHEMA,
            file: self.path,
            size,
            files: self.files,
        })
    }
}

/// The last bytes of a file, from the begin of a line.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    if length > LONGEST {
        let begin = memchr::memchr(b'\n', &bytes).map_or(0, |at| at + 1);
        bytes.drain(..begin);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_file_begins_with_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(end_of(&path).unwrap(), b"one\ntwo\n");
        let line = [b'x'; 99];
        let long: Vec<u8> = (0..30_000)
            .flat_map(|_| [&line[..], b"\n"].concat())
            .collect();
        std::fs::write(&path, &long).unwrap();
        let end = end_of(&path).unwrap();
        assert!(end.len() as u64 <= LONGEST && end.len().is_multiple_of(100));
    }

    #[test]
    fn a_report_replaces_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        std::fs::write(&path, "mine").unwrap();
        let error = Pack::create(&path).err().unwrap();
        assert!(format!("{error:#}").contains("cannot be made"), "{error:#}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
