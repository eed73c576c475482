//! `report.html`: a run's curves and answers on one page, without scripts, from the files of the run alone.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;
use serde_json::Value;

use super::metrics;
use super::rows::Rows;
use crate::folder::write_whole;
use crate::picture::data_url;

/// Answers shown.
const SHOWN: usize = 12;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    svg{max-width:100%;height:auto}img{max-width:16rem;max-height:16rem;display:block}\
    article{border-top:1px solid #ccc;padding:1rem 0}pre{white-space:pre-wrap;background:#f4f4f4;padding:.5rem}";

/// Writes the page of a run. `held_out` are the rows that `answers.jsonl` counts by.
pub fn write(run: &Path, held_out: Option<&Rows>) -> Result<()> {
    let lines = metrics::read(&run.join("metrics.jsonl"))?;
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>\n",
        escaped(&name)
    );
    for (title, pointers) in [
        ("Loss", &["/loss", "/validation/loss"][..]),
        ("Share of answers accepted", &["/validation/accuracy"]),
        ("Norm of the gradient", &["/norm"]),
        ("Tokens per second", &["/tokens_per_second"]),
    ] {
        let curves: Vec<Vec<(f64, f64)>> = pointers.iter().map(|pointer| curve(&lines, pointer)).collect();
        if curves.iter().any(|curve| !curve.is_empty()) {
            writeln!(page, "<h2>{title}</h2>\n{}", plot(pointers, &curves, (900, 320))?)?;
        }
    }
    last_answers(&mut page, run, held_out)?;
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).context("recipe.toml")?;
    writeln!(page, "<h2>Recipe</h2><pre>{}</pre></html>", escaped(&recipe))?;
    write_whole(&run.join("report.html"), page.as_bytes())
}

/// The first answers of the last measurement.
pub(crate) fn last_answers(page: &mut String, run: &Path, held_out: Option<&Rows>) -> Result<()> {
    let answers = metrics::read(&run.join("answers.jsonl"))?;
    let last = answers.last().map(|answer| answer["step"].clone());
    let shown = answers.iter().filter(|answer| Some(&answer["step"]) == last.as_ref()).take(SHOWN);
    for (place, answer) in shown.enumerate() {
        if place == 0 {
            writeln!(page, "<h2>Answers after step {}</h2>", answer["step"])?;
        }
        article(page, answer, held_out)?;
    }
    Ok(())
}

fn article(page: &mut String, answer: &Value, held_out: Option<&Rows>) -> Result<()> {
    let text = |field: &str| escaped(answer[field].as_str().unwrap_or_default());
    let verdict = if answer["accepted"] == true { "accepted" } else { "not accepted" };
    writeln!(page, "<article><h3>Row {}: {verdict}</h3>", answer["row"])?;
    let row = answer["row"].as_u64().map(|row| row as usize);
    if let Some((rows, row)) = held_out.zip(row).filter(|(rows, row)| *row < rows.len()) {
        // Within the page, so that it can be moved and sent; what browsers cannot show is left out.
        for url in rows.picture_bytes(row)?.iter().filter_map(|(_, file)| data_url(file).ok()) {
            writeln!(page, "<img alt=\"\" src=\"{url}\">")?;
        }
        writeln!(page, "<p>{}</p>", escaped(&rows.row(row).problem))?;
    }
    Ok(writeln!(page, "<pre>{}</pre><p>Truth: {}</p></article>", text("response"), text("truth"))?)
}

/// (step, value) of every line that has a number there.
pub(crate) fn curve(lines: &[Value], pointer: &str) -> Vec<(f64, f64)> {
    let point = |line: &Value| Some((line["step"].as_f64()?, line.pointer(pointer)?.as_f64()?));
    lines.iter().filter_map(point).filter(|(_, y)| y.is_finite()).collect()
}

/// Curves in one frame, as SVG of so many pixels.
pub(crate) fn plot(names: &[&str], curves: &[Vec<(f64, f64)>], size: (u32, u32)) -> Result<String> {
    let points = || curves.iter().flatten();
    let end = points().fold(1.0, |end: f64, (x, _)| end.max(*x));
    let low = points().fold(f64::INFINITY, |low, (_, y)| low.min(*y));
    let high = points().fold(f64::NEG_INFINITY, |high, (_, y)| high.max(*y));
    // A flat curve has room as well, or all labels beside it would read the same.
    let margin = (0.05 * (high - low))
        .max(0.01 * low.abs().max(high.abs()))
        .max(1e-3 * f64::from(high == low))
        .max(1e-12);
    let shown = curves.iter().filter(|curve| !curve.is_empty()).count();
    // The names stand above two curves; one is named by its heading.
    let above = if shown > 1 { 0.25 * (high - low) } else { 0.0 };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("a curve cannot be drawn: {error}");
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, low - margin..high + above + margin)
            .map_err(|e| failed(&e))?;
        let span = high - low + 2.0 * margin;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .y_label_formatter(&|y| label(*y, span))
            .draw()
            .map_err(|e| failed(&e))?;
        for (index, (name, curve)) in names.iter().zip(curves).enumerate().filter(|(_, (_, c))| !c.is_empty())
        {
            let colour = if index == 0 { BLUE } else { RED };
            // A single point is no line.
            let dot = u32::from(curve.len() == 1) * 3;
            let line = LineSeries::new(curve.iter().copied(), &colour).point_size(dot);
            chart
                .draw_series(line)
                .map_err(|e| failed(&e))?
                .label(name.trim_start_matches('/').replace('/', " "))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
        if shown > 1 {
            let mut names = chart.configure_series_labels();
            names
                .position(SeriesLabelPosition::UpperRight)
                .border_style(TRANSPARENT)
                .draw()
                .map_err(|e| failed(&e))?;
        }
        area.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}

/// A value beside a curve, with the digits that tell it from the next one of a few over `span`.
fn label(y: f64, span: f64) -> String {
    // What is no zero for its rounding alone, and a zero's sign, would only be read.
    let y = if y.abs() < 1e-6 * span { 0.0 } else { y };
    let digits = (1.2 - span.log10()).ceil().max(0.0);
    if digits <= 5.0 { format!("{y:.*}", digits as usize) } else { format!("{y:.1e}") }
}

/// Text as HTML shows it; safe in attributes too.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_tell_values_apart() {
        assert_eq!(
            ["-1e-17", "0.05", "1"].map(|y| label(y.parse().expect("a number"), 0.3)),
            ["0.00", "0.05", "1.00"]
        );
        assert_eq!([label(24.0, 2.0), label(3.1e-7, 1e-6), label(350.0, 200.0)], ["24.0", "3.1e-7", "350"]);
    }

    #[test]
    fn a_curve_of_one_point_or_one_height_is_drawn_with_labels_that_differ() {
        for curve in [vec![(3.0, 0.0)], vec![(1.0, 24.0), (2.0, 24.0)], vec![(1.0, 1e-7), (2.0, 2e-7)]] {
            let svg = plot(&["/loss"], std::slice::from_ref(&curve), (480, 260)).expect("drawn");
            assert_eq!(svg.contains("<circle"), curve.len() == 1, "{svg}");
            let labels: Vec<&str> = svg.lines().filter(|line| !line.contains('<')).collect();
            let mut once = labels.clone();
            once.sort_unstable();
            once.dedup();
            // The steps below have labels of their own, of which a few are the same as those beside.
            assert!(labels.len() > 6 && once.len() + 3 >= labels.len(), "{labels:?}");
        }
    }

    #[test]
    fn a_page_shows_curves_and_answers_as_text() {
        let run = tempfile::tempdir().expect("a folder");
        let write_file = |name: &str, text: &str| std::fs::write(run.path().join(name), text).expect(name);
        let lines = [
            json!({"step": 1, "loss": 3.0, "norm": 2.0, "tokens_per_second": 10.0}),
            json!({"step": 2, "loss": null, "norm": 1.0, "tokens_per_second": 11.0}),
            json!({"step": 2, "validation": {"loss": 2.5, "accuracy": 0.5}}),
        ];
        write_file("metrics.jsonl", &lines.map(|line| format!("{line}\n")).concat());
        let answer = json!({"step": 2, "row": 0, "accepted": true, "response": "<script>a</script>", "truth": "1 < 2"});
        write_file("answers.jsonl", &format!("{answer}\n"));
        write_file("recipe.toml", "seed = 1\n");
        write_file("1.gif", "GIF89a+");
        write_file("rows.jsonl", "{\"problem\":\"How many?\",\"answer\":\"2\",\"image_path\":\"1.gif\"}\n");
        let rows = Rows::open(&run.path().join("rows.jsonl"), None).expect("rows");
        write(run.path(), Some(&rows)).expect("written");
        let page = std::fs::read_to_string(run.path().join("report.html")).expect("the page");
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(page.contains("1 &lt; 2") && page.contains("seed = 1"));
        assert!(page.contains("How many?") && page.contains("src=\"data:image/gif;base64,"), "{page}");
    }
}
