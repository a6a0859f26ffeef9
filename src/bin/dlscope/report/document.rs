//! Puts the page, its style, its script and its data into one file.
//!
//! Nothing that comes from a library can act in the page. The data is compressed and encoded in base64, which has no
//! `<`; the script turns it only into text; and a Content-Security-Policy allows this script and this style, by their
//! hashes, and nothing else: no request, no image, no other script.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::model::Model;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

/// The script. One function surrounds all its files, so that their names are not global.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("view/data.js"),
    include_str!("view/memory.js"),
    include_str!("view/elements.js"),
    include_str!("view/list.js"),
    include_str!("view/timeline.js"),
    include_str!("view/words.js"),
    include_str!("view/card.js"),
    include_str!("view/chapters.js"),
    include_str!("view/event.js"),
    include_str!("view/hex.js"),
    include_str!("view/space.js"),
    include_str!("view/tables.js"),
    include_str!("view/graph.js"),
    include_str!("view/print.js"),
    include_str!("view/keys.js"),
    include_str!("view/start.js"),
    "})();\n",
);

/// The report of `title` as one HTML document.
///
/// # Errors
/// If the model cannot be written as JSON, or is larger than 4 GiB.
pub fn html(title: &str, model: &Model, bytes: &[u8]) -> io::Result<String> {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    let mut html = String::new();
    // Only the page itself is searched for marks: a library may be called `@script@`.
    let mut rest = PAGE;
    while let Some((before, behind)) = rest.split_once('@') {
        html.push_str(before);
        let (mark, behind) = behind.split_once('@').unwrap_or_default();
        match mark {
            "policy" => html.push_str(&policy),
            "title" => html.push_str(&escaped(title)),
            "style" => html.push_str(STYLE),
            "script" => html.push_str(SCRIPT),
            "data" => html.push_str(&packed(model, bytes)?),
            other => unreachable!("page.html has a mark @{other}@"),
        }
        rest = behind;
    }
    html.push_str(rest);
    Ok(html)
}

/// The hash by which a Content-Security-Policy names a script or a style in the page.
fn source(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}

/// The data of the page: the length of the JSON (four bytes, little-endian), the JSON, and the bytes, compressed by
/// gzip and encoded in base64.
fn packed(model: &Model, bytes: &[u8]) -> io::Result<String> {
    let json = serde_json::to_vec(model)?;
    let length = u32::try_from(json.len()).map_err(|_| io::Error::other("the report is too large for a browser"))?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&length.to_le_bytes())?;
    gzip.write_all(&json)?;
    gzip.write_all(bytes)?;
    Ok(STANDARD.encode(gzip.finish()?))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
