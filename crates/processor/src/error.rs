//! What can go wrong between a chat and the model's input. Every message names the file, message or picture
//! at fault and, where there is one, the way out.

use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the checkpoint could not be read.
    #[error("{file}: {source}")]
    Read {
        /// Name of the file within the checkpoint.
        file: String,
        /// What reading it said.
        source: std::io::Error,
    },
    /// The checkpoint lacks a file.
    #[error("the checkpoint has no {file}; {fix}")]
    MissingFile {
        /// The names that were looked for.
        file: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// A file of the checkpoint does not say what it must.
    #[error("{file}: {reason}")]
    BadFile {
        /// Name of the file within the checkpoint.
        file: String,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// The chat template is malformed, or failed on these messages.
    #[error("{file}: chat template: {reason}")]
    Template {
        /// The file that holds the template.
        file: String,
        /// What the template engine said, with its line.
        reason: String,
    },
    /// The messages cannot become a prompt.
    #[error("message {message}: {reason}")]
    Message {
        /// Index of the message, from 0.
        message: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A message holds a video.
    #[error(
        "message {message} holds a `video` part: video is not supported; send its frames as `image` parts"
    )]
    Video {
        /// Index of the message, from 0.
        message: usize,
    },
    /// The messages have more or fewer `image` parts than there are pictures.
    #[error(
        "the messages have {slots} image part(s) but {pictures} picture(s) were given; \
         every {{\"type\": \"image\"}} part takes one picture, in order"
    )]
    PictureCount {
        /// `image` parts over all messages.
        slots: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// The rendered prompt has a number of image placeholders other than that of the pictures.
    #[error(
        "{file}: the chat template wrote {placeholders} `{token}` for {pictures} picture(s); \
         it must write one for each `image` part"
    )]
    PlaceholderCount {
        /// The file that holds the template.
        file: String,
        /// The placeholder.
        token: String,
        /// How often the prompt holds it.
        placeholders: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// A picture has another number of image tokens in the prompt than the vision tower gives features for it.
    #[error(
        "picture {picture}: the prompt has {tokens} image token(s) where the vision tower gives {features} feature(s)"
    )]
    TokenCount {
        /// Index of the picture, from 0.
        picture: usize,
        /// Image tokens in the prompt.
        tokens: usize,
        /// Features of the tower: t·h·w / merge².
        features: usize,
    },
    /// A picture could not be read, or has a size that cannot be used.
    #[error("picture {name}: {reason}")]
    Picture {
        /// The name the caller gave it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A caller's option is unusable.
    #[error("{0}")]
    Options(String),
    /// The tokenizer failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

/// The error for a field of a JSON file.
pub(crate) fn bad_file(file: &str, reason: impl ToString) -> Error {
    Error::BadFile { file: file.to_owned(), reason: reason.to_string() }
}

/// The error for a picture.
pub(crate) fn bad_picture(name: &str, reason: impl ToString) -> Error {
    Error::Picture { name: name.to_owned(), reason: reason.to_string() }
}
