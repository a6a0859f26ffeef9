//! **versus**: dlscope against glibc, `dlopen-rs`, `elf_loader` and the floor, in one interleaved run.
//!
//! ```sh
//! cargo run --release --manifest-path benches/versus/Cargo.toml -- -o docs/performance.md
//! ```
//!
//! Every sample is a fresh process, pinned to one CPU, and the contenders take turns (A B C A B C …), so that what the
//! machine does besides hits all of them. The process is this program again: `versus sample WHO WHAT LIB`.
//!
//! | file | what it does |
//! |---|---|
//! | `loaders.rs`, `bin/versus-dlopen-rs.rs`, `../c/floor.c` | the contenders, each behind the same three calls |
//! | `bin/versus-start.rs` | what dlscope does before `main` |
//! | `sample.rs` (library) | what one sample measures |
//! | `run.rs` | starts samples, takes turns, takes medians |
//! | `libraries.rs`, `generated.rs` | which libraries, found or made |
//! | `tables.rs` | cold load, load and unload, lookup, memory |
//! | `scaling.rs`, `plot.rs` | one size grows: tables and drawings |
//! | `machine.rs` | where it ran |

mod generated;
mod libraries;
mod loaders;
mod machine;
mod plot;
mod run;
mod scaling;
mod tables;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

// As a program that cares for speed has it: unwinding asks dlscope, and loads need not register their tables.
dlscope::interpose!();

/// Measures dlscope against glibc, dlopen-rs, elf_loader, and the floor.
///
/// Every sample is a fresh process on one CPU, and the contenders take turns, so that what the machine does besides hits
/// all of them. Tables go to standard output as Markdown, what is being measured to standard error. Without options: all
/// tables over fourteen libraries, in some minutes.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    versus --what cold --only libz --only libLLVM       one table, two libraries: seconds\n  \
    versus --what lookup --only libcrypto --samples 9   less exact, and at once\n  \
    versus --what none --series dependencies            one size that grows\n  \
    versus --scaling -o docs/performance.md             the whole page, with its drawings")]
struct Options {
    /// Samples of each contender in the tables for cold loads and for load and unload; half as many for lookups and
    /// sizes that grow, where a sample is many rounds, and a quarter for memory, which hardly varies. Medians are shown
    #[arg(long, default_value_t = 21)]
    samples: usize,
    /// Only libraries whose name starts like this: `libz`, `one` for the smallest (may be repeated)
    #[arg(long, value_name = "LIB")]
    only: Vec<String>,
    /// Only this table (may be repeated)
    #[arg(long, value_name = "WHAT")]
    what: Vec<What>,
    /// Also what happens when one size grows: all of the series
    #[arg(long)]
    scaling: bool,
    /// Also this series (may be repeated)
    #[arg(long, value_name = "NAME", value_parser = scaling::SERIES.iter().map(|s| s.name).collect::<Vec<_>>())]
    series: Vec<String>,
    /// Write the page here (Markdown), and its drawings beside it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A table.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// The open call alone, in a process that opened nothing before
    Cold,
    /// Load and unload, again and again in one process
    Repeat,
    /// A symbol by name: one that is there, one that is not
    Lookup,
    /// Pages that a load makes the process's own
    Memory,
    /// No table: for --scaling or --series alone
    None,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|word| word == "sample") {
        loaders::run(&args[1..]);
    }
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("versus: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    let runner = run::Runner::new(options.samples)?;
    let wants = |what| options.what.is_empty() || options.what.contains(&what);
    let mut page = format!("{}\n{}\n", tables::HEAD, machine::describe(options.samples));
    let mut put = |text: String| {
        println!("{text}");
        page += &text;
        page += "\n";
    };
    if [What::Cold, What::Repeat, What::Lookup, What::Memory].into_iter().any(wants) {
        let (libraries, missing) = libraries::find(&runner, &options.only)?;
        if wants(What::Cold) {
            put(tables::cold(&runner, &libraries)?);
        }
        if wants(What::Repeat) {
            put(tables::repeat(&runner, &libraries));
        }
        if wants(What::Lookup) {
            put(tables::lookup(&runner, &libraries)?);
        }
        if wants(What::Memory) {
            put(tables::memory(&runner, &libraries));
        }
        if !missing.is_empty() {
            put(format!("Not on this machine: {}.\n", missing.join(", ")));
        }
    }
    let series = |s: &&scaling::Series| options.scaling || options.series.iter().any(|name| name == s.name);
    let chosen: Vec<_> = scaling::SERIES.iter().filter(series).collect();
    if !chosen.is_empty() {
        put(scaling::HEAD.into());
        for series in chosen {
            let measured = scaling::measure(&runner, series)?;
            let mut text = measured.table();
            if let Some(output) = &options.output {
                text += &write_plot(output, &measured)?;
            }
            put(text);
        }
    }
    if let Some(output) = &options.output {
        fs::write(output, page).map_err(|e| format!("{}: {e}", output.display()))?;
    }
    Ok(())
}

/// Draws a series beside the page; returns the line that shows it.
fn write_plot(page: &std::path::Path, measured: &scaling::Measured) -> Result<String, String> {
    let stem = page.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{stem}-{}.svg", measured.series.name);
    let file = page.with_file_name(&name);
    fs::write(&file, plot::svg(measured)).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(format!("\n![{}]({name})\n", measured.series.title))
}
