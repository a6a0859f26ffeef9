//! The documentation in the report: the words of the glossary, and the chapters as HTML.
//!
//! Both are the project's own texts. Nothing that comes from a library is in this HTML.

use pulldown_cmark::{Alignment, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use serde::Serialize;

use crate::explain::{anchor_of, chapters};
use crate::words::glossary::{GLOSSARY, Word};

/// A word of the glossary.
#[derive(Serialize)]
pub struct GlossaryWord {
    names: &'static [&'static str],
    text: &'static str,
    picture: String,
    see: &'static str,
    read: &'static str,
}

/// A chapter of the documentation.
#[derive(Serialize)]
pub struct Chapter {
    /// The name of its file without `.md`: `04-map`.
    name: &'static str,
    title: &'static str,
    html: String,
    /// Its sections: the name in links, and the title.
    sections: Vec<(String, String)>,
}

/// All words, in the order of the glossary.
pub fn words() -> Vec<GlossaryWord> {
    let word = |word: &'static Word| {
        let Word { names, text, picture, see, read, .. } = word;
        GlossaryWord { names, text, picture: picture.join("\n"), see, read }
    };
    GLOSSARY.iter().map(word).collect()
}

/// The overview, the chapters in the order of the stages, and the pages that they lead to.
pub fn all() -> Vec<Chapter> {
    let mut all: Vec<Chapter> = chapters().map(|(name, text)| chapter(name, text)).collect();
    all.sort_by_key(|chapter| chapter.name != "README");
    all
}

fn chapter(name: &'static str, markdown: &'static str) -> Chapter {
    let title = markdown.lines().next().unwrap_or_default().trim_start_matches("# ");
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(plain).collect();
    let sections = name_headings(&mut events);
    let wrapped = relinked(events, name).into_iter().flat_map(scrolling);
    let mut html = String::new();
    html::push_html(&mut html, wrapped);
    Chapter { name, title, html, sections }
}

/// Markup in the Markdown is shown as text. Columns lose their alignment, for which the HTML would have a `style` that
/// the page's policy forbids.
fn plain(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(markup) | Event::InlineHtml(markup) => Event::Text(markup),
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        other => other,
    }
}

/// Gives each heading an id by which links find it, and one level less: the page has a title above. Returns ids and titles.
fn name_headings(events: &mut [Event<'_>]) -> Vec<(String, String)> {
    let mut sections = Vec::new();
    let starts: Vec<usize> = (0..events.len()).filter(|&at| is_heading(&events[at])).collect();
    for at in starts {
        let inside = events[at + 1..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        let title: String = inside.filter_map(words_of).collect();
        let anchor = anchor_of(&title);
        lower_heading(&mut events[at..], &anchor);
        sections.push((anchor, title));
    }
    sections
}

fn is_heading(event: &Event<'_>) -> bool {
    matches!(event, Event::Start(Tag::Heading { .. }))
}

fn words_of<'e>(event: &'e Event<'_>) -> Option<&'e str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        _ => None,
    }
}

/// `events` begins with the start of a heading.
fn lower_heading(events: &mut [Event<'_>], anchor: &str) {
    let lower = |level: pulldown_cmark::HeadingLevel| (level as usize + 1).try_into().unwrap_or(level);
    if let Event::Start(Tag::Heading { level, id, .. }) = &mut events[0] {
        *id = Some(format!("section-{anchor}").into());
        *level = lower(*level);
    }
    let end = events.iter_mut().find_map(|event| match event {
        Event::End(TagEnd::Heading(level)) => Some(level),
        _ => None,
    });
    if let Some(level) = end {
        *level = lower(*level);
    }
}

/// Lets links to pages of the documentation lead to them inside the report: `#chapter/04-map/the-load-bias`. Of links to other
/// files of the project only the text stays.
fn relinked<'m>(events: Vec<Event<'m>>, here: &str) -> Vec<Event<'m>> {
    let mut is_dropped = false;
    let relink = |event: Event<'m>| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let inside = address(&dest_url, here).map(CowStr::from);
            let dest_url = inside.or_else(|| dest_url.starts_with("https://").then_some(dest_url));
            is_dropped = dest_url.is_none();
            Some(Event::Start(Tag::Link { link_type, dest_url: dest_url?, title, id }))
        }
        Event::End(TagEnd::Link) if is_dropped => None,
        other => Some(other),
    };
    events.into_iter().filter_map(relink).collect()
}

/// The address inside the report of what a chapter links to; `None` for other addresses.
fn address(link: &str, here: &str) -> Option<String> {
    let (page, section) = link.split_once('#').unwrap_or((link, ""));
    let name = if page.is_empty() { here } else { page.rsplit('/').next()?.strip_suffix(".md")? };
    let section = if section.is_empty() { String::new() } else { format!("/{section}") };
    Some(format!("#chapter/{name}{section}"))
}

/// A wide table gets a box with a scroll bar of its own.
fn scrolling(event: Event<'_>) -> impl Iterator<Item = Event<'_>> {
    let before = matches!(event, Event::Start(Tag::Table(_))).then(|| Event::Html("<div class=\"wide\">".into()));
    let after = matches!(event, Event::End(TagEnd::Table)).then(|| Event::Html("</div>".into()));
    before.into_iter().chain([event]).chain(after)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_link_inside_the_report_leads_to_a_section_that_is_there() {
        let chapters = all();
        let mut known = HashSet::new();
        for chapter in &chapters {
            known.insert(format!("#chapter/{}", chapter.name));
            let sections = chapter.sections.iter();
            known.extend(sections.map(|(anchor, _)| format!("#chapter/{}/{anchor}", chapter.name)));
        }
        let links = |html: &str| {
            let links = html.split("<a href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_string());
            links.filter(|link| !link.starts_with("https://")).collect::<Vec<_>>()
        };
        let of_chapters: Vec<String> = chapters.iter().flat_map(|chapter| links(&chapter.html)).collect();
        assert!(of_chapters.len() > 40, "{of_chapters:?}");
        let of_words = words().into_iter().map(|word| address(word.read, "").unwrap());
        for link in of_chapters.into_iter().chain(of_words) {
            assert!(known.contains(&link), "{link} leads nowhere");
        }
    }

    #[test]
    fn a_chapter_becomes_html_with_named_headings_and_without_foreign_markup() {
        let markdown = "# 1 find: *which* file\n\nA <b onclick=x>word</b>, [a link](../tls.md#dynamic-blocks), [a file](../src/error.rs).\n\n\
                        ## `DT_` and more\n\n|a|b|\n|-|-|\n|1|2|\n";
        let chapter = chapter("01-find", markdown);
        assert_eq!(chapter.sections[1], ("dt_-and-more".into(), "DT_ and more".into()));
        for wanted in [
            "<h2 id=\"section-1-find-which-file\">",
            "<h3 id=\"section-dt_-and-more\"><code>DT_</code> and more</h3>",
            "A &lt;b onclick=x&gt;word&lt;/b&gt;",
            "<a href=\"#chapter/tls/dynamic-blocks\">a link</a>, a file.",
            "<div class=\"wide\"><table>",
        ] {
            assert!(chapter.html.contains(wanted), "no {wanted} in {}", chapter.html);
        }
    }
}
