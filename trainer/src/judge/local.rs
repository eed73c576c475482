//! A judge at hand: a checkpoint that is asked for one token.
//!
//! Nothing is generated. The model reads the prompt, pictures included, and log p(Yes) is held against log p(No) where its answer
//! would begin; their difference is that of the logits, since both share the normaliser. Within [`MARGIN`] of each other the model
//! does not know, which is a failure and leaves the case unscored.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use burn::tensor::DType;
use wethink_kernels::Launches;
use wethink_model::{Model, Prompt};
use wethink_processor::{
    Content, Encoded, Message, Options, Part, Picture, Processor, Role, System, with_system,
};
use wethink_reward::judge::Ask;

use super::{Failure, replies};
use crate::device::Opened;
use crate::folder::Folder;
use crate::progress;

/// How far log p(Yes) and log p(No) must be apart, in nats: a ratio of 1.65 between the two.
pub const MARGIN: f32 = 0.5;

/// A checkpoint, loaded.
pub struct Local {
    name: String,
    processor: Processor,
    // A device runs one prompt at a time.
    model: Mutex<Model>,
    yes: usize,
    no: usize,
    positions: usize,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Local {
    /// Loads the checkpoint in `dir`.
    pub fn open(dir: &Path, opened: &Opened) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let config = folder.config()?;
        let processor = folder.processor()?;
        let (yes, no) = (first_token(&processor, "Yes")?, first_token(&processor, "No")?);
        let vocabulary = config.text.vocab_size;
        if yes == no || yes.max(no) >= vocabulary {
            bail!("{}: its tokenizer does not tell Yes from No by their first tokens", dir.display());
        }
        let bar = progress::bytes("loading");
        let model = folder.load(&opened.device, opened.dtype, &mut |done, total| bar.at(done, total))?;
        bar.finish();
        let name = identity(dir, opened)?;
        let positions = config.text.max_position_embeddings;
        Ok(Self { name, processor, model: Mutex::new(model), yes, no, positions })
    }

    /// The key of an ask: the checkpoint, and everything it is shown.
    pub fn key(&self, ask: &Ask, pictures: &[Vec<u8>]) -> String {
        let texts = [&self.name, &ask.system, &ask.text].map(|text| text.as_bytes());
        replies::key(texts.into_iter().chain(pictures.iter().map(Vec::as_slice)))
    }

    /// `Yes`, `No` or, within the margin, `undecided`.
    pub fn ask(&self, ask: &Ask, pictures: &[Vec<u8>]) -> Result<String, Failure> {
        let ahead = self.log_odds(ask, pictures).map_err(|error| Failure::Ask(format!("{error:#}")))?;
        let reply = match ahead {
            a if a >= MARGIN => "Yes",
            a if a <= -MARGIN => "No",
            _ => "undecided",
        };
        Ok(reply.to_owned())
    }

    /// log p(Yes) − log p(No) at the first position of the answer.
    pub fn log_odds(&self, ask: &Ask, pictures: &[Vec<u8>]) -> Result<f32> {
        let encoded = self.encode(ask, pictures)?;
        if encoded.ids.len() > self.positions {
            bail!(
                "a prompt of {} tokens; this checkpoint has {} positions",
                encoded.ids.len(),
                self.positions
            );
        }
        let prompt = Prompt {
            ids: &encoded.ids,
            positions: &encoded.positions,
            patches: &encoded.pixel_values,
            grids: &encoded.grids,
        };
        // A panic in burn leaves nothing half done in the weights.
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cache = model.cache(1, encoded.ids.len());
        let logits = model.prefill(&[prompt], &mut cache, &mut Launches::new())?.logits;
        let data = pollster::block_on(logits.into_data_async()).context("the device failed")?;
        let values: Vec<f32> = match data.convert_dtype(DType::F32).try_into_vec() {
            Ok(values) => values,
            Err(error) => bail!("the device failed: {error:?}"),
        };
        let logit = |id: usize| values.get(id).copied().filter(|x| x.is_finite());
        logit(self.yes).zip(logit(self.no)).map(|(yes, no)| yes - no).context("the logits are not finite")
    }

    fn encode(&self, ask: &Ask, pictures: &[Vec<u8>]) -> Result<Encoded> {
        let decode = |(i, bytes): (usize, &Vec<u8>)| Picture::decode(&format!("picture {}", i + 1), bytes);
        let pictures = pictures.iter().enumerate().map(decode).collect::<Result<Vec<_>, _>>()?;
        let mut parts = vec![Part::Image; pictures.len()];
        parts.push(Part::Text { text: ask.text.clone() });
        let messages = vec![Message { role: Role::User, content: Content::Parts(parts) }];
        let messages = with_system(messages, System::Text(ask.system.clone()));
        Ok(self.processor.process(&messages, &pictures, &Options::default())?)
    }
}

fn first_token(processor: &Processor, word: &str) -> Result<usize> {
    let ids = processor.tokenizer.encode(word)?;
    ids.first().map(|&id| id as usize).with_context(|| format!("the tokenizer has no token for {word:?}"))
}

/// What tells this checkpoint from another, and from itself after a change: its files' names, sizes and times, and the type and
/// device it is computed with, which decide cases near the margin.
fn identity(dir: &Path, opened: &Opened) -> Result<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let data = entry.metadata()?;
        let time = data.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        files.push(format!("{} {} {}", entry.file_name().display(), data.len(), time.as_nanos()));
    }
    files.sort();
    Ok(format!("{} {:?} {opened}", files.join("\n"), opened.dtype))
}
