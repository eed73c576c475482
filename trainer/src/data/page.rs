//! The page of `trainer data show`: one HTML file, no script, nothing from elsewhere, every text escaped.

use std::fmt::Write;

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};

/// A row as it is shown.
pub(super) struct Article {
    pub line: u64,
    pub labels: Vec<(&'static str, String)>,
    pub pictures: Vec<Seen>,
    pub prompt: Vec<Run>,
    pub response: Vec<Run>,
    pub prompt_tokens: usize,
    pub response_tokens: usize,
}

/// A picture at the model's size; sizes are (width, height).
pub(super) struct Seen {
    pub name: String,
    pub source: (usize, usize),
    pub size: (usize, usize),
    /// Tokens along width and height.
    pub grid: (usize, usize),
    pub png: Vec<u8>,
}

/// Tokens that are shown as one.
pub(super) struct Run {
    pub ids: Vec<u32>,
    pub text: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--page:#fff;--card:#f6f8fa;--line:#d1d9e0;\
--even:#e7ecf1;--odd:#f6f8fa;--loss-even:#bfe3c5;--loss-odd:#d8f0dc;--loss-line:#1a7f37;--bad:#b42318}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--page:#0d1117;--card:#151b23;--line:#3d444d;\
--even:#262d36;--odd:#1b222b;--loss-even:#1f4d2b;--loss-odd:#173a21;--loss-line:#56d364;--bad:#ff8a80}}\
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main,header{max-width:60rem;margin:auto;padding:1rem}h1{font-size:1.3rem;margin:0;overflow-wrap:anywhere}\
h2{font-size:1rem;margin:0 0 .5rem}p{margin:.5rem 0}\
article{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 1rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;margin:0 0 .8rem}\
dt,figcaption,.count{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}\
figure{margin:0 0 .8rem}img{display:block;max-width:100%;height:auto;border:1px solid var(--line)}\
figcaption,.count{font-size:.875rem;overflow-wrap:anywhere}\
.tokens{font:.875rem/1.8 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}\
.tokens span{background:var(--even);border-radius:.15rem;padding:.1rem 0;unicode-bidi:isolate}\
.tokens span:nth-of-type(2n){background:var(--odd)}\
.loss{border-left:.25rem solid var(--loss-line);padding-left:.6rem}\
.loss span{background:var(--loss-even)}.loss span:nth-of-type(2n){background:var(--loss-odd)}\
.bad{color:var(--bad);overflow-wrap:anywhere}";

/// The whole page. Rows that could not be shown stand in it with their reason.
pub(super) fn page(title: &str, rows: &[(u64, Result<Article>)]) -> String {
    let title = escaped(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><header><h1>{title}</h1>\
         <p>{} rows as the model sees them. Each shade is one token; the loss is taken over the tokens on green, behind \
         the bar. ␣ and ↵ are a blank and a line break. Point at a token for its id.</p></header>\n<main>\n",
        rows.len()
    );
    for (line, row) in rows {
        match row {
            Ok(row) => article(&mut html, row),
            Err(error) => {
                let error = escaped(&format!("{error:#}"));
                put(
                    &mut html,
                    format_args!("<article><h2>line {line}</h2><p class=\"bad\">{error}</p></article>\n"),
                );
            }
        }
    }
    html + "</main></body></html>\n"
}

fn article(html: &mut String, row: &Article) {
    put(html, format_args!("<article><h2>line {}</h2>\n<dl>", row.line));
    for (name, value) in &row.labels {
        put(html, format_args!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
    }
    html.push_str("</dl>\n");
    for Seen { name, source, size, grid, png } in &row.pictures {
        let name = escaped(name);
        put(
            html,
            format_args!(
                "<figure><img width=\"{}\" height=\"{}\" alt=\"{name}\" src=\"data:image/png;base64,{}\">\
                 <figcaption>{name}: {} × {} pixels, seen at {} × {}: {} × {} = {} tokens</figcaption></figure>\n",
                size.0,
                size.1,
                BASE64_STANDARD.encode(png),
                source.0,
                source.1,
                size.0,
                size.1,
                grid.0,
                grid.1,
                grid.0 * grid.1
            ),
        );
    }
    for (what, class, runs, count) in [
        ("prompt", "", &row.prompt, row.prompt_tokens),
        ("response, in the loss", " loss", &row.response, row.response_tokens),
    ] {
        put(html, format_args!("<p class=\"count\">{what}: {count} tokens</p>\n<p class=\"tokens{class}\">"));
        runs.iter().for_each(|run| token(html, run));
        html.push_str("</p>\n");
    }
    html.push_str("</article>\n");
}

fn token(html: &mut String, run: &Run) {
    let ids: Vec<String> = run.ids.iter().take(8).map(u32::to_string).collect();
    let all_same = run.ids.len() > 1 && run.ids.iter().all(|id| *id == run.ids[0]);
    let (title, times) = match all_same {
        true => (ids[0].clone(), format!(" × {}", run.ids.len())),
        false => (ids.join(" "), String::new()),
    };
    let text = escaped(&run.text).replace(' ', "␣").replace('\n', "↵\n");
    put(html, format_args!("<span title=\"{title}\">{text}{times}</span><wbr>"));
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = html.write_fmt(text);
}

/// Text for an element or a quoted attribute. Control characters are shown as their pictures.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_row_becomes_markup() {
        let evil = "\"'><script>alert(1)</script><img src=x onerror=y>&\0\u{7f}";
        let run = || vec![Run { ids: vec![1], text: evil.to_owned() }];
        let seen = Seen { name: evil.into(), source: (1, 1), size: (1, 1), grid: (1, 1), png: vec![1] };
        let article = Article {
            line: 1,
            labels: vec![("category", evil.into())],
            pictures: vec![seen],
            prompt: run(),
            response: run(),
            prompt_tokens: 1,
            response_tokens: 1,
        };
        let html = page(evil, &[(1, Ok(article)), (2, Err(anyhow::anyhow!(evil)))]);
        assert!(!html.contains("<script") && !html.contains("\"'>"), "{html}");
        assert_eq!(html.matches("<img").count(), 1);
        assert_eq!(html.matches("&quot;&#39;&gt;&lt;script&gt;").count(), 8, "escaped everywhere it stands");
        assert!(!html.contains('\0') && !html.contains("http:") && !html.contains("https:"));
    }
}
