//! The stages of a start as a picture, SVG 1.1, and as a page around it.

use std::fmt::Write;

use jiff::tz::TimeZone;

use super::timeline::{WAITS, summary};
use crate::model::{Stage, Timeline};

const WIDTH: f64 = 900.0;
/// Where bars begin, after the names.
const LEFT: f64 = 140.0;
const TOP: f64 = 56.0;
const ROW: f64 = 18.0;

/// The colours of the waits, which differ in lightness too.
const fn color(stage: Stage) -> &'static str {
    match stage {
        Stage::Kernel => "#8d99ae",
        Stage::Woken => "#bcd4e6",
        Stage::Identity => "#f4a259",
        Stage::Lease => "#5b8e7d",
        Stage::Ssh => "#8cb369",
        Stage::Ready => "#2a6f97",
        Stage::Ended => "#bc4b51",
        Stage::Cloned | Stage::Started => "#dddddd",
    }
}

/// The picture.
pub(crate) fn timeline_svg(timeline: &Timeline) -> String {
    let bottom = ROW.mul_add(timeline.nodes.len() as f64, TOP);
    let height = bottom + 30.0;
    let scale = (WIDTH - LEFT - 40.0) / timeline.took.max(0.001);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"#
    );
    let title = escape(&summary(timeline, &TimeZone::UTC));
    let _infallible = write!(
        svg,
        r#"<text x="10" y="20" font-weight="bold">{title} (UTC)</text>"#
    );
    let mut x = LEFT;
    for (stage, _) in WAITS {
        if timeline
            .nodes
            .iter()
            .any(|n| n.waits().any(|w| w.0 == stage))
        {
            let (color, name) = (color(stage), stage.name());
            let _infallible = write!(
                svg,
                r#"<rect x="{x}" y="32" width="12" height="12" fill="{color}"/><text x="{}" y="42">{name}</text>"#,
                x + 16.0
            );
            x += 80.0;
        }
    }
    for (row, node) in timeline.nodes.iter().enumerate() {
        let y = ROW.mul_add(row as f64, TOP);
        let name = escape(&node.node);
        let _infallible = write!(svg, r#"<text x="10" y="{}">{name}</text>"#, y + 12.0);
        for (stage, from, to) in node.waits() {
            let _infallible = write!(
                svg,
                r#"<rect x="{:.1}" y="{}" width="{:.1}" height="{}" fill="{}"><title>{name} waited for {}: {from:.2} s to {to:.2} s</title></rect>"#,
                from.mul_add(scale, LEFT),
                y + 2.0,
                ((to - from) * scale).max(0.5),
                ROW - 4.0,
                color(stage),
                stage.name()
            );
        }
    }
    for tick in 0..=4 {
        let time = timeline.took * f64::from(tick) / 4.0;
        let _infallible = write!(
            svg,
            r##"<text x="{:.1}" y="{}" text-anchor="middle" fill="#666">{time:.1} s</text>"##,
            time.mul_add(scale, LEFT),
            bottom + 18.0
        );
    }
    svg + "</svg>\n"
}

/// A page with the picture, which needs nothing else.
pub(crate) fn timeline_html(timeline: &Timeline) -> String {
    let cluster = escape(&timeline.cluster);
    let svg = timeline_svg(timeline);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>start of {cluster}</title>\n<body>\n{svg}</body>\n</html>\n"
    )
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_an_element() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
