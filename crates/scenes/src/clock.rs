//! Task D: a clock with hands, read.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Point, circle, turn};
use crate::digits::label;
use crate::draws::Draws;
use crate::{Frame, SceneError, Settings};

/// Task D: a clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Hour, 1 to 12.
    pub hour: u8,
    /// Minute, 0 to 59; random clocks show multiples of five.
    pub minute: u8,
    /// Whether 12, 3, 6 and 9 are written on the face.
    #[serde(default)]
    pub numerals: bool,
    /// Which of the [`Clock::WORDINGS`] wordings, from 0.
    #[serde(default)]
    pub wording: u8,
}

impl Clock {
    /// Number of wordings of the question.
    pub const WORDINGS: u8 = 3;

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        SceneError::unless((1..=12).contains(&self.hour), "hour", || format!("{}; 1 to 12", self.hour))?;
        SceneError::unless(self.minute < 60, "minute", || format!("{}; 0 to 59", self.minute))?;
        SceneError::unless(self.wording < Self::WORDINGS, "wording", || {
            format!("{}; 0 to {}", self.wording, Self::WORDINGS - 1)
        })
    }

    pub(crate) fn make(settings: &Settings, frame: Frame, draws: &mut Draws) -> Self {
        Self {
            frame,
            hour: draws.between(1, 12),
            minute: 5 * draws.between(0u8, 11),
            numerals: draws.percent(60),
            wording: draws.between(0, settings.wordings.min(Self::WORDINGS) - 1),
        }
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.frame.size();
        let (centre, radius) = ((0.5 * width, 0.5 * height), 0.45 * self.frame.short());
        // Part of a full turn, clockwise from the top.
        let at = |part: i32, of: u32, reach: f32| -> Point {
            let (sin, cos) = turn(part, of);
            (centre.0 + reach * radius * sin, centre.1 - reach * radius * cos)
        };
        let ink = [30, 32, 44];
        let face = circle(centre, radius);
        canvas.fill(&face, [255, 255, 255]);
        canvas.stroke(&face, 0.05 * radius, ink);
        for tick in 0..60 {
            let (inner, thick) = match tick {
                t if t % 15 == 0 => (0.82, 0.055),
                t if t % 5 == 0 => (0.87, 0.04),
                _ => (0.94, 0.018),
            };
            // Ticks of single minutes would run together in a small picture.
            if tick % 5 == 0 || radius > 70.0 {
                canvas.line(at(tick, 60, inner), at(tick, 60, 0.97), thick * radius, ink);
            }
        }
        if self.numerals {
            for hour in [12u8, 3, 6, 9] {
                label(canvas, hour.into(), at(hour.into(), 12, 0.67), 0.2 * radius, [90, 92, 104]);
            }
        }
        let minutes = 60 * i32::from(self.hour % 12) + i32::from(self.minute);
        canvas.line(at(minutes, 720, -0.1), at(minutes, 720, 0.48), 0.11 * radius, ink);
        let minute = i32::from(self.minute);
        canvas.line(at(minute, 60, -0.12), at(minute, 60, 0.8), 0.055 * radius, [200, 40, 40]);
        canvas.disc(centre, 0.075 * radius, ink);
    }

    pub(crate) fn question(&self) -> String {
        match self.wording {
            0 => "What time does the clock show? Answer as H:MM.",
            1 => "Read the clock. Answer as H:MM.",
            _ => "What time is it on this clock? Write it as H:MM.",
        }
        .into()
    }

    pub(crate) fn answer(&self) -> String {
        format!("{}:{:02}", self.hour, self.minute)
    }

    pub(crate) fn thought(&self) -> String {
        let (hour, minute) = (self.hour, self.minute);
        let place = if minute == 0 { "at" } else { "after" };
        let long = match (minute, minute % 5) {
            (0, _) => "12\n0 minutes".into(),
            (_, 0) => format!("{}\n{} * 5 = {minute}", minute / 5, minute / 5),
            _ => format!("{minute} minutes"),
        };
        format!("short hand {place} {hour}\nlong hand at {long}")
    }

    /// `4:05`, also with a zero before the hour.
    pub(crate) fn verify(&self, answer: &str) -> bool {
        let answer = answer.strip_prefix('0').unwrap_or(answer);
        answer == self.answer()
    }

    pub(crate) fn shown(&self) -> String {
        self.answer()
    }
}
