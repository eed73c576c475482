//! What the model is asked, as plain slices, and how much of it a cache already holds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use crate::Config;

/// One prompt: token ids, their positions, and the patches of its pictures in order.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// Token ids; every merged patch of a picture is one `image_token_id`.
    pub ids: &'a [u32],
    /// (time, height, width) of each token (M-RoPE).
    pub positions: &'a [[u32; 3]],
    /// Patches of all pictures, `[P, channels * frames * 14 * 14]` row by row, in merge order.
    pub patches: &'a [f32],
    /// (t, h, w) of each picture in patches.
    pub grids: &'a [[usize; 3]],
}

/// Why a prompt cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// A prompt without tokens.
    #[error("the prompt is empty")]
    Empty,
    /// Positions and ids differ in number.
    #[error("{ids} token ids, but {positions} positions")]
    Positions {
        /// Number of ids.
        ids: usize,
        /// Number of positions.
        positions: usize,
    },
    /// A token id beyond the embedding.
    #[error("token id {id} at place {place} is outside the vocabulary of {vocab}")]
    Id {
        /// The id.
        id: u32,
        /// Its index in the prompt.
        place: usize,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// Image tokens and the features the tower gives differ.
    #[error("the prompt has {tokens} image tokens, but its {pictures} pictures give {features} features")]
    Images {
        /// Tokens in the prompt.
        tokens: usize,
        /// Features of the pictures.
        features: usize,
        /// Number of pictures.
        pictures: usize,
    },
    /// A grid that the merger cannot fold, or that is empty.
    #[error(
        "picture {picture} has the grid {grid:?}; height and width must be positive multiples of {merge}"
    )]
    Grid {
        /// Index of the picture.
        picture: usize,
        /// Its grid.
        grid: [usize; 3],
        /// The merge size.
        merge: usize,
    },
    /// Patch values and grids differ.
    #[error("the pictures' grids need {want} patch values, but {got} were given")]
    Patches {
        /// Values the grids need.
        want: usize,
        /// Values given.
        got: usize,
    },
    /// The cache is too small. A prompt is never truncated.
    #[error("{tokens} tokens do not fit into a cache of {capacity}; make it larger, or ask for less")]
    Capacity {
        /// Tokens needed.
        tokens: usize,
        /// Tokens the cache can hold.
        capacity: usize,
    },
    /// One prompt per row of the cache is needed.
    #[error("{prompts} prompts for a cache of {rows} rows")]
    Rows {
        /// Number of prompts.
        prompts: usize,
        /// Rows of the cache.
        rows: usize,
    },
}

/// A picture's place in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Its image tokens.
    pub tokens: Range<usize>,
    /// Its values within [`Prompt::patches`].
    pub values: Range<usize>,
    /// Its grid in patches.
    pub grid: [usize; 3],
}

impl<'a> Prompt<'a> {
    /// Checks the prompt against the model and finds its pictures.
    pub(crate) fn pictures(&self, config: &Config) -> Result<Vec<Picture>, PromptError> {
        if self.ids.is_empty() {
            return Err(PromptError::Empty);
        }
        if self.ids.len() != self.positions.len() {
            return Err(PromptError::Positions { ids: self.ids.len(), positions: self.positions.len() });
        }
        let vocab = config.text.vocab_size;
        if let Some(place) = self.ids.iter().position(|&id| id as usize >= vocab) {
            return Err(PromptError::Id { id: self.ids[place], place, vocab });
        }
        let (merge, row) = (config.vision.spatial_merge_size, config.vision.patch_len());
        let mut sizes = Vec::with_capacity(self.grids.len());
        for (picture, &grid) in self.grids.iter().enumerate() {
            let [t, h, w] = grid;
            let whole = t > 0 && h > 0 && w > 0 && h % merge == 0 && w % merge == 0;
            let patches = t.checked_mul(h).and_then(|n| n.checked_mul(w)).filter(|_| whole);
            sizes.push(patches.ok_or(PromptError::Grid { picture, grid, merge })?);
        }
        let want = sizes
            .iter()
            .try_fold(0usize, |sum, &n| sum.checked_add(n.checked_mul(row)?))
            .unwrap_or(usize::MAX);
        if want != self.patches.len() {
            return Err(PromptError::Patches { want, got: self.patches.len() });
        }
        let places: Vec<usize> =
            (0..self.ids.len()).filter(|&i| self.ids[i] == config.image_token_id).collect();
        let features = sizes.iter().sum::<usize>() / config.vision.merge_unit();
        if places.len() != features {
            return Err(PromptError::Images { tokens: places.len(), features, pictures: self.grids.len() });
        }
        let mut pictures = Vec::with_capacity(sizes.len());
        let (mut token, mut value) = (0, 0);
        for (&patches, &grid) in sizes.iter().zip(self.grids) {
            let tokens = patches / config.vision.merge_unit();
            pictures.push(Picture {
                tokens: places[token]..places[token + tokens - 1] + 1,
                values: value..value + patches * row,
                grid,
            });
            token += tokens;
            value += patches * row;
        }
        Ok(pictures)
    }

    fn fingerprint(&self, picture: &Picture) -> u64 {
        let mut hasher = DefaultHasher::new();
        picture.grid.hash(&mut hasher);
        for value in &self.patches[picture.values.clone()] {
            value.to_bits().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// What a row of the cache holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    ids: Vec<u32>,
    pictures: Vec<(Range<usize>, u64)>,
    next_position: u32,
}

impl Seen {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Position of the next token, on all three axes.
    pub fn next_position(&self) -> u32 {
        self.next_position
    }

    /// Forgets what the prompt does not share, and returns how many of its tokens need no computation.
    ///
    /// At least one token is left to compute, since its logits are wanted. A picture is shared whole or not at all.
    pub fn keep_shared(&mut self, prompt: &Prompt, pictures: &[Picture]) -> usize {
        let same = self.ids.iter().zip(prompt.ids).take_while(|(a, b)| a == b).count();
        let mut shared = same.min(prompt.ids.len() - 1);
        for picture in pictures {
            if picture.tokens.start >= shared {
                break;
            }
            let known = self.pictures.iter().find(|(tokens, _)| *tokens == picture.tokens);
            let equal = known.is_some_and(|(_, hash)| *hash == prompt.fingerprint(picture));
            if !equal || picture.tokens.end > shared {
                shared = picture.tokens.start;
                break;
            }
        }
        self.ids.truncate(shared);
        self.pictures.retain(|(tokens, _)| tokens.end <= shared);
        shared
    }

    /// Notes that the cache now holds the whole prompt.
    pub fn hold(&mut self, prompt: &Prompt, pictures: &[Picture]) {
        self.ids = prompt.ids.to_vec();
        let held = self.pictures.len();
        let new =
            pictures[held..].iter().map(|picture| (picture.tokens.clone(), prompt.fingerprint(picture)));
        self.pictures.extend(new);
        self.next_position = prompt.positions.iter().flatten().max().map_or(0, |&position| position + 1);
    }

    /// Notes one generated token.
    pub fn push(&mut self, id: u32) {
        self.ids.push(id);
        self.next_position += 1;
    }
}
