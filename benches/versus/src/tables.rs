//! The tables over libraries.

use crate::libraries::Subject;
use crate::run::{Job, Outcome, Runner, Who};

/// The page's beginning.
pub const HEAD: &str = "# Performance\n\n\
    Made by one command, and replaced by the next run of it:\n\n\
    ```sh\n\
    cargo run --release --manifest-path benches/versus/Cargo.toml -- --scaling -o docs/performance.md\n\
    ```\n\n\
    Every sample is a fresh process on one CPU; the contenders take turns (A B C A B C …) and are all given the same \
    path. The programs are built with `codegen-units = 1`, and copied to where they run, as an installation does: what a \
    linker wrote lies in the page cache in smaller pieces, and its page faults are dearer. glibc is `dlopen` with \
    `RTLD_NOW` if nothing else is said; *fails* means that a loader refuses the library, crashes, or hangs. Ratios are \
    to glibc: less is faster. One table, or one library, is measured alone in seconds: see `--help`.\n\n\
    The inner parts (the hash of a name, a lookup with and without an index, the loop over `R_X86_64_RELATIVE`s, the \
    plan) have benches of their own, `cargo bench --bench inner`. There the loop is also held against one without a word \
    of events in it, and under a probe that does not listen: that is what probes cost when nobody listens.\n";

/// Markdown, as it grows.
struct Table(String);

impl Table {
    fn new(columns: &[&str]) -> Table {
        let dashes = vec!["---"; columns.len()].join("|");
        Table(format!("| {} |\n|{dashes}|\n", columns.join(" | ")))
    }

    fn row(&mut self, cells: &[String]) {
        self.0 += &format!("| {} |\n", cells.join(" | "));
    }
}

/// How many figures, and their geometric mean.
fn mean(values: &[f64]) -> String {
    if values.is_empty() {
        return "–".into();
    }
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    format!("**{:.2}** ({})", (sum / values.len() as f64).exp(), values.len())
}

fn first(outcome: &Outcome) -> Option<f64> {
    outcome.as_ref().ok().and_then(|row| row.first().copied())
}

fn ratio(outcome: &Outcome, reference: &Outcome) -> Option<f64> {
    Some(first(outcome)? / first(reference)?)
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "fails".into(), |value| format!("{value:.2}"))
}

/// The rows of a table, each a library with its outcomes in the order of `who`.
fn rows<'a>(
    runner: &'a Runner,
    libraries: &'a [Subject],
    who: &'a [Who],
    what: &'a str,
    samples: usize,
) -> impl Iterator<Item = (&'a Subject, Vec<Outcome>)> {
    libraries.iter().map(move |library| {
        eprintln!("{what}: {}", library.name);
        let jobs: Vec<_> = who.iter().map(|who| library.job(*who, what)).collect();
        (library, runner.interleaved(&jobs, samples))
    })
}

/// Cold load.
///
/// # Errors
/// When what measures constructors cannot be made.
pub fn cold(runner: &Runner, libraries: &[Subject]) -> Result<String, String> {
    let who = [Who::Glibc, Who::GlibcLazy, Who::DlopenRs, Who::ElfLoader, Who::Dlscope, Who::DlscopeLazy, Who::Floor];
    let at = |wanted: Who| who.iter().position(|who| *who == wanted).unwrap_or_default();
    let mut head = vec!["library", "new objects", "glibc NOW, µs"];
    head.extend(who[1..].iter().map(|who| who.title()));
    head.push("floor + constructors");
    let mut table = Table::new(&head);
    let mut ratios = vec![Vec::new(); who.len() + 1];
    let (mut preparations, mut starts) = (Vec::new(), Vec::new());
    for library in libraries {
        eprintln!("cold: {}", library.name);
        let mut jobs: Vec<_> = who.iter().map(|who| library.job(*who, "cold")).collect();
        jobs.extend([library.job(Who::Start, "cold"), library.constructors(runner)?]);
        let mut outcomes = runner.interleaved(&jobs, runner.samples);
        let constructors = outcomes.pop().as_ref().and_then(first);
        let start = outcomes.pop().as_ref().and_then(first).unwrap_or(0.0);
        starts.push(start);
        for who in [Who::Dlscope, Who::DlscopeLazy] {
            if let Ok(row) = &mut outcomes[at(who)] {
                row[0] += start;
            }
        }
        let mut cells = vec![library.name.clone(), library.objects.len().to_string()];
        cells.push(first(&outcomes[0]).map_or_else(|| "fails".into(), |ns| format!("{:.0}", ns / 1000.0)));
        let mut found: Vec<_> = outcomes[1..].iter().map(|outcome| ratio(outcome, &outcomes[0])).collect();
        let floor = first(&outcomes[at(Who::Floor)]).zip(constructors).zip(first(&outcomes[0]));
        found.push(floor.map(|((floor, constructors), glibc)| (floor + constructors) / glibc));
        for (ratios, ratio) in ratios.iter_mut().zip(&found) {
            ratios.extend(*ratio);
        }
        cells.extend(found.into_iter().map(cell));
        preparations.extend(outcomes[at(Who::ElfLoader)].as_ref().ok().and_then(|row| row.get(1).copied()));
        table.row(&cells);
    }
    let mut cells = vec!["geometric mean (libraries)".into(), String::new(), String::new()];
    cells.extend(ratios[..who.len()].iter().map(|ratios| mean(ratios)));
    table.row(&cells);
    let [preparation, start] = [preparations, starts].map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).map_or(0.0, |ns| ns / 1000.0)
    });
    Ok(format!(
        "## Cold load\n\nThe open call alone, in a process that has libc, libm, libgcc_s and ld.so and opened nothing \
         before. What a process pays once counts: dlscope's figure includes what `interpose!` does before `main` ({start:.0} µs \
         here). Not so for the crates, whose figures are kinder than a program would see: elf_loader reads the search \
         cache and imports the host's libraries before the clock runs, as in its own benchmark ({preparation:.0} µs \
         here); dlopen-rs adopts the host before `main`, and is told the folders of all dependencies, which it does \
         not find otherwise. The floor maps, zeroes, stores one word per relocation, and \
         seals: no lookup, no constructor. Beside it stands the floor with the same constructors run: it cannot run them \
         itself, so this is its time and what glibc takes from the first constructor's begin to the last one's end.\n\n{}",
        table.0
    ))
}

/// Load and unload.
pub fn repeat(runner: &Runner, libraries: &[Subject]) -> String {
    let who = [Who::Glibc, Who::DlopenRs, Who::ElfLoader, Who::Dlscope];
    let mut table =
        Table::new(&["library", "glibc, µs", "dlopen-rs", "elf_loader", "**dlscope**", "keeps (in this order)"]);
    let mut ratios = vec![Vec::new(); who.len()];
    let kept = |outcome: &Outcome| outcome.as_ref().ok().and_then(|row| row.get(1).copied());
    let keeps = |outcome: &Outcome| match kept(outcome) {
        Some(count) if outcome.as_ref().is_ok_and(|row| row[2] > 0.0) => format!("itself + {:.0}", count - 1.0),
        Some(count) => format!("{count:.0}"),
        None => "–".into(),
    };
    for (library, outcomes) in rows(runner, libraries, &who, "repeat", runner.samples) {
        let unloads = outcomes[0].as_ref().is_ok_and(|row| row[2] == 0.0);
        let mut cells = vec![library.name.clone()];
        cells.push(first(&outcomes[0]).map_or_else(|| "fails".into(), |ns| format!("{:.1}", ns / 1000.0)));
        for (i, outcome) in outcomes.iter().enumerate().skip(1) {
            let ratio = ratio(outcome, &outcomes[0]);
            if unloads {
                ratios[i].extend(ratio);
            }
            cells.push(cell(ratio));
        }
        cells.push(outcomes.iter().map(keeps).collect::<Vec<_>>().join(", "));
        table.row(&cells);
    }
    let mut cells = vec!["geometric mean where glibc unloads it".into(), String::new()];
    cells.extend(ratios[1..].iter().map(|ratios| mean(ratios)));
    cells.push(String::new());
    table.row(&cells);
    format!(
        "## Load and unload, repeated\n\nOpen and close, 20 times in one process, median. *Keeps*: how many \
         libraries are still mapped after the last close (`DF_1_NODELETE`, unique symbols, thread-local destructors). \
         Where glibc keeps the library itself, its next open finds it there, and the figure is not that of a load; such \
         rows do not count in the mean. Who keeps more has less to do, who keeps less has more.\n\n{}",
        table.0
    )
}

/// Symbols by name.
///
/// # Errors
/// When a list of names cannot be made.
pub fn lookup(runner: &Runner, libraries: &[Subject]) -> Result<String, String> {
    let who = [Who::Glibc, Who::DlopenRs, Who::ElfLoader, Who::Dlscope, Who::DlscopeGet, Who::DlscopeC];
    let mut head = vec!["library", "names"];
    head.extend(who.iter().map(|who| who.title()));
    // Three ways to ask dlscope, each against `dlsym`.
    let ways = [3, 4, 5];
    let divided = ways.map(|way| format!("{} ÷ glibc", who[way].title()));
    head.extend(divided.iter().map(|text| &**text));
    let mut tables = [Table::new(&head), Table::new(&head)];
    let mut ratios = [const { [const { Vec::new() }; 3] }; 2];
    let mut part = false;
    for library in libraries {
        eprintln!("lookup: {}", library.name);
        let file = runner.folder.join("names").to_string_lossy().into_owned();
        let args = vec!["names".into(), library.path.clone(), file.clone()];
        let Ok(count) = runner.fields(&Job { who: Who::Dlscope, args, library_path: None }) else { continue };
        let count: f64 = count.first().and_then(|text| text.parse().ok()).ok_or("names are not counted")?;
        let mut jobs: Vec<_> = who.iter().map(|who| library.job(*who, "lookup")).collect();
        jobs.iter_mut().for_each(|job| job.args.push(file.clone()));
        // A sample is many rounds over all names, so that fewer samples do.
        let outcomes = runner.interleaved(&jobs, runner.samples.div_ceil(2));
        for (i, table) in tables.iter_mut().enumerate() {
            let mut cells = vec![library.name.clone(), format!("{count:.0}")];
            for outcome in &outcomes {
                cells.push(match outcome {
                    Ok(row) if row[2] < count => format!("{:.0} \\*", row[i]),
                    Ok(row) => format!("{:.0}", row[i]),
                    Err(_) => "fails".into(),
                });
                part |= outcome.as_ref().is_ok_and(|row| row[2] < count);
            }
            for (way, ratios) in ways.into_iter().zip(&mut ratios[i]) {
                let ratio = match (&outcomes[0], &outcomes[way]) {
                    (Ok(glibc), Ok(dlscope)) => Some(dlscope[i] / glibc[i]),
                    _ => None,
                };
                ratios.extend(ratio);
                cells.push(cell(ratio));
            }
            table.row(&cells);
        }
    }
    for (table, ratios) in tables.iter_mut().zip(&ratios) {
        let mut cells = vec!["geometric mean".into()];
        cells.resize(head.len() - ways.len(), String::new());
        cells.extend(ratios.iter().map(|ratios| mean(ratios)));
        table.row(&cells);
    }
    let part = if part { " \\*: found only some of the names." } else { "" };
    Ok(format!(
        "## Symbol lookup\n\nns per name, hot, over all names that a library exports; each loader searches the library \
         and its dependencies, but elf_loader only the library. dlscope is asked in three ways: by `Library::find`, which \
         says that a name is missing and no more, as elf_loader's does; by `Library::get`, whose error has the name and \
         where it was looked for, as dlopen-rs's has the name; and as C programs ask, by `dlsym` with a handle, whose error \
         is a text for `dlerror`, as glibc's. All three make an index over the exports of the library and its \
         dependencies once they have asked about as many objects as there are exports (`src/lookup/index.rs`): 19 bytes an export, and none for programs that look up few names.{part}\n\nNames that are \
         there:\n\n{}\nNames that are not:\n\n{}",
        tables[0].0, tables[1].0
    ))
}

/// Private dirty pages.
pub fn memory(runner: &Runner, libraries: &[Subject]) -> String {
    let who = [Who::Glibc, Who::Dlscope];
    let mut table = Table::new(&["library", "glibc, KiB", "**dlscope**, KiB", "difference, KiB", "ratio"]);
    let mut ratios = Vec::new();
    for (library, outcomes) in rows(runner, libraries, &who, "memory", runner.samples.div_ceil(4)) {
        let value = |value: Option<f64>| value.map_or_else(|| "fails".into(), |kib| format!("{kib:.0}"));
        let [glibc, dlscope] = [0, 1].map(|i| first(&outcomes[i]));
        let ratio = ratio(&outcomes[1], &outcomes[0]);
        ratios.extend(ratio);
        let difference = glibc.zip(dlscope).map_or_else(|| "–".into(), |(glibc, ours)| format!("{:+.0}", ours - glibc));
        table.row(&[library.name.clone(), value(glibc), value(dlscope), difference, cell(ratio)]);
    }
    table.row(&["geometric mean".into(), String::new(), String::new(), String::new(), mean(&ratios)]);
    format!(
        "## Memory\n\nPages that a cold load makes the process's own: what `Private_Dirty` in \
         `/proc/self/smaps_rollup` grows by, constructors included.\n\n{}",
        table.0
    )
}
