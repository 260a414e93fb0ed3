//! Screens of `top` on a terminal of the tests, compared with the agreed snapshots, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::keys::Input;
use super::state::{After, Top, View};
use crate::model::{LogLine, LogSource, TopHost, TopNode, TopSample, Traffic, UsageStatus};

fn node(name: &str, role: &str, pid: Option<i32>, busy: f64, time: f64) -> TopNode {
    let is_up = pid.is_some();
    let moved = |rate: f64| (rate * time) as u64;
    TopNode {
        name: name.to_owned(),
        groups: vec![role.to_owned(), "kube".to_owned()],
        state: if is_up { "ready" } else { "stopped" }.to_owned(),
        pid,
        vcpus: 2,
        ram: 2 << 30,
        usage: UsageStatus {
            uptime: is_up.then_some(time),
            cpu_seconds: is_up.then_some(busy * time),
            rss: is_up.then_some(310 << 20),
            pss: is_up.then_some(190 << 20),
            shared: is_up.then_some(180 << 20),
            private: is_up.then_some(130 << 20),
            ..UsageStatus::default()
        },
        traffic: is_up.then(|| Traffic {
            received: moved(busy * 1e6),
            sent: moved(busy * 2e5),
            read: moved(busy * 4096.0),
            written: moved(busy * 9e6),
        }),
    }
}

fn sample(time: f64, nodes: Vec<TopNode>) -> TopSample {
    TopSample {
        cluster: "k80".to_owned(),
        phase: Some("up".to_owned()),
        accelerator: "TCG".to_owned(),
        keeper: true,
        host: TopHost {
            cores: 4,
            load: Some(1.25),
            memory: Some(24 << 30),
            available: Some(9 << 30),
        },
        nodes,
        time,
    }
}

fn three(time: f64) -> TopSample {
    sample(
        time,
        vec![
            node("master0", "masters", Some(10), 0.25, time),
            node("worker0", "workers", Some(11), 1.5, time),
            node("worker1", "workers", None, 0.0, time),
        ],
    )
}

/// Three nodes after some looks.
fn top() -> Top {
    let mut top = Top::new(three(100.0));
    for look in 1..=6 {
        top.take(Ok(three(100.0 + 2.0 * f64::from(look))));
    }
    top
}

fn screen(top: &mut Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, top, false)).unwrap();
    terminal.backend().to_string()
}

fn typed(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        assert_eq!(top.obey(Input::Char(key)), After::GoOn);
    }
}

fn names(top: &Top) -> Vec<&str> {
    let shown = top.shown().into_iter();
    shown.map(|r| r.node.name.as_str()).collect()
}

fn line(source: LogSource, text: &str) -> LogLine {
    LogLine {
        time: Some(1.0),
        node: "master0".to_owned(),
        source,
        text: text.into(),
    }
}

#[test]
fn screens_of_top_match_their_snapshots() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut log = top();
    log.obey(Input::Enter);
    log.take_lines(&[
        line(
            LogSource::Console,
            "\u{1b}[32mDebian\u{1b}[0m GNU/Linux 13 master0 ttyS0",
        ),
        line(LogSource::Keeper, "ready"),
    ]);
    let mut help = top();
    typed(&mut help, "?");
    let mut filtered = top();
    typed(&mut filtered, "/work");
    let mut sorted = top();
    typed(&mut sorted, "c");
    let mut gone = top();
    gone.take(Ok(TopSample {
        phase: None,
        ..sample(120.0, Vec::new())
    }));
    let mut broken = top();
    broken.take(Err(anyhow::anyhow!("cluster.json is damaged")));
    settings.bind(|| {
        insta::assert_snapshot!("wide", screen(&mut sorted, 120, 9));
        insta::assert_snapshot!("narrow", screen(&mut top(), 60, 8));
        insta::assert_snapshot!("log", screen(&mut log, 80, 9));
        insta::assert_snapshot!("help", screen(&mut help, 90, 22));
        insta::assert_snapshot!("filter", screen(&mut filtered, 100, 8));
        insta::assert_snapshot!("gone", screen(&mut gone, 90, 7));
        insta::assert_snapshot!("fault", screen(&mut broken, 90, 8));
    });
}

#[test]
fn a_node_that_has_ended_before_and_is_ready_counts_as_ready() {
    let mut nodes = three(100.0);
    nodes.nodes[0].state = "ready (3 s ago: killed by SIGKILL)".to_owned();
    let shown = screen(&mut Top::new(nodes), 120, 9);
    assert!(shown.contains("3 nodes, 2 ready,"), "{shown}");
}

#[test]
fn no_window_is_too_small_to_draw_on() {
    for (width, height) in [(1, 1), (5, 2), (20, 3), (300, 90)] {
        let mut top = top();
        for keys in ["", "/w", "?"] {
            typed(&mut top, keys);
            screen(&mut top, width, height);
            top.obey(Input::Escape);
        }
        top.obey(Input::Enter);
        screen(&mut top, width, height);
    }
}

#[test]
fn rates_need_two_looks_at_the_same_qemu() {
    let mut top = Top::new(three(100.0));
    assert!(top.rows.all[0].rates.is_none());
    top.take(Ok(three(102.0)));
    let rates = top.rows.all[1].rates.unwrap();
    assert!((rates.received - 1.5e6).abs() < 1.0, "{rates:?}");
    assert!((top.rows.all[1].node.usage.cpu.unwrap() - 1.5).abs() < 1e-9);
    assert_eq!(top.rows.all[1].history, [0.75]);
    // Another QEMU of the same node begins anew, and so does its history.
    let mut again = three(104.0);
    again.nodes[1].pid = Some(99);
    top.take(Ok(again));
    assert!(top.rows.all[1].rates.is_none());
    assert!(top.rows.all[1].history.is_empty());
}

#[test]
fn keys_order_filter_and_select() {
    let mut top = top();
    assert_eq!(top.selected.as_deref(), Some("master0"));
    typed(&mut top, "c");
    assert_eq!(names(&top), ["worker0", "master0", "worker1"]);
    // The selection stays on its node.
    assert_eq!(top.place(), Some(1));
    typed(&mut top, "r");
    assert_eq!(names(&top), ["worker1", "master0", "worker0"]);
    typed(&mut top, "o");
    assert_eq!(names(&top), ["master0", "worker0", "worker1"]);
    top.obey(Input::End);
    assert_eq!(top.selected.as_deref(), Some("worker1"));
    top.obey(Input::Down);
    assert_eq!(top.place(), Some(2));
    // Letters are text while a filter is typed, and a role or group counts as a whole.
    typed(&mut top, "/q");
    assert!(names(&top).is_empty() && top.selected.is_none());
    top.obey(Input::Backspace);
    typed(&mut top, "MASTERS");
    assert_eq!(names(&top), ["master0"]);
    top.obey(Input::Enter);
    assert_eq!(top.view, View::Nodes);
    assert_eq!(top.obey(Input::Escape), After::GoOn);
    assert_eq!(names(&top).len(), 3);
    typed(&mut top, "/kube");
    assert_eq!(names(&top).len(), 3);
    top.obey(Input::Escape);
    assert_eq!(top.obey(Input::Escape), After::Quit);
    assert_eq!(top.obey(Input::Char('q')), After::Quit);
    assert_eq!(top.obey(Input::Break), After::Interrupted);
}

#[test]
fn a_log_is_followed_at_its_end_and_stands_still_above() {
    let mut top = top();
    screen(&mut top, 80, 10);
    top.obey(Input::Enter);
    assert_eq!(top.log_node(), Some("master0"));
    let lines: Vec<_> = (0..20)
        .map(|n| line(LogSource::Console, &format!("line {n}")))
        .collect();
    top.take_lines(&lines);
    assert!(screen(&mut top, 80, 10).contains("line 19"));
    top.obey(Input::Up);
    let before = screen(&mut top, 80, 10);
    assert!(!before.contains("line 19") && before.contains("line 18"));
    top.take_lines(&lines[..1]);
    let body = |screen: String| {
        screen
            .lines()
            .skip(4)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(body(screen(&mut top, 80, 10)), body(before));
    top.obey(Input::End);
    assert!(screen(&mut top, 80, 10).contains("line 0"));
    // A vanished node's log is left with the reason.
    top.leave_log(&anyhow::anyhow!("there is no cluster `k80`"));
    assert_eq!(top.log_node(), None);
    assert!(screen(&mut top, 80, 10).contains("error: there is no cluster `k80`"));
}

#[test]
fn the_selection_moves_on_when_its_node_is_gone() {
    let mut top = top();
    let mut fewer = three(120.0);
    fewer.nodes.remove(0);
    top.take(Ok(fewer));
    assert_eq!(top.selected.as_deref(), Some("worker0"));
    // A cluster that is removed and made again is shown again.
    top.take(Ok(sample(121.0, Vec::new())));
    assert_eq!(top.selected, None);
    top.take(Ok(three(122.0)));
    assert_eq!(top.selected.as_deref(), Some("master0"));
}
