//! A picture: 8-bit RGB, and its PNG.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// An opaque RGB picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        assert_eq!(rgb.len(), 3 * width * height, "three bytes a pixel");
        Self { width, height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels row by row from the top, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels, without a copy.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// The colour at column `x` and row `y`, both from 0. Panics outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "({x}, {y}) of {}x{}", self.width, self.height);
        let at = 3 * (y * self.width + x);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// The picture as a PNG file; the same bytes on every platform.
    pub fn png(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        PngEncoder::new(&mut file)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .expect("sides fit and memory takes everything");
        file
    }

    /// Many pictures on one sheet, `columns` beside each other, on grey.
    pub fn sheet(pictures: &[Picture], columns: usize) -> Picture {
        const GAP: usize = 8;
        let cell = |side: fn(&Picture) -> usize| pictures.iter().map(side).max().unwrap_or(0) + GAP;
        let (across, down) = (cell(Picture::width), cell(Picture::height));
        let columns = columns.max(1);
        let (width, height) = (columns * across + GAP, pictures.len().div_ceil(columns) * down + GAP);
        let mut rgb = vec![96; 3 * width * height];
        for (i, picture) in pictures.iter().enumerate() {
            let (left, top) = (GAP + i % columns * across, GAP + i / columns * down);
            for (y, row) in picture.rgb.chunks_exact(3 * picture.width).enumerate() {
                let at = 3 * ((top + y) * width + left);
                rgb[at..at + row.len()].copy_from_slice(row);
            }
        }
        Picture::new(width, height, rgb)
    }
}
