//! Task D: a bar chart with a scale from 0 to 10, read.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, mix};
use crate::count::Color;
use crate::digits::label;
use crate::draws::Draws;
use crate::scene::is_number;
use crate::{Frame, SceneError};

/// A bar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Its colour; no two bars share one.
    pub color: Color,
    /// Its height, 1 to 10.
    pub value: u8,
}

/// What is asked about the bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartQuestion {
    /// The value of the bar of this colour.
    Value(Color),
    /// The sum of two bars.
    Sum(Color, Color),
    /// How much the two bars differ.
    Difference(Color, Color),
    /// The colour of the tallest bar, which must be one.
    Tallest,
    /// The colour of the shortest bar, which must be one.
    Shortest,
}

/// Task D: a bar chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Two to six bars from left to right.
    pub bars: Vec<Bar>,
    /// What is asked.
    pub question: ChartQuestion,
}

impl Chart {
    pub(crate) fn check(&self) -> Result<(), SceneError> {
        SceneError::unless((2..=6).contains(&self.bars.len()), "bars", || {
            format!("{} bars; two to six", self.bars.len())
        })?;
        for (i, bar) in self.bars.iter().enumerate() {
            let word = bar.color.word();
            SceneError::unless((1..=10).contains(&bar.value), "bars", || {
                format!("value {} of {word}; 1 to 10", bar.value)
            })?;
            SceneError::unless(self.bars[..i].iter().all(|b| b.color != bar.color), "bars", || {
                format!("two {word} bars")
            })?;
        }
        for color in self.asked() {
            SceneError::unless(self.value(color).is_some(), "question", || {
                format!("no bar is {}", color.word())
            })?;
        }
        let clear = match self.question {
            ChartQuestion::Sum(a, b) | ChartQuestion::Difference(a, b) => a != b,
            ChartQuestion::Tallest | ChartQuestion::Shortest => self.extreme().is_some(),
            ChartQuestion::Value(_) => true,
        };
        SceneError::unless(clear, "question", || {
            "asks about one bar twice, or for the tallest or shortest of several equal ones".into()
        })
    }

    pub(crate) fn make(frame: Frame, draws: &mut Draws) -> Option<Self> {
        let n = draws.between(3, Color::ALL.len() as u32) as usize;
        let colors = draws.some(Color::ALL, n);
        let bars = colors.iter().map(|&color| Bar { color, value: draws.between(1, 10) }).collect();
        let question = match draws.below(5) {
            0 | 1 => ChartQuestion::Value(colors[0]),
            2 => ChartQuestion::Sum(colors[0], colors[1]),
            3 => ChartQuestion::Difference(colors[0], colors[1]),
            _ if draws.percent(50) => ChartQuestion::Tallest,
            _ => ChartQuestion::Shortest,
        };
        let mut chart = Self { frame, bars, question };
        // The bar asked about is not always the first.
        draws.shuffle(&mut chart.bars);
        chart.check().is_ok().then_some(chart)
    }

    pub(crate) fn asks_for_a_color(&self) -> bool {
        matches!(self.question, ChartQuestion::Tallest | ChartQuestion::Shortest)
    }

    fn asked(&self) -> Vec<Color> {
        match self.question {
            ChartQuestion::Value(a) => vec![a],
            ChartQuestion::Sum(a, b) | ChartQuestion::Difference(a, b) => vec![a, b],
            ChartQuestion::Tallest | ChartQuestion::Shortest => self.bars.iter().map(|b| b.color).collect(),
        }
    }

    fn value(&self, color: Color) -> Option<u32> {
        self.bars.iter().find(|bar| bar.color == color).map(|bar| bar.value.into())
    }

    /// The one tallest or shortest bar; none if several are.
    fn extreme(&self) -> Option<Color> {
        let values = || self.bars.iter().map(|bar| bar.value);
        let wanted = if self.question == ChartQuestion::Tallest { values().max() } else { values().min() };
        let mut found = self.bars.iter().filter(|bar| Some(bar.value) == wanted);
        let first = found.next()?;
        found.next().is_none().then_some(first.color)
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.frame.size();
        let unit = self.frame.short() / 112.0;
        let (left, right) = (17.0 * unit, width - 3.0 * unit);
        let (bottom, top) = (height - 7.0 * unit, 8.0 * unit);
        let level = |value: u8| bottom - (bottom - top) * f32::from(value) / 10.0;
        let ink = [40, 42, 52];
        for value in 1..=10 {
            let grey = if value % 5 == 0 { 130 } else { 190 };
            canvas.line((left, level(value)), (right, level(value)), 0.8 * unit, [grey; 3]);
        }
        let step = (right - left) / self.bars.len() as f32;
        for (i, bar) in self.bars.iter().enumerate() {
            let from = left + (i as f32 + 0.18) * step;
            let to = from + 0.64 * step;
            canvas.rect((from, level(bar.value)), (to, bottom), mix(bar.color.rgb(), [0, 0, 0], 96));
            let rim = 1.2 * unit;
            canvas.rect((from + rim, level(bar.value) + rim), (to - rim, bottom), bar.color.rgb());
        }
        canvas.line((left, top - 2.0 * unit), (left, bottom), 1.4 * unit, ink);
        canvas.line((left, bottom), (right, bottom), 1.4 * unit, ink);
        for value in [0, 5, 10] {
            label(canvas, value.into(), (0.5 * left - 0.5 * unit, level(value)), 10.0 * unit, ink);
        }
    }

    pub(crate) fn question(&self) -> String {
        match self.question {
            ChartQuestion::Value(a) => format!("What is the value of the {} bar?", a.word()),
            ChartQuestion::Sum(a, b) => {
                format!("What is the sum of the {} bar and the {} bar?", a.word(), b.word())
            }
            ChartQuestion::Difference(a, b) => {
                format!("What is the difference between the {} bar and the {} bar?", a.word(), b.word())
            }
            ChartQuestion::Tallest => "What color is the tallest bar?".into(),
            ChartQuestion::Shortest => "What color is the shortest bar?".into(),
        }
    }

    /// The number asked for, and its working; none where a colour is asked for.
    fn number(&self) -> Option<(u32, String)> {
        let value = |color| self.value(color).unwrap_or(0);
        match self.question {
            ChartQuestion::Value(a) => Some((value(a), String::new())),
            ChartQuestion::Sum(a, b) => {
                let (a, b) = (value(a), value(b));
                Some((a + b, format!("\n{a} + {b} = {}", a + b)))
            }
            ChartQuestion::Difference(a, b) => {
                let (a, b) = (value(a).max(value(b)), value(a).min(value(b)));
                Some((a - b, format!("\n{a} - {b} = {}", a - b)))
            }
            ChartQuestion::Tallest | ChartQuestion::Shortest => None,
        }
    }

    pub(crate) fn answer(&self) -> String {
        match self.number() {
            Some((number, _)) => number.to_string(),
            None => self.extreme().map_or("", Color::word).into(),
        }
    }

    pub(crate) fn thought(&self) -> String {
        let read = |color: Color| format!("{} {}", color.word(), self.value(color).unwrap_or(0));
        let lines: Vec<String> = self.asked().into_iter().map(read).collect();
        let end = match (self.number(), self.question) {
            (Some((_, working)), _) => working,
            (None, ChartQuestion::Tallest) => format!("\ntallest {}", self.answer()),
            (None, _) => format!("\nshortest {}", self.answer()),
        };
        lines.join("\n") + &end
    }

    pub(crate) fn verify(&self, answer: &str) -> bool {
        match self.number() {
            Some((number, _)) => is_number(answer, number),
            None => answer.eq_ignore_ascii_case(&self.answer()),
        }
    }

    pub(crate) fn shown(&self) -> String {
        let bars: Vec<_> = self.bars.iter().map(|bar| (bar.color, bar.value)).collect();
        format!("{bars:?}")
    }
}
