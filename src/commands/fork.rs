//! `fork`, and `proxy`, by which ssh reaches the nodes of a fork.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::ForkArgs;
use crate::engine::{Lifecycle, Local, StartOptions};
use crate::hint;
use crate::model::{Exit, ForkReport, Forked, Interrupted};
use crate::output;
use crate::state::Locked;

pub(super) async fn run(session: &Session, arguments: &ForkArgs) -> Result<Exit> {
    let began = Instant::now();
    let engine = session.engine()?;
    let ForkArgs { name, from, json } = arguments;
    let forked = engine.fork(name, from.as_ref()).await?;
    let started = session.elsewhere(name, async |fork: Local| {
        fork.start(&[], StartOptions::default()).await
    });
    let start = match started {
        Ok(start) => start,
        Err(error) if hint::find::<Locked>(&error).is_some() => {
            let error = error.context(format!(
                "the fork `{name}` is made, but another verb works on it"
            ));
            let start = hint::command(name, "start");
            return Err(hint::add_hint(error, format!("{start} starts it")));
        }
        Err(error) => {
            // A cluster that cannot be made leaves nothing.
            let removed = session.elsewhere(name, async |fork: Local| fork.down().await);
            return Err(match removed {
                Ok(report) if report.errors.is_empty() => match hint::find::<Interrupted>(&error) {
                    Some(_) => Interrupted("there is no fork".to_owned()).into(),
                    None => error,
                },
                _ => error.context(format!("the fork `{name}` cannot be removed")),
            });
        }
    };
    let report = ForkReport {
        forked: Forked {
            took: began.elapsed(),
            ..forked
        },
        start,
    };
    output::outcome(*json, &report)?;
    Ok(output::forked(&report))
}

/// Connects this process's input and output to a port of a node, until either end is closed.
pub(super) fn proxy(session: &Session, address: IpAddr, port: u16) -> Result<Exit> {
    // Moves into the fork's namespace.
    session.engine()?;
    let node = TcpStream::connect((address, port));
    let mut node = node.with_context(|| format!("cannot connect to {address} port {port}"))?;
    node.set_nodelay(true)?;
    let mut to = node.try_clone()?;
    // It ends with the process, since nothing interrupts a read of the input.
    std::thread::spawn(move || {
        let _gone = pump(&mut std::io::stdin().lock(), &mut to);
        let _gone = to.shutdown(Shutdown::Write);
    });
    let _gone = pump(&mut node, &mut std::io::stdout().lock());
    Ok(Exit::Done)
}

/// Copies until the end, and passes on at once what comes.
fn pump(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}
