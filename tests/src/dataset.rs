//! A dataset of any size in WeThink's form, made from numbers.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;
use wethink_data::{Row, Writer};
use wethink_processor::Picture;

/// Rows and the pictures they name.
pub struct Dataset {
    /// JSON lines.
    pub rows: PathBuf,
    /// The image root.
    pub images: PathBuf,
}

/// The i-th picture: noise of a size of its own, non-square.
pub fn picture(i: usize) -> Picture {
    let (width, height) = (60 + i % 37, 40 + i % 23);
    let rgb = (0..width * height * 3).map(|j| (j.wrapping_mul(2_654_435_761 + i) >> 11) as u8).collect();
    Picture::from_rgb("noise", width, height, rgb).expect("as many bytes as pixels")
}

/// The i-th picture's path from the image root.
pub fn picture_name(i: usize) -> String {
    format!("noise-{}/{i:06}.png", i % 5)
}

/// The i-th row, on one of so many pictures; every third asks for a letter, a number, a sentence.
pub fn row(i: usize, pictures: usize) -> Row {
    let (answer, reward, category) = match i % 3 {
        0 => (["A", "B", "C", "D"][i / 3 % 4].to_owned(), "MC", "choice"),
        1 => ((i / 3).to_string(), "FIB", "blank"),
        _ => (format!("noise of {i} grains on a grey ground"), "DES", "description"),
    };
    let mut thought = String::new();
    for step in 0..30 {
        let _ = write!(thought, "Step {step}: the grain at ({}, {}) is grey. ", i % 60, (i * step) % 40);
    }
    let fields = json!({
        "problem": format!("Question {i}: what is there?"),
        "answer": answer,
        "category": category,
        "abilities": ["Recognition", if i.is_multiple_of(2) { "OCR" } else { "Math" }],
        "refined_cot": thought,
        "image_path": picture_name(i % pictures),
        "reward": reward,
        "id": i,
    });
    let serde_json::Value::Object(fields) = fields else { unreachable!("an object is written above") };
    Row::from_fields(fields).expect("the row is complete")
}

/// Writes `rows.jsonl` and the folder `images`.
pub fn make(folder: &Path, rows: usize, pictures: usize) -> Result<Dataset> {
    let dataset = Dataset { rows: folder.join("rows.jsonl"), images: folder.join("images") };
    for i in 0..pictures {
        let path = dataset.images.join(picture_name(i));
        std::fs::create_dir_all(path.parent().unwrap_or(&dataset.images))?;
        std::fs::write(path, picture(i).to_png()?)?;
    }
    let mut writer = Writer::create(&dataset.rows)?;
    for i in 0..rows {
        writer.write(&row(i, pictures).to_fields())?;
    }
    writer.finish()?;
    Ok(dataset)
}
