//! `dlscope report`, in a real browser: the file opens from disk, asks for nothing, and its memory is the loader's.

mod browser;
mod common;
#[path = "report/documentation.rs"]
mod documentation;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use browser::Browser;
use serde_json::{Value, json};

const READY: &str = "document.documentElement?.dataset.ready";

fn dlscope(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dlscope")).args(args).current_dir(folder).output().unwrap()
}

/// A report in a folder of its own; the folder goes away with what is returned.
fn report(args: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let output = dlscope(&[&["report", "-o", "report.html"], args].concat(), folder.path());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let file = folder.path().join("report.html");
    (folder, file)
}

fn address(file: &Path) -> String {
    format!("file://{}", file.display())
}

/// The place of the event that is shown, from 0.
fn now(browser: &mut Browser) -> u64 {
    browser.evaluate("dlscope.now()").as_u64().unwrap()
}

fn text_of(browser: &mut Browser, selector: &str) -> String {
    browser.evaluate(&format!("document.querySelector({selector:?}).innerText")).as_str().unwrap().into()
}

/// The rows at which dlscope said what memory must be, and its hash there.
fn checks(browser: &mut Browser) -> Vec<(u64, u64)> {
    let checks: Vec<(u64, u64)> = serde_json::from_value(browser.evaluate("dlscope.model.checks")).unwrap();
    let mut distinct: Vec<_> = checks.iter().map(|(_, hash)| *hash).collect();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() > 5, "memory is the same everywhere: {checks:?}");
    checks
}

fn nothing_was_said_or_asked(browser: &Browser, file: &Path) {
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    let outside: Vec<_> = browser.requests().into_iter().filter(|url| *url != address(file)).collect();
    assert!(outside.is_empty(), "the page asked for {outside:?}");
}

#[test]
fn the_whole_walk_by_keyboard_rebuilds_memory_forwards_and_backwards() {
    for args in [&["--fixture", "diamond"][..], &["libz.so.1"]] {
        let Some(mut browser) = Browser::start() else { return };
        let (_folder, file) = report(args);
        browser.open(&address(&file), READY);
        let checks = checks(&mut browser);
        let last = checks.last().unwrap().0;
        assert_eq!(now(&mut browser), 0);
        for row in 0..=last {
            assert_eq!(now(&mut browser), row, "{args:?}: → goes on by one");
            if let Some((_, hash)) = checks.iter().find(|(check, _)| *check == row) {
                let computed = browser.evaluate("dlscope.memory.hash()");
                assert_eq!(computed, json!(hash), "{args:?}: memory after row {row}, forwards");
            }
            browser.press("ArrowRight");
        }
        assert_eq!(now(&mut browser), last, "→ at the end stays there");
        for row in (0..=last).rev() {
            assert_eq!(now(&mut browser), row, "{args:?}: ← goes back by one");
            if let Some((_, hash)) = checks.iter().find(|(check, _)| *check == row) {
                let computed = browser.evaluate("dlscope.memory.hash()");
                assert_eq!(computed, json!(hash), "{args:?}: memory after row {row}, backwards");
            }
            browser.press("ArrowLeft");
        }
        nothing_was_said_or_asked(&browser, &file);
    }
}

#[test]
fn keys_go_where_the_help_says() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["libz.so.1"]);
    browser.open(&address(&file), READY);
    let stage = |browser: &mut Browser| text_of(browser, "#pipeline [aria-current]");
    browser.press("End");
    let last = now(&mut browser);
    assert_eq!(browser.evaluate("dlscope.model.rows.number.length - 1"), json!(last));
    browser.press("Home");
    assert_eq!(now(&mut browser), 0);
    let mut stages = vec![stage(&mut browser)];
    for _ in 0..12 {
        browser.press("]");
        stages.push(stage(&mut browser));
    }
    for wanted in ["1find", "4map", "5dynamic", "8relocate", "9seal"] {
        assert!(stages.iter().any(|stage| stage == wanted), "] never came to {wanted}: {stages:?}");
    }
    browser.press("Home");
    browser.press("/");
    browser.type_in("R_X86_64_GLOB_DAT");
    browser.press("Enter");
    browser.press("Escape");
    let first = now(&mut browser);
    assert!(text_of(&mut browser, "#details").contains("R_X86_64_GLOB_DAT"), "search found row {first}");
    browser.press("n");
    let second = now(&mut browser);
    assert!(second > first && text_of(&mut browser, "#details").contains("R_X86_64_GLOB_DAT"), "n: row {second}");
    browser.press("N");
    assert_eq!(now(&mut browser), first, "N goes back to where n came from");
    // To the next event that touches a byte of the slot that was written last.
    let slot = browser.evaluate("'0x' + dlscope.model.rows.address[dlscope.now()].toString(16)");
    browser.press("Home");
    browser.press("g");
    browser.evaluate("document.activeElement.value = ''");
    browser.type_in(slot.as_str().unwrap());
    browser.press("Enter");
    browser.press("Escape");
    let touching = now(&mut browser);
    assert!(touching > 0 && touching <= first, "g went to row {touching}");
    browser.press("?");
    assert_eq!(browser.evaluate("document.getElementById('help').open"), json!(true));
    browser.press("ArrowRight");
    assert_eq!(now(&mut browser), touching, "keys do nothing behind the help");
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn a_link_to_an_event_lands_there() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["libz.so.1"]);
    browser.open(&format!("{}#e123", address(&file)), READY);
    assert_eq!(now(&mut browser), 122);
    assert!(text_of(&mut browser, "#event-heading").starts_with("Event 123 of "));
    browser.press("ArrowRight");
    browser.wait_for("location.hash === '#e124'");
    browser.evaluate("location.hash = '#e7'");
    browser.wait_for("dlscope.now() === 6");
    browser.open(&format!("{}#e999999", address(&file)), "dlscope.now() > 122");
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

#[test]
fn the_filter_shows_what_it_is_asked_for() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["libz.so.1"]);
    browser.open(&address(&file), READY);
    browser.evaluate("document.getElementById('tab-relocations').click()");
    let all = text_of(&mut browser, "#relocation-count");
    browser.evaluate("document.getElementById('relocation-filter').focus()");
    browser.type_in("jump_slot mem");
    let some = text_of(&mut browser, "#relocation-count");
    assert_ne!(all, some);
    let rows = "[...document.querySelectorAll('#relocation-table .table-row')].map(row => row.innerText)";
    let rows: Vec<String> = serde_json::from_value(browser.evaluate(rows)).unwrap();
    assert!(!rows.is_empty(), "nothing is left of {all}");
    assert!(rows.iter().all(|row| row.contains("R_X86_64_JUMP_SLOT") && row.contains("mem")), "{rows:?}");
    let number: usize = some.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(rows.len(), number, "few enough to be all in sight");
    browser.evaluate("document.querySelector('#relocation-table a').click()");
    browser.wait_for("!document.getElementById('walk').hidden");
    assert!(text_of(&mut browser, "#details").contains("R_X86_64_JUMP_SLOT"), "a row leads to its event");
    browser.evaluate("document.getElementById('tab-symbols').click()");
    browser.evaluate("document.getElementById('symbol-filter').focus()");
    browser.type_in("memcpy");
    let symbols = text_of(&mut browser, "#symbol-table .list");
    assert!(symbols.contains("memcpy") && symbols.contains("libc.so.6"), "{symbols}");
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn fields_light_up_together_with_their_bytes() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    browser.press("/");
    browser.type_in("JUMP_SLOT");
    browser.press("Enter");
    browser.evaluate("document.querySelector('.fields tr[data-field=\"0\"]').focus()");
    let marked = browser.evaluate("document.querySelector('.run.marked').getAttribute('aria-label')");
    let marked = marked.as_str().unwrap();
    assert!(marked.starts_with("r_offset: "), "{marked}");
    // The bytes are those of the file, little-endian, and the value beside them says the same.
    let mut bytes: Vec<_> = marked["r_offset: ".len()..].split(' ').collect();
    bytes.reverse();
    let value = u64::from_str_radix(&bytes.concat(), 16).unwrap();
    assert_eq!(text_of(&mut browser, ".fields tr[data-field=\"0\"] .value"), format!("{value:#x}"));
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn nothing_is_wider_than_the_screen_and_all_text_has_contrast() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "diamond"]);
    for (width, height) in [(360, 740), (768, 1024), (1280, 800)] {
        browser.resize(width, height);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.open("about:blank", "true");
            browser.open(&address(&file), READY);
            for tab in ["relocations", "symbols", "dependencies", "chapters", "walk"] {
                browser.evaluate(&format!("document.getElementById('tab-{tab}').click()"));
                let wide = browser.evaluate("document.documentElement.scrollWidth");
                assert!(wide.as_u64().unwrap() <= width.into(), "{tab} is {wide} wide at {width}, {scheme}");
            }
            for stage in 0..if width == 768 { 0 } else { 12 } {
                let pale = browser.evaluate(include_str!("browser/contrast.js"));
                assert_eq!(pale, json!([]), "text without contrast at {width}, {scheme}, after {stage} stages");
                browser.press("]");
            }
        }
    }
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

#[test]
fn a_screen_reader_finds_its_way() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    browser.call("Accessibility.enable", json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes: Vec<(String, String)> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ignored"] == json!(false))
        .map(|node| (name_of(&node["role"]), name_of(&node["name"])))
        .collect();
    for role in ["banner", "navigation", "main", "search", "tablist", "tabpanel", "complementary"] {
        assert!(nodes.iter().any(|(known, _)| known == role), "no {role} in {nodes:?}");
    }
    let nameless: Vec<_> = nodes
        .iter()
        .filter(|(role, name)| ["button", "link", "searchbox", "tab"].contains(&role.as_str()) && name.is_empty())
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    assert_eq!(browser.evaluate("document.getElementById('sentence').ariaLive"), json!("polite"));
    // The first stop of the tabulator leads past everything else.
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.className"), json!("skip"));
    browser.press("Enter");
    assert_eq!(browser.evaluate("document.activeElement.id"), json!("event"));
}

fn name_of(value: &Value) -> String {
    value["value"].as_str().unwrap_or_default().into()
}

#[test]
fn paper_gets_the_story_and_no_controls() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    browser.evaluate("dispatchEvent(new Event('beforeprint'))");
    let story = text_of(&mut browser, "body");
    let sentences = "dlscope.model.rows.number.length - document.querySelectorAll('#story li:not(.more)').length";
    assert_eq!(browser.evaluate(sentences), json!(0), "every event of a small load is printed");
    assert!(story.contains("Store the address of puts into the slot libadd.so+0x4008."), "{story}");
    for control in ["Help", "Theme", "Timeline", "Dependencies"] {
        assert!(!story.contains(control), "{control} is on paper: {story}");
    }
    browser.evaluate("dispatchEvent(new Event('afterprint'))");
    browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
    let pdf = browser.call("Page.printToPDF", json!({}))["data"].as_str().unwrap().len();
    assert!(pdf > 20_000, "the browser printed {pdf} bytes");
    assert_eq!(text_of(&mut browser, "#story"), "", "the story goes away again");
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn what_a_library_is_called_stays_text() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let name = "<img src=x onerror=alert(1)>@script@.so";
    let Some(zlib) = common::library("libz.so.1") else { return };
    std::fs::copy(zlib, folder.path().join(name)).unwrap();
    let output = dlscope(&["report", &format!("./{name}"), "-o", "report.html"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = folder.path().join("report.html");
    browser.open(&address(&file), READY);
    assert_eq!(text_of(&mut browser, "h1"), name);
    browser.press("]");
    browser.press("End");
    assert_eq!(browser.evaluate("document.images.length"), json!(0));
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn a_script_that_is_not_the_pages_own_does_not_run() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    let try_it = "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1';
                    document.body.append(s); typeof window.ran }";
    assert_eq!(browser.evaluate(try_it), json!("undefined"));
}

#[test]
fn a_failed_load_makes_a_report_of_the_way_to_its_error() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = dlscope(&["report", "--fixture", "missing-symbol", "-o", "report.html"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.trim().strip_prefix("error: ").unwrap();
    let file = folder.path().join("report.html");
    browser.open(&address(&file), READY);
    assert_eq!(text_of(&mut browser, "#failure").trim(), error);
    browser.press("End");
    assert!(text_of(&mut browser, "#space").contains("No object of this load is mapped"), "all was unmapped");
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn beyond_a_number_relocations_are_told_together_and_memory_stays_exact() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["libz.so.1", "--most", "5"]);
    browser.open(&address(&file), READY);
    let folded =
        browser.evaluate("dlscope.model.texts.filter(text => text.includes('with --all each is told')).length > 0");
    assert_eq!(folded, json!(true), "libz has more than five relocations");
    assert_eq!(browser.evaluate("dlscope.model.relocations.row.length"), json!(5));
    for check in browser.evaluate("dlscope.verify()").as_array().unwrap() {
        assert_eq!(check["computed"], check["expected"], "memory after row {}", check["row"]);
    }
}

/// Not a test of speed: it says what was measured (`--nocapture`), and that the walk is right to its end.
#[test]
fn libcrypto_is_walked_through() {
    let Some(mut browser) = Browser::start() else { return };
    let Some(library) = common::library("libcrypto.so.3") else { return };
    let (_folder, file) = report(&[&library]);
    let size = file.metadata().unwrap().len();
    assert!(size < 10_000_000, "{size} bytes");
    browser.resize(1280, 800);
    browser.open(&address(&file), READY);
    let loaded = browser.evaluate("Number(document.documentElement.dataset.ready)");
    // Each step three times, the quickest counts: the rest is what else the machine does.
    let step = "(async () => {
        const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        const times = [];
        const rows = dlscope.model.rows.number.length;
        for (let n = 0; n < 200; n++) {
            const before = Math.floor(n * (rows - 2) / 200);
            const tries = [];
            for (let again = 0; again < 3; again++) {
                dlscope.go(before);
                await frame();
                const start = performance.now();
                document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
                document.body.offsetHeight;
                tries.push(performance.now() - start);
                if (dlscope.now() !== before + 1) throw new Error(`no step from ${before}`);
            }
            times.push(Math.min(...tries));
        }
        times.sort((a, b) => a - b);
        return times.map(time => Math.round(time * 10) / 10);
    })()";
    let times: Vec<f64> = serde_json::from_value(browser.evaluate(step)).unwrap();
    let far = "(() => { const start = performance.now(); dlscope.go(0); dlscope.go(1e9);
                        document.body.offsetHeight; return Math.round(performance.now() - start); })()";
    let far = browser.evaluate(far);
    println!(
        "libcrypto.so.3: {size} bytes, shown after {loaded} ms; a step: median {} ms, slowest {} ms of {}; \
         from the first event to the last: {far} ms",
        times[times.len() / 2],
        times.last().unwrap(),
        times.len()
    );
    for check in browser.evaluate("dlscope.verify()").as_array().unwrap() {
        assert_eq!(check["computed"], check["expected"], "memory after row {}", check["row"]);
    }
    nothing_was_said_or_asked(&browser, &file);
}

/// With `DLSCOPE_BLESS=1` in the environment it writes that picture, `docs/report.png`, anew.
#[test]
fn the_picture_in_the_readme_shows_what_its_caption_says() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["libz.so.1"]);
    browser.resize(1360, 1010);
    browser.prefer("light");
    browser.open(&address(&file), READY);
    browser.press("/");
    browser.type_in("Store the address of malloc");
    browser.press("Enter");
    browser.evaluate("document.activeElement.blur(); document.getElementById('search').value = ''");
    browser.wait_for("location.hash !== ''");
    let sentence = browser.evaluate("document.getElementById('sentence').textContent");
    let sentence = sentence.as_str().unwrap();
    assert!(sentence.contains("Store the address of malloc"), "{sentence}");
    let picture = browser.call("Page.captureScreenshot", json!({"format": "png"}));
    let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
    // Its width and height stand in the first chunk.
    assert_eq!(picture[16..24], [1360_u32.to_be_bytes(), 1010_u32.to_be_bytes()].concat());
    if std::env::var_os("DLSCOPE_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.png"), picture).unwrap();
    }
}
