//! EasyR1's records: `problem` with `<image>` where pictures stand, `answer`, `images` (hiyouga/EasyR1, `dataset.py`).

use serde_json::{Map, Value};

use super::{images, placeholders, put_rest};
use crate::row::{answer, put, text};
use crate::{Fault, Row};

pub(super) fn read(mut fields: Map<String, Value>) -> Result<Row, Fault> {
    let image_path = images(&mut fields)?;
    let pictures = image_path.as_ref().map_or(0, |images| images.as_slice().len());
    let problem = text(&mut fields, "problem")?
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| Fault::missing("problem", "every row asks something"))?;
    let (problem, image_at) = placeholders::split(&problem, pictures)?;
    let answer =
        answer(&mut fields)?.ok_or_else(|| Fault::missing("answer", "write the truth as a string"))?;
    let refined_cot = text(&mut fields, "refined_cot")?;
    Ok(Row { image_path, image_at, refined_cot, ..Row::with_labels(problem, answer, fields)? })
}

pub(super) fn write(row: &Row) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("problem".into(), placeholders::join(row).into());
    fields.insert("answer".into(), row.truth().into());
    put(&mut fields, "refined_cot", row.thought().map(Value::from));
    put_rest(&mut fields, row);
    fields
}
