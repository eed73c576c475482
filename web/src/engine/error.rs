//! What goes wrong, and its one conversion to a JavaScript error.

use js_sys::{Object, Reflect};
use wasm_bindgen::JsValue;
use wethink_model::{BadFile, CheckpointError, ConfigError, GenerateError, PackError};
use wethink_web::fit::FitError;
use wethink_web::request::RequestError;
use wethink_web::tensors::TensorsError;

/// An error of the engine. [`Error::code`] is what programs tell them apart by; the texts are for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the checkpoint must have.
    #[error("{0}: not found; is this the address of a pack or of a checkpoint folder, with all its files?")]
    Missing(String),
    /// What the worker's script says; it has a code of its own.
    #[error("a file could not be read")]
    Script(JsValue),
    #[error("config.json: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    File(#[from] BadFile),
    #[error(transparent)]
    Processor(#[from] wethink_processor::Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{shard}: {source}")]
    Tensors { shard: String, source: TensorsError },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("{0}")]
    Device(String),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(
        "keys and values of the chat need {need:.1} GB, and a page has {room:.1} GB left on the CPU; lower maxNewTokens, or \
         use a browser with WebGPU"
    )]
    Cache { need: f64, room: f64 },
    #[error("no model is loaded")]
    Empty,
}

impl Error {
    /// One of the codes that `wethink.d.ts` lists.
    fn code(&self) -> &'static str {
        use wethink_processor::Error as P;
        match self {
            Self::Missing(_) | Self::Processor(P::MissingFile { .. }) => "not-found",
            Self::Config(_) | Self::File(_) | Self::Checkpoint(_) | Self::Pack(_) => "checkpoint",
            Self::Tensors { source: TensorsError::Memory { .. }, .. } => "memory",
            Self::Fit(FitError::Memory { .. }) | Self::Cache { .. } => "memory",
            Self::Fit(FitError::Positions { .. }) => "request",
            Self::Tensors { .. } => "checkpoint",
            Self::Processor(P::Picture { .. }) | Self::Request(RequestError::Messages(P::Picture { .. })) => {
                "picture"
            }
            Self::Processor(P::Read { .. } | P::BadFile { .. } | P::Template { .. }) => "checkpoint",
            Self::Processor(_) | Self::Request(_) => "request",
            Self::Generate(GenerateError::Device(_)) | Self::Device(_) => "device",
            Self::Generate(GenerateError::Prompt(_) | GenerateError::StopStrings) => "request",
            Self::Generate(GenerateError::Sampling(_)) => "device",
            Self::Script(_) | Self::Empty => "internal",
        }
    }
}

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        if let Error::Script(inner) = error {
            return inner;
        }
        let value: JsValue = js_sys::Error::new(&error.to_string()).into();
        set(&value, "code", error.code());
        value
    }
}

/// Sets a property of an object.
pub fn set(object: &JsValue, name: &str, value: impl Into<JsValue>) {
    // Setting a property of an object made here cannot fail.
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// A plain object.
pub fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let object: JsValue = Object::new().into();
    for (name, value) in properties {
        set(&object, name, value);
    }
    object
}
