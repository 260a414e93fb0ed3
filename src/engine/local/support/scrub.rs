//! Removes secrets from texts that leave this host.

use serde_json::Value;

/// What stands in a secret's place.
pub(super) const REMOVED: &str = "[removed]";
/// Shorter values would be ordinary words too: of kvmc's own secrets, and of the user's data.
const SHORTEST: (usize, usize) = (4, 8);
/// Parts of names whose values are secrets.
const NAMES: [&str; 15] = [
    "pass",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "encryption_key",
    "private_key",
    "private-key",
    "privatekey",
    "pwd",
    "psk",
    "credential",
    "auth",
];
/// Keys of the record whose values the user wrote, and that may be anything.
const OF_THE_USER: [&str; 2] = ["vars", "variables"];

/// The secrets to look for.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// The longest first, so that a secret that contains another goes as a whole.
    secrets: Vec<String>,
}

impl Scrub {
    /// Takes every text of a JSON value as a secret, each of its lines by itself.
    pub(super) fn add_values(&mut self, value: &Value) {
        match value {
            Value::String(text) => text.lines().for_each(|line| self.add(line, SHORTEST.0)),
            Value::Array(all) => all.iter().for_each(|v| self.add_values(v)),
            Value::Object(all) => all.values().for_each(|v| self.add_values(v)),
            _ => {}
        }
    }

    /// Takes what may be a secret in the user's own data: values of names such as `password`, and words that look random.
    pub(super) fn add_user_data(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((_, value)) = named(line) {
                self.add(value, SHORTEST.1);
            }
            let words = line.split(|c: char| c.is_whitespace() || "\"'`=,;:()[]{}<>".contains(c));
            for word in words.filter(|w| is_random(w)) {
                self.add(word, SHORTEST.1);
            }
        }
    }

    fn add(&mut self, secret: &str, shortest: usize) {
        let secret = secret.trim();
        let is_mark = secret.starts_with("-----");
        if secret.len() >= shortest && !is_mark && !self.secrets.iter().any(|s| s == secret) {
            let place = self.secrets.partition_point(|s| s.len() >= secret.len());
            self.secrets.insert(place, secret.to_owned());
        }
    }

    /// A text without secrets: those that are known, values of names such as `password`, private keys, and logins in
    /// addresses.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REMOVED);
            }
        }
        let mut in_key = false;
        let lines = text.split_inclusive('\n').map(|line| {
            let (line, end) = match line.strip_suffix('\n') {
                Some(line) => (line, "\n"),
                None => (line, ""),
            };
            let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
            let was_in_key = in_key;
            in_key |= begins;
            if line.contains("-----END") {
                in_key = false;
            }
            match was_in_key || begins {
                true => format!("{REMOVED}{end}"),
                false => format!("{}{end}", without_logins(&without_named(line))),
            }
        });
        lines.collect()
    }

    /// The text of a JSON value without secrets and without what the user wrote freely.
    pub(super) fn json(&self, mut value: Value) -> String {
        without_keys(&mut value);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.text(&text) + "\n"
    }
}

fn without_keys(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(without_keys),
        Value::Object(all) => {
            for (key, value) in all {
                let is_secret = OF_THE_USER.contains(&key.as_str()) || is_secret_name(key);
                match value {
                    Value::Null | Value::Bool(_) => {}
                    _ if is_secret => *value = Value::String(REMOVED.to_owned()),
                    _ => without_keys(value),
                }
            }
        }
        _ => {}
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES.iter().any(|n| name.contains(n))
}

/// A line `name: value` or `name=value` whose name is that of a secret: what is before the value, and the value.
fn named(line: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = line.get(from..)?.find([':', '=']) {
        let at = from + at;
        let before = line.get(..at)?;
        let is_name = |c: char| c.is_alphanumeric() || "_-".contains(c);
        let name = before.trim_end().trim_end_matches(['"', '\'', '\\']);
        let begin = name.rfind(|c| !is_name(c)).map_or(0, |b| b + 1);
        let value = line.get(at + 1..)?;
        let rest = value.trim_start().trim_start_matches(['"', '\'']);
        let rest = rest.trim_end_matches([',', '"', '\'']);
        // `user:password@host` and `auth: true` name no secret.
        if is_secret_name(name.get(begin..)?) && !rest.is_empty() && rest.len() >= 3 {
            return Some((line.get(..at + 1)?, rest));
        }
        from = at + 1;
    }
    None
}

fn without_named(line: &str) -> String {
    match named(line) {
        Some((_, "true" | "false" | "null" | REMOVED)) => line.to_owned(),
        Some((before, _)) => format!("{before} {REMOVED}"),
        None => line.to_owned(),
    }
}

/// Removes `user:password` from addresses such as those of proxies.
fn without_logins(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        text += before;
        text += "://";
        let end = after.find(|c: char| c.is_whitespace() || "/\"'`".contains(c));
        let host = after.get(..end.unwrap_or(after.len())).unwrap_or(after);
        rest = match host.rfind('@') {
            Some(at) => {
                text += REMOVED;
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    text + rest
}

/// Whether a word looks like a key or a token rather than like language.
fn is_random(word: &str) -> bool {
    const LONG: usize = 16;
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let letters = word.chars().filter(char::is_ascii_alphabetic).count();
    word.len() >= LONG
        && digits >= 2
        && letters >= 4
        && !word.contains("://")
        && !word.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_cluster_go_wherever_they_stand() {
        let mut scrub = Scrub::default();
        let secrets = serde_json::json!({
            "password": "hunter22-long",
            "hosts": {"a": {"private": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n"}},
        });
        scrub.add_values(&secrets);
        let text = scrub.text("login with hunter22-long\nb3BlbnNzaC1rZXk= came\nother line");
        assert_eq!(text, "login with [removed]\n[removed] came\nother line");
    }

    #[test]
    fn user_data_is_not_known_by_its_ordinary_words() {
        let mut scrub = Scrub::default();
        scrub.add_user_data(
            "#cloud-config\npassword: Sommer2026!\npackages: [postgresql-client]\nruncmd:\n - curl -H 'X-Id: ghp_16C7e42F292c6912E7' https://x/y\n",
        );
        let text = scrub.text(
            "set Sommer2026! and ghp_16C7e42F292c6912E7; installed postgresql-client, packages",
        );
        assert_eq!(
            text,
            "set [removed] and [removed]; installed postgresql-client, packages"
        );
    }

    #[test]
    fn names_keys_and_logins_tell_secrets_that_nobody_listed() {
        let scrub = Scrub::default();
        for (line, expected) in [
            ("db_password=abcdef", "db_password= [removed]"),
            ("  \"token\": \"x.y.z\",", "  \"token\": [removed]"),
            (
                "HTTPS_PROXY=http://me:pw@proxy:3128/ is used",
                "HTTPS_PROXY=http://[removed]@proxy:3128/ is used",
            ),
            (
                r#"{\"password\": \"hunter2-long\"}"#,
                r#"{\"password\": [removed]"#,
            ),
            ("PGPWD=abcdef", "PGPWD= [removed]"),
            ("private: 120", "private: 120"),
            ("ssh_pwauth: false", "ssh_pwauth: false"),
            ("time: 12:00:01 state=ready", "time: 12:00:01 state=ready"),
            ("no secret here", "no secret here"),
        ] {
            assert_eq!(scrub.text(line), expected);
        }
        let key = "x\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\ny\n";
        assert_eq!(scrub.text(key), "x\n[removed]\n[removed]\n[removed]\ny\n");
    }

    #[test]
    fn a_record_loses_what_the_user_wrote_freely() {
        let record = serde_json::json!({
            "name": "k80",
            "roles": [{"name": "masters", "vars": {"db": "geheim"}, "user_data": "/home/a/user"}],
            "inventory_password": true,
        });
        let text = Scrub::default().json(record);
        assert!(!text.contains("geheim"), "{text}");
        assert!(text.contains("\"k80\"") && text.contains("/home/a/user") && text.contains("true"));
    }
}
