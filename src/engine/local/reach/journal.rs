//! The journals of guests, by journalctl(1) over ssh.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Ssh;
use super::ssh::{Said, last_line, start};
use crate::model::{LogLine, LogSource};

/// Longest time that a node takes to send its journal.
const WHOLE: Duration = Duration::from_secs(120);
/// Wait before a journal is followed again whose node went away.
const RETRY: Duration = Duration::from_secs(2);

/// The words of a journalctl that begins each line with seconds since 1970.
fn words(since: Option<f64>, lines: Option<usize>) -> Vec<String> {
    let mut words: Vec<String> = [
        "sudo",
        "-n",
        "journalctl",
        "--no-pager",
        "-q",
        "-o",
        "short-unix",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(since) = since {
        words.push(format!("--since=@{since:.6}"));
    }
    if let Some(lines) = lines {
        words.push(format!("--lines={lines}"));
    }
    words
}

/// Reads the journals of nodes at once: for each node its lines, or why there are none.
pub(super) async fn read(
    ssh: &Ssh,
    nodes: impl Iterator<Item = &String>,
    since: Option<f64>,
    lines: Option<usize>,
) -> Vec<(String, Result<Vec<LogLine>, String>)> {
    let mut reading = JoinSet::new();
    for node in nodes {
        let (ssh, node) = (ssh.clone(), node.clone());
        reading.spawn(async move {
            let read = tokio::time::timeout(WHOLE, one(&ssh, &node, since, lines)).await;
            let late = || Err(format!("it takes more than {} s", WHOLE.as_secs()));
            let read = read.unwrap_or_else(|_| late());
            (node, read)
        });
    }
    let mut all = Vec::new();
    while let Some(read) = reading.join_next().await {
        all.extend(read.ok());
    }
    all
}

async fn one(
    ssh: &Ssh,
    node: &str,
    since: Option<f64>,
    lines: Option<usize>,
) -> Result<Vec<LogLine>, String> {
    let said = Said::new().map_err(|e| format!("{e:#}"))?;
    let command = ssh.command(node, &words(since, lines), &said);
    let child = start(command, true).map_err(|e| format!("{e:#}"))?;
    let output = child.wait_with_output().await.map_err(|e| e.to_string())?;
    if !output.status.success() {
        let why = said.last().or_else(|| last_line(&output.stderr));
        return Err(why.unwrap_or_else(|| format!("journalctl ended with {}", output.status)));
    }
    let mut time = None;
    let lines = output.stdout.split(|b| *b == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    Ok(lines.map(|line| parse(node, line, &mut time)).collect())
}

/// Follows the journals of nodes from a time on, also after they restart.
pub(super) fn follow(ssh: &Ssh, nodes: &[String], since: f64, sender: &mpsc::Sender<LogLine>) {
    for node in nodes {
        let (ssh, node, sender) = (ssh.clone(), node.clone(), sender.clone());
        tokio::spawn(async move {
            let mut since = since;
            while follow_one(&ssh, &node, &mut since, &sender).await.is_some() {
                tokio::time::sleep(RETRY).await;
            }
        });
    }
}

/// Returns when the node goes away; `None` when nobody follows any more.
async fn follow_one(
    ssh: &Ssh,
    node: &str,
    since: &mut f64,
    sender: &mpsc::Sender<LogLine>,
) -> Option<()> {
    let said = Said::new().ok()?;
    let mut words = words(Some(*since), None);
    words.push("--follow".to_owned());
    words.push("--lines=all".to_owned());
    let mut child = start(ssh.command(node, &words, &said), true).ok()?;
    let mut lines = BufReader::new(child.stdout.take()?).split(b'\n');
    let mut time = None;
    loop {
        tokio::select! {
            line = lines.next_segment() => match line {
                Ok(Some(line)) => {
                    let line = parse(node, &line, &mut time);
                    // The next microsecond, so that no line comes twice.
                    *since = line.time.map_or(*since, |time| time + 0.000_001);
                    sender.send(line).await.ok()?;
                }
                _ => return Some(()),
            },
            () = sender.closed() => return None,
        }
    }
}

/// Reads a line. Further lines of a message have no time of their own.
fn parse(node: &str, line: &[u8], time: &mut Option<f64>) -> LogLine {
    let end = line.iter().position(|b| *b == b' ').unwrap_or_default();
    let (first, rest) = line.split_at(end);
    let own = std::str::from_utf8(first).ok();
    let own = own.and_then(|text| text.parse::<f64>().ok());
    let text = match own {
        Some(own) => {
            *time = Some(own);
            rest.strip_prefix(b" ").unwrap_or(rest)
        }
        None => line,
    };
    LogLine {
        time: *time,
        node: node.to_owned(),
        source: LogSource::Journal,
        text: text.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_time_and_the_next_ones_of_its_message_too() {
        let mut time = None;
        let mut read = |line: &str| {
            let line = parse("a", line.as_bytes(), &mut time);
            (line.time, String::from_utf8(line.text).unwrap())
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(read("no time"), (None, text("no time")));
        assert_eq!(
            read("1700000000.250000 a sshd[1]: x"),
            (Some(1_700_000_000.25), text("a sshd[1]: x"))
        );
        assert_eq!(
            read("              more"),
            (Some(1_700_000_000.25), text("              more"))
        );
    }
}
