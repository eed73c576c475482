//! What every picture has, whatever it shows: its sides, its paper, clutter under the drawing, noise over it.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Rgb, mix, turn};
use crate::draws::Draws;
use crate::{Picture, SceneError};

/// Sides, paper, clutter and noise of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Width in pixels, 56 to 1,024.
    pub width: u16,
    /// Height in pixels, 56 to 1,024.
    pub height: u16,
    /// Which of the four light papers it is drawn on, 0 to 3.
    #[serde(default)]
    pub paper: u8,
    /// Number of pale grey dots and dashes under the drawing.
    #[serde(default)]
    pub clutter: u8,
    /// Largest change of a channel by noise, 0 to 40.
    #[serde(default)]
    pub noise: u8,
    /// Decides where clutter and noise fall.
    #[serde(default)]
    pub grain: u32,
}

const PAPERS: [Rgb; 4] = [[255, 255, 255], [250, 245, 232], [236, 241, 247], [228, 228, 228]];

impl Frame {
    /// The strongest noise.
    pub const MAX_NOISE: u8 = 40;
    /// The shortest and longest side in pixels.
    pub const SIDES: [u16; 2] = [56, 1024];

    /// A clean white picture of this size.
    pub fn plain(width: u16, height: u16) -> Self {
        Self { width, height, paper: 0, clutter: 0, noise: 0, grain: 0 }
    }

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        let [low, high] = Self::SIDES;
        for (field, side) in [("frame.width", self.width), ("frame.height", self.height)] {
            SceneError::unless((low..=high).contains(&side), field, || {
                format!("{side} pixels; {low} to {high}")
            })?;
        }
        SceneError::unless(usize::from(self.paper) < PAPERS.len(), "frame.paper", || {
            format!("{}; 0 to {}", self.paper, PAPERS.len() - 1)
        })?;
        SceneError::unless(self.noise <= Self::MAX_NOISE, "frame.noise", || {
            format!("{}; at most {}", self.noise, Self::MAX_NOISE)
        })
    }

    /// A frame with paper and grain drawn at random.
    pub(crate) fn draw(draws: &mut Draws, [width, height]: [u16; 2], clutter: u8, noise: u8) -> Self {
        let paper = draws.below(PAPERS.len() as u32) as u8;
        Self { width, height, paper, clutter, noise, grain: draws.bits() }
    }

    pub(crate) fn size(&self) -> (f32, f32) {
        (f32::from(self.width), f32::from(self.height))
    }

    /// The shorter side in pixels, the measure of line widths.
    pub(crate) fn short(&self) -> f32 {
        f32::from(self.width.min(self.height))
    }

    /// Paper with its clutter.
    pub(crate) fn canvas(&self) -> Canvas {
        let paper = PAPERS[usize::from(self.paper)];
        let mut canvas = Canvas::new(self.width.into(), self.height.into(), paper);
        let mut draws = Draws::at(self.grain.into(), 0, u64::MAX);
        let scale = self.short() / 112.0;
        for _ in 0..self.clutter {
            let x = draws.between(0, u32::from(self.width) - 1) as f32;
            let y = draws.between(0, u32::from(self.height) - 1) as f32;
            let grey = mix(paper, [110, 110, 110], draws.between(50, 110));
            let long = draws.between(2i32, 5) as f32 * scale;
            if draws.percent(40) {
                canvas.disc((x, y), 0.4 * long, grey);
            } else {
                let (sin, cos) = turn(draws.between(0, 359), 360);
                canvas.line((x, y), (x + 2.0 * long * cos, y + 2.0 * long * sin), scale, grey);
            }
        }
        canvas
    }

    /// The finished picture, with its noise.
    pub(crate) fn finish(&self, canvas: Canvas) -> Picture {
        let (grain, reach) = (u64::from(self.grain), u64::from(self.noise));
        canvas.finish(|i| {
            if reach == 0 {
                return 0;
            }
            // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a byte's noise depends on its place alone.
            let mut z = (grain << 32 | i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ z >> 31) % (2 * reach + 1)) as i32 - reach as i32
        })
    }
}
