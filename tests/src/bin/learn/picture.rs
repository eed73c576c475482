//! Curves of several runs in one frame.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::stages::VALIDATED;

/// A run's accuracy along its work.
pub struct Curve {
    /// What the legend says.
    pub name: String,
    /// Whether it is of the first kind: the kinds have a colour each.
    pub first: bool,
    /// Share of the run, and accuracy.
    pub points: Vec<(f64, f64)>,
}

/// An SVG of 900 by 460 pixels.
pub fn curves(curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    {
        let failed = |error: &dyn std::fmt::Display| anyhow!("the curves cannot be drawn: {error}");
        let area = SVGBackend::with_string(&mut svg, (900, 460)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        let all = || curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
        let (low, high) = (all().fold(1.0, f64::min) - 0.03, all().fold(0.0, f64::max) + 0.08);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(28)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..1.0, low..high)
            .map_err(|e| failed(&e))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("share of the run")
            .y_desc(format!("greedy accuracy, {VALIDATED} validation scenes"))
            .x_label_formatter(&|x| format!("{:.0} %", 100.0 * x))
            .y_label_formatter(&|y| format!("{:.0} %", 100.0 * y))
            .draw()
            .map_err(|e| failed(&e))?;
        for (index, curve) in curves.iter().enumerate() {
            let base = if curve.first { RGBColor(20, 90, 180) } else { RGBColor(200, 80, 20) };
            // Seeds of one kind differ in strength.
            let style = base.mix([1.0, 0.7, 0.45][index / 2 % 3]).stroke_width(2);
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style).point_size(3))
                .map_err(|e| failed(&e))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(TRANSPARENT)
            .draw()
            .map_err(|e| failed(&e))?;
        area.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}
