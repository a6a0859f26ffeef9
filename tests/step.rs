//! `dlscope step`, driven as a person would: on a terminal, by keys.

mod fixtures;
mod terminal;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terminal::Terminal;

const RIGHT: &str = "\x1b[C";
const LEFT: &str = "\x1b[D";
const HOME: &str = "\x1b[H";
const END: &str = "\x1b[F";

/// How many events the walk has, as the screen says.
fn length(screen: &str) -> usize {
    let behind = screen.split("event 1 of ").nth(1).unwrap_or_else(|| panic!("no count of events on\n{screen}"));
    behind.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn walking_to_the_end_and_back_shows_every_screen_twice() {
    let mut terminal = Terminal::start(&["step"], 100, 30);
    let first = terminal.wait_for("event 1 of ");
    let length = length(&first);
    let mut seen = vec![first];
    for event in 2..=length {
        terminal.press(RIGHT);
        seen.push(terminal.wait_for(&format!("event {event} of {length}")));
    }
    assert!(seen.iter().any(|s| s.contains("R_X86_64_JUMP_SLOT") && s.contains("Store the address of puts")));
    assert!(seen.iter().any(|s| s.contains("then add(40, 2) = 42")), "the results of calls are shown");
    for event in (1..length).rev() {
        terminal.press(LEFT);
        let again = terminal.wait_for(&format!("event {event} of {length}"));
        assert_eq!(again, seen[event - 1], "event {event} looks different on the way back");
    }
    terminal.press("q");
    let (status, _, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?}, restored: {restored}");
}

#[test]
fn a_slot_is_shown_with_the_line_of_c_and_the_call_that_use_it() {
    let mut terminal = Terminal::start(&["step", "--fixture", "plt"], 120, 40);
    terminal.wait_for("event 1 of ");
    terminal.press("/JUMP_SLOT\r");
    terminal.wait_for("call in positive (plt.c:18) → PLT entry 0x");
    terminal.wait_for("plt.c:18  long positive(long number) { return labs(number); }");
    terminal.press("q");
    let (status, _, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?}, restored: {restored}");
}

#[test]
fn a_key_explains_the_words_of_an_event() {
    let mut terminal = Terminal::start(&["step"], 100, 30);
    terminal.wait_for("event 1 of ");
    terminal.press("/GLOB_DAT\r");
    terminal.wait_for("R_X86_64_GLOB_DAT: the slot");
    terminal.press("w");
    let words = terminal.wait_for("The slot gets S, the address of a function or variable.");
    assert!(words.contains("load bias") && words.contains("GOT"), "{words}");
    // Another event has other words, and the same key leads back.
    terminal.press(LEFT);
    terminal.wait_for("The objects that are asked for a symbol, in order");
    terminal.press("w");
    terminal.wait_for("gnu hash");
    terminal.press("q");
    let (status, _, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?}, restored: {restored}");
}

/// What the screen says about the answer to a question.
struct Asked {
    concept: String,
    /// The lines of the options, as `1  libleft.so`.
    options: Vec<String>,
    verdict: String,
}

/// Answers every question of a fixture by `answer`, which gets the number of the question and its screen, and gives the
/// result for the teacher, too.
fn take_the_quiz(fixture: &str, answer: &dyn Fn(usize, &str) -> String) -> (Vec<Asked>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join("result.json");
    let arguments = ["step", "--fixture", fixture, "--quiz", "--result", result.to_str().unwrap()];
    let mut terminal = Terminal::start(&arguments, 240, 50);
    terminal.wait_for("event 1 of ");
    let mut asked = Vec::new();
    loop {
        terminal.press("\t");
        let title = format!("question {} of ", asked.len() + 1);
        let page = terminal.wait("a question or the end", |s| s.contains(&title) || s.contains("no question is left:"));
        if !page.contains(&title) {
            break;
        }
        let concept = page.split(&title).nth(1).unwrap().split(" · ").nth(1).unwrap();
        let concept = concept.split(" ──").next().unwrap().to_string();
        let is_option = |line: &&str| line.trim_start().chars().next().is_some_and(|c| c.is_ascii_digit());
        let options = page.lines().filter(|line| line.starts_with("  ")).filter(is_option);
        let options = options.map(|line| line.trim().to_string()).collect();
        terminal.press(&format!("{}\r", answer(asked.len(), &page)));
        let page = terminal.wait("a verdict", |s| s.contains("Right. ") || s.contains("Not so. "));
        let start = page.find("Right. ").or(page.find("Not so. ")).unwrap();
        let verdict = page[start..].split("\n\n").next().unwrap().replace('\n', " ");
        asked.push(Asked { concept, options, verdict });
        terminal.press("\r");
        let next = format!("question {} of ", asked.len() + 1);
        // Two questions may be about one event.
        let is_over =
            |s: &str| ["Tab next question", "no question is left:", &next].iter().any(|part| s.contains(part));
        terminal.wait("the event or the next question", is_over);
    }
    terminal.press("q");
    let (status, score, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?}, restored: {restored}");
    assert!(score.contains(&format!(" of {} right", asked.len())), "{score}");
    (asked, serde_json::from_str(&fs::read_to_string(result).unwrap()).unwrap())
}

/// The right answer to a question, made from what the screen says after an answer.
fn right_answer(asked: &Asked) -> String {
    let behind = |words: &str| asked.verdict.split(words).nth(1).unwrap_or_else(|| panic!("{}", asked.verdict));
    let digit = |wanted: &dyn Fn(&str) -> bool| -> String {
        let texts = asked.options.iter().map(|option| option.split_once("  ").unwrap());
        texts.filter(|(_, text)| wanted(text)).map(|(digit, _)| digit).collect()
    };
    let among = |list: &str| {
        let names: Vec<_> = list.split(", ").flat_map(|part| part.split(" and ")).collect();
        digit(&|text| names.contains(&text))
    };
    match asked.concept.as_str() {
        "relocation" => behind("The slot gets ").trim().trim_end_matches('.').rsplit(' ').next().unwrap().into(),
        "bloom filter" => match asked.verdict.split("The filters of ").nth(1) {
            Some(list) => among(list.split(" say no").next().unwrap()),
            None => among(behind("Only the filter of ").split(" says no").next().unwrap()),
        },
        "interposition" => match asked.verdict.split("It is defined in ").nth(1) {
            Some(list) => among(list.trim().trim_end_matches('.')),
            None => among(behind("is taken, that of ").split(" (").next().unwrap()),
        },
        "RELRO" => {
            let pages = behind("the whole pages from ").split(':').next().unwrap().replace(" to ", " … ");
            digit(&|text| text.starts_with(&pages))
        }
        "order of constructors" => {
            let list = asked.verdict.split("order is ").nth(1).unwrap_or_else(|| behind("order: "));
            let list = list.trim().trim_end_matches('.');
            list.split(", ").map(|name| digit(&|text| text == name)).collect()
        }
        "dlclose" => match asked.verdict.contains("Nothing is unmapped") {
            true => "0".into(),
            false => among(behind("Unmapped: ").split(". ").next().unwrap().trim_end_matches('.')),
        },
        other => panic!("no such concept: {other}"),
    }
}

#[test]
fn every_question_of_the_quiz_can_be_answered_rightly_and_wrongly() {
    let mut concepts = std::collections::BTreeSet::new();
    for fixture in ["add", "first-wins", "diamond"] {
        let some = |_: usize, page: &str| match page.contains("Answer with all digits") {
            // All digits, from the last option to the first.
            true => (1..=9).rev().filter(|n| page.contains(&format!("\n  {n}  "))).map(|n| n.to_string()).collect(),
            false => "1".to_string(),
        };
        let (asked, _) = take_the_quiz(fixture, &some);
        let right: Vec<_> = asked.iter().map(right_answer).collect();
        // Addresses differ from run to run: the formula is the same.
        let formula = |page: &str| match page {
            _ if page.contains("R_X86_64_RELATIVE") => "B + A",
            _ if page.contains("nobody defines") => "0",
            _ => "S + A",
        };
        let best = |n: usize, page: &str| match asked[n].concept.as_str() {
            "relocation" => formula(page).to_string(),
            _ => right[n].clone(),
        };
        let (again, result) = take_the_quiz(fixture, &best);
        for (asked, right) in again.iter().zip(&right) {
            assert!(asked.verdict.starts_with("Right. "), "{fixture}: {right}: {}", asked.verdict);
        }
        assert_eq!((&result["answered"], &result["right"]), (&result["asked"], &result["asked"]), "{result}");
        let worst = |n: usize, page: &str| match (asked[n].concept.as_str(), right[n].as_str()) {
            ("relocation", _) => "B".to_string(),
            ("order of constructors", right) => right.chars().rev().collect(),
            (_, "1") => "2".to_string(),
            (_, _) if page.contains("one digit") => "1".to_string(),
            (_, "0") => "1".to_string(),
            (_, _) => "0".to_string(),
        };
        let (again, result) = take_the_quiz(fixture, &worst);
        for asked in &again {
            assert!(asked.verdict.starts_with("Not so. "), "{fixture}: {}", asked.verdict);
        }
        assert_eq!(result["right"], 0, "{result}");
        concepts.extend(again.into_iter().map(|asked| asked.concept));
    }
    let all = ["RELRO", "bloom filter", "dlclose", "interposition", "order of constructors", "relocation"];
    assert!(concepts.iter().eq(all), "{concepts:?}");
}

#[test]
fn a_wrong_answer_gets_its_reason_and_a_wrong_form_another_try() {
    let mut terminal = Terminal::start(&["step", "--quiz"], 120, 40);
    terminal.wait_for("event 1 of ");
    terminal.press("\t");
    terminal.wait_for("R_X86_64_RELATIVE");
    terminal.press("B+\r");
    terminal.wait_for("a number or a letter is missing");
    terminal.press("\x7f\r");
    terminal.wait_for("Not so. That is the load bias alone.");
    // Enter goes on to the event; a step forward comes to the next question, too.
    terminal.press("\r");
    terminal.wait_for("R_X86_64_RELATIVE: the slot");
    terminal.press("\t");
    terminal.wait_for("question 2 of ");
    terminal.press("\x1b");
    terminal.wait_for("Tab next question");
    terminal.press("q");
    let (status, score, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?}, restored: {restored}");
    assert!(score.contains("0 of 1 right") && score.contains("not answered"), "{score}");
}

#[test]
fn a_constructor_that_crashes_is_the_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("crash.c"), folder.path().join("crash.so"));
    fs::write(&source, "__attribute__((constructor)) static void begin(void) { *(volatile int *)8 = 1; }\n").unwrap();
    let cc = Command::new("cc").args(["-g", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if cc.is_err() {
        assert!(env::var_os("CI").is_none(), "cc is not installed");
        return eprintln!("skipped: cc is not installed");
    }
    let mut terminal = Terminal::start(&["step", library.to_str().unwrap()], 120, 40);
    terminal.wait_for("event 1 of ");
    terminal.press(END);
    terminal.wait_for("the library's code crashed: SIGSEGV at crash.so+0x");
    terminal.press("q");
    let (status, after, restored) = terminal.end();
    assert!(status.exit_code() == 1 && restored, "{status:?}, restored: {restored}");
    assert!(after.contains("in begin, crash.c:1"), "{after}");
}

#[test]
fn keys_lead_to_a_symbol_a_type_a_stage_an_address_and_an_event() {
    let mut terminal = Terminal::start(&["step"], 110, 40);
    terminal.wait_for("event 1 of ");
    terminal.press("/puts\r");
    terminal.wait_for("puts is found in libc.so.6");
    terminal.press(RIGHT);
    terminal.wait_for("R_X86_64_JUMP_SLOT: the slot");
    terminal.press(&format!("{HOME}/RELATIVE\r"));
    let first = terminal.wait_for("R_X86_64_RELATIVE: the slot");
    terminal.press("n");
    let second = terminal.wait("another RELATIVE", |s| s.contains("R_X86_64_RELATIVE: the slot") && s != first);
    terminal.press("N");
    terminal.wait("the first RELATIVE again", |s| s == first);
    assert_ne!(first, second);
    terminal.press(&format!("{HOME}]]]"));
    terminal.wait_for("src/load/find.rs");
    terminal.press("[[[");
    terminal.wait_for("event 1 of ");
    terminal.press("g17\r");
    terminal.wait_for("event 17 of ");
    terminal.press("glibadd.so+0x4018\r");
    // The mapping of the whole file is the first event that changes this byte.
    terminal.wait_for("pages of the file of libadd.so at once");
    terminal.press("gnonsense\r");
    terminal.wait_for("is no event number");
    terminal.press("/no such thing\r");
    terminal.wait_for("no event contains");
    terminal.press(END);
    terminal.wait_for("no object is mapped");
    terminal.press(RIGHT);
    terminal.wait_for("this is the last event");
    terminal.press("\x03");
    let (status, _, restored) = terminal.end();
    assert!(status.success() && restored, "Ctrl-C ends it: {status:?}, restored: {restored}");
}

#[test]
fn pages_open_and_close_and_the_terminal_may_change_its_size() {
    let mut terminal = Terminal::start(&["step", "--event", "30"], 80, 24);
    let narrow = terminal.wait_for("event 30 of ");
    terminal.resize(130, 45);
    terminal.wait_for("find ─ read ─ plan");
    terminal.resize(80, 24);
    terminal.wait("the narrow screen again", |s| s == narrow);
    terminal.press("?");
    terminal.wait_for("Any key leaves this page");
    terminal.press(" ");
    terminal.wait("the screen below the help", |s| s == narrow);
    terminal.press("m");
    terminal.wait_for("memory from libadd.so+0x");
    terminal.press("\x1b");
    terminal.wait("the screen before memory", |s| s == narrow);
    terminal.press("\r");
    terminal.wait_for("Esc back");
    terminal.press("\x1b");
    terminal.wait("the screen before the details", |s| s == narrow);
    terminal.resize(20, 5);
    terminal.wait_for("too small");
    kill(Pid::from_raw(terminal.process()), Signal::SIGTERM).unwrap();
    let (status, _, restored) = terminal.end();
    assert!(status.success() && restored, "SIGTERM ends it: {status:?}, restored: {restored}");
}

#[test]
fn a_load_that_fails_is_walked_up_to_its_error() {
    let mut terminal = Terminal::start(&["step", "--fixture", "missing-library"], 100, 30);
    terminal.wait_for("event 1 of ");
    terminal.press(END);
    terminal.wait_for("The request failed");
    terminal.wait_for("the load failed here");
    terminal.press("q");
    let (status, screen, restored) = terminal.end();
    assert_eq!(status.exit_code(), 1);
    assert!(restored && screen.contains("error:") && screen.contains("libnowhere.so"), "{screen}");
}

#[test]
fn it_ends_when_its_terminal_hangs_up() {
    let terminal = Terminal::start(&["step"], 80, 24);
    terminal.wait_for("event 1 of ");
    kill(Pid::from_raw(terminal.process()), Signal::SIGHUP).unwrap();
    let (status, ..) = terminal.end();
    assert_eq!(status.signal(), Some("Hangup"), "{status:?}");
}

/// What differs from run to run, or with every change of dlscope's source.
fn normal(screen: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in screen.lines() {
        if line.starts_with("─ src/") {
            lines.push("─ (source) ─".into());
            break;
        }
        lines.push(hide_addresses(line));
    }
    lines.extend(screen.lines().last().map(String::from));
    lines.join("\n") + "\n"
}

/// Digits of addresses become `_`: twelve or more in a row, or behind `…`; and bytes of memory beside them.
fn hide_addresses(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    let mut bytes_follow = false;
    while let Some(c) = rest.chars().next() {
        let run: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        let is_word = rest[run.len()..].starts_with(char::is_alphabetic);
        let is_byte = run.len() == 2 && bytes_follow && !is_word;
        let hidden = run.len() >= 12 || run.len() == 6 && out.ends_with('…') || is_byte;
        bytes_follow |= run.len() == 12 && out.is_empty();
        let length = run.len().max(c.len_utf8());
        if hidden {
            out.push_str(&"_".repeat(run.len()))
        } else {
            out.push_str(&rest[..length])
        }
        rest = &rest[length..];
    }
    // The letters of those bytes.
    if bytes_follow { out.chars().take(70).collect::<String>().trim_end().into() } else { out }
}

#[test]
fn screens_are_those_that_were_looked_at() {
    // Other compilers and linkers make another file, with other offsets.
    let libadd = fs::read(fixtures::unpack("add", "step")).unwrap();
    let fingerprint = fixtures::fingerprint(&libadd);
    let mut all = format!("fixture {fingerprint:x}\n");
    for (columns, rows) in [(80, 24), (100, 30), (140, 50)] {
        let mut terminal = Terminal::start(&["step"], columns, rows);
        for (keys, wanted) in [
            (HOME, "event 1 of "),
            ("/program_header\r", "Program header 0, PT_LOAD"),
            ("/map 1 page\r", "Map 1 page of libadd"),
            ("/DT_RELA \r", "says DT_RELA "),
            ("/address libadd.so\r", "Store the address libadd"),
            ("/of counter into\r", "Store the address of counter"),
        ] {
            terminal.press(keys);
            let screen = terminal.wait_for(wanted);
            all += &format!("\n════ {columns}×{rows} {wanted}\n{}", normal(&screen));
        }
        terminal.press("q");
        terminal.end();
    }
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/step.txt");
    if env::var_os("DLSCOPE_BLESS").is_some() {
        fs::write(&snapshot, &all).unwrap();
    }
    let expected = fs::read_to_string(&snapshot).unwrap_or_default();
    if expected.lines().next() == all.lines().next() {
        for (number, (now, then)) in all.lines().zip(expected.lines()).enumerate() {
            assert_eq!(now, then, "line {}; DLSCOPE_BLESS=1 writes the snapshot anew", number + 1);
        }
        assert_eq!(all.lines().count(), expected.lines().count());
    } else {
        eprintln!("skipped: the fixture was built by another compiler than the snapshot's");
    }
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dlscope")).arg("step").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("step needs a terminal"));
}
