//! One file over HTTP: streamed to disk, resumed where a run before was cut.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ImageError;
use crate::failpoint::failpoint;

/// To connect, and between two pieces of an answer.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// Redirects followed.
const REDIRECTS: usize = 10;
/// Tries of one transfer, each going on where the one before was cut.
const TRIES: u32 = 4;
/// Longest list of checksums, or signature, in bytes.
const LONGEST_LIST: usize = 4 << 20;
/// The variables that name a proxy, curl's.
const PROXIES: [&str; 6] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// A file under way; what the server said of it, so that a later run can go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    url: String,
    /// The checksum that it is to have; another one is of another file.
    expected: Option<String>,
    /// `ETag` or `Last-Modified`, RFC 9110's validators.
    validator: Option<String>,
}

/// Downloads by HTTP.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
}

impl Fetcher {
    /// A client that heeds the proxies of the environment.
    ///
    /// # Errors
    /// A proxy's address that is none; no certificates.
    pub(crate) fn new() -> Result<Self, ImageError> {
        for name in PROXIES {
            if let Ok(proxy) = std::env::var(name)
                && !proxy.is_empty()
                && reqwest::Proxy::all(&proxy).is_err()
            {
                return Err(ImageError::Recipe {
                    what: format!(
                        "the proxy in {name} is no address: `{}`",
                        proxy.escape_debug()
                    ),
                });
            }
        }
        // Fails when one was set before; that one serves as well.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let policy = redirect::Policy::custom(|attempt| {
            let was_secure = attempt
                .previous()
                .last()
                .is_some_and(|u| u.scheme() == "https");
            if attempt.previous().len() > REDIRECTS {
                attempt.error(format!(
                    "more than {REDIRECTS} redirects, the server leads in circles"
                ))
            } else if was_secure && attempt.url().scheme() != "https" {
                let to = attempt.url().clone();
                attempt.error(format!("the server leads from https to {to}"))
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .user_agent(concat!("kvmc/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(policy)
            .build()
            .map_err(|e| ImageError::Recipe {
                what: format!("cannot download: {}", words(&e)),
            })?;
        Ok(Self { client })
    }

    /// A small text.
    ///
    /// # Errors
    /// The address with what the server or the network said.
    pub(crate) async fn text(&self, url: &str) -> Result<Vec<u8>, ImageError> {
        let mut response = self.get(url, None).await?;
        let mut all = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(url, &e))? {
            all.extend_from_slice(&chunk);
            if all.len() > LONGEST_LIST {
                return Err(refused(url, "is far too long for a list of checksums"));
            }
        }
        Ok(all)
    }

    /// Downloads to `part`, going on with what is there if it is of the same file.
    ///
    /// # Errors
    /// The address with what went wrong; what came stays for the next time, unless the disk is full.
    pub(crate) async fn file(
        &self,
        url: &str,
        expected: Option<&str>,
        part: &Path,
        say: &mut dyn FnMut(Event),
    ) -> Result<(), ImageError> {
        let mut tried = 1;
        loop {
            let before = length(part);
            match self.once(url, expected, part, say).await {
                Err(ImageError::Cut { .. }) if tried < TRIES => {
                    // A transfer that comes on is not given up.
                    tried = if length(part) > before + (16 << 20) {
                        1
                    } else {
                        tried + 1
                    };
                    say(Event::Say(format!(
                        "the transfer was cut at {} MiB; going on",
                        length(part) >> 20
                    )));
                    tokio::time::sleep(Duration::from_millis(200) * tried).await;
                }
                result => return result,
            }
        }
    }

    async fn once(
        &self,
        url: &str,
        expected: Option<&str>,
        part: &Path,
        say: &mut dyn FnMut(Event),
    ) -> Result<(), ImageError> {
        let expected = expected.map(str::to_owned);
        let mark = Mark::load(part).filter(|m| m.url == url && m.expected == expected);
        let have = mark.as_ref().map_or(0, |_| length(part));
        let from = mark.filter(|_| have > 0).map(|m| (have, m.validator));
        let response = match self.get(url, from.as_ref()).await {
            // What we have is all, or of another file: the whole anew tells.
            Err(ImageError::Http { status: 416, .. }) => self.get(url, None).await?,
            other => other?,
        };
        let (start, total) = position(&response);
        let goes_on = start > 0 && start == have;
        if start > 0 && !goes_on {
            return Err(refused(
                url,
                "the server sends another part than it was asked for",
            ));
        }
        Mark {
            url: url.to_owned(),
            expected,
            validator: validator(&response),
        }
        .save(part)?;
        failpoint!("pull.mark");
        let file = File::options()
            .create(true)
            .write(true)
            .append(goes_on)
            .truncate(!goes_on)
            .open(part)
            .map_err(ImageError::io(format!("write {}", part.display())))?;
        check_room(part, start, total)?;
        receive(response, url, file, part, (start, total), say).await
    }

    async fn get(
        &self,
        url: &str,
        from: Option<&(u64, Option<String>)>,
    ) -> Result<Response, ImageError> {
        let address = Url::parse(url).map_err(|e| refused(url, &format!("is no address: {e}")))?;
        match address.scheme() {
            "http" | "https" => {}
            "file" => return Err(refused(url, "is a file: give its path, without file://")),
            other => {
                return Err(refused(
                    url,
                    &format!("is of {other}, and only http and https are fetched"),
                ));
            }
        }
        // Packed on the way, neither lengths nor ranges would be of the file.
        let mut request = self.client.get(address).header(ACCEPT_ENCODING, "identity");
        if let Some((have, validator)) = from {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let response = request.send().await.map_err(|e| failed(url, &e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(ImageError::Http {
            url: url.to_owned(),
            status: status.as_u16(),
            reason: status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned(),
        })
    }
}

async fn receive(
    mut response: Response,
    url: &str,
    mut file: File,
    part: &Path,
    (start, total): (u64, Option<u64>),
    say: &mut dyn FnMut(Event),
) -> Result<(), ImageError> {
    let mut done = start;
    say(Event::Bytes { done, total });
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                if let Err(source) = file.write_all(&chunk) {
                    return Err(full(part, source));
                }
                done += chunk.len() as u64;
                say(Event::Bytes { done, total });
            }
            Ok(None) => break,
            Err(e) => {
                return Err(ImageError::Cut {
                    url: url.to_owned(),
                    at: done,
                    why: words(&e),
                });
            }
        }
    }
    if let Some(total) = total.filter(|t| *t != done) {
        return Err(ImageError::Cut {
            url: url.to_owned(),
            at: done,
            why: format!("it ended {} bytes early", total.saturating_sub(done)),
        });
    }
    file.sync_all().map_err(|source| full(part, source))
}

/// A write that failed; on a full disk what came is taken away, for it is in the way.
fn full(part: &Path, source: std::io::Error) -> ImageError {
    if source.kind() == std::io::ErrorKind::StorageFull {
        forget(part);
    }
    ImageError::io(format!("write {}", part.display()))(source)
}

/// Refuses what cannot fit, before the most of it is there.
fn check_room(part: &Path, start: u64, total: Option<u64>) -> Result<(), ImageError> {
    let needed = total.unwrap_or(0).saturating_sub(start);
    let Ok(stat) = nix::sys::statvfs::statvfs(part) else {
        return Ok(());
    };
    let free = stat.blocks_available() * stat.fragment_size();
    if needed <= free {
        return Ok(());
    }
    forget(part);
    Err(ImageError::Room {
        at: part.parent().unwrap_or(part).to_owned(),
        needed,
        free,
    })
}

/// Where an answer begins in the file, and how long the file is.
fn position(response: &Response) -> (u64, Option<u64>) {
    let length = response.content_length();
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return (0, length);
    }
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|v| v.to_str().ok());
    let parsed = range.and_then(|text| {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let start = range.split_once('-')?.0.parse().ok()?;
        Some((start, total.parse().ok()))
    });
    // A part from nobody knows where fits nowhere.
    parsed.unwrap_or((u64::MAX, None))
}

fn validator(response: &Response) -> Option<String> {
    let header = |name| {
        response
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    // A weak one does not say that bytes are the same.
    header(ETAG)
        .filter(|e| !e.starts_with("W/"))
        .or_else(|| header(LAST_MODIFIED))
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Takes a part away, with its mark.
pub(crate) fn forget(part: &Path) {
    let _none_there = std::fs::remove_file(part);
    let _none_there = std::fs::remove_file(Mark::path(part));
}

impl Mark {
    fn path(part: &Path) -> PathBuf {
        part.with_extension("mark")
    }

    fn load(part: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(part)).ok()?).ok()
    }

    fn save(&self, part: &Path) -> Result<(), ImageError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        Ok(fs_err::write(Self::path(part), text)?)
    }
}

fn refused(url: &str, why: &str) -> ImageError {
    ImageError::Address {
        url: url.to_owned(),
        why: why.to_owned(),
    }
}

fn failed(url: &str, error: &reqwest::Error) -> ImageError {
    let mut why = words(error);
    if error.is_connect() || error.is_timeout() {
        let proxy = PROXIES
            .iter()
            .find(|p| std::env::var(p).is_ok_and(|v| !v.is_empty()));
        if let Some(proxy) = proxy {
            why = format!("{why} (through the proxy of {proxy})");
        }
    }
    refused(url, &format!("cannot be had: {why}"))
}

/// An error with its causes, of which the last says most, without the address that the caller names.
fn words(error: &reqwest::Error) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(e) = cause {
        let text = e.to_string();
        if all.last().is_none_or(|l| !l.contains(&text)) {
            all.push(text);
        }
        cause = e.source();
    }
    if all.is_empty() {
        all.push(error.to_string());
    }
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_mark() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        kvmc_fuzz::run("part-mark", |bytes| {
            std::fs::write(Mark::path(&part), bytes).unwrap();
            match Mark::load(&part) {
                Some(mark) => format!("{} {}", mark.expected.is_some(), mark.validator.is_some()),
                None => "none".to_owned(),
            }
        });
    }
}
