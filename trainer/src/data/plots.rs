//! Plots of counts as SVG: text that any browser shows, readable on light and dark pages.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::stats::{quantiles, shortened};

const BLUE: RGBColor = RGBColor(0x2f, 0x6f, 0xb7);
const BINS: u32 = 40;

/// How many of sorted `values` fall into each of equal steps up to the 99th percentile; the last bar holds all above.
pub(super) fn histogram(path: &Path, title: &str, values: &[u32]) -> Result<()> {
    let [min, _, _, top, _] = quantiles(values);
    let step = (top.saturating_sub(min) / BINS).max(1);
    let bins = (top.saturating_sub(min) / step + 1) as usize;
    let mut counts = vec![0u32; bins];
    for &value in values {
        let bin = ((value - min) / step) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let end = min.saturating_add(step.saturating_mul(bins as u32));
    let drawing = SVGBackend::new(path, (720, 360)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        drawing.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&drawing)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(64)
            .build_cartesian_2d(f64::from(min)..f64::from(end), 0f64..f64::from(most) * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        let bar = |(i, &count): (usize, &u32)| {
            let left = f64::from(min) + i as f64 * f64::from(step);
            Rectangle::new([(left, 0.0), (left + 0.92 * f64::from(step), f64::from(count))], BLUE.filled())
        };
        chart.draw_series(counts.iter().enumerate().map(bar))?;
        drawing.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// One bar for each value, the most frequent on top.
pub(super) fn bars(path: &Path, title: &str, values: &[(&str, u64)]) -> Result<()> {
    let most = values.iter().map(|&(_, rows)| rows).max().unwrap_or(1).max(1);
    let drawing = SVGBackend::new(path, (720, 70 + 24 * values.len() as u32)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        drawing.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&drawing)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(0)
            .build_cartesian_2d(0f64..most as f64 * 1.05, 0f64..values.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .max_light_lines(0)
            .x_labels(6)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .draw()?;
        let row = |i: usize| (values.len() - 1 - i) as f64;
        let bar = |(i, &(_, rows)): (usize, &(&str, u64))| {
            Rectangle::new([(0.0, row(i) + 0.15), (rows as f64, row(i) + 0.85)], BLUE.mix(0.55).filled())
        };
        chart.draw_series(values.iter().enumerate().map(bar))?;
        let label = |(i, &(value, rows)): (usize, &(&str, u64))| {
            let text = format!("{}  {rows}", shortened(value, 60));
            Text::new(text, (most as f64 * 0.01, row(i) + 0.72), ("sans-serif", 13).into_font())
        };
        chart.draw_series(values.iter().enumerate().map(label))?;
        drawing.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", path.display()))
}
