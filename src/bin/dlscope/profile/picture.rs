//! A profile as an SVG picture: a bar for the whole load, and one for each object.

use svg::Document;
use svg::node::element::{Element, Group, Rectangle, Style, Text, Title};

use super::merge::{ObjectProfile, Profile};
use super::part::Part;
use super::show::{duration, percent};
use crate::page::count;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 22.0;
const TOP: f64 = 150.0;
/// At most so many objects are drawn.
const OBJECTS: usize = 80;

/// Dark text on a light background or the other way round, as the reader's system is set.
const STYLE: &str = "\
svg { font: 12px system-ui, sans-serif; background: #fff }
text { fill: #1c1e21 }
.faint { fill: #6a7078 }
.title { font-size: 17px; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  svg { background: #16181c }
  text { fill: #e8eaed }
  .faint { fill: #9aa0a6 }
}";

/// The picture as the text of an SVG file.
pub fn draw(profile: &Profile) -> String {
    let objects = &profile.objects[..profile.objects.len().min(OBJECTS)];
    let left_out = profile.objects.len() - objects.len();
    let height = TOP + ROW * (objects.len() + usize::from(left_out > 0)) as f64 + 20.0;
    let mut picture = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("role", "img")
        .add(Title::new(format!("Where the load of {} spends its time", profile.library)))
        .add(Style::new(STYLE))
        .add(text(20.0, 32.0, "title", format!("{}: {}", profile.library, duration(profile.silent))))
        .add(text(20.0, 52.0, "faint", subtitle(profile)));
    let whole = ObjectProfile {
        object: None,
        nanoseconds: profile.whole,
        parts: profile.parts.clone(),
        counts: None,
        pages: None,
    };
    picture = picture.add(bar(&whole, "the whole load", 64.0, (WIDTH - 40.0) / profile.whole, 20.0));
    picture = legend(profile).into_iter().fold(picture, |picture, item| picture.add(item));
    // The longest object has the full width. On the scale of the whole load short objects would not be visible.
    let scale = objects.first().map_or(1.0, |longest| (WIDTH - LEFT - RIGHT) / longest.nanoseconds.max(1.0));
    for (row, object) in objects.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        picture = picture
            .add(text(LEFT - 8.0, y + 14.0, "", shortened(object.short())).set("text-anchor", "end"))
            .add(bar(object, object.object.as_deref().unwrap_or(object.short()), y, scale, LEFT))
            .add(text(LEFT + object.nanoseconds * scale + 6.0, y + 14.0, "faint", duration(object.nanoseconds)));
    }
    if left_out > 0 {
        let y = TOP + ROW * objects.len() as f64 + 14.0;
        picture = picture.add(text(LEFT, y, "faint", format!("… {left_out} more, shorter than these")));
    }
    picture.to_string() + "\n"
}

fn subtitle(profile: &Profile) -> String {
    let mapped = count(profile.count(|counts| counts.mapped.into()), "object");
    let relocations = count(profile.count(|counts| counts.relocated()), "relocation");
    let lookups = count(profile.count(|counts| counts.lookups), "lookup");
    let faults = profile.faulting().map_or(String::new(), |time| format!(" · page faults {}", duration(time)));
    format!(
        "{mapped} mapped · {relocations} · {lookups}{faults} · watched at the ends of stages {}, nobody watching {}",
        duration(profile.whole),
        duration(profile.silent)
    )
}

/// A bar in the colours of its parts. Each part has a title with its time, which browsers show on hover.
fn bar(object: &ObjectProfile, name: &str, y: f64, scale: f64, left: f64) -> Group {
    let mut x = left;
    let mut group = Group::new();
    for time in object.parts.iter().filter(|time| time.nanoseconds > 0.0) {
        let wide = time.nanoseconds * scale;
        let share = percent(time.nanoseconds, object.nanoseconds);
        let title = format!("{name}\n{}: {} ({share})", time.part, duration(time.nanoseconds));
        group = group.add(rectangle(x, y, wide, time.part).add(Title::new(title)));
        x += wide;
    }
    group
}

fn rectangle(x: f64, y: f64, wide: f64, part: Part) -> Rectangle {
    Rectangle::new()
        .set("x", tenths(x))
        .set("y", tenths(y))
        .set("width", tenths(wide))
        .set("height", ROW - 4.0)
        .set("fill", part.colour())
}

/// The legend: the colour and the share of each part.
fn legend(profile: &Profile) -> Vec<Element> {
    let column = (WIDTH - 40.0) / 6.0;
    let item = |(at, time): (usize, &super::merge::PartTime)| {
        let (x, y) = (20.0 + column * (at % 6) as f64, 96.0 + 20.0 * (at / 6) as f64);
        let label = format!("{} {}", time.part, percent(time.nanoseconds, profile.whole));
        let mark = rectangle(x, y, 12.0, time.part).set("height", 12.0);
        [mark.into(), text(x + 18.0, y + 11.0, "", label).into()]
    };
    profile.parts.iter().enumerate().flat_map(item).collect()
}

fn text(x: f64, y: f64, class: &str, words: impl Into<String>) -> Text {
    let text = Text::new(words).set("x", tenths(x)).set("y", tenths(y));
    if class.is_empty() { text } else { text.set("class", class) }
}

fn shortened(name: &str) -> String {
    crate::page::shortened(name, 30)
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
