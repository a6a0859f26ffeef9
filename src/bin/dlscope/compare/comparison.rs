//! The result for one library: the fields of a line of `--format json`.

use serde::Serialize;

/// The verdict about one library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Both load it, and nothing differs.
    Agree,
    /// Both load it, and something differs.
    Differ,
    /// Only the system's loader accepts it.
    OnlySystem,
    /// The process with dlscope died, the other one did not.
    Crash,
    /// The process with dlscope did not finish.
    Timeout,
    /// Only dlscope accepts it.
    OnlyDlscope,
    /// dlscope refuses it on purpose.
    RefusedByPolicy,
    /// Neither accepts it.
    BothRefuse,
    /// Every process that loads it dies.
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

    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        self.words()[0]
    }

    /// The meaning, for people.
    pub fn meaning(self) -> &'static str {
        self.words()[1]
    }

    fn words(self) -> [&'static str; 2] {
        match self {
            Verdict::Agree => ["agree", "both load it, and nothing differs"],
            Verdict::Differ => ["differ", "both load it, and something differs"],
            Verdict::OnlySystem => ["only-system", "the system's loader accepts it, dlscope does not"],
            Verdict::Crash => ["crash", "the process with dlscope dies"],
            Verdict::Timeout => ["timeout", "dlscope does not finish"],
            Verdict::OnlyDlscope => ["only-dlscope", "dlscope accepts it, the system's loader does not"],
            Verdict::RefusedByPolicy => {
                ["refused-by-policy", "dlscope refuses on purpose: executable stack, writable code"]
            }
            Verdict::BothRefuse => ["both-refuse", "neither accepts it"],
            Verdict::BothDie => ["both-die", "every process that loads it dies"],
        }
    }

    /// Whether dlscope falls short of the system's loader.
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Differ | Verdict::OnlySystem | Verdict::Crash | Verdict::Timeout)
    }
}

/// How many things were compared, and how many of them differ.
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

/// How many slots were compared, and how many of them differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCount {
    #[serde(flatten)]
    pub count: Count,
    /// How many of the compared slots a constructor changed. They never count as different.
    pub changed_by_constructors: usize,
}

/// The reasons why the loaders did not load the library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    pub system: Option<String>,
    pub dlscope: Option<String>,
}

/// One difference between the loaders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `object`, `symbol`, `slot`, `block` (of thread-local variables) or `page`.
    pub what: &'static str,
    /// The path of the object.
    pub object: String,
    /// What differs in the object: its number in the order, the name of a symbol, the `p_vaddr` of a slot or page, the
    /// offset of a word in the block.
    pub place: String,
    /// More about it: `R_X86_64_GLOB_DAT stdout@GLIBC_2.2.5, DT_RELA[7]`.
    pub about: String,
    /// What it is under the system's loader; `null` for nothing.
    pub system: Option<String>,
    /// What it is under dlscope; `null` for nothing.
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
    pub details: Vec<Difference>,
}
