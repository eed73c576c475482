//! A TensorBoard event file with the numbers of `metrics.jsonl`.
//!
//! The format is TensorFlow's: records of length, masked CRC-32C of the length, data, masked CRC-32C of the data; the data is
//! an `Event` of `event.proto`, of which four fields are needed. The file is derived: a resumed run writes it anew.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

/// The file, open for appending.
#[derive(Debug)]
pub struct Events(File);

impl Events {
    /// Makes the file of a run, with the lines that its metrics hold already.
    pub fn create(run: &Path, lines: &[Value]) -> Result<Self> {
        let folder = run.join("tensorboard");
        let path = folder.join("events.out.tfevents.0.wethink");
        let create = || -> std::io::Result<File> {
            std::fs::create_dir_all(&folder)?;
            File::create(&path)
        };
        let mut events = Self(create().with_context(|| path.display().to_string())?);
        events.record(&[double(1, now()), text(3, b"brain.Event:2")].concat())?;
        for line in lines {
            events.write(line)?;
        }
        Ok(events)
    }

    /// Writes the numbers of one line of metrics; nested ones are named `outer/inner`.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        let mut summary = Vec::new();
        collect(line, "", &mut summary);
        let step = line["step"].as_u64().unwrap_or(0);
        let event = [double(1, now()), vec![2 << 3], varint(step), text(5, &summary)].concat();
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(crc32c(&length)).to_le_bytes());
        record.extend(data);
        record.extend(masked(crc32c(data)).to_le_bytes());
        self.0.write_all(&record).context("the TensorBoard file cannot be written")
    }
}

/// Adds every number but the step as a `Summary.Value` of tag and float.
fn collect(value: &Value, name: &str, summary: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            // The step of the line itself is where its numbers stand.
            let number = |field: &str| !(name.is_empty() && field == "step");
            for (field, value) in fields.iter().filter(|(field, _)| number(field)) {
                let name = if name.is_empty() { field.clone() } else { format!("{name}/{field}") };
                collect(value, &name, summary);
            }
        }
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or(f64::NAN) as f32;
            let entry = [text(1, name.as_bytes()), vec![2 << 3 | 5], float.to_le_bytes().to_vec()].concat();
            summary.extend(text(1, &entry));
        }
        _ => {}
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 1];
    bytes.extend(value.to_le_bytes());
    bytes
}

/// A string, bytes, or a message within a message.
fn text(field: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// CRC-32C (Castagnoli), bit by bit: a run writes a few hundred bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// TFRecord's mask, so that a checksum of checksummed data is no fixed point.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn records_hold_every_number_under_its_name() {
        let run = tempfile::tempdir().expect("a folder");
        let line = json!({"step": 300, "loss": 1.5, "rows": [1, 2], "validation": {"accuracy": 0.25}});
        drop(Events::create(run.path(), &[line]).expect("written"));
        let path = run.path().join("tensorboard/events.out.tfevents.0.wethink");
        let bytes = std::fs::read(path).expect("the file");
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight")) as usize;
            let data = &rest[12..12 + length];
            let sum = u32::from_le_bytes(rest[12 + length..16 + length].try_into().expect("four"));
            assert_eq!(sum, masked(crc32c(data)));
            records.push(data);
            rest = &rest[16 + length..];
        }
        let has = |record: &[u8], part: &[u8]| record.windows(part.len()).any(|window| window == part);
        assert!(has(records[0], b"brain.Event:2"));
        assert_eq!(records.len(), 2);
        for (name, value) in [("loss", 1.5f32), ("validation/accuracy", 0.25)] {
            assert!(
                has(records[1], &[name.as_bytes(), &[2 << 3 | 5], &value.to_le_bytes()].concat()),
                "{name}"
            );
        }
        // Field 2, varint 300.
        assert!(has(records[1], &[0x10, 0xac, 0x02]));
    }
}
