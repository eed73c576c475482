//! Tower and decoder together: prompts in, logits out.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::prompt::Picture;
use crate::rotary::multimodal;
use crate::text::Pass;
use crate::{Config, Decoder, KvCache, Launches, Linear, Prompt, PromptError, Span, VisionTower};

/// A Qwen2.5-VL: what the checkpoint calls `visual`, `model` and `lm_head`.
#[derive(Module, Debug)]
pub struct Model {
    /// The vision tower.
    pub visual: VisionTower,
    /// The language model.
    pub model: Decoder,
    /// The head; absent when it is the embedding.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: Config,
}

/// What a prefill gives, and what it cost.
#[derive(Debug, Clone)]
pub struct Prefill {
    /// Logits of the token after each prompt, `[B, V]`.
    pub logits: Tensor<2>,
    /// Tokens computed, over all rows; the rest came from the cache.
    pub computed_tokens: usize,
    /// Image tokens among all prompts' tokens.
    pub image_tokens: usize,
    /// Pictures that went through the tower.
    pub computed_pictures: usize,
}

/// Every intermediate result that the reference stores, for comparison.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Features of all pictures, `[N, C]`; absent without pictures.
    pub vision: Option<Tensor<2>>,
    /// The merged embeddings, the input of every further layer, and the output of the final norm: `[B, T, C]` each.
    pub hidden: Vec<Tensor<3>>,
    /// `[B, T, V]`.
    pub logits: Tensor<3>,
}

/// The part of the prompts a step computes: tokens and pictures beyond what the cache holds.
struct Work<'a> {
    prompts: &'a [Prompt<'a>],
    pictures: Vec<Vec<Picture>>,
    starts: Vec<usize>,
    width: usize,
}

impl<'a> Work<'a> {
    fn counts(&self) -> Vec<usize> {
        self.prompts.iter().zip(&self.starts).map(|(prompt, start)| prompt.ids.len() - start).collect()
    }

    /// Row, prompt and picture of everything the tower has to see.
    fn new_pictures(&self) -> impl Iterator<Item = (usize, &'a Prompt<'a>, &Picture)> {
        self.prompts.iter().enumerate().flat_map(move |(row, prompt)| {
            let new =
                self.pictures[row].iter().filter(move |picture| picture.tokens.start >= self.starts[row]);
            new.map(move |picture| (row, prompt, picture))
        })
    }
}

impl Model {
    pub(crate) fn new(config: Config, visual: VisionTower, model: Decoder, lm_head: Option<Linear>) -> Self {
        Self { visual, model, lm_head, config }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the weights are. Never an autodiff device, even while gradients are tracked: what is made there is a constant.
    pub fn device(&self) -> Device {
        self.model.embed_tokens.weight.val().device().without_autodiff()
    }

    /// The type of weights and activations.
    pub fn dtype(&self) -> DType {
        self.model.embed_tokens.weight.val().dtype()
    }

    /// An empty cache that fits this model.
    pub fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        KvCache::new(&self.config.text, batch, capacity, &self.device(), self.dtype())
    }

    /// Runs one prompt per row of the cache, computing only what the row does not hold already.
    pub fn prefill(
        &self,
        prompts: &[Prompt],
        cache: &mut KvCache,
        launches: &mut Launches,
    ) -> Result<Prefill, PromptError> {
        if prompts.len() != cache.batch() {
            return Err(PromptError::Rows { prompts: prompts.len(), rows: cache.batch() });
        }
        if let Some(prompt) = prompts.iter().find(|prompt| prompt.ids.len() > cache.capacity()) {
            return Err(PromptError::Capacity { tokens: prompt.ids.len(), capacity: cache.capacity() });
        }
        let pictures = self.pictures(prompts)?;
        let shared = cache.rows.iter_mut().zip(prompts).zip(&pictures);
        let starts = shared.map(|((row, prompt), pictures)| row.keep_shared(prompt, pictures)).collect();
        let work = Self::work(prompts, pictures, starts);
        let counts = work.counts();
        let device = self.device();
        let (embedded, _) = self.embed(&work, launches);
        let span = Span::new(work.starts.clone(), counts.clone(), work.width, &device);
        let rotary = self.rotary(&work);
        let pass = Pass { rotary: &rotary, span: &span, cache: Some(&mut *cache), launches, trace: None };
        let hidden = self.model.forward(embedded, pass);
        for ((row, prompt), pictures) in cache.rows.iter_mut().zip(prompts).zip(&work.pictures) {
            row.hold(prompt, pictures);
        }
        Ok(Prefill {
            logits: self.head(last_of_rows(hidden, &counts)),
            computed_tokens: counts.iter().sum(),
            image_tokens: work.pictures.iter().flatten().map(|picture| picture.tokens.len()).sum(),
            computed_pictures: work.new_pictures().count(),
        })
    }

    /// Runs one token per row: `[B, V]` logits of the next. `None` leaves a finished row as it is (its logits mean
    /// nothing).
    pub fn step(
        &self,
        tokens: &[Option<u32>],
        cache: &mut KvCache,
        launches: &mut Launches,
    ) -> Result<Tensor<2>, PromptError> {
        if tokens.len() != cache.batch() {
            return Err(PromptError::Rows { prompts: tokens.len(), rows: cache.batch() });
        }
        let starts: Vec<usize> = (0..cache.batch()).map(|row| cache.len(row)).collect();
        let counts: Vec<usize> = tokens.iter().map(|token| usize::from(token.is_some())).collect();
        if let Some(start) =
            starts.iter().zip(&counts).find(|(start, count)| *start + *count > cache.capacity())
        {
            return Err(PromptError::Capacity { tokens: start.0 + 1, capacity: cache.capacity() });
        }
        let device = self.device();
        let ids: Vec<i32> = tokens.iter().map(|token| token.unwrap_or(0) as i32).collect();
        let x =
            self.model.embed_tokens.forward(Tensor::from_data(TensorData::new(ids, [tokens.len()]), &device));
        let positions: Vec<_> = cache.rows.iter().map(|row| vec![[row.next_position(); 3]]).collect();
        let rotary = multimodal(&positions, &self.config.text, &device);
        let span = Span::new(starts, counts, 1, &device);
        let pass = Pass { rotary: &rotary, span: &span, cache: Some(&mut *cache), launches, trace: None };
        let hidden = self.model.forward(x.unsqueeze_dim(1), pass);
        for (row, token) in cache.rows.iter_mut().zip(tokens) {
            if let Some(id) = token {
                row.push(*id);
            }
        }
        Ok(self.head(hidden.squeeze_dim(1)))
    }

    /// Runs whole prompts without a cache and keeps every intermediate result.
    pub fn trace(&self, prompts: &[Prompt], launches: &mut Launches) -> Result<Trace, PromptError> {
        let mut hidden = Vec::new();
        let (last, vision) = self.hidden(prompts, launches, Some(&mut hidden))?;
        Ok(Trace { vision, hidden, logits: self.head(last) })
    }

    /// Whole prompts without a cache: the output of the final norm, `[B, T, C]`, and the features of all pictures.
    ///
    /// Rows are padded on the right to the longest; causal attention keeps the padding out of every row's own tokens.
    pub(crate) fn hidden(
        &self,
        prompts: &[Prompt],
        launches: &mut Launches,
        trace: Option<&mut Vec<Tensor<3>>>,
    ) -> Result<(Tensor<3>, Option<Tensor<2>>), PromptError> {
        let pictures = self.pictures(prompts)?;
        let work = Self::work(prompts, pictures, vec![0; prompts.len()]);
        let (embedded, vision) = self.embed(&work, launches);
        let span = Span::new(work.starts.clone(), work.counts(), work.width, &self.device());
        let rotary = self.rotary(&work);
        let pass = Pass { rotary: &rotary, span: &span, cache: None, launches, trace };
        Ok((self.model.forward(embedded, pass), vision))
    }

    fn pictures(&self, prompts: &[Prompt]) -> Result<Vec<Vec<Picture>>, PromptError> {
        prompts.iter().map(|prompt| prompt.pictures(&self.config)).collect()
    }

    fn work<'a>(prompts: &'a [Prompt<'a>], pictures: Vec<Vec<Picture>>, starts: Vec<usize>) -> Work<'a> {
        let new = prompts.iter().zip(&starts).map(|(prompt, start)| prompt.ids.len() - start);
        let width = new.max().unwrap_or(0);
        Work { prompts, pictures, starts, width }
    }

    /// Embeddings of the new tokens with the features of pictures in their places, `[B, T, C]`, and the features.
    fn embed(&self, work: &Work, launches: &mut Launches) -> (Tensor<3>, Option<Tensor<2>>) {
        let device = self.device();
        let (rows, width) = (work.prompts.len(), work.width);
        let mut ids = vec![0i32; rows * width];
        for (row, (prompt, &start)) in work.prompts.iter().zip(&work.starts).enumerate() {
            for (place, &id) in prompt.ids[start..].iter().enumerate() {
                ids[row * width + place] = id as i32;
            }
        }
        let text =
            self.model.embed_tokens.forward(Tensor::from_data(TensorData::new(ids, [rows * width]), &device));
        let channels = text.dims()[1];
        let mut patches = Vec::new();
        let mut grids = Vec::new();
        // Place of each token's embedding in the table of text rows followed by features.
        let mut source: Vec<i32> = (0..rows * width).map(|i| i as i32).collect();
        let mut feature = rows * width;
        for (row, prompt, picture) in work.new_pictures() {
            patches.extend_from_slice(&prompt.patches[picture.values.clone()]);
            grids.push(picture.grid);
            for place in picture.tokens.clone() {
                if prompt.ids[place] == self.config.image_token_id {
                    source[row * width + place - work.starts[row]] = feature as i32;
                    feature += 1;
                }
            }
        }
        if grids.is_empty() {
            return (text.reshape([rows, width, channels]), None);
        }
        let row = self.config.vision.patch_len();
        let count = patches.len() / row;
        let patches = Tensor::<2>::from_data(TensorData::new(patches, [count, row]), (&device, DType::F32));
        let patches = patches.cast(burn::tensor::FloatDType::from(self.dtype()));
        let features = self.visual.forward(patches, &grids, &self.config.vision, launches);
        let source: Tensor<1, Int> = Tensor::from_data(TensorData::new(source, [rows * width]), &device);
        let merged = Tensor::cat(vec![text, features.clone()], 0).select(0, source);
        (merged.reshape([rows, width, channels]), Some(features))
    }

    fn rotary(&self, work: &Work) -> Tensor<4> {
        let rows = work.prompts.iter().zip(&work.starts).map(|(prompt, &start)| {
            let mut positions = prompt.positions[start..].to_vec();
            positions.resize(work.width, [0; 3]);
            positions
        });
        multimodal(&rows.collect::<Vec<_>>(), &self.config.text, &self.device())
    }

    /// Logits, `[.., C]` to `[.., V]`.
    pub(crate) fn head<const R: usize>(&self, hidden: Tensor<R>) -> Tensor<R> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => {
                let mut shape = hidden.dims();
                let rows = shape[..R - 1].iter().product::<usize>();
                let weight = self.model.embed_tokens.weight.val();
                let width = shape[R - 1];
                shape[R - 1] = weight.dims()[0];
                hidden.reshape([rows, width]).matmul(weight.transpose()).reshape(shape)
            }
        }
    }
}

/// The hidden state of each row's last own token: `[B, T, C]` to `[B, C]`.
fn last_of_rows(hidden: Tensor<3>, counts: &[usize]) -> Tensor<2> {
    let [rows, width, channels] = hidden.dims();
    let last: Vec<i32> =
        counts.iter().enumerate().map(|(row, count)| (row * width + count - 1) as i32).collect();
    let last: Tensor<1, Int> = Tensor::from_data(TensorData::new(last, [rows]), &hidden.device());
    hidden.reshape([rows * width, channels]).select(0, last)
}
