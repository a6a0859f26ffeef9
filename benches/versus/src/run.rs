//! Starts samples, lets the contenders take turns, and takes medians.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use versus::{process, sample};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `dlopen` with `RTLD_NOW`.
    Glibc,
    /// `dlopen` with `RTLD_LAZY`.
    GlibcLazy,
    /// The crate `dlopen-rs`.
    DlopenRs,
    /// The crate `elf_loader`.
    ElfLoader,
    /// This project, from Rust.
    Dlscope,
    /// The same, calls bound when they are made first.
    DlscopeLazy,
    /// The same, symbols by `Library::get`, whose error says where was looked.
    DlscopeGet,
    /// The same, as C programs have it: `dlopen` and `dlsym`.
    DlscopeC,
    /// What no loader can skip, and no more.
    Floor,
    /// What dlscope does before `main`.
    Start,
}

impl Who {
    /// In the head of a table.
    pub fn title(self) -> &'static str {
        match self {
            Who::Glibc => "glibc",
            Who::GlibcLazy => "glibc LAZY",
            Who::DlopenRs => "dlopen-rs",
            Who::ElfLoader => "elf_loader",
            Who::Dlscope => "**dlscope**",
            Who::DlscopeLazy => "dlscope LAZY",
            Who::DlscopeGet => "dlscope `get`",
            Who::DlscopeC => "dlscope `dlsym`",
            Who::Floor => "floor",
            Who::Start => "start",
        }
    }

    /// On the command line of a sample.
    fn word(self) -> &'static str {
        match self {
            Who::Glibc => "glibc",
            Who::GlibcLazy => "glibc-lazy",
            Who::DlopenRs => "dlopen-rs",
            Who::ElfLoader => "elf_loader",
            Who::Dlscope => "dlscope",
            Who::DlscopeLazy => "dlscope-lazy",
            Who::DlscopeGet => "dlscope-get",
            Who::DlscopeC => "dlscope-c",
            Who::Floor => "floor",
            Who::Start => "start",
        }
    }
}

/// The medians of one contender: as many figures as the measurement has. `Err` if any sample failed.
pub type Outcome = Result<Vec<f64>, Failure>;

/// Why a contender has no figure.
#[derive(Clone, Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One contender's samples of one thing: what follows `sample WHO` on the command line.
pub struct Job {
    /// Who.
    pub who: Who,
    /// `WHAT LIB …`.
    pub args: Vec<String>,
    /// For `dlopen-rs`, whose search misses folders that are only in `ld.so.cache`.
    pub library_path: Option<String>,
}

/// Starts the samples.
pub struct Runner {
    /// How many of each.
    pub samples: usize,
    /// For generated libraries and lists of names.
    pub folder: PathBuf,
    versus: PathBuf,
    dlopen_rs: PathBuf,
    start: PathBuf,
    cpu: String,
}

impl Runner {
    /// Finds, or builds, the programs that are started, and installs them. For the samples run what was copied as a whole,
    /// as an installation does: a linker writes a file in small pieces, and so the page cache holds it, which makes each
    /// page fault of its code dearer. glibc's code has been installed, too.
    ///
    /// # Errors
    /// When they cannot be built or copied, or the folder for generated libraries not be made.
    pub fn new(samples: usize) -> Result<Runner, String> {
        let built = std::env::current_exe().map_err(|e| e.to_string())?;
        let folder = built.with_file_name("versus-libraries");
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        build_others(&built)?;
        let install = |name: &str| {
            let installed = folder.join(name);
            // Not written over: the page cache would keep the old pieces.
            let _ = fs::remove_file(&installed);
            let copied = fs::copy(built.with_file_name(name), &installed);
            // On the disk, too: pages that wait to be written would count as the process's own.
            let written = copied.and_then(|_| fs::File::open(&installed)?.sync_all());
            written.map(|()| installed).map_err(|e| format!("{name}: {e}"))
        };
        let versus = install(&built.file_name().unwrap_or_default().to_string_lossy())?;
        let [dlopen_rs, start] = [install(OTHERS[0])?, install(OTHERS[1])?];
        Ok(Runner { samples: samples.max(1), folder, versus, dlopen_rs, start, cpu: process::last_cpu().to_string() })
    }

    /// Medians of all jobs, which take turns. One round goes before and is not counted: it warms the page cache.
    pub fn interleaved(&self, jobs: &[Job], samples: usize) -> Vec<Outcome> {
        let mut taken: Vec<Result<Vec<Vec<f64>>, Failure>> = jobs.iter().map(|_| Ok(Vec::new())).collect();
        for round in 0..=samples {
            for (job, taken) in jobs.iter().zip(&mut taken) {
                let Ok(rows) = taken else { continue };
                match self.numbers(job) {
                    Ok(row) if round > 0 => rows.push(row),
                    Ok(_) => {}
                    Err(why) => {
                        eprintln!("{}: {}: {why}", job.who.word(), job.args.join(" "));
                        *taken = Err(why);
                    }
                }
            }
        }
        taken.into_iter().map(|rows| rows.map(|rows| medians(&rows))).collect()
    }

    fn numbers(&self, job: &Job) -> Outcome {
        let fields = self.fields(job)?;
        let numbers: Option<Vec<f64>> = fields.iter().map(|field| field.parse().ok()).collect();
        numbers.ok_or_else(|| Failure("answers with something that is no number".into()))
    }

    /// One sample's answer.
    ///
    /// # Errors
    /// When it says no, crashes, or takes too long.
    pub fn fields(&self, job: &Job) -> Result<Vec<String>, Failure> {
        let program = match job.who {
            Who::DlopenRs => &self.dlopen_rs,
            Who::Start => &self.start,
            _ => &self.versus,
        };
        let mut command = Command::new(program);
        command.args(["sample", job.who.word()]).args(&job.args).env(process::CPU, &self.cpu);
        // Cargo sets a search path for its own sake, which every loader would have to walk.
        for name in ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_BIND_NOW", "LD_AUDIT"] {
            command.env_remove(name);
        }
        if let Some(path) = &job.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        let output = command.output().map_err(|e| Failure(e.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure(format!("{}: {}", output.status, said.lines().next_back().unwrap_or_default())));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().rev().find_map(|line| line.strip_prefix(sample::MARK));
        let line = line.ok_or_else(|| Failure("says nothing".into()))?;
        Ok(line.split('\t').filter(|field| !field.is_empty()).map(String::from).collect())
    }
}

/// The programs that stand beside this one.
const OTHERS: [&str; 2] = ["versus-dlopen-rs", "versus-start"];

/// `cargo run` builds only the program that it runs.
fn build_others(versus: &Path) -> Result<(), String> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        let there = OTHERS.iter().all(|name| versus.with_file_name(name).exists());
        return if there { Ok(()) } else { Err("start it with `cargo run`: it has other programs to build".into()) };
    };
    let target = versus.parent().and_then(Path::parent).ok_or("the program lies in no target folder")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    command.args(OTHERS.iter().flat_map(|name| ["--bin", name])).arg("--target-dir").arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err("the other programs cannot be built".into()) }
}

/// Of each column.
fn medians(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.iter().map(Vec::len).min().unwrap_or(0);
    (0..columns).map(|column| median(rows.iter().map(|row| row[column]).collect())).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
