//! A drawing of a series: two lines, both axes logarithmic.

use std::fmt::Write as _;

use crate::scaling::{Measured, grouped};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Left, right, top, bottom.
const MARGIN: [f64; 4] = [80.0, 30.0, 45.0, 55.0];
/// Name and colour of each line.
const LINES: [(&str, &str); 2] = [("glibc", "#8c5a2b"), ("dlscope", "#1f6fb2")];

/// From a value to its place.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Whole decades around the values.
    fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil().max(low + 1.0);
        Axis { low, high, start, end }
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (value.log10() - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

/// A logarithm has no zero: it stands where 1 would.
fn size_of_point(size: usize) -> f64 {
    size.max(1) as f64
}

/// The drawing as SVG.
pub fn svg(measured: &Measured) -> String {
    let [left, right, top, bottom] = MARGIN;
    let sizes = measured.points.iter().map(|(size, _)| size_of_point(*size));
    let figures = measured.points.iter().flat_map(|(_, figures)| figures.iter().flatten().copied());
    let x = Axis::new(sizes, left, WIDTH - right);
    let y = Axis::new(figures, HEIGHT - bottom, top);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{left}\" y=\"25\" font-size=\"15\">{}, {}</text>\n",
        measured.series.title,
        measured.unit()
    );
    for value in x.decades() {
        let at = x.place(value);
        let _ = writeln!(
            text,
            "<path d=\"M{at:.1} {top}V{}\" stroke=\"#e4e4e4\"/>\n<text x=\"{at:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{}</text>",
            HEIGHT - bottom,
            HEIGHT - bottom + 18.0,
            label(value)
        );
    }
    for value in y.decades() {
        let at = y.place(value);
        let _ = writeln!(
            text,
            "<path d=\"M{left} {at:.1}H{}\" stroke=\"#e4e4e4\"/>\n<text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - right,
            left - 8.0,
            at + 4.0,
            label(value)
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (left + WIDTH - right) / 2.0,
        HEIGHT - 14.0,
        axis_title(measured)
    );
    for (i, (name, colour)) in LINES.iter().enumerate() {
        text += &line(measured, i, &x, &y, colour);
        let (at, down) = (left + 20.0, top + 15.0 + 18.0 * i as f64);
        let _ = writeln!(
            text,
            "<path d=\"M{at} {down}h24\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\n<text x=\"{}\" y=\"{}\">{name}</text>",
            at + 30.0,
            down + 4.0
        );
    }
    text + "</svg>\n"
}

fn axis_title(measured: &Measured) -> String {
    let zero = measured.points.iter().any(|(size, _)| *size == 0);
    format!("{}{}", measured.series.axis, if zero { " (none: where 1 is)" } else { "" })
}

fn line(measured: &Measured, i: usize, x: &Axis, y: &Axis, colour: &str) -> String {
    let points = measured.points.iter().filter_map(|(size, figures)| Some((size_of_point(*size), figures[i]?)));
    let places: Vec<_> = points.map(|(size, figure)| (x.place(size), y.place(figure))).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut text =
        format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\n", path.join(" "));
    for (x, y) in places {
        let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    text
}

fn label(value: f64) -> String {
    if value < 1.0 { value.to_string() } else { grouped(value as usize) }
}
