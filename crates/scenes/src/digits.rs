//! Digits as strokes, in three styles of our own: blocks as on a display, round as printed, angular as by hand.
//!
//! A glyph is drawn on a grid of 6 by 10, origin at the top left.

use tiny_skia::PathBuilder;

use crate::canvas::{Canvas, Point, Rgb};

enum Step {
    M(f32, f32),
    L(f32, f32),
    C(f32, f32, f32, f32, f32, f32),
}
use Step::{C, L, M};

pub(crate) const STYLES: u8 = 3;

/// A digit, `style` below [`STYLES`], in the box from `corner` with `size`; `slant` moves the top right by that many
/// hundredths of the height, and the bottom left.
pub(crate) struct Glyph {
    pub digit: u8,
    pub style: u8,
    pub slant: i8,
    pub corner: Point,
    pub size: Point,
    pub ink: Rgb,
}

impl Glyph {
    pub fn draw(&self, canvas: &mut Canvas) {
        let (left, top) = self.corner;
        let (width, height) = self.size;
        let lean = f32::from(self.slant) / 100.0;
        let at = |x: f32, y: f32| {
            let down = y / 10.0 * height;
            (left + x / 6.0 * width + lean * (0.5 * height - down), top + down)
        };
        let mut path = PathBuilder::new();
        for step in strokes(self.style, self.digit) {
            match *step {
                M(x, y) => {
                    let (x, y) = at(x, y);
                    path.move_to(x, y);
                }
                L(x, y) => {
                    let (x, y) = at(x, y);
                    path.line_to(x, y);
                }
                C(a, b, c, d, x, y) => {
                    let ((a, b), (c, d), (x, y)) = (at(a, b), at(c, d), at(x, y));
                    path.cubic_to(a, b, c, d, x, y);
                }
            }
        }
        let path = path.finish().expect("a glyph has strokes");
        canvas.stroke(&path, 0.13 * height.min(1.6 * width), self.ink);
    }
}

/// A whole number in the round style, its middle at `centre`.
pub(crate) fn label(canvas: &mut Canvas, number: u32, centre: Point, height: f32, ink: Rgb) {
    let text = number.to_string();
    let (width, pitch) = (0.5 * height, 0.78 * height);
    let left = centre.0 - 0.5 * (pitch * (text.len() - 1) as f32 + width);
    for (i, byte) in text.bytes().enumerate() {
        let corner = (left + i as f32 * pitch, centre.1 - 0.5 * height);
        Glyph { digit: byte - b'0', style: 1, slant: 0, corner, size: (width, height), ink }.draw(canvas);
    }
}

fn strokes(style: u8, digit: u8) -> &'static [Step] {
    let styles = [&BLOCK, &ROUND, &ANGULAR];
    styles[usize::from(style % STYLES)][usize::from(digit % 10)]
}

static BLOCK: [&[Step]; 10] = [
    &[M(0., 0.), L(6., 0.), L(6., 10.), L(0., 10.), L(0., 0.)],
    &[M(6., 0.), L(6., 10.)],
    &[M(0., 0.), L(6., 0.), L(6., 5.), L(0., 5.), L(0., 10.), L(6., 10.)],
    &[M(0., 0.), L(6., 0.), L(6., 10.), L(0., 10.), M(1., 5.), L(6., 5.)],
    &[M(0., 0.), L(0., 5.), L(6., 5.), M(6., 0.), L(6., 10.)],
    &[M(6., 0.), L(0., 0.), L(0., 5.), L(6., 5.), L(6., 10.), L(0., 10.)],
    &[M(6., 0.), L(0., 0.), L(0., 10.), L(6., 10.), L(6., 5.), L(0., 5.)],
    &[M(0., 0.), L(6., 0.), L(6., 10.)],
    &[M(0., 0.), L(6., 0.), L(6., 10.), L(0., 10.), L(0., 0.), M(0., 5.), L(6., 5.)],
    &[M(6., 5.), L(0., 5.), L(0., 0.), L(6., 0.), L(6., 10.), L(0., 10.)],
];

static ROUND: [&[Step]; 10] = [
    &[
        M(3., 0.),
        C(5., 0., 6., 2., 6., 5.),
        C(6., 8., 5., 10., 3., 10.),
        C(1., 10., 0., 8., 0., 5.),
        C(0., 2., 1., 0., 3., 0.),
    ],
    &[M(1., 2.2), L(3.6, 0.), L(3.6, 10.)],
    &[M(0.3, 2.6), C(0.3, -0.8, 6., -0.9, 5.8, 2.8), C(5.7, 5., 2., 7., 0., 10.), L(6., 10.)],
    &[
        M(0.5, 1.4),
        C(1.5, -0.6, 5.6, -0.4, 5.5, 2.4),
        C(5.4, 4.4, 4., 4.8, 2.6, 4.8),
        C(4.4, 4.8, 6., 5.4, 6., 7.4),
        C(6., 10.6, 1.4, 10.8, 0.2, 8.4),
    ],
    &[M(4.6, 10.), L(4.6, 0.), L(0., 7.), L(6.4, 7.)],
    &[M(5.4, 0.), L(1., 0.), L(0.6, 4.6), C(2., 3.6, 6., 3.4, 6., 6.8), C(6., 10.4, 1.6, 10.8, 0.2, 8.6)],
    &[M(5., 0.2), C(2., 0.8, 0., 4., 0., 7.), C(0., 11., 6., 11., 6., 7.), C(6., 3.4, 0.8, 3.6, 0., 7.)],
    &[M(0., 0.), L(6., 0.), L(2.2, 10.)],
    &[
        M(3., 4.7),
        C(-0.2, 4.6, -0.2, 0., 3., 0.),
        C(6.2, 0., 6.2, 4.6, 3., 4.7),
        C(-0.9, 4.9, -0.9, 10., 3., 10.),
        C(6.9, 10., 6.9, 4.9, 3., 4.7),
    ],
    &[M(1., 9.8), C(4., 9.2, 6., 6., 6., 3.), C(6., -1., 0., -1., 0., 3.), C(0., 6.6, 5.2, 6.4, 6., 3.)],
];

static ANGULAR: [&[Step]; 10] = [
    &[
        M(3., 0.),
        L(0.2, 3.),
        L(0.6, 8.),
        L(3., 10.),
        L(5.8, 7.4),
        L(5.6, 2.),
        L(3., 0.),
        M(1.6, 7.),
        L(4.4, 3.),
    ],
    &[M(3., 0.), L(3., 10.), M(1.2, 10.), L(4.8, 10.)],
    &[M(0.4, 2.), L(2., 0.), L(4.4, 0.), L(5.8, 2.), L(5.2, 4.4), L(0., 10.), L(6., 10.)],
    &[M(0.4, 0.), L(5.8, 0.), L(2.8, 4.), L(5., 4.8), L(6., 7.), L(4.6, 9.6), L(2.2, 10.), L(0.2, 8.8)],
    &[M(1.4, 0.), L(0., 6.), L(6., 6.), M(4.6, 2.8), L(4.6, 10.)],
    &[M(5.6, 0.), L(0.8, 0.), L(0.8, 4.4), L(4.2, 4.4), L(6., 6.), L(6., 8.2), L(4.4, 10.), L(0.4, 10.)],
    &[
        M(4.8, 0.),
        L(0.8, 4.8),
        L(0.2, 7.8),
        L(1.6, 10.),
        L(4.6, 10.),
        L(6., 8.2),
        L(5.6, 6.2),
        L(4., 5.2),
        L(0.6, 6.),
    ],
    &[M(0., 0.), L(6., 0.), L(2.4, 10.), M(1.4, 5.), L(5.6, 5.)],
    &[M(3., 0.), L(0.6, 2.2), L(5.8, 7.4), L(3., 10.), L(0.2, 7.4), L(5.4, 2.2), L(3., 0.)],
    &[
        M(5.6, 4.2),
        L(2., 5.4),
        L(0.2, 4.),
        L(0.4, 1.4),
        L(2., 0.),
        L(4.6, 0.),
        L(5.8, 1.6),
        L(5.6, 4.2),
        L(4.4, 10.),
    ],
];
