//! The chapters in `docs/chapters/`: what they point to exists, and what they tell the reader to run can be run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name and text of each chapter.
fn chapters() -> Vec<(String, String)> {
    let folder = fs::read_dir(project().join("docs/chapters")).unwrap();
    let mut chapters: Vec<_> = folder
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    chapters.sort();
    assert!(chapters.len() > 15, "{}", chapters.len());
    chapters
}

/// The code spans of a text: what stands between backticks, outside of blocks.
fn spans(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// The lines of code blocks that begin with `start`, without the comment behind them.
fn commands<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    let inside = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let lines = inside.map(|line| line.trim_start_matches("$ ")).filter(|line| line.starts_with(start));
    lines.map(|line| line.split(['#', '|']).next().unwrap_or_default().trim_end()).collect()
}

fn dlscope(command: &str) -> Output {
    let mut dlscope = Command::new(env!("CARGO_BIN_EXE_dlscope"));
    dlscope.args(command.split_whitespace()).env_remove("LD_LIBRARY_PATH").output().unwrap()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    headings
        .map(|heading| heading.to_lowercase().chars().filter(|&c| kept(c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_of_the_chapters_leads_to_a_page_and_a_heading_of_it() {
    let mut links = 0;
    for (name, text) in chapters() {
        let here = project().join("docs/chapters").join(&name);
        let outside_of_code: String = text.split("```").step_by(2).collect();
        for part in outside_of_code.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let (page, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if page.is_empty() { here.clone() } else { here.with_file_name(page) };
            let there = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name} links to {target}: {e}"));
            assert!(anchor.is_empty() || anchors(&there).contains(anchor), "{name}: {target} has no such heading");
            links += 1;
        }
    }
    assert!(links > 40, "{links}");
}

#[test]
fn the_index_has_every_chapter_and_every_chapter_its_sections() {
    let chapters = chapters();
    let (_, index) = chapters.iter().find(|(name, _)| name == "README.md").unwrap();
    for (name, text) in chapters.iter().filter(|(name, _)| name != "README.md") {
        assert!(index.contains(&format!("]({name})")), "{name} is not in the index");
        for section in ["What goes wrong", "glibc, musl, dlscope", "In the source", "Try it"] {
            assert!(text.contains(&format!("\n## {section}\n")), "{name} has no section {section:?}");
        }
    }
}

/// Each file that a chapter names is there, and has in it what is named behind it.
#[test]
fn the_source_that_a_chapter_names_is_there() {
    for (name, text) in chapters() {
        for span in spans(&text).iter().filter(|span| span.starts_with("src/") || span.starts_with("docs/")) {
            assert!(project().join(span).exists(), "{name} names {span}");
        }
        let Some((_, section)) = text.split_once("\n## In the source\n") else { continue };
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut file: Option<(&str, String)> = None;
        for span in spans(section) {
            if span.starts_with("src/") {
                file = Some((span, fs::read_to_string(project().join(span)).unwrap()));
                continue;
            }
            let (path, source) = file.as_ref().unwrap_or_else(|| panic!("{name}: whose is {span}?"));
            let item = span.rsplit("::").next().unwrap_or(span);
            let defines = |word: &str| source.contains(&format!("{word} {item}"));
            let known = ["fn", "struct", "enum", "impl"].iter().any(|word| defines(word)) || source.contains(span);
            assert!(known, "{name}: {path} has no {span}");
        }
        assert!(file.is_some(), "{name} names no source");
    }
}

#[test]
fn the_fixtures_that_a_chapter_names_are_there() {
    let mut named = 0;
    for (name, text) in chapters() {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[0] == "--fixture" || pair[0].ends_with("fixture")) {
            let Some(fixture) = (match pair[0] {
                "--fixture" => pair[1].split('`').next(),
                _ => pair[1].strip_prefix('`').and_then(|rest| rest.split('`').next()),
            }) else {
                continue;
            };
            assert!(project().join("c-fixtures").join(fixture).is_dir(), "{name} names the fixture {fixture:?}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}

/// Not with the status 2, which says that the command line is wrong.
#[test]
fn what_a_chapter_tells_to_run_can_be_run() {
    let mut run: BTreeSet<String> = BTreeSet::new();
    for (name, text) in chapters() {
        for line in commands(&text, "dlscope ") {
            if !run.insert(line.to_string()) {
                continue;
            }
            let output = dlscope(line.trim_start_matches("dlscope "));
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {line}: {}\n{told}", output.status);
        }
    }
    assert!(run.len() > 40, "{run:?}");
}

/// The words of a line, without what differs from machine to machine: numbers, addresses, folders, versions.
fn skeleton(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    let words = words.map(|word| word.rsplit('/').next().unwrap_or(word));
    words.filter(|word| word.contains(char::is_alphabetic)).collect::<Vec<_>>().join(" ")
}

/// What a chapter shows of a trace is what the command prints.
#[test]
fn excerpts_are_what_the_command_prints() {
    let mut compared = 0;
    for (name, text) in chapters() {
        for block in text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("console\n$ dlscope "))
        {
            let (command, shown) = block.split_once('\n').unwrap();
            let output = dlscope(command);
            let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            if told.contains("error: lib") && told.contains(": cannot be found\n") && env::var_os("CI").is_none() {
                eprintln!("skipped: {command}: it is not installed");
                continue;
            }
            let told: Vec<String> = told.lines().map(skeleton).collect();
            // Which hash table says what, and which processor this is, is another thing on another machine.
            let same_everywhere = |line: &&str| !["bloom", "bucket", "glibc-hwcaps"].iter().any(|w| line.contains(w));
            for line in shown.lines().filter(same_everywhere) {
                let parts: Vec<String> = line.split('…').map(skeleton).collect();
                let found = told.iter().any(|told| parts.iter().all(|part| told.contains(part.as_str())));
                assert!(found, "{name}: `dlscope {command}` does not print\n{line}\nbut\n{}", told.join("\n"));
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}
