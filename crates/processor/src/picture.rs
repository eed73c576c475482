//! Picture files to RGB, as Pillow's `Image.open`, `ImageOps.exif_transpose` and `convert("RGB")` make them.
//!
//! PNG, JPEG, WebP, GIF (first frame), BMP and TIFF. The EXIF orientation is applied; alpha is dropped, never
//! composited; palette colours are taken as stored. Two departures: 16-bit grey keeps its high byte, where Pillow
//! clips to 255, and JPEG goes through another decoder than libjpeg, within 4 of 255. What a GIF's first frame leaves
//! open of its canvas is black. Palettes and alpha beside grey in TIFF are refused: the decoder lacks them.
//!
//! The size is judged from the header, before anything of that size is allocated.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

use crate::error::{Error, bad_picture};
use crate::jpeg;
use crate::truncation::is_whole;

/// The most pixels [`Picture::decode`] accepts: where Pillow refuses a file as a decompression bomb
/// (twice its `Image.MAX_IMAGE_PIXELS`).
pub const MAX_SOURCE_PIXELS: u64 = 178_956_970;

/// The most bytes a pixel takes while it is decoded: 32-bit RGBA.
const MAX_BYTES_PER_PIXEL: u64 = 16;

const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
];

/// A decoded picture: 8-bit RGB, upright.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    name: String,
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Decodes a file's bytes; at most [`MAX_SOURCE_PIXELS`] pixels. `name` is what errors call the picture.
    ///
    /// # Errors
    /// [`Error::Picture`]: an unknown format, a truncated or malformed file, a side of 0, too many pixels.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Picture, Error> {
        Picture::decode_within(name, bytes, MAX_SOURCE_PIXELS)
    }

    /// [`Picture::decode`] with another limit on the pixels of the file.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn decode_within(name: &str, bytes: &[u8], max_pixels: u64) -> Result<Picture, Error> {
        if bytes.is_empty() {
            return Err(bad_picture(name, "the file is empty"));
        }
        let format = image::guess_format(bytes).ok().filter(|format| FORMATS.contains(format));
        let Some(format) = format else {
            return Err(bad_picture(name, "not a PNG, JPEG, WebP, GIF, BMP or TIFF file"));
        };
        if !is_whole(format, bytes) {
            return Err(bad_picture(name, "the file is truncated"));
        }
        let (mut image, orientation) = match format {
            ImageFormat::Jpeg => jpeg::decode(name, bytes, max_pixels)?,
            _ => decode_other(name, bytes, format, max_pixels)?,
        };
        image.apply_orientation(orientation);
        let (width, height) = (image.width() as usize, image.height() as usize);
        let rgb = rgb_of(image).ok_or_else(|| {
            bad_picture(name, "its samples are not 8 or 16-bit integers; save it with 8 bits a sample")
        })?;
        Ok(Picture { name: name.to_owned(), width, height, rgb })
    }

    /// A picture from interleaved 8-bit RGB, top row first.
    ///
    /// # Errors
    /// [`Error::Picture`] when a side is 0 or `rgb` has another length than `width * height * 3`.
    pub fn from_rgb(name: &str, width: usize, height: usize, rgb: Vec<u8>) -> Result<Picture, Error> {
        let wanted = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if rgb.is_empty() || wanted != Some(rgb.len()) {
            let got = rgb.len();
            return Err(bad_picture(name, format!("{width} x {height} RGB pixels do not take {got} bytes")));
        }
        Ok(Picture { name: name.to_owned(), width, height, rgb })
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`Error::Picture`] when a side is beyond what PNG can say.
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        let failed = |reason: String| bad_picture(&self.name, reason);
        let side = |side: usize| u32::try_from(side).map_err(|e| failed(e.to_string()));
        let (width, height) = (side(self.width)?, side(self.height)?);
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .map_err(|e| failed(e.to_string()))?;
        Ok(png)
    }

    /// What errors call the picture.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Pixels from left to right, orientation applied.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels from top to bottom, orientation applied.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Interleaved RGB, `width * height * 3` bytes, top row first.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}, {} x {})", self.name, self.width, self.height)
    }
}

/// Decodes what the `image` crate decodes as Pillow does: every format but JPEG.
fn decode_other(
    name: &str,
    bytes: &[u8],
    format: ImageFormat,
    max_pixels: u64,
) -> Result<(DynamicImage, Orientation), Error> {
    let failed = |error: image::ImageError| bad_picture(name, error);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    check_size(name, decoder.dimensions(), max_pixels)?;
    let orientation = decoder.orientation().map_err(failed)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(failed)?, orientation))
}

/// Judges the size that a header gives.
pub(crate) fn check_size(name: &str, (width, height): (u32, u32), max_pixels: u64) -> Result<(), Error> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > max_pixels {
        let reason = format!("{width} x {height} pixels; it must have between 1 and {max_pixels} pixels");
        return Err(bad_picture(name, reason));
    }
    Ok(())
}

/// The image crate's own conversions weigh 16-bit samples and would round; these only drop and repeat bytes.
fn rgb_of(image: DynamicImage) -> Option<Vec<u8>> {
    let high = |sample: u16| (sample >> 8) as u8;
    let grey = |v: u8| [v; 3];
    Some(match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma8(image) => image.pixels().flat_map(|p| grey(p[0])).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| grey(p[0])).collect(),
        DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().map(high).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p[0], p[1], p[2]].map(high)).collect()
        }
        DynamicImage::ImageLuma16(image) => image.pixels().flat_map(|p| grey(high(p[0]))).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| grey(high(p[0]))).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use image::codecs::{jpeg::JpegEncoder, webp::WebPEncoder};
    use proptest::prelude::*;

    use super::*;

    /// No two pixels alike, no symmetry.
    fn sample(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 7, y as u8 * 11, (x * y) as u8]))
    }

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn every_format() -> Vec<(ImageFormat, Vec<u8>)> {
        let image = DynamicImage::ImageRgb8(sample(21, 13));
        FORMATS.iter().map(|&format| (format, encode(&image, format))).collect()
    }

    fn refused(bytes: &[u8]) -> String {
        Picture::decode("bad.file", bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_picture_survives_png() {
        let picture = Picture::from_rgb("p", 21, 13, sample(21, 13).into_raw()).unwrap();
        assert_eq!(Picture::decode("p", &picture.to_png().unwrap()).unwrap(), picture);
    }

    #[test]
    fn lossless_formats_give_back_the_pixels() {
        let wanted = sample(21, 13);
        for (format, bytes) in every_format() {
            let picture = Picture::decode("p", &bytes).unwrap();
            assert_eq!((picture.width(), picture.height()), (21, 13), "{format:?}");
            // JPEG is lossy, and so is GIF's palette.
            if !matches!(format, ImageFormat::Jpeg | ImageFormat::Gif) {
                assert_eq!(picture.rgb(), wanted.as_raw(), "{format:?}");
            }
        }
    }

    #[test]
    fn every_orientation_is_applied_in_every_format_that_has_one() {
        // TIFF's structure with one entry: the orientation, a short.
        let exif = |value: u8| {
            let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0];
            [b"II*\0\x08\0\0\0\x01\0".as_slice(), &entry, &[0; 4]].concat()
        };
        let (width, height) = (5, 3);
        let stored = sample(width, height);
        // Where the upright pixel (x, y) lies in the file. Source: EXIF 2.3, tag 0x0112.
        let (right, bottom) = (width - 1, height - 1);
        type Lies = fn(u32, u32, u32, u32) -> (u32, u32);
        let lies: [Lies; 8] = [
            |x, y, _, _| (x, y),
            |x, y, r, _| (r - x, y),
            |x, y, r, b| (r - x, b - y),
            |x, y, _, b| (x, b - y),
            |x, y, _, _| (y, x),
            |x, y, _, b| (y, b - x),
            |x, y, r, b| (r - y, b - x),
            |x, y, r, _| (r - y, x),
        ];
        for (value, lies) in (1u8..).zip(lies) {
            let (w, h) = if value < 5 { (width, height) } else { (height, width) };
            let wanted = RgbImage::from_fn(w, h, |x, y| {
                let (x, y) = lies(x, y, right, bottom);
                *stored.get_pixel(x, y)
            });
            let mut png = Vec::new();
            let mut encoder = PngEncoder::new(&mut png);
            encoder.set_exif_metadata(exif(value)).unwrap();
            encoder.write_image(&stored, width, height, ExtendedColorType::Rgb8).unwrap();
            let mut webp = Vec::new();
            let mut encoder = WebPEncoder::new_lossless(&mut webp);
            encoder.set_exif_metadata(exif(value)).unwrap();
            encoder.write_image(&stored, width, height, ExtendedColorType::Rgb8).unwrap();
            for bytes in [png, webp] {
                let picture = Picture::decode("p", &bytes).unwrap();
                assert_eq!((picture.width(), picture.height()), (w as usize, h as usize), "{value}");
                assert_eq!(picture.rgb(), wanted.as_raw(), "{value}");
            }
            let mut jpeg = Vec::new();
            let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
            encoder.set_exif_metadata(exif(value)).unwrap();
            encoder.write_image(&stored, width, height, ExtendedColorType::Rgb8).unwrap();
            let picture = Picture::decode("p", &jpeg).unwrap();
            assert_eq!((picture.width(), picture.height()), (w as usize, h as usize), "{value}");
        }
    }

    #[test]
    fn alpha_is_dropped_and_grey_repeated() {
        let rgba = image::RgbaImage::from_raw(2, 1, vec![1, 2, 3, 0, 4, 5, 6, 128]).unwrap();
        let grey = image::GrayAlphaImage::from_raw(2, 1, vec![9, 0, 200, 255]).unwrap();
        for (image, wanted) in [
            (DynamicImage::ImageRgba8(rgba), [1, 2, 3, 4, 5, 6]),
            (DynamicImage::ImageLumaA8(grey), [9, 9, 9, 200, 200, 200]),
        ] {
            let picture = Picture::decode("p", &encode(&image, ImageFormat::Png)).unwrap();
            assert_eq!(picture.rgb(), wanted);
        }
    }

    #[test]
    fn sixteen_bits_keep_the_high_byte() {
        let grey = image::ImageBuffer::from_raw(2, 1, vec![0x12FFu16, 0xFE00]).unwrap();
        let rgb = image::ImageBuffer::from_raw(1, 1, vec![0x12FFu16, 0x3400, 0xFFFF]).unwrap();
        let cases: [(DynamicImage, &[u8]); 2] = [
            (DynamicImage::ImageLuma16(grey), &[0x12, 0x12, 0x12, 0xFE, 0xFE, 0xFE]),
            (DynamicImage::ImageRgb16(rgb), &[0x12, 0x34, 0xFF]),
        ];
        for (image, wanted) in cases {
            for format in [ImageFormat::Png, ImageFormat::Tiff] {
                assert_eq!(
                    Picture::decode("p", &encode(&image, format)).unwrap().rgb(),
                    wanted,
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn a_huge_header_is_refused_before_its_pixels_are_allocated() {
        // 100,000 x 100,000 RGB: a PNG of 33 bytes, signature and IHDR, and a BMP of 54, both without pixels.
        let png = [
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
            &[0x00, 0x01, 0x86, 0xa0, 0x00, 0x01, 0x86, 0xa0, 8, 2, 0, 0, 0, 0x27, 0x30, 0x9c, 0x9f],
            b"\0\0\0\0IDAT\x35\xaf\x06\x1e",
        ];
        let side = 100_000u32.to_le_bytes();
        let bmp = [&b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"[..], &side, &side, b"\x01\0\x18\0", &[0; 24]];
        for bytes in [png.concat(), bmp.concat()] {
            let error = refused(&bytes);
            assert!(error.contains("bad.file") && error.contains("100000"), "{error}");
        }
    }

    #[test]
    fn the_limit_is_the_callers() {
        for (format, bytes) in every_format() {
            assert!(Picture::decode_within("p", &bytes, 21 * 13).is_ok(), "{format:?}");
            let error = Picture::decode_within("p", &bytes, 21 * 13 - 1).unwrap_err().to_string();
            assert!(error.contains("21 x 13"), "{format:?}: {error}");
        }
    }

    #[test]
    fn empty_truncated_and_foreign_files_are_refused_by_name() {
        assert_eq!(refused(b""), "picture bad.file: the file is empty");
        assert!(refused(b"<svg/>").contains("not a PNG, JPEG, WebP, GIF, BMP or TIFF file"));
        for (format, bytes) in every_format() {
            for len in [3, 12, bytes.len() / 4, bytes.len() / 2, bytes.len() * 9 / 10] {
                let result = Picture::decode("bad.file", &bytes[..len]);
                assert!(
                    result.is_err_and(|error| error.to_string().contains("bad.file")),
                    "{format:?} at {len}"
                );
            }
        }
    }

    #[test]
    fn raw_pixels_must_fill_the_size() {
        assert!(Picture::from_rgb("p", 2, 3, vec![0; 18]).is_ok());
        for (width, height, len) in [(2, 3, 17), (0, 3, 0), (usize::MAX, 2, 6)] {
            assert!(Picture::from_rgb("p", width, height, vec![0; len]).is_err());
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_judged(
            which in 0usize..6,
            cut: prop::sample::Index,
            damage: Vec<(prop::sample::Index, u8)>,
        ) {
            let (_, mut bytes) = every_format().swap_remove(which);
            bytes.truncate(cut.index(bytes.len()) + 1);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(picture) = Picture::decode_within("p", &bytes, 1 << 20) {
                prop_assert_eq!(picture.rgb().len(), picture.width() * picture.height() * 3);
            }
        }
    }
}
