//! JPEG files to pixels, within 4 of 255 of libjpeg: the two differ in how they round the inverse transform.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

use crate::error::{Error, bad_picture};
use crate::picture::check_size;

/// Decodes a file of at most `max_pixels` pixels, and finds the orientation its EXIF data give.
pub(crate) fn decode(
    name: &str,
    bytes: &[u8],
    max_pixels: u64,
) -> Result<(DynamicImage, Orientation), Error> {
    let failed = |error: jpeg_decoder::Error| bad_picture(name, error);
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| bad_picture(name, "the JPEG file has no frame"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(name, (width, height), max_pixels)?;
    let pixels = decoder.decode().map_err(failed)?;
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::CMYK32 => {
            RgbImage::from_raw(width, height, rgb_of_cmyk(&pixels)).map(DynamicImage::from)
        }
        PixelFormat::L16 => None,
    };
    let image = image.ok_or_else(|| bad_picture(name, "a JPEG file of an unsupported kind"))?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Each ink takes its share of what black leaves. Source: Pillow, `src/libImaging/Convert.c`, `cmyk2rgb`.
fn rgb_of_cmyk(pixels: &[u8]) -> Vec<u8> {
    let left = |ink: u8, white: u8| {
        let product = u32::from(ink) * u32::from(white) + 128;
        white - ((product + (product >> 8)) >> 8) as u8
    };
    pixels
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[c, m, y, k]| [c, m, y].map(|ink| left(ink, 255 - k)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_take_light_away() {
        let pixels = [[0, 0, 0, 0], [255, 0, 0, 0], [10, 20, 30, 255], [128, 255, 0, 51]].concat();
        assert_eq!(rgb_of_cmyk(&pixels), [255, 255, 255, 0, 255, 255, 0, 0, 0, 102, 0, 204]);
    }
}
