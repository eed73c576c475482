//! One question with its truth: the record WeThink publishes.

use serde_json::{Map, Value};

use crate::one_or_many::type_of;
use crate::{Fault, OneOrMany, checked_name, thought};

/// A record of WeThink's dataset (README of the released repository), with every unknown field kept in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The question. Pictures are no part of it: a literal `<image>` in it is text.
    pub problem: String,
    /// The truth, as written. A number or boolean becomes its JSON text.
    pub answer: String,
    /// Question type.
    pub category: Option<OneOrMany>,
    /// Abilities the question asks for.
    pub abilities: Option<OneOrMany>,
    /// Thought; wrappers as they came, see [`Row::thought`].
    pub refined_cot: Option<String>,
    /// Pictures, from the image root on; see [`checked_name`].
    pub image_path: Option<OneOrMany>,
    /// Bytes of `problem` before which each picture stands, ascending. Empty: all before the text, as in WeThink.
    pub image_at: Vec<usize>,
    /// Reward method, by the dataset's own name.
    pub reward: Option<OneOrMany>,
    /// System prompt, where the row brings its own.
    pub system: Option<String>,
    /// Fields this crate does not know. Integers beyond 64 bits become floating-point numbers.
    pub extra: Map<String, Value>,
}

/// A piece of a question, in the order the model is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A picture, by its path.
    Image(&'a str),
    /// Text; never empty.
    Text(&'a str),
}

impl Row {
    /// A row of a question and its truth alone.
    pub fn new(problem: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { problem: problem.into(), answer: answer.into(), ..Self::default() }
    }

    /// Reads a record in WeThink's own form.
    ///
    /// # Errors
    /// `problem` or `answer` is missing, or a field has a wrong type.
    pub fn from_fields(mut fields: Map<String, Value>) -> Result<Self, Fault> {
        let problem = text(&mut fields, "problem")?
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| Fault::missing("problem", "every row asks something"))?;
        let answer =
            answer(&mut fields)?.ok_or_else(|| Fault::missing("answer", "write the truth as a string"))?;
        let image_at = match fields.shift_remove("image_at") {
            None | Some(Value::Null) => Vec::new(),
            Some(value) => serde_json::from_value(value)
                .map_err(|e| Fault::field("image_at", e.to_string(), "write a list of byte offsets"))?,
        };
        let refined_cot = text(&mut fields, "refined_cot")?;
        let image_path = OneOrMany::read("image_path", fields.shift_remove("image_path"))?;
        Ok(Self { refined_cot, image_path, image_at, ..Self::with_labels(problem, answer, fields)? })
    }

    /// The fields that every format writes alike; the rest of `fields` becomes `extra`.
    pub(crate) fn with_labels(
        problem: String,
        answer: String,
        mut fields: Map<String, Value>,
    ) -> Result<Self, Fault> {
        let category = OneOrMany::read("category", fields.shift_remove("category"))?;
        let abilities = OneOrMany::read("abilities", fields.shift_remove("abilities"))?;
        let reward = OneOrMany::read("reward", fields.shift_remove("reward"))?;
        let system = text(&mut fields, "system")?;
        Ok(Self { problem, answer, category, abilities, reward, system, extra: fields, ..Self::default() })
    }

    /// The record in WeThink's own form: its fields in the published order, absent ones left out, then unknown ones.
    pub fn to_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("problem".into(), self.problem.as_str().into());
        fields.insert("answer".into(), self.answer.as_str().into());
        put(&mut fields, "category", self.category.as_ref().map(OneOrMany::to_json));
        put(&mut fields, "abilities", self.abilities.as_ref().map(OneOrMany::to_json));
        put(&mut fields, "refined_cot", self.refined_cot.as_deref().map(Value::from));
        put(&mut fields, "image_path", self.image_path.as_ref().map(OneOrMany::to_json));
        put(&mut fields, "image_at", (!self.image_at.is_empty()).then(|| self.image_at.as_slice().into()));
        put(&mut fields, "reward", self.reward.as_ref().map(OneOrMany::to_json));
        put(&mut fields, "system", self.system.as_deref().map(Value::from));
        self.add_extra(&mut fields);
        fields
    }

    /// Unknown fields, but never in place of one that is written already.
    pub(crate) fn add_extra(&self, fields: &mut Map<String, Value>) {
        for (name, value) in &self.extra {
            fields.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// Paths of the pictures, in order; unchecked.
    pub fn images(&self) -> &[String] {
        self.image_path.as_ref().map_or(&[], OneOrMany::as_slice)
    }

    /// Text and pictures in the order the model is to see. Places that do not fit the question are taken as its start;
    /// [`Row::faults`] reports them.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let mut from = 0;
        let fits = self.places_fit();
        for (i, image) in self.images().iter().enumerate() {
            let at = if fits { self.image_at.get(i).copied().unwrap_or(0) } else { 0 };
            if at > from {
                parts.push(Part::Text(&self.problem[from..at]));
                from = at;
            }
            parts.push(Part::Image(image));
        }
        if from < self.problem.len() {
            parts.push(Part::Text(&self.problem[from..]));
        }
        parts
    }

    fn places_fit(&self) -> bool {
        let at = &self.image_at;
        at.is_empty()
            || at.len() == self.images().len()
                && at.is_sorted()
                && at.iter().all(|&at| self.problem.is_char_boundary(at))
    }

    /// The thought without wrappers and answer blocks; none if nothing else is there.
    pub fn thought(&self) -> Option<String> {
        self.refined_cot.as_deref().map(thought::clean_thought).filter(|thought| !thought.is_empty())
    }

    /// The answer without wrappers.
    pub fn truth(&self) -> String {
        thought::clean_answer(&self.answer)
    }

    /// What the model is to write: `<think>\n…\n</think>\n<answer>\n…\n</answer>`, or the bare answer of a row without
    /// a thought.
    pub fn response(&self) -> String {
        match self.thought() {
            Some(thought) => thought::response(&thought, &self.truth()),
            None => self.answer.clone(),
        }
    }

    /// What can be read but not used: paths that leave the image root, places outside the question, a thought or an
    /// answer that is nothing but wrappers.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            self.images().iter().filter_map(|name| checked_name(name).err()).collect();
        if !self.places_fit() {
            let fix = "give one byte offset into `problem` a picture, ascending";
            faults.push(Fault::field("image_at", format!("{:?} does not fit", self.image_at), fix));
        }
        if self.refined_cot.is_some() && self.thought().is_none() {
            faults.push(Fault::missing(
                "refined_cot",
                "leave the field out, or write a thought beside the tags",
            ));
        }
        if self.truth().is_empty() {
            faults.push(Fault::missing("answer", "write the truth as a string"));
        }
        faults
    }
}

pub(crate) fn put(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value);
    }
}

/// Takes a string field; `null` is as good as absent.
pub(crate) fn text(fields: &mut Map<String, Value>, field: &str) -> Result<Option<String>, Fault> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let problem = format!("{} where a string stands", type_of(&other));
            Err(Fault::field(field, problem, "put it in quotes"))
        }
    }
}

/// Takes the truth. JSON numbers are accepted as far as their text is what was written: an integer that a
/// floating-point number cannot hold would be another truth.
pub(crate) fn answer(fields: &mut Map<String, Value>) -> Result<Option<String>, Fault> {
    let fix = "put it in quotes";
    match fields.shift_remove("answer") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(answer)) => Ok(Some(answer.to_string())),
        Some(Value::Number(number)) => {
            let exact = !number.is_f64() || number.as_f64().is_some_and(|x| x.abs() < (1u64 << 53) as f64);
            let text = number.to_string();
            let problem = || format!("{text} is beyond the integers that are read exactly");
            if exact { Ok(Some(text)) } else { Err(Fault::field("answer", problem(), fix)) }
        }
        Some(other) => Err(Fault::field("answer", format!("{} where a string stands", type_of(&other)), fix)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Row, Fault> {
        match value {
            Value::Object(fields) => Row::from_fields(fields),
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn the_published_record_and_its_unknown_fields_are_kept_in_order() {
        let record = json!({
            "problem": "How many?", "answer": "4", "category": "MC", "abilities": ["OCR", "Math"],
            "refined_cot": "<think>so</think>", "image_path": "coco/a.jpg", "reward": "rule",
            "zeta": 1, "alpha": {"b": [null]},
        });
        let row = read(record.clone()).unwrap();
        assert_eq!(row.images(), ["coco/a.jpg"]);
        assert_eq!(row.response(), "<think>\nso\n</think>\n<answer>\n4\n</answer>");
        assert_eq!(Value::Object(row.to_fields()).to_string(), record.to_string());
        assert_eq!(row.extra.keys().collect::<Vec<_>>(), ["zeta", "alpha"]);
    }

    #[test]
    fn a_field_at_fault_is_named_with_the_fix() {
        for (record, field) in [
            (json!({"answer": "4"}), "problem"),
            (json!({"problem": " ", "answer": "4"}), "problem"),
            (json!({"problem": "q", "answer": null}), "answer"),
            (json!({"problem": "q", "answer": ["4"]}), "answer"),
            (json!({"problem": "q", "answer": 1e30}), "answer"),
            (json!({"problem": 5, "answer": "4"}), "problem"),
            (json!({"problem": "q", "answer": "4", "category": 5}), "category"),
            (json!({"problem": "q", "answer": "4", "image_path": [5]}), "image_path"),
            (json!({"problem": "q", "answer": "4", "image_at": [-1]}), "image_at"),
        ] {
            let fault = read(record.clone()).unwrap_err().to_string();
            assert!(fault.contains(&format!("field `{field}`")), "{record}: {fault}");
        }
        assert_eq!(read(json!({"problem": "q", "answer": 0.5})).unwrap().answer, "0.5");
        assert_eq!(read(json!({"problem": "q", "answer": false})).unwrap().answer, "false");
    }

    #[test]
    fn pictures_stand_where_the_row_says_and_first_otherwise() {
        let mut row = Row::new("left or right?", "left");
        row.image_path = Some(OneOrMany::Many(vec!["a".into(), "b".into()]));
        let (a, b) = (Part::Image("a"), Part::Image("b"));
        assert_eq!(row.parts(), [a, b, Part::Text("left or right?")]);
        row.image_at = vec![4, 14];
        assert_eq!(row.parts(), [Part::Text("left"), a, Part::Text(" or right?"), b]);
        for misfit in [vec![4], vec![5, 4], vec![4, 15]] {
            row.image_at = misfit;
            assert_eq!(row.parts().len(), 3);
            assert!(row.faults()[0].to_string().contains("image_at"));
        }
    }

    #[test]
    fn rows_that_are_nothing_but_wrappers_are_faults() {
        let mut row = Row::new("q", "<answer> </answer>");
        row.refined_cot = Some("<think></think><answer>4</answer>".into());
        row.image_path = Some("../a.png".into());
        let fields: Vec<String> = row.faults().iter().map(ToString::to_string).collect();
        assert_eq!(fields.len(), 3, "{fields:?}");
        for (fault, field) in fields.iter().zip(["image_path", "refined_cot", "answer"]) {
            assert!(fault.contains(field), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn any_places_are_judged(problem: String, at: Vec<usize>, images: Vec<String>) {
            let row = Row { problem, image_at: at, image_path: Some(OneOrMany::Many(images)), ..Row::default() };
            let texts = row.parts().iter().filter_map(|p| if let Part::Text(t) = p { Some(*t) } else { None }).collect::<String>();
            prop_assert_eq!(texts, row.problem);
        }
    }
}
