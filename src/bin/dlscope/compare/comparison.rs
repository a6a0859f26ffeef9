//! What is said about one library: the fields of a line of `--format json`.

use serde::Serialize;

/// What comes of comparing one library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Both load it, and nothing differs.
    Agree,
    /// Both load it, and something differs.
    Differ,
    /// Only the system's loader takes it.
    OnlySystem,
    /// The process that loaded it with dlscope died, the other did not.
    Crash,
    /// dlscope did not finish.
    Timeout,
    /// Only dlscope takes it.
    OnlyDlscope,
    /// dlscope refuses on purpose.
    RefusedByPolicy,
    /// Neither takes it.
    BothRefuse,
    /// The library ends whatever process loads it.
    BothDie,
}

impl Verdict {
    pub const ALL: [Verdict; 9] = [
        Verdict::Agree,
        Verdict::Differ,
        Verdict::OnlySystem,
        Verdict::Crash,
        Verdict::Timeout,
        Verdict::OnlyDlscope,
        Verdict::RefusedByPolicy,
        Verdict::BothRefuse,
        Verdict::BothDie,
    ];

    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Agree => "agree",
            Verdict::Differ => "differ",
            Verdict::OnlySystem => "only-system",
            Verdict::Crash => "crash",
            Verdict::Timeout => "timeout",
            Verdict::OnlyDlscope => "only-dlscope",
            Verdict::RefusedByPolicy => "refused-by-policy",
            Verdict::BothRefuse => "both-refuse",
            Verdict::BothDie => "both-die",
        }
    }

    /// For people.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Agree => "both load it, and nothing differs",
            Verdict::Differ => "both load it, and something differs",
            Verdict::OnlySystem => "the system's loader takes it, dlscope does not",
            Verdict::Crash => "loaded by dlscope it ends the process",
            Verdict::Timeout => "dlscope does not finish",
            Verdict::OnlyDlscope => "dlscope takes it, the system's loader does not",
            Verdict::RefusedByPolicy => "dlscope refuses on purpose: executable stack, code that is writable",
            Verdict::BothRefuse => "neither takes it",
            Verdict::BothDie => "it ends every process that loads it",
        }
    }

    /// Whether dlscope falls short of the system's loader.
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Differ | Verdict::OnlySystem | Verdict::Crash | Verdict::Timeout)
    }
}

/// How many were compared, and how many of them differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub compared: usize,
    pub different: usize,
}

impl Count {
    pub fn same(&self) -> usize {
        self.compared - self.different
    }
}

/// The same for slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCount {
    #[serde(flatten)]
    pub count: Count,
    /// Among those compared: what stands there was put there by code that ran.
    pub changed_by_constructors: usize,
}

/// Why a loader did not load it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    pub system: Option<String>,
    pub dlscope: Option<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// `object`, `symbol`, `slot`, `block` (of thread-local variables) or `page`.
    pub what: &'static str,
    /// The object it is about, by its path.
    pub object: String,
    /// Which place of it: the number of an object in the order, a symbol by name, a slot or page by its `p_vaddr`,
    /// a word of a block by its offset.
    pub place: String,
    /// What is known about it: `R_X86_64_GLOB_DAT stdout@GLIBC_2.2.5, DT_RELA[7]`.
    pub about: String,
    /// What the system's loader made of it; `null` where there is nothing.
    pub system: Option<String>,
    /// What dlscope made of it.
    pub dlscope: Option<String>,
}

/// The result for one library.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub library: String,
    pub verdict: Verdict,
    pub objects: Count,
    pub symbols: Count,
    pub slots: SlotCount,
    pub pages: Count,
    pub reasons: Reasons,
    pub details: Vec<Detail>,
}

/// The last part of a path.
pub fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
