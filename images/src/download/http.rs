//! The HTTP client: proxies, redirects, and the texts of its errors.

use std::time::Duration;

use reqwest::{Client, redirect};

use crate::error::ImageError;

/// The time-out to connect.
const CONNECT: Duration = Duration::from_secs(20);
/// The time-out between two pieces of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Redirects followed.
const REDIRECTS: usize = 10;
/// The variables that name a proxy, the same as curl's.
const PROXIES: [&str; 6] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// A client that uses the proxies of the environment.
///
/// # Errors
/// A proxy's address is invalid, or TLS cannot be set up.
pub(super) fn client() -> Result<Client, ImageError> {
    for name in PROXIES {
        if let Ok(proxy) = std::env::var(name)
            && !proxy.is_empty()
            && reqwest::Proxy::all(&proxy).is_err()
        {
            return Err(ImageError::Recipe {
                what: format!(
                    "the proxy in {name} is `{}`; expected a URL such as http://HOST:PORT",
                    proxy.escape_debug()
                ),
            });
        }
    }
    // Fails when a provider was set before, which serves as well.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("kvmc/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(redirects())
        .build()
        .map_err(|e| ImageError::Recipe {
            what: format!("cannot download: {}", words(&e)),
        })
}

/// Follows redirects, except from https to another scheme.
fn redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|u| u.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error(format!(
                "more than {REDIRECTS} redirects; the server may redirect in a circle"
            ))
        } else if was_secure && attempt.url().scheme() != "https" {
            let to = attempt.url().clone();
            attempt.error(format!("the server redirects from https to {to}"))
        } else {
            attempt.follow()
        }
    })
}

pub(super) fn refused(url: &str, why: &str) -> ImageError {
    ImageError::Address {
        url: url.to_owned(),
        why: why.to_owned(),
    }
}

pub(super) fn failed(url: &str, error: &reqwest::Error) -> ImageError {
    let mut why = words(error);
    if error.is_connect() || error.is_timeout() {
        let proxy = PROXIES
            .iter()
            .find(|p| std::env::var(p).is_ok_and(|v| !v.is_empty()));
        if let Some(proxy) = proxy {
            why = format!("{why} (through the proxy of {proxy})");
        }
    }
    refused(url, &format!("cannot be downloaded: {why}"))
}

/// An error's causes, without the address, which the caller names. The last cause says most.
pub(super) fn words(error: &reqwest::Error) -> String {
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
