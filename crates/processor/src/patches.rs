//! A picture to the rows that the vision tower embeds.
//!
//! Rows run in merge order, over (h / merge, w / merge, merge, merge) patches, so that the patches of one feature
//! stand together; a row's columns run over (channel, time, y, x). Source: transformers, `Qwen2VLImageProcessor`,
//! its Pillow path.

use crate::config::PreprocessorConfig;
use crate::error::{Error, bad_picture};
use crate::picture::Picture;
use crate::resize::resize;
use crate::rows::for_each_row;

/// The largest ratio of a picture's sides.
const MAX_RATIO: f64 = 200.0;

/// The most values that one picture may become: 1 GiB, which a 32-bit address space can still hold.
const MAX_VALUES: usize = 1 << 28;

/// The size a picture is resized to, (height, width): multiples of `factor`, near the aspect ratio, with between
/// `min_pixels` and `max_pixels` pixels where rounding allows.
///
/// # Errors
/// The reason, when a side is 0 or `factor` is 0, the ratio of the sides is above 200, or the limits leave a side of 0.
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Result<(usize, usize), String> {
    if height == 0 || width == 0 || factor == 0 {
        return Err(format!("a picture of {width} x {height} pixels has no size in steps of {factor}"));
    }
    let ratio = height.max(width) as f64 / height.min(width) as f64;
    if ratio > MAX_RATIO {
        return Err(format!(
            "{width} x {height} pixels: the ratio of the sides is {ratio:.1}, above {MAX_RATIO}"
        ));
    }
    let (h, w, step) = (height as f64, width as f64, factor as f64);
    let nearest = |side: f64| (side / step).round_ties_even() * step;
    let (mut out_h, mut out_w) = (nearest(h), nearest(w));
    if out_h * out_w > max_pixels as f64 {
        let shrink = (h * w / max_pixels as f64).sqrt();
        let fit = |side: f64| ((side / shrink / step).floor() * step).max(step);
        (out_h, out_w) = (fit(h), fit(w));
    } else if out_h * out_w < min_pixels as f64 {
        let grow = (min_pixels as f64 / (h * w)).sqrt();
        let fit = |side: f64| (side * grow / step).ceil() * step;
        (out_h, out_w) = (fit(h), fit(w));
    }
    if out_h * out_w < 1.0 {
        return Err(format!("{width} x {height} pixels round to none; raise min_pixels"));
    }
    Ok((out_h as usize, out_w as usize))
}

/// The patches of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// `[P, C·T·patch²]`, row-major.
    pub pixel_values: Vec<f32>,
    /// Patches along time, height and width; P is their product.
    pub grid: [usize; 3],
}

impl Patches {
    /// Resizes, normalises and cuts up a picture.
    ///
    /// # Errors
    /// [`Error::Picture`] when [`smart_resize`] refuses its size.
    pub fn of(picture: &Picture, config: &PreprocessorConfig) -> Result<Patches, Error> {
        let mut pixel_values = Vec::new();
        let grid = append(picture, config, &mut pixel_values)?;
        Ok(Patches { pixel_values, grid })
    }
}

/// Appends a picture's rows to `pixel_values` and returns its grid.
pub(crate) fn append(
    picture: &Picture,
    config: &PreprocessorConfig,
    pixel_values: &mut Vec<f32>,
) -> Result<[usize; 3], Error> {
    let (height, width) = smart_resize(
        picture.height(),
        picture.width(),
        config.factor(),
        config.min_pixels,
        config.max_pixels,
    )
    .map_err(|reason| bad_picture(picture.name(), reason))?;
    if height.saturating_mul(width).saturating_mul(3 * config.temporal_patch_size) > MAX_VALUES {
        let reason =
            format!("{width} x {height} pixels after resizing are too many; lower min_pixels and max_pixels");
        return Err(bad_picture(picture.name(), reason));
    }
    let rgb = resize(picture.rgb(), picture.width(), picture.height(), width, height);
    let grid = [1, height / config.patch_size, width / config.patch_size];
    let old_len = pixel_values.len();
    let new_len = grid[1] * grid[2] * config.row_len();
    if old_len == 0 {
        // Fresh zeroed pages cost nothing until the threads write them; `resize` would fill them here first.
        *pixel_values = vec![0.0; new_len];
    } else {
        pixel_values.resize(old_len + new_len, 0.0);
    }
    patchify(&rgb, width, config, &mut pixel_values[old_len..]);
    Ok(grid)
}

/// Fills `out` with the rows of an RGB picture of whole patches, `width` pixels wide.
fn patchify(rgb: &[u8], width: usize, config: &PreprocessorConfig, out: &mut [f32]) {
    let values = channel_values(config);
    let PreprocessorConfig { patch_size, temporal_patch_size, merge_size, .. } = *config;
    let blocks_wide = width / (patch_size * merge_size);
    for_each_row(out, config.row_len(), |row, columns| {
        let (block, within) = (row / (merge_size * merge_size), row % (merge_size * merge_size));
        let top = (block / blocks_wide * merge_size + within / merge_size) * patch_size;
        let left = (block % blocks_wide * merge_size + within % merge_size) * patch_size;
        let channel_len = temporal_patch_size * patch_size * patch_size;
        for (channel, (frames, values)) in columns.chunks_exact_mut(channel_len).zip(&values).enumerate() {
            let (first, repeats) = frames.split_at_mut(patch_size * patch_size);
            for (y, line) in first.chunks_exact_mut(patch_size).enumerate() {
                let (pixels, _) = rgb[((top + y) * width + left) * 3..].as_chunks::<3>();
                for (value, pixel) in line.iter_mut().zip(pixels) {
                    *value = values[usize::from(pixel[channel])];
                }
            }
            for repeat in repeats.chunks_exact_mut(patch_size * patch_size) {
                repeat.copy_from_slice(first);
            }
        }
    });
}

/// What each byte of each channel becomes. The steps round as NumPy does there: scaled in double precision, then
/// normalised in single.
fn channel_values(config: &PreprocessorConfig) -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        let (mean, std) = (config.image_mean[channel] as f32, config.image_std[channel] as f32);
        std::array::from_fn(|byte| ((byte as f64 * config.rescale_factor) as f32 - mean) / std)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(json: &str) -> PreprocessorConfig {
        PreprocessorConfig::from_json(json.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn sizes_are_multiples_within_the_limits(
            height in 1usize..4000,
            width in 1usize..4000,
            min in 1usize..2_000_000,
            more in 0usize..2_000_000,
        ) {
            let (factor, max) = (28, min + more);
            match smart_resize(height, width, factor, min, max) {
                Ok((h, w)) => {
                    prop_assert!(h > 0 && w > 0 && h % factor == 0 && w % factor == 0);
                    // A side is never below one step, however low the limit.
                    prop_assert!(h * w <= max || h == factor || w == factor || h * w <= min + factor * (h + w));
                    prop_assert!(h * w >= min || h * w + factor * (h + w) + factor * factor >= min);
                }
                Err(_) => prop_assert!(height.max(width) as f64 / height.min(width) as f64 > MAX_RATIO),
            }
        }

        #[test]
        fn every_value_lies_where_the_merge_order_says(
            [blocks_high, blocks_wide] in [1usize..4, 1usize..4],
            merge in 1usize..4,
            patch in 1usize..5,
            frames in 1usize..4,
            seed: u8,
        ) {
            let json = format!(
                r#"{{"patch_size": {patch}, "merge_size": {merge}, "temporal_patch_size": {frames}, "min_pixels": 1}}"#
            );
            let config = config(&json);
            let (height, width) = (blocks_high * merge * patch, blocks_wide * merge * patch);
            let byte = |i: usize| (i as u8).wrapping_mul(31).wrapping_add(seed);
            let rgb: Vec<u8> = (0..height * width * 3).map(byte).collect();
            let picture = Picture::from_rgb("p", width, height, rgb.clone()).unwrap();
            let patches = Patches::of(&picture, &config).unwrap();
            prop_assert_eq!(patches.grid, [1, height / patch, width / patch]);
            let values = channel_values(&config);
            for (i, &byte) in rgb.iter().enumerate() {
                let (y, x, channel) = (i / 3 / width, i / 3 % width, i % 3);
                let (py, px) = (y / patch, x / patch);
                let row = ((py / merge * blocks_wide + px / merge) * merge + py % merge) * merge + px % merge;
                for frame in 0..frames {
                    let column = ((channel * frames + frame) * patch + y % patch) * patch + x % patch;
                    let value = patches.pixel_values[row * config.row_len() + column];
                    prop_assert_eq!(value, values[channel][usize::from(byte)]);
                }
            }
        }
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!(smart_resize(42, 70, 28, 1, 1 << 20), Ok((56, 56)), "1.5 and 2.5 both round to 2");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(smart_resize(0, 5, 28, 1, 100).is_err());
        assert!(smart_resize(5, 5, 0, 1, 100).is_err());
        assert!(smart_resize(1, 201, 28, 3136, 12845056).unwrap_err().contains("201"));
        assert!(smart_resize(1, 200, 28, 3136, 12845056).is_ok());
        assert!(smart_resize(5, 5, 28, 0, 100).unwrap_err().contains("min_pixels"));
    }

    #[test]
    fn a_picture_that_would_fill_the_memory_is_refused() {
        let picture = Picture::from_rgb("dot.png", 1, 1, vec![0; 3]).unwrap();
        let config = config(r#"{"min_pixels": 1000000000000, "max_pixels": 1000000000000}"#);
        let error = Patches::of(&picture, &config).unwrap_err().to_string();
        assert!(error.contains("dot.png") && error.contains("lower min_pixels"), "{error}");
    }

    #[test]
    fn values_are_normalised_by_channel() {
        let config = config(r#"{"image_mean": [0.5, 0.25, 0], "image_std": [0.5, 1, 2]}"#);
        let values = channel_values(&config);
        assert_eq!([values[0][255], values[0][0], values[1][0], values[2][255]], [1.0, -1.0, -0.25, 0.5]);
    }
}
