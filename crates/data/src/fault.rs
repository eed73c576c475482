//! What is wrong with one row. The reader adds the line.

/// Why a line is no row, or a row is not usable. Every message names the field, if one is at fault, and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The line is longer than any row.
    #[error("more than {max} bytes, the most that is read as one row; is a line break or a quote missing?")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The line is not text.
    #[error("not UTF-8 from byte {byte} of the row on; save the file as UTF-8")]
    NotUtf8 {
        /// Bytes that are good.
        byte: usize,
    },
    /// The line is no JSON object, or names a field twice.
    #[error("not a JSON object: {0}; write one complete {{\"problem\": …, \"answer\": …}} a line")]
    NotAnObject(String),
    /// A field is absent, null or empty.
    #[error("field `{field}` is missing or empty; {fix}")]
    Missing {
        /// Its name.
        field: String,
        /// What to do.
        fix: &'static str,
    },
    /// A field has the wrong type or value.
    #[error("field `{field}`: {problem}; {fix}")]
    Field {
        /// Its name.
        field: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// A CSV record has other columns than the header.
    #[error("{found} columns where the header has {wanted}; quote cells that hold commas or line breaks")]
    Columns {
        /// Columns of the record.
        found: usize,
        /// Columns of the header.
        wanted: usize,
    },
    /// The file ends or breaks here; nothing after it is read.
    #[error("the file cannot be read further: {0}; fetch it again")]
    Read(String),
}

impl Fault {
    pub(crate) fn missing(field: &str, fix: &'static str) -> Self {
        Self::Missing { field: field.to_owned(), fix }
    }

    pub(crate) fn field(field: &str, problem: impl Into<String>, fix: &'static str) -> Self {
        Self::Field { field: field.to_owned(), problem: problem.into(), fix }
    }

    /// A word for the kind of fault, the same for every field: what reports count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotAnObject(_) => "not_an_object",
            Self::Missing { .. } => "missing",
            Self::Field { .. } => "field",
            Self::Columns { .. } => "columns",
            Self::Read(_) => "read",
        }
    }
}
