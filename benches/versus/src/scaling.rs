//! What happens when one size grows: glibc and dlscope over generated libraries.

use crate::generated;
use crate::run::{Job, Outcome, Runner, Who};

/// Over the tables.
pub const HEAD: &str = "## When one size grows\n\n\
    Generated libraries, the open call alone in a fresh process if nothing else is said; without what dlscope does \
    before `main`. Relocations: three of four hold an address inside the library, one a symbol's, and each symbol is \
    asked for about five times. Dependencies: a library that names all of them, and each of them names and uses the one \
    before it.\n";

/// A size that grows.
pub struct Series {
    /// In file names.
    pub name: &'static str,
    /// Over the table, and under the drawing.
    pub title: &'static str,
    /// What grows.
    pub axis: &'static str,
    /// The sizes.
    pub sizes: &'static [usize],
    /// Makes what is needed for a size; `WHAT LIB …` of its samples.
    args: fn(&Runner, usize) -> Result<Vec<String>, String>,
    /// The column of the answer that counts, and how many ns a unit has.
    figure: (usize, f64, &'static str),
}

/// All of them.
pub const SERIES: &[Series] = &[
    Series {
        name: "relocations",
        title: "Relocations in one library",
        axis: "relocations",
        sizes: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        args: |runner, size| Ok(vec!["cold".into(), generated::relocations(&runner.folder, size)?]),
        figure: (0, 1000.0, "µs"),
    },
    Series {
        name: "dependencies",
        title: "Dependencies of one library",
        axis: "dependencies",
        sizes: &[1, 3, 10, 30, 100, 300, 1_000],
        args: |runner, size| Ok(vec!["cold".into(), generated::dependencies(&runner.folder, size)?]),
        figure: (0, 1000.0, "µs"),
    },
    Series {
        name: "exports",
        title: "Exports of one library: load",
        axis: "exports",
        sizes: EXPORTS,
        args: |runner, size| Ok(vec!["cold".into(), generated::exports(&runner.folder, size)?]),
        figure: (0, 1000.0, "µs"),
    },
    Series {
        name: "lookup",
        title: "Exports of one library: lookup of a name that is there",
        axis: "exports",
        sizes: EXPORTS,
        args: lookup,
        figure: (0, 1.0, "ns"),
    },
    Series {
        name: "loaded",
        title: "Libraries loaded before: one more small library",
        axis: "libraries loaded before",
        sizes: &[0, 10, 30, 100, 300, 1_000, 2_000],
        args: |runner, size| {
            let (crowd, one) = generated::crowd(&runner.folder, size)?;
            Ok(vec!["crowd".into(), one, crowd, size.to_string()])
        },
        figure: (0, 1000.0, "µs"),
    },
];

const EXPORTS: &[usize] = &[10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// All names if they are few, else ten thousand of them: it is not the cache that is to be measured.
fn lookup(runner: &Runner, size: usize) -> Result<Vec<String>, String> {
    let library = generated::exports(&runner.folder, size)?;
    let file = runner.folder.join(format!("names{size}"));
    let names: String =
        (0..size).step_by((size / 10_000).max(1)).map(|i| format!("exported_function_{i:07}\n")).collect();
    std::fs::write(&file, names).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(vec!["lookup".into(), library, file.to_string_lossy().into_owned()])
}

/// A series with its figures.
pub struct Measured {
    /// Which.
    pub series: &'static Series,
    /// Size, glibc, dlscope.
    pub points: Vec<(usize, [Option<f64>; 2])>,
}

/// Runs the samples of a series.
///
/// # Errors
/// When a library cannot be made.
pub fn measure(runner: &Runner, series: &'static Series) -> Result<Measured, String> {
    let mut points = Vec::new();
    for size in series.sizes {
        eprintln!("{}: {size}", series.name);
        let args = (series.args)(runner, *size)?;
        let jobs = [Who::Glibc, Who::Dlscope].map(|who| Job { who, args: args.clone(), library_path: None });
        let outcomes = runner.interleaved(&jobs, runner.samples.div_ceil(2));
        let (column, unit, _) = series.figure;
        let figure = |outcome: &Outcome| outcome.as_ref().ok().map(|row| row[column] / unit);
        points.push((*size, [figure(&outcomes[0]), figure(&outcomes[1])]));
    }
    Ok(Measured { series, points })
}

impl Measured {
    /// What the figures are in.
    pub fn unit(&self) -> &'static str {
        self.series.figure.2
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let unit = self.unit();
        let mut text = format!(
            "### {}\n\n| {} | glibc, {unit} | **dlscope**, {unit} | ratio |\n|---|---|---|---|\n",
            self.series.title, self.series.axis
        );
        for (size, figures) in &self.points {
            let [glibc, dlscope] =
                figures.map(|figure| figure.map_or_else(|| "fails".into(), |value| format!("{value:.1}")));
            let ratio = match figures {
                [Some(glibc), Some(dlscope)] => format!("{:.2}", dlscope / glibc),
                _ => "–".into(),
            };
            text += &format!("| {} | {glibc} | {dlscope} | {ratio} |\n", grouped(*size));
        }
        text
    }
}

/// 1000000 as `1,000,000`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
