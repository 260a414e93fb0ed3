//! Downloads one file by HTTP to the disk, and resumes a transfer that was cut.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

use super::event::Event;
use super::http::{self, failed, refused, words};
use super::part::{Mark, check_room, length, write_failed};
use crate::error::ImageError;
use crate::failpoint::failpoint;
use crate::size::approximate;

/// Attempts of one transfer, each resuming the one before.
const TRIES: u32 = 4;
/// Longest list of checksums or signature, in bytes.
const LONGEST_LIST: usize = 4 << 20;
/// Downloads by HTTP.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
}

impl Fetcher {
    /// A client that uses the proxies of the environment.
    ///
    /// # Errors
    /// A proxy's address is invalid, or TLS cannot be set up.
    pub(crate) fn new() -> Result<Self, ImageError> {
        Ok(Self {
            client: http::client()?,
        })
    }

    /// Downloads a small text.
    ///
    /// # Errors
    /// The server's or the network's error, with the address.
    pub(crate) async fn text(&self, url: &str) -> Result<Vec<u8>, ImageError> {
        let mut response = self.get(url, None).await?;
        let mut all = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(url, &e))? {
            all.extend_from_slice(&chunk);
            if all.len() > LONGEST_LIST {
                return Err(refused(
                    url,
                    "is too long for a list of checksums; expected at most 4M",
                ));
            }
        }
        Ok(all)
    }

    /// Downloads to `part`, and resumes if `part` belongs to the same file.
    ///
    /// # Errors
    /// The server's or the network's error, with the address. `part` stays for the next run, unless the disk is full.
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
                    // A transfer that made progress gets all its attempts again.
                    tried = if length(part) > before + (16 << 20) {
                        1
                    } else {
                        tried + 1
                    };
                    say(Event::Say(format!(
                        "the transfer was cut at {}; resuming",
                        approximate(length(part))
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
            // The part is the whole file, or belongs to another one. A new download shows which.
            Err(ImageError::Http { status: 416, .. }) => self.get(url, None).await?,
            other => other?,
        };
        let (start, total) = position(&response);
        let goes_on = start > 0 && start == have;
        if start > 0 && !goes_on {
            return Err(refused(
                url,
                "sent another part of the file than kvmc requested",
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
            .map_err(|source| write_failed(url, part, source))?;
        check_room(part, start, total)?;
        receive(response, url, file, part, (start, total), say).await
    }

    async fn get(
        &self,
        url: &str,
        from: Option<&(u64, Option<String>)>,
    ) -> Result<Response, ImageError> {
        let address =
            Url::parse(url).map_err(|e| refused(url, &format!("is not an address: {e}")))?;
        match address.scheme() {
            "http" | "https" => {}
            "file" => return Err(refused(url, "is a file: give its path, without file://")),
            other => {
                return Err(refused(
                    url,
                    &format!("has the scheme {other}; kvmc downloads only http and https"),
                ));
            }
        }
        // With a content coding, lengths and ranges would not be the file's.
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
                    return Err(write_failed(url, part, source));
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
    file.sync_all()
        .map_err(|source| write_failed(url, part, source))
}

/// An answer's offset in the file, and the file's length if the server sends it.
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
    // No part has this offset.
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
    // A weak validator does not promise equal bytes.
    header(ETAG)
        .filter(|e| !e.starts_with("W/"))
        .or_else(|| header(LAST_MODIFIED))
}
