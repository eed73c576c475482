//! Drawing on tiny-skia, opaque and anti-aliased, with nothing that could differ between platforms.
//!
//! Solid opaque paint keeps tiny-skia on its integer pipeline. Strokes thinner than [`THIN`] are widened: below one pixel
//! it switches to another rasteriser, for hairlines.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PremultipliedColorU8, Stroke,
    Transform,
};

use crate::Picture;

pub(crate) type Rgb = [u8; 3];
pub(crate) type Point = (f32, f32);

const THIN: f32 = 1.1;

pub(crate) struct Canvas(Pixmap);

impl Canvas {
    /// A sheet of one colour. Sides are positive.
    pub fn new(width: u32, height: u32, [r, g, b]: Rgb) -> Self {
        let mut pixmap = Pixmap::new(width, height).expect("a checked frame has positive, small sides");
        pixmap.fill(Color::from_rgba8(r, g, b, 255));
        Self(pixmap)
    }

    pub fn fill(&mut self, path: &Path, colour: Rgb) {
        self.0.fill_path(path, &paint(colour), FillRule::Winding, Transform::identity(), None);
    }

    /// A line along the path, round at ends and corners.
    pub fn stroke(&mut self, path: &Path, width: f32, colour: Rgb) {
        let stroke = Stroke {
            width: width.max(THIN),
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.0.stroke_path(path, &paint(colour), &stroke, Transform::identity(), None);
    }

    pub fn line(&mut self, from: Point, to: Point, width: f32, colour: Rgb) {
        self.stroke(&lines(&[from, to]), width, colour);
    }

    pub fn rect(&mut self, (left, top): Point, (right, bottom): Point, colour: Rgb) {
        self.fill(&polygon(&[(left, top), (right, top), (right, bottom), (left, bottom)]), colour);
    }

    pub fn disc(&mut self, centre: Point, radius: f32, colour: Rgb) {
        self.fill(&circle(centre, radius), colour);
    }

    /// The picture, with each channel moved by `change(index of the byte)` and held within a byte.
    pub fn finish(self, change: impl Fn(usize) -> i32) -> Picture {
        let (width, height) = (self.0.width() as usize, self.0.height() as usize);
        let channels = |p: &PremultipliedColorU8| [p.red(), p.green(), p.blue()];
        let bytes = self.0.pixels().iter().flat_map(channels).enumerate();
        let rgb = bytes.map(|(i, byte)| (i32::from(byte) + change(i)).clamp(0, 255) as u8).collect();
        Picture::new(width, height, rgb)
    }
}

fn paint([r, g, b]: Rgb) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

/// A closed polygon of finite points, at least two of them.
pub(crate) fn polygon(points: &[Point]) -> Path {
    through(points, true)
}

/// An open line through finite points, at least two of them.
pub(crate) fn lines(points: &[Point]) -> Path {
    through(points, false)
}

fn through(points: &[Point], close: bool) -> Path {
    let mut path = PathBuilder::new();
    path.move_to(points[0].0, points[0].1);
    for &(x, y) in &points[1..] {
        path.line_to(x, y);
    }
    if close {
        path.close();
    }
    path.finish().expect("two finite points make a path")
}

pub(crate) fn circle((x, y): Point, radius: f32) -> Path {
    PathBuilder::from_circle(x, y, radius).expect("a finite circle")
}

/// A colour mixed from `a` and `b`, `part` of 256 from `b`.
pub(crate) fn mix(a: Rgb, b: Rgb, part: i32) -> Rgb {
    std::array::from_fn(|i| (i32::from(a[i]) + (i32::from(b[i]) - i32::from(a[i])) * part / 256) as u8)
}

/// Sine and cosine of `part / of` of a full turn, by Taylor's series in the first octant: within 1e-15, and the same bits
/// on every platform.
pub(crate) fn turn(part: i32, of: u32) -> (f32, f32) {
    let of = i64::from(of);
    let eighths = i64::from(part).rem_euclid(of) * 8;
    let (octant, rest) = (eighths / of, eighths % of);
    // Odd octants are mirrored, so that the angle stays within 45 degrees.
    let rest = if octant % 2 == 1 { of - rest } else { rest };
    let angle = rest as f64 / of as f64 * std::f64::consts::FRAC_PI_4;
    let square = angle * angle;
    let (mut sin, mut cos) = (0.0, 0.0);
    for k in (0..9).rev() {
        let n = f64::from(2 * k);
        cos = 1.0 - cos * square / ((n + 1.0) * (n + 2.0));
        sin = 1.0 - sin * square / ((n + 2.0) * (n + 3.0));
    }
    let (sin, cos) = ((sin * angle) as f32, cos as f32);
    match octant {
        0 => (sin, cos),
        1 => (cos, sin),
        2 => (cos, -sin),
        3 => (sin, -cos),
        4 => (-sin, -cos),
        5 => (-cos, -sin),
        6 => (-cos, sin),
        _ => (-sin, cos),
    }
}

#[cfg(test)]
mod tests {
    use super::turn;

    #[test]
    fn the_polynomial_is_sine_and_cosine() {
        for part in -1000..1000 {
            let angle = f64::from(part) / 720.0 * std::f64::consts::TAU;
            let (sin, cos) = turn(part, 720);
            let off = (f64::from(sin) - angle.sin()).abs().max((f64::from(cos) - angle.cos()).abs());
            assert!(off < 1e-7, "{part}/720 of a turn: off by {off}");
        }
    }
}
