//! A field that some files write as a string and others as a list of strings.

use serde_json::Value;

use crate::Fault;

/// One string, or a list of them, written back as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OneOrMany {
    /// `"a"`.
    One(String),
    /// `["a", "b"]`.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }

    /// One text for all, in order: a name to count or map by.
    pub fn joined(&self) -> String {
        self.as_slice().join(" + ")
    }

    /// Reads a field; `null` is as good as absent, since columnar files fill every field.
    pub(crate) fn read(field: &str, value: Option<Value>) -> Result<Option<Self>, Fault> {
        let wrong = |found: &Value| {
            let problem = format!("{} where a string or a list of strings stands", type_of(found));
            Fault::field(field, problem, "put it in quotes")
        };
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Self::One(text))),
            Some(Value::Array(items)) => {
                let text = |item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(&other)),
                };
                items.into_iter().map(text).collect::<Result<_, _>>().map(|texts| Some(Self::Many(texts)))
            }
            Some(other) => Err(wrong(&other)),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::One(text) => text.as_str().into(),
            Self::Many(texts) => texts.as_slice().into(),
        }
    }
}

impl From<&str> for OneOrMany {
    fn from(text: &str) -> Self {
        Self::One(text.to_owned())
    }
}

/// What a JSON value is, for messages.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
