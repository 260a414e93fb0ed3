//! `top`.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Session;
use crate::cli::TopFlags;
use crate::engine::Local;
use crate::engine::local::{FollowedLog, Watch};
use crate::hint::{bail_with_hint, command};
use crate::interrupt::Interrupt;
use crate::model::{Exit, TopSample, Usage};
use crate::output::{After, FullScreen, Input, Top, inputs};

/// Time between two looks at a log that is shown.
const LOG: Duration = Duration::from_millis(300);

pub(super) async fn run(session: &Session, flags: TopFlags) -> Result<Exit> {
    let engine = session.engine()?;
    if !FullScreen::is_possible() {
        let name = engine.name();
        let (watch, json) = (
            command(name, "status --watch"),
            command(name, "status --json"),
        );
        bail_with_hint!(
            format!("{watch} shows the nodes again and again, {json} is for programs"),
            Usage("`top` needs a terminal to draw on".to_owned())
        );
    }
    let mut watch = engine.watch();
    let first = watch.look().await?;
    if first.phase.is_none() {
        return Err(engine.missing());
    }
    let every = Duration::from_secs(flags.interval);
    show(&engine, watch, Top::new(first), every).await
}

/// Shows looks and obeys keys until somebody quits, a signal comes or the terminal is gone.
async fn show(engine: &Local, watch: Watch, mut top: Top, every: Duration) -> Result<Exit> {
    let mut interrupt = Interrupt::listen()?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be watched")?;
    let mut screen = FullScreen::open()?;
    let mut keys = inputs();
    let (sender, mut looks) = mpsc::channel(1);
    let mut looking = std::pin::pin!(look_on(watch, sender, every));
    let mut log = None;
    loop {
        screen.draw(&mut top)?;
        tokio::select! {
            () = interrupt.wait() => return Ok(Exit::Interrupted),
            _ = hangup.recv() => return Ok(Exit::Done),
            () = &mut looking => return Ok(Exit::Done),
            Some(look) = looks.recv() => top.take(look),
            key = keys.recv() => match key {
                None => return Ok(Exit::Done),
                Some(Input::Resize) => screen.forget(),
                Some(key) => match top.obey(key) {
                    After::Quit => return Ok(Exit::Done),
                    After::Interrupted => return Ok(Exit::Interrupted),
                    After::GoOn => follow(engine, &mut top, &mut log),
                },
            },
            () = tokio::time::sleep(LOG), if top.log_node().is_some() => {
                follow(engine, &mut top, &mut log);
            }
        }
    }
}

/// Sends a look at each interval.
async fn look_on(mut watch: Watch, looks: mpsc::Sender<Result<TopSample>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if looks.send(watch.look().await).await.is_err() {
            return;
        }
    }
}

/// Takes the news of the log that is shown, if one is.
fn follow(engine: &Local, top: &mut Top, log: &mut Option<(String, FollowedLog)>) {
    let Some(node) = top.log_node().map(str::to_owned) else {
        *log = None;
        return;
    };
    if log.as_ref().is_none_or(|(followed, _)| *followed != node) {
        match engine.follow_log(&node) {
            Ok(opened) => *log = Some((node, opened)),
            Err(why) => return top.leave_log(&why),
        }
    }
    if let Some((_, log)) = log {
        top.take_lines(&log.news());
    }
}
