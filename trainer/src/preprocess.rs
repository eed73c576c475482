//! `trainer preprocess`: a picture as the model sees it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use safetensors::{Dtype, tensor::TensorView};
use wethink_processor::Patches;

use crate::ask::picture;
use crate::folder::{Folder, write_whole};

const EXAMPLE: &str = "\
Example:
  trainer preprocess --checkpoint DIR --image cat.jpg --out cat.safetensors

The file holds `pixel_values` (F32, [patches, channels * frames * 14 * 14], in
merge order) and `image_grid_thw` (I64, [1, 3]: frames, rows and columns of
patches).";

/// A picture to the patches the model sees, as safetensors.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Folder with preprocessor_config.json
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// A picture (PNG, JPEG, WebP, GIF, BMP, TIFF)
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Where to write
    #[arg(long, value_name = "X.safetensors")]
    out: PathBuf,
    /// Enlarge pictures below this many pixels [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    min_pixels: Option<usize>,
    /// Shrink pictures above this many pixels [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    max_pixels: Option<usize>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut config = Folder::open(&args.checkpoint)?.processor()?.preprocessor;
    config.min_pixels = args.min_pixels.unwrap_or(config.min_pixels);
    config.max_pixels = args.max_pixels.unwrap_or(config.max_pixels);
    let patches = Patches::of(&picture(&args.image)?, &config)?;
    let values: Vec<u8> = patches.pixel_values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let grid: Vec<u8> = patches.grid.iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
    let shape = vec![patches.pixel_values.len() / config.row_len(), config.row_len()];
    let tensors = [
        ("pixel_values", TensorView::new(Dtype::F32, shape, &values)?),
        ("image_grid_thw", TensorView::new(Dtype::I64, vec![1, 3], &grid)?),
    ];
    let bytes = safetensors::serialize(tensors, None)?;
    write_whole(&args.out, &bytes)?;
    Ok(ExitCode::SUCCESS)
}
