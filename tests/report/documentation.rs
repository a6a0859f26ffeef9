//! Each word of an event is explained, by mouse, finger and keyboard, and its chapter is in the same file.

use serde_json::{Value, json};

use super::browser::Browser;
use super::{READY, address, nothing_was_said_or_asked, now, report, text_of};

const CARD_IS_OPEN: &str = "!document.getElementById('card').hidden";
const CARD_IS_CLOSED: &str = "document.getElementById('card').hidden";

/// Goes to the store of the address of `puts` in `libadd.so`: the second event that the search finds.
fn go_to_store(browser: &mut Browser) {
    browser.press("/");
    browser.type_in("Store the address of puts");
    browser.press("Enter");
    browser.press("Escape");
    assert_eq!(text_of(browser, "#sentence"), "Store the address of puts into the slot libadd.so+0x4008.");
}

/// What the card says about `slot`, as the glossary has it.
fn is_about_slot(browser: &mut Browser) {
    let card = text_of(browser, "#card");
    for wanted in ["slot\n", "A word of memory that the loader fills in", "See it\n", "dlscope trace", "Read on\n"] {
        assert!(card.contains(wanted), "no {wanted:?} in {card}");
    }
}

#[test]
fn the_mouse_over_a_word_opens_its_card_and_leaves_it() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.resize(1280, 800);
    browser.open(&address(&file), READY);
    go_to_store(&mut browser);
    browser.hover("#sentence .word");
    browser.wait_for(CARD_IS_OPEN);
    is_about_slot(&mut browser);
    // The card lies right below the word, and the mouse may go there.
    let near = "(() => { const [word, card] = ['#sentence .word', '#card']
                    .map(at => document.querySelector(at).getBoundingClientRect());
                    return Math.abs(card.top - word.bottom) < 12 && Math.abs(card.left - word.left) < 12; })()";
    assert_eq!(browser.evaluate(near), json!(true));
    browser.hover("#card p");
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(browser.evaluate(CARD_IS_OPEN), json!(true), "the card stays while the mouse is on it");
    browser.hover("h1");
    browser.wait_for(CARD_IS_CLOSED);
    // Escape closes it without a move of the mouse.
    browser.hover("#sentence .word");
    browser.wait_for(CARD_IS_OPEN);
    browser.press("Escape");
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true));
    // A click keeps it open.
    browser.click("#sentence .word");
    browser.hover("h1");
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(browser.evaluate(CARD_IS_OPEN), json!(true), "after a click the card stays");
    browser.click("h1");
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true), "a click elsewhere closes it");
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn a_tap_on_a_word_opens_its_card_and_covers_neither_the_word_nor_the_buttons() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.resize(390, 800);
    browser.call("Emulation.setTouchEmulationEnabled", json!({"enabled": true}));
    browser.open(&address(&file), READY);
    go_to_store(&mut browser);
    browser.tap("#sentence .word");
    browser.wait_for(CARD_IS_OPEN);
    is_about_slot(&mut browser);
    browser.press("Escape");
    // Now the last word button, which lies where the card comes.
    browser.evaluate("document.querySelector('.word-button:last-child').scrollIntoView({ block: 'center' })");
    browser.tap(".word-button:last-child");
    browser.wait_for("document.querySelector('.word-button:last-child').ariaExpanded === 'true'");
    let free = "(() => { const [word, card, step] = ['.word-button:last-child', '#card', '.step']
                    .map(at => document.querySelector(at).getBoundingClientRect());
                    return word.bottom <= card.top && card.bottom <= step.top + 1 && card.right <= 390; })()";
    browser.wait_for(free);
    browser.tap("#card .card-close");
    browser.wait_for(CARD_IS_CLOSED);
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn the_keyboard_reaches_each_word_once_and_its_card_and_comes_back() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    go_to_store(&mut browser);
    let focused = |browser: &mut Browser| browser.evaluate("document.activeElement?.dataset.word ?? null");
    browser.evaluate("document.getElementById('event').focus()");
    let mut stops: Vec<Value> = Vec::new();
    // The address space comes behind the event.
    while browser.evaluate("Boolean(document.activeElement.closest('#event'))") == json!(true) {
        browser.press("Tab");
        if browser.evaluate("document.activeElement.matches('#event .word')") == json!(true) {
            stops.push(focused(&mut browser));
        }
    }
    let mut once = stops.clone();
    once.sort_by_key(|word| word.to_string());
    once.dedup();
    assert_eq!(once.len(), stops.len(), "a word is a stop twice: {stops:?}");
    let marked = "[...new Set([...document.querySelectorAll('#event .word')].map(word => word.dataset.word))].length";
    assert_eq!(browser.evaluate(marked), json!(stops.len()), "the Tab key misses a word; it came to {stops:?}");
    browser.evaluate("document.querySelector('#sentence .word').focus()");
    browser.press("Enter");
    assert_eq!(browser.evaluate(CARD_IS_OPEN), json!(true));
    is_about_slot(&mut browser);
    let inside = "document.getElementById('card').contains(document.activeElement)";
    assert_eq!(browser.evaluate(inside), json!(true), "the focus goes into the card");
    browser.press("Escape");
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true));
    let back = "document.activeElement === document.querySelector('#sentence .word')";
    assert_eq!(browser.evaluate(back), json!(true), "the focus is at the word again");
    // By Tab through the card and out of it, and to the next event, which takes the card away.
    browser.press("Enter");
    for _ in 0..4 {
        browser.press("Tab");
    }
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true));
    browser.evaluate("document.querySelector('#sentence .word').focus()");
    browser.press("Enter");
    browser.press("ArrowRight");
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true));
    nothing_was_said_or_asked(&browser, &file);
}

/// The words that are marked in an event, as they stand there.
fn marked(browser: &mut Browser) -> Vec<String> {
    let words = "[...document.querySelectorAll('#event .word')].map(word => word.textContent)";
    serde_json::from_value(browser.evaluate(words)).unwrap()
}

#[test]
fn words_relocation_types_and_tags_are_marked_wherever_they_stand() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.open(&address(&file), READY);
    go_to_store(&mut browser);
    let words = marked(&mut browser);
    // In the sentence, among the fields, in their values, in the formula, and in the search for the symbol.
    for wanted in ["slot", "r_offset", "R_X86_64_JUMP_SLOT", "PLT", "bloom filter", "bucket", "symbol"] {
        assert!(words.iter().any(|word| word == wanted), "no {wanted} in {words:?}");
    }
    let buttons = text_of(&mut browser, ".word-list");
    assert!(buttons.contains("relocation") || buttons.contains("slot"), "{buttons}");
    let mut all = std::collections::BTreeSet::new();
    let last = browser.evaluate("dlscope.model.rows.number.length").as_u64().unwrap();
    for row in 0..last {
        browser.evaluate(&format!("dlscope.go({row})"));
        all.extend(marked(&mut browser));
        let same = "JSON.stringify([...document.querySelectorAll('.word-button')].map(one => Number(one.dataset.word)))
                    === JSON.stringify(dlscope.model.kinds[dlscope.model.rows.kind[dlscope.now()]].words)";
        assert_eq!(browser.evaluate(same), json!(true), "row {row} does not list the words of its kind");
    }
    for wanted in ["PT_LOAD", "DT_NEEDED", "DT_RELA", "DT_STRTAB", "PT_GNU_RELRO", "GOT", "constructor", "load bias"] {
        assert!(all.contains(wanted), "{wanted} is nowhere in {all:?}");
    }
    let bare =
        "dlscope.model.words.filter(({ names, text, see, read }) => !names.length || !text || !see || !read).length";
    assert_eq!(browser.evaluate(bare), json!(0));
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn a_chapter_opens_at_its_section_and_the_way_back_leads_to_the_event() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.resize(1280, 800);
    browser.open(&address(&file), READY);
    go_to_store(&mut browser);
    let event = now(&mut browser);
    let heading = "document.querySelector('#chapter .here')?.textContent";
    let at_event = format!("!document.getElementById('walk').hidden && dlscope.now() === {event}");
    browser.evaluate("document.querySelector('.reference a').focus()");
    browser.press("Enter");
    browser.wait_for("!document.getElementById('chapters').hidden");
    assert_eq!(browser.evaluate(heading), json!("The store"));
    assert!(text_of(&mut browser, "#chapter h2").starts_with("8 relocate"));
    assert_eq!(browser.evaluate("document.activeElement.id"), json!("section-the-store"));
    let top = browser.evaluate("document.getElementById('section-the-store').getBoundingClientRect().top");
    assert!((0.0..400.0).contains(&top.as_f64().unwrap()), "the section is in sight, at {top}");
    // From chapter to chapter, and back by the browser's own way.
    browser.evaluate("document.querySelector('#chapter a[href^=\"#chapter/\"]').click()");
    browser.wait_for("!location.hash.startsWith('#chapter/08-relocate')");
    browser.evaluate("history.back()");
    browser.wait_for(&format!("{heading} === 'The store'"));
    browser.evaluate("history.back()");
    browser.wait_for(&at_event);
    assert_eq!(browser.evaluate("location.hash"), json!(format!("#e{}", event + 1)));
    let focus = browser.evaluate("document.activeElement.matches('.reference a')");
    assert_eq!(focus, json!(true), "the focus is on the link again");
    // The card of a word leads to its section, too, and a link there leads back.
    browser.evaluate("document.querySelector('#sentence .word').click()");
    browser.evaluate("document.querySelector('#card a').click()");
    browser.wait_for("!document.getElementById('chapters').hidden");
    assert_eq!(browser.evaluate(CARD_IS_CLOSED), json!(true));
    browser.evaluate("document.getElementById('chapter-back').click()");
    browser.wait_for(&at_event);
    // The tab shows the chapter that was read last; its address opens it anew.
    browser.evaluate("document.getElementById('tab-chapters').click()");
    browser.wait_for("location.hash.startsWith('#chapter/')");
    browser.open("about:blank", "true");
    browser.open(&format!("{}#chapter/04-map/the-load-bias", address(&file)), READY);
    assert_eq!(browser.evaluate(heading), json!("The load bias"));
    nothing_was_said_or_asked(&browser, &file);
}

#[test]
fn every_chapter_fits_a_phone_and_has_contrast() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, file) = report(&["--fixture", "add"]);
    browser.resize(360, 740);
    browser.open(&address(&file), READY);
    let names = browser.evaluate("dlscope.model.chapters.map(chapter => chapter.name)");
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    assert!(names.len() > 18, "{names:?}");
    for name in names {
        browser.evaluate(&format!("location.hash = '#chapter/{name}'"));
        browser.wait_for(&format!("document.getElementById('chapter').dataset.name === '{name}'"));
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= 360, "{name} is {wide} wide");
    }
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        // Some colours change step by step.
        std::thread::sleep(std::time::Duration::from_millis(400));
        browser.evaluate("location.hash = '#chapter/08-relocate/the-store'");
        browser.wait_for("document.querySelector('#chapter .here')");
        assert_eq!(browser.evaluate(include_str!("../browser/contrast.js")), json!([]), "a chapter, {scheme}");
        browser.evaluate("location.hash = '#e3'");
        browser.wait_for("!document.getElementById('walk').hidden");
        browser.evaluate("document.querySelector('#event [data-word]').click()");
        assert_eq!(browser.evaluate(include_str!("../browser/contrast.js")), json!([]), "a card, {scheme}");
    }
    nothing_was_said_or_asked(&browser, &file);
}
