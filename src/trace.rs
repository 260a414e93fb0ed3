//! What kvmc does, step by step, for `--verbose` and `--debug`: to a listener, and to a file for bug reports.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Instant, SystemTime};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Steps of verbs.
    Verbose,
    /// Requests and programs too.
    Debug,
}

/// Size at which the file begins again; one old file is kept.
const LONGEST: u64 = 1 << 20;

/// Where it is told.
struct Listener {
    detail: Detail,
    began: Instant,
    show: fn(&str),
    file: Option<Mutex<File>>,
}

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// From now on tells what is done, to `show` and to a file. Without a folder for it, there is no file. Only the first call
/// has an effect.
pub(crate) fn listen(detail: Detail, show: fn(&str), file: Option<&Path>) {
    let _already_set = LISTENER.set(Listener {
        detail,
        began: Instant::now(),
        show,
        file: file.and_then(open).map(Mutex::new),
    });
}

/// Opens the file for more lines. Nothing but the bug report lacks it, so an error is none.
fn open(path: &Path) -> Option<File> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LONGEST) {
        let _kept_longer = std::fs::rename(path, path.with_extension("log.old"));
    }
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    options.open(path).ok()
}

/// Tells a step of a verb.
pub(crate) fn verbose(text: impl FnOnce() -> String) {
    tell(Detail::Verbose, text);
}

/// Tells a request, a program or another detail.
pub(crate) fn debug(text: impl FnOnce() -> String) {
    tell(Detail::Debug, text);
}

fn tell(detail: Detail, text: impl FnOnce() -> String) {
    let Some(listener) = LISTENER.get().filter(|l| detail <= l.detail) else {
        return;
    };
    let text = text();
    let after = listener.began.elapsed().as_secs_f64();
    (listener.show)(&line(after, &text));
    if let Some(mut file) = listener.file.as_ref().and_then(|f| f.lock().ok()) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let line = format!("{time} {} {text}\n", std::process::id());
        let _disk_may_be_full = file.write_all(line.as_bytes());
    }
}

fn line(after: f64, text: &str) -> String {
    format!("[{after:8.3} s] {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_begins_again_and_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvmc.log");
        std::fs::write(&path, vec![b'x'; LONGEST as usize + 1]).unwrap();
        open(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        open(&path).unwrap().write_all(b"more\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\nmore\n");
        assert!(dir.path().join("kvmc.log.old").exists());
        assert!(open(Path::new("/nonexistent/kvmc.log")).is_none());
    }

    #[test]
    fn a_line_begins_with_the_seconds_since_the_start() {
        assert_eq!(
            line(1.5, "made the bridge k80"),
            "[   1.500 s] made the bridge k80"
        );
        assert!(Detail::Verbose < Detail::Debug);
    }
}
