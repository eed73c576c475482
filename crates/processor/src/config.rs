//! The two configuration files that say how pictures become patches and which ids stand for them:
//! `preprocessor_config.json` and `config.json`. Absent keys take the defaults of transformers'
//! `Qwen2VLImageProcessor`.

use serde::Deserialize;

use crate::error::{Error, bad_file};

pub(crate) const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";
pub(crate) const MODEL_CONFIG: &str = "config.json";

/// The largest patch, merge and temporal size accepted: far above any model, low enough that products never overflow.
const MAX_SIZE: usize = 128;
/// Pillow's number for the bicubic filter.
const BICUBIC: u32 = 3;

/// How pictures become patches: `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct PreprocessorConfig {
    /// Pixels that a resized picture has at least.
    pub min_pixels: usize,
    /// Pixels that a resized picture has at most.
    pub max_pixels: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Frames in a patch; a still picture is repeated to fill them.
    pub temporal_patch_size: usize,
    /// Patches along each side of the square that the vision tower merges into one feature.
    pub merge_size: usize,
    /// Factor from a byte to the unit interval.
    pub rescale_factor: f64,
    /// Mean of each channel, after the rescaling.
    pub image_mean: [f64; 3],
    /// Standard deviation of each channel, after the rescaling.
    pub image_std: [f64; 3],
}

impl PreprocessorConfig {
    /// Reads the file's contents.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming the field.
    pub fn from_json(bytes: &[u8]) -> Result<PreprocessorConfig, Error> {
        let raw: RawPreprocessor =
            serde_json::from_slice(bytes).map_err(|error| bad_file(PREPROCESSOR_CONFIG, error))?;
        raw.check().map_err(|reason| bad_file(PREPROCESSOR_CONFIG, reason))
    }

    /// Pixels to which the sides of a resized picture are rounded.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Values in a row of `pixel_values`: channels · temporal_patch_size · patch_size².
    pub fn row_len(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Features the vision tower gives for a picture of `grid` = [t, h, w] patches.
    pub fn features(&self, grid: [usize; 3]) -> usize {
        grid.iter().product::<usize>() / (self.merge_size * self.merge_size)
    }
}

#[derive(Deserialize)]
struct RawPreprocessor {
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    size: Option<Size>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    merge_size: Option<usize>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    resample: Option<u32>,
}

#[derive(Deserialize)]
struct Size {
    shortest_edge: Option<usize>,
    longest_edge: Option<usize>,
}

impl RawPreprocessor {
    fn check(self) -> Result<PreprocessorConfig, String> {
        let steps = [
            ("do_resize", self.do_resize),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ];
        if let Some((step, _)) = steps.iter().find(|(_, on)| *on == Some(false)) {
            return Err(format!("`{step}` is false; the vision tower needs every step"));
        }
        if let Some(resample) = self.resample.filter(|&resample| resample != BICUBIC) {
            return Err(format!("`resample` is {resample}; only {BICUBIC} (bicubic) is supported"));
        }
        let (shortest, longest) =
            self.size.map_or((None, None), |size| (size.shortest_edge, size.longest_edge));
        let config = PreprocessorConfig {
            min_pixels: self.min_pixels.or(shortest).unwrap_or(56 * 56),
            max_pixels: self.max_pixels.or(longest).unwrap_or(28 * 28 * 1280),
            patch_size: self.patch_size.unwrap_or(14),
            temporal_patch_size: self.temporal_patch_size.unwrap_or(2),
            merge_size: self.merge_size.unwrap_or(2),
            rescale_factor: self.rescale_factor.unwrap_or(1.0 / 255.0),
            // OpenAI's CLIP.
            image_mean: self.image_mean.unwrap_or([0.48145466, 0.4578275, 0.40821073]),
            image_std: self.image_std.unwrap_or([0.26862954, 0.26130258, 0.27577711]),
        };
        let sizes = [
            ("patch_size", config.patch_size),
            ("temporal_patch_size", config.temporal_patch_size),
            ("merge_size", config.merge_size),
        ];
        if let Some((field, size)) = sizes.iter().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
            return Err(format!("`{field}` is {size}; it must be between 1 and {MAX_SIZE}"));
        }
        check_pixels(config.min_pixels, config.max_pixels)?;
        if let Some(std) = config.image_std.iter().find(|std| !std.is_normal()) {
            return Err(format!("`image_std` holds {std}; it must be a number other than 0"));
        }
        Ok(config)
    }
}

/// Judges limits on the pixels of a resized picture.
pub(crate) fn check_pixels(min_pixels: usize, max_pixels: usize) -> Result<(), String> {
    if min_pixels == 0 || min_pixels > max_pixels {
        return Err(format!(
            "min_pixels {min_pixels} must be at least 1 and at most max_pixels {max_pixels}"
        ));
    }
    Ok(())
}

/// What the processor takes from `config.json`. Every key may be absent.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ModelConfig {
    pub image_token_id: Option<u32>,
    pub video_token_id: Option<u32>,
    pub vision_start_token_id: Option<u32>,
    pub vision_end_token_id: Option<u32>,
    vision_config: Option<VisionConfig>,
}

#[derive(Debug, Default, Deserialize)]
struct VisionConfig {
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
}

impl ModelConfig {
    pub fn from_json(bytes: &[u8]) -> Result<ModelConfig, Error> {
        serde_json::from_slice(bytes).map_err(|error| bad_file(MODEL_CONFIG, error))
    }

    /// Refuses a checkpoint whose vision tower expects other patches than its preprocessor makes.
    pub fn check_patches(&self, preprocessor: &PreprocessorConfig) -> Result<(), Error> {
        let Some(vision) = &self.vision_config else {
            return Ok(());
        };
        let pairs = [
            ("patch_size", vision.patch_size, preprocessor.patch_size),
            ("temporal_patch_size", vision.temporal_patch_size, preprocessor.temporal_patch_size),
            ("spatial_merge_size", vision.spatial_merge_size, preprocessor.merge_size),
        ];
        match pairs.iter().find(|(_, tower, made)| tower.is_some_and(|tower| tower != *made)) {
            Some((field, tower, made)) => Err(bad_file(
                MODEL_CONFIG,
                format!(
                    "`vision_config.{field}` is {}, but {PREPROCESSOR_CONFIG} says {made}",
                    tower.unwrap_or(0)
                ),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<PreprocessorConfig, Error> {
        PreprocessorConfig::from_json(json.as_bytes())
    }

    #[test]
    fn absent_keys_take_the_defaults_of_transformers() {
        let config = read("{}").unwrap();
        assert_eq!((config.min_pixels, config.max_pixels), (3136, 1003520));
        assert_eq!((config.patch_size, config.temporal_patch_size, config.merge_size), (14, 2, 2));
        assert_eq!((config.factor(), config.row_len(), config.features([1, 4, 6])), (28, 1176, 6));
    }

    #[test]
    fn both_forms_of_the_limits_are_read_and_the_older_wins() {
        let newer = read(r#"{"size": {"shortest_edge": 10, "longest_edge": 20}}"#).unwrap();
        assert_eq!((newer.min_pixels, newer.max_pixels), (10, 20));
        let size = r#""size": {"shortest_edge": 10, "longest_edge": 20}"#;
        let both = |field: &str| {
            read(&format!("{{{size}, {field}}}")).map(|c| (c.min_pixels, c.max_pixels)).unwrap()
        };
        assert_eq!(both(r#""max_pixels": 30"#), (10, 30));
        assert_eq!(both(r#""min_pixels": 5"#), (5, 20));
    }

    #[test]
    fn unusable_fields_are_named() {
        let cases = [
            (r#"{"patch_size": 0}"#, "`patch_size`"),
            (r#"{"merge_size": 4294967295}"#, "`merge_size`"),
            (r#"{"min_pixels": 9, "max_pixels": 8}"#, "min_pixels 9"),
            (r#"{"min_pixels": 0}"#, "min_pixels 0"),
            (r#"{"image_std": [1, 0, 1]}"#, "`image_std`"),
            (r#"{"image_mean": [1, 0]}"#, "line 1"),
            (r#"{"do_rescale": false}"#, "`do_rescale`"),
            (r#"{"resample": 2}"#, "`resample`"),
            ("{", "line 1"),
        ];
        for (json, field) in cases {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(PREPROCESSOR_CONFIG) && error.contains(field), "{json}: {error}");
        }
    }

    #[test]
    fn a_tower_with_other_patches_is_refused() {
        let model = ModelConfig::from_json(br#"{"vision_config": {"spatial_merge_size": 3}}"#).unwrap();
        let error = model.check_patches(&read("{}").unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("spatial_merge_size") && error.contains("is 3") && error.contains("says 2"),
            "{error}"
        );
        assert!(model.check_patches(&read(r#"{"merge_size": 3}"#).unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            let _ = PreprocessorConfig::from_json(&bytes);
            let _ = ModelConfig::from_json(&bytes);
        }

        #[test]
        fn any_number_in_any_field_is_judged(field in 0usize..7, number: i64, list: [f64; 3]) {
            const FIELDS: [&str; 7] = [
                "min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size", "rescale_factor", "resample",
            ];
            let json = format!(r#"{{"{}": {number}, "image_std": {list:?}}}"#, FIELDS[field]);
            if let Ok(config) = read(&json) {
                prop_assert!(config.min_pixels <= config.max_pixels && config.row_len() > 0);
            }
        }
    }
}
