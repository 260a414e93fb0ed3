//! A server of SFTP for one folder of this host. OpenSSH's own would give a guest all that its user may read, so this one
//! knows no path outside of the folder.

mod files;
mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::stat::{FileStat, fstat};

use self::files::{Files, code};
use self::wire::{Code, Packet, Parts, Wanted, answer, packet, request};

/// The version of the protocol.
const VERSION: u32 = 3;
/// Most files and folders that are open at once.
const OPEN: usize = 1000;
/// Most bytes of one read, and most entries of one answer.
const READ: u32 = 128 << 10;
const ENTRIES: usize = 100;
/// What OpenSSH has beside the draft.
const EXTENSIONS: [(&str, &str); 5] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
];

/// Something that is open.
enum Open {
    File(File),
    /// The entries that have not been told yet, the last first.
    Folder(Vec<(Vec<u8>, FileStat)>),
}

/// Serves a folder until the other side ends.
///
/// # Errors
/// Fails if the folder cannot be opened, or if the other side does not speak SFTP.
pub(super) fn serve(
    folder: &Path,
    read_only: bool,
    mut from: impl Read,
    mut to: impl Write,
) -> io::Result<()> {
    let mut server = Server {
        files: Files::open(folder, read_only)?,
        open: BTreeMap::new(),
        next: 0,
    };
    while let Some(bytes) = packet(&mut from)? {
        to.write_all(&server.answer(&bytes))?;
        to.flush()?;
    }
    Ok(())
}

struct Server {
    files: Files,
    open: BTreeMap<u32, Open>,
    next: u32,
}

impl Server {
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut parts = Parts(bytes);
        let kind = parts.byte().unwrap_or_default();
        if kind == request::INIT {
            let version = Packet::new(answer::VERSION).number(VERSION);
            let all = EXTENSIONS.iter();
            return all
                .fold(version, |packet, (name, value)| {
                    packet.text(name.as_bytes()).text(value.as_bytes())
                })
                .bytes();
        }
        let Ok(id) = parts.number() else {
            return status(0, Code::BadMessage);
        };
        let answer = match kind {
            request::EXTENDED => self.extended(id, parts),
            request::OPEN..=request::FSTAT | request::OPENDIR | request::READDIR => {
                self.opened(kind, id, parts)
            }
            _ => self.by_path(kind, id, parts),
        };
        answer.map_or_else(|code| status(id, code), Packet::bytes)
    }

    /// The requests about something open, or that open it.
    fn opened(&mut self, kind: u8, id: u32, mut parts: Parts<'_>) -> Result<Packet, Code> {
        let path_or_handle = parts.text()?;
        match kind {
            request::OPEN => {
                let flags = parts.number()?;
                let wanted = Wanted::read(&mut parts)?;
                let file = self.files.file(path_or_handle, flags, wanted.mode)?;
                self.hold(id, Open::File(file))
            }
            request::OPENDIR => {
                let held = self.open.values().map(|open| match open {
                    Open::Folder(entries) => entries.len(),
                    Open::File(_) => 0,
                });
                // All open folders share the room.
                let room = files::MOST.saturating_sub(held.sum());
                let mut entries = self.files.entries(path_or_handle, room)?;
                entries.reverse();
                self.hold(id, Open::Folder(entries))
            }
            request::LSTAT => Ok(attributes(
                Packet::new(answer::ATTRS).number(id),
                &self.files.look(path_or_handle)?,
            )),
            request::CLOSE => {
                let number = number(path_or_handle)?;
                let closed = self.open.remove(&number);
                closed.map(|_| done(id)).ok_or(Code::Failure)
            }
            request::READDIR => match self.held(path_or_handle)? {
                Open::Folder(entries) => names(id, entries),
                Open::File(_) => Err(Code::Failure),
            },
            _ => {
                let Open::File(file) = self.held(path_or_handle)? else {
                    return Err(Code::Failure);
                };
                on_file(kind, id, file, parts)
            }
        }
    }

    /// The requests about a path, and about the attributes of something open.
    fn by_path(&mut self, kind: u8, id: u32, mut parts: Parts<'_>) -> Result<Packet, Code> {
        let path = parts.text()?;
        match kind {
            request::STAT => {
                let packet = Packet::new(answer::ATTRS).number(id);
                return Ok(attributes(packet, &self.files.look(path)?));
            }
            request::REALPATH => return Ok(name(id, &real(path))),
            request::READLINK => return Ok(name(id, &self.files.target(path)?)),
            request::SETSTAT => self.files.change(path, &Wanted::read(&mut parts)?)?,
            request::FSETSTAT => {
                let wanted = Wanted::read(&mut parts)?;
                let number = number(path)?;
                let Some(Open::File(file)) = self.open.get(&number) else {
                    return Err(Code::Failure);
                };
                self.files.change_opened(file, &wanted)?;
            }
            request::REMOVE => self.files.remove(path, false)?,
            request::RMDIR => self.files.remove(path, true)?,
            request::MKDIR => {
                let mode = Wanted::read(&mut parts)?.mode;
                self.files.make_folder(path, mode)?;
            }
            request::RENAME => self.files.rename(path, parts.text()?, false)?,
            // OpenSSH has the link's target first.
            request::SYMLINK => self.files.link(path, parts.text()?)?,
            _ => return Err(Code::Unsupported),
        }
        Ok(done(id))
    }

    fn extended(&mut self, id: u32, mut parts: Parts<'_>) -> Result<Packet, Code> {
        let name = parts.text()?;
        let path = parts.text()?;
        match name {
            b"posix-rename@openssh.com" => self.files.rename(path, parts.text()?, true)?,
            b"hardlink@openssh.com" => self.files.hard_link(path, parts.text()?)?,
            b"fsync@openssh.com" => match self.held(path)? {
                Open::File(file) => file.sync_all().map_err(|e| code(&e))?,
                Open::Folder(_) => return Err(Code::Failure),
            },
            b"statvfs@openssh.com" | b"fstatvfs@openssh.com" => {
                let room = self.files.room()?;
                let numbers = [
                    room.block_size(),
                    room.fragment_size(),
                    room.blocks(),
                    room.blocks_free(),
                    room.blocks_available(),
                    room.files(),
                    room.files_free(),
                    room.files_available(),
                    0,
                    0,
                    room.name_max(),
                ];
                let packet = Packet::new(answer::EXTENDED).number(id);
                return Ok(numbers.into_iter().fold(packet, Packet::long));
            }
            _ => return Err(Code::Unsupported),
        }
        Ok(done(id))
    }

    fn hold(&mut self, id: u32, open: Open) -> Result<Packet, Code> {
        if self.open.len() >= OPEN {
            return Err(Code::Failure);
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        let packet = Packet::new(answer::HANDLE).number(id);
        Ok(packet.text(&handle.to_be_bytes()))
    }

    fn held(&mut self, handle: &[u8]) -> Result<&mut Open, Code> {
        self.open.get_mut(&number(handle)?).ok_or(Code::Failure)
    }
}

fn number(handle: &[u8]) -> Result<u32, Code> {
    let bytes = handle.try_into().map_err(|_| Code::BadMessage)?;
    Ok(u32::from_be_bytes(bytes))
}

fn on_file(kind: u8, id: u32, file: &File, mut parts: Parts<'_>) -> Result<Packet, Code> {
    match kind {
        request::READ => {
            let at = parts.long()?;
            let length = parts.number()?.min(READ);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            let mut read = 0;
            while read < bytes.len() {
                let rest = bytes.get_mut(read..).unwrap_or_default();
                match file.read_at(rest, at + read as u64) {
                    Ok(0) => break,
                    Ok(n) => read += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(code(&e)),
                }
            }
            if read == 0 && length > 0 {
                return Err(Code::Eof);
            }
            let bytes = bytes.get(..read).unwrap_or_default();
            Ok(Packet::new(answer::DATA).number(id).text(bytes))
        }
        request::WRITE => {
            let at = parts.long()?;
            file.write_all_at(parts.text()?, at).map_err(|e| code(&e))?;
            Ok(done(id))
        }
        request::FSTAT => Ok(attributes(
            Packet::new(answer::ATTRS).number(id),
            &fstat(file)?,
        )),
        _ => Err(Code::Unsupported),
    }
}

fn names(id: u32, entries: &mut Vec<(Vec<u8>, FileStat)>) -> Result<Packet, Code> {
    let told = entries.split_off(entries.len().saturating_sub(ENTRIES));
    if told.is_empty() {
        return Err(Code::Eof);
    }
    let number = u32::try_from(told.len()).unwrap_or_default();
    let packet = Packet::new(answer::NAME).number(id).number(number);
    let told = told.iter().rev();
    // The second text is for people, as `ls -l` prints it; no client of this server reads it.
    Ok(told.fold(packet, |packet, (name, stat)| {
        attributes(packet.text(name).text(name), stat)
    }))
}

fn name(id: u32, name: &[u8]) -> Packet {
    let packet = Packet::new(answer::NAME).number(id).number(1);
    packet.text(name).text(name).number(0)
}

/// A path with neither `.` nor `..`, from the folder's root.
fn real(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut real = vec![b'/'];
    real.extend(parts.join(&b'/'));
    real
}

fn attributes(packet: Packet, stat: &FileStat) -> Packet {
    let seconds = |time: i64| u32::try_from(time).unwrap_or_default();
    packet
        .number(15)
        .long(u64::try_from(stat.st_size).unwrap_or_default())
        .number(stat.st_uid)
        .number(stat.st_gid)
        .number(stat.st_mode)
        .number(seconds(stat.st_atime))
        .number(seconds(stat.st_mtime))
}

fn done(id: u32) -> Packet {
    status_packet(id, Code::Ok)
}

fn status(id: u32, code: Code) -> Vec<u8> {
    status_packet(id, code).bytes()
}

fn status_packet(id: u32, code: Code) -> Packet {
    let text = format!("{code:?}");
    Packet::new(answer::STATUS)
        .number(id)
        .number(code as u32)
        .text(text.as_bytes())
        .text(b"en")
}

#[cfg(test)]
mod tests;
