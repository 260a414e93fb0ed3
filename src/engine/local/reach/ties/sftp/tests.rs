//! The server, asked in packets.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Asked {
    _dir: tempfile::TempDir,
    inside: std::path::PathBuf,
    server: Server,
}

fn asked(read_only: bool) -> Asked {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("inside");
    std::fs::create_dir_all(inside.join("sub")).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    std::fs::write(inside.join("sub/file"), "content").unwrap();
    symlink("../secret", inside.join("out")).unwrap();
    symlink("/etc", inside.join("etc")).unwrap();
    symlink("sub", inside.join("in")).unwrap();
    Asked {
        server: Server {
            files: Files::open(&inside, read_only).unwrap(),
            open: BTreeMap::new(),
            next: 0,
        },
        inside,
        _dir: dir,
    }
}

impl Asked {
    /// The kind of the answer and what follows its id.
    fn ask(&mut self, packet: Packet) -> (u8, Vec<u8>) {
        let bytes = self.server.answer(&packet.bytes()[4..]);
        (bytes[4], bytes[9..].to_vec())
    }

    fn code(&mut self, packet: Packet) -> u32 {
        let (kind, rest) = self.ask(packet);
        assert_eq!(kind, answer::STATUS, "{rest:?}");
        Parts(&rest).number().unwrap()
    }

    fn open(&mut self, path: &str, flags: u32) -> Result<Vec<u8>, u32> {
        let packet = of(request::OPEN, path)
            .number(flags)
            .number(4)
            .number(0o104_755);
        match self.ask(packet) {
            (answer::HANDLE, rest) => Ok(Parts(&rest).text().unwrap().to_vec()),
            (_, rest) => Err(Parts(&rest).number().unwrap()),
        }
    }
}

fn of(kind: u8, path: &str) -> Packet {
    Packet::new(kind).number(7).text(path.as_bytes())
}

#[test]
fn nothing_outside_of_the_folder_is_read_written_or_named() {
    let mut asked = asked(false);
    let before = std::fs::read_dir(asked.inside.parent().unwrap())
        .unwrap()
        .count();
    for path in [
        "/../secret",
        "../secret",
        "/out",
        "/etc/passwd",
        "/in/file",
        "/sub/../../secret",
    ] {
        for flags in [1, 2, 2 | 8 | 16] {
            assert!(asked.open(path, flags).is_err(), "{path} {flags}");
        }
    }
    for path in ["/../x", "/etc/x", "/in/x"] {
        assert_ne!(asked.code(of(request::MKDIR, path).number(0)), 0, "{path}");
        assert_ne!(
            asked.code(of(request::RENAME, "/sub/file").text(path.as_bytes())),
            0
        );
        assert_ne!(asked.code(of(request::RENAME, path).text(b"/y")), 0);
        assert_ne!(asked.code(of(request::REMOVE, path)), 0);
        assert_ne!(asked.code(of(request::OPENDIR, path)), 0);
        assert_ne!(
            asked.code(of(request::SETSTAT, path).number(4).number(0)),
            0
        );
    }
    assert_ne!(asked.code(of(request::RMDIR, "/")), 0);
    let after = std::fs::read_dir(asked.inside.parent().unwrap())
        .unwrap()
        .count();
    assert_eq!(before, after);
    // Links are told, not followed.
    let (kind, rest) = asked.ask(of(request::READLINK, "/etc"));
    assert_eq!(kind, answer::NAME);
    assert!(rest.windows(4).any(|w| w == b"/etc"));
    let (_, rest) = asked.ask(of(request::REALPATH, "/sub/../.././x"));
    assert_eq!(&rest[4..10], b"\0\0\0\x02/x");
}

#[test]
fn files_are_written_read_and_renamed_without_rights_of_their_owner() {
    let mut asked = asked(false);
    let handle = asked.open("/sub/new", 1 | 2 | 8 | 32).unwrap();
    assert!(asked.open("/sub/new", 2 | 8 | 32).is_err(), "it is there");
    let handle = |kind: u8| Packet::new(kind).number(7).text(&handle);
    assert_eq!(asked.code(handle(request::WRITE).long(2).text(b"abc")), 0);
    assert_eq!(
        asked.code(handle(request::FSETSTAT).number(4).number(0o6755)),
        0
    );
    let (kind, rest) = asked.ask(handle(request::READ).long(0).number(100));
    assert_eq!((kind, &rest[4..]), (answer::DATA, &b"\0\0abc"[..]));
    assert_eq!(
        asked.code(handle(request::READ).long(5).number(100)),
        Code::Eof as u32
    );
    assert_eq!(asked.code(handle(request::CLOSE)), 0);
    assert_ne!(asked.code(handle(request::CLOSE)), 0);
    let path = asked.inside.join("sub/new");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "no set-user-id");
    assert_ne!(
        asked.code(of(request::RENAME, "/sub/new").text(b"/sub/file")),
        0
    );
    let rename = Packet::new(request::EXTENDED).number(7);
    let rename = rename.text(b"posix-rename@openssh.com");
    assert_eq!(asked.code(rename.text(b"/sub/new").text(b"/sub/file")), 0);
    assert_eq!(
        std::fs::read(asked.inside.join("sub/file")).unwrap(),
        b"\0\0abc"
    );
    assert_eq!(
        asked.code(of(request::SYMLINK, "/etc/shadow").text(b"/link")),
        0
    );
    assert!(asked.open("/link", 1).is_err());
    let (kind, rest) = asked.ask(of(request::OPENDIR, "/"));
    assert_eq!(kind, answer::HANDLE);
    let folder = Parts(&rest).text().unwrap().to_vec();
    let (kind, rest) = asked.ask(Packet::new(request::READDIR).number(7).text(&folder));
    // Without `..`, which is not shared.
    assert_eq!((kind, Parts(&rest).number()), (answer::NAME, Ok(6)));
    let end = asked.code(Packet::new(request::READDIR).number(7).text(&folder));
    assert_eq!(end, Code::Eof as u32);
}

#[test]
fn a_folder_that_is_shared_for_reading_only_stays_as_it_is() {
    let mut asked = asked(true);
    assert!(asked.open("/sub/file", 1).is_ok());
    let denied = Code::PermissionDenied as u32;
    assert_eq!(asked.open("/sub/file", 2), Err(denied));
    assert_eq!(asked.open("/sub/new", 1 | 8), Err(denied));
    assert_eq!(asked.code(of(request::REMOVE, "/sub/file")), denied);
    assert_eq!(asked.code(of(request::MKDIR, "/x").number(0)), denied);
    assert_eq!(
        asked.code(of(request::SETSTAT, "/sub/file").number(4).number(0)),
        denied
    );
}

#[test]
fn any_bytes_get_an_answer_and_no_panic() {
    let mut asked = asked(false);
    let mut seed = 1_u32;
    for kind in 0..=255_u8 {
        for length in 0..24 {
            let mut bytes = vec![kind];
            for _ in 0..length {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push(seed.to_be_bytes()[0] & 7);
            }
            assert!(asked.server.answer(&bytes).len() >= 9);
        }
    }
    let pipe = asked.inside.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        asked.open("/pipe", 1).is_err(),
        "it would wait for a writer"
    );
}
