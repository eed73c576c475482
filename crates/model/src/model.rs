//! Tower and decoder together: prompts in, logits out.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::prompt::{Picture, Seen};
use crate::rotary::multimodal;
use crate::text::{Pass, Scope, Sequences};
use crate::training::{Economy, Features};
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
    /// Whether all prompts lie in one row one after another, rather than each in a row padded to the longest.
    packed: bool,
}

impl<'a> Work<'a> {
    fn counts(&self) -> Vec<usize> {
        self.prompts.iter().zip(&self.starts).map(|(prompt, start)| prompt.ids.len() - start).collect()
    }

    /// Rows and their width, `[B, T]`.
    fn shape(&self) -> [usize; 2] {
        let counts = self.counts();
        match self.packed {
            true => [1, counts.iter().sum()],
            false => [counts.len(), counts.iter().copied().max().unwrap_or(0)],
        }
    }

    /// Where each prompt's new tokens begin among the `B * T` places.
    fn places(&self) -> Vec<usize> {
        places(&self.counts(), self.packed)
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
        self.model.norm.weight.val().device().without_autodiff()
    }

    /// The type of activations, and of weights that are not packed.
    pub fn dtype(&self) -> DType {
        self.model.norm.weight.val().dtype()
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
        self.prefill_within(prompts, cache, None, launches)
    }

    /// As [`Model::prefill`]. `features` keeps what the tower makes of pictures: it must be frozen. Kept pictures count among
    /// [`Prefill::computed_pictures`]; the store knows how many there were.
    pub(crate) fn prefill_within(
        &self,
        prompts: &[Prompt],
        cache: &mut KvCache,
        features: Option<&mut dyn Features>,
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
        let work = Work { prompts, pictures, starts, packed: false };
        let counts = work.counts();
        let device = self.device();
        let (embedded, _) = self.embed(&work, false, features, launches);
        let span = Span::new(work.starts.clone(), counts.clone(), work.shape()[1], &device);
        let rotary = self.rotary(&work);
        let scope = Scope::Cached { span: &span, cache: &mut *cache };
        let pass = Pass { rotary: &rotary, scope, launches: &mut *launches, trace: None };
        let hidden = self.model.forward(embedded, pass);
        for ((row, prompt), pictures) in cache.rows.iter_mut().zip(prompts).zip(&work.pictures) {
            row.hold(prompt, pictures);
        }
        Ok(Prefill {
            logits: self.head(last_of_rows(hidden, &counts), launches),
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
        let open: Vec<bool> = tokens.iter().map(Option::is_some).collect();
        if let Some(row) = (0..open.len()).find(|&row| open[row] && cache.len(row) >= cache.capacity()) {
            return Err(PromptError::Capacity { tokens: cache.len(row) + 1, capacity: cache.capacity() });
        }
        let ids: Vec<i32> = tokens.iter().map(|token| token.unwrap_or(0) as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [tokens.len()]), &self.device());
        let logits = self.step_on(ids, &open, 0, cache, launches);
        for (row, token) in cache.rows.iter_mut().zip(tokens) {
            if let Some(id) = token {
                row.push(*id);
            }
        }
        Ok(logits)
    }

    /// [`Model::step`] with tokens that only the device knows, `[B]`: the `ahead`-th after those that the cache's rows have
    /// been told of. The caller tells them once it has read them back; until then the cache holds their keys and values
    /// behind what it counts.
    pub(crate) fn step_on(
        &self,
        ids: Tensor<1, Int>,
        open: &[bool],
        ahead: usize,
        cache: &mut KvCache,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let device = self.device();
        let starts = (0..open.len()).map(|row| cache.len(row) + if open[row] { ahead } else { 0 }).collect();
        let counts = open.iter().map(|&open| usize::from(open)).collect();
        let x = self.embedded(ids, launches);
        let next = |row: &Seen| vec![[row.next_position() + ahead as u32; 3]];
        let positions: Vec<_> = cache.rows.iter().map(next).collect();
        let rotary = multimodal(&positions, &self.config.text, &device);
        let span = Span::new(starts, counts, 1, &device);
        let scope = Scope::Cached { span: &span, cache };
        let pass = Pass { rotary: &rotary, scope, launches: &mut *launches, trace: None };
        let hidden = self.model.forward(x.unsqueeze_dim(1), pass);
        self.head(hidden.squeeze_dim(1), launches)
    }

    /// Runs whole prompts without a cache and keeps every intermediate result.
    pub fn trace(&self, prompts: &[Prompt], launches: &mut Launches) -> Result<Trace, PromptError> {
        let mut hidden = Vec::new();
        let (last, vision) = self.hidden(prompts, &Economy::default(), None, launches, Some(&mut hidden))?;
        Ok(Trace { vision, hidden, logits: self.head(last, launches) })
    }

    /// Whole prompts without a cache: the output of the final norm, `[B, T, C]`, and the features of all pictures, if they
    /// were computed in one pass.
    ///
    /// Rows are packed into one, or padded on the right to the longest; causal attention keeps the padding out of every
    /// row's own tokens.
    pub(crate) fn hidden(
        &self,
        prompts: &[Prompt],
        economy: &Economy,
        features: Option<&mut dyn Features>,
        launches: &mut Launches,
        trace: Option<&mut Vec<Tensor<3>>>,
    ) -> Result<(Tensor<3>, Option<Tensor<2>>), PromptError> {
        let pictures = self.pictures(prompts)?;
        let work = Work { prompts, pictures, starts: vec![0; prompts.len()], packed: economy.packed };
        let (embedded, vision) = self.embed(&work, economy.recompute_layers, features, launches);
        let rotary = self.rotary(&work);
        let sequences = Sequences {
            lengths: economy.packed.then(|| work.counts()),
            scores: economy.at_once,
            recompute: economy.recompute_layers,
        };
        let pass = Pass { rotary: &rotary, scope: Scope::Whole(&sequences), launches, trace };
        Ok((self.model.forward(embedded, pass), vision))
    }

    fn pictures(&self, prompts: &[Prompt]) -> Result<Vec<Vec<Picture>>, PromptError> {
        prompts.iter().map(|prompt| prompt.pictures(&self.config)).collect()
    }

    /// Embeddings of the new tokens with the features of pictures in their places, `[B, T, C]`, and the features of one pass
    /// over all pictures. With a store, each picture is a pass of its own, and only if the store has it not.
    fn embed(
        &self,
        work: &Work,
        recompute: bool,
        mut store: Option<&mut dyn Features>,
        launches: &mut Launches,
    ) -> (Tensor<3>, Option<Tensor<2>>) {
        let device = self.device();
        let shape @ [rows, width] = work.shape();
        let count = rows * width;
        let places = work.places();
        let mut ids = vec![0i32; count];
        for ((prompt, &start), &place) in work.prompts.iter().zip(&work.starts).zip(&places) {
            for (slot, &id) in ids[place..].iter_mut().zip(&prompt.ids[start..]) {
                *slot = id as i32;
            }
        }
        let text = self.embedded(Tensor::from_data(TensorData::new(ids, [count]), &device), launches);
        let channels = text.dims()[1];
        let mut patches = Vec::new();
        let mut grids = Vec::new();
        let mut kept = Vec::new();
        // Place of each token's embedding in the table of text rows followed by features.
        let mut source: Vec<i32> = (0..count).map(|i| i as i32).collect();
        let mut feature = count;
        for (row, prompt, picture) in work.new_pictures() {
            let values = &prompt.patches[picture.values.clone()];
            match &mut store {
                Some(store) => kept.push(store.of(values, picture.grid, &mut || {
                    self.tower(values.to_vec(), &[picture.grid], recompute, launches)
                })),
                None => {
                    patches.extend_from_slice(values);
                    grids.push(picture.grid);
                }
            }
            for place in picture.tokens.clone() {
                if prompt.ids[place] == self.config.image_token_id {
                    source[places[row] + place - work.starts[row]] = feature as i32;
                    feature += 1;
                }
            }
        }
        if feature == count {
            return (text.reshape([shape[0], shape[1], channels]), None);
        }
        let vision = (!grids.is_empty()).then(|| self.tower(patches, &grids, recompute, launches));
        let features = Tensor::cat([vec![text], kept, vision.iter().cloned().collect()].concat(), 0);
        let source: Tensor<1, Int> = Tensor::from_data(TensorData::new(source, [count]), &device);
        (features.select(0, source).reshape([rows, width, channels]), vision)
    }

    /// The tower on patches, row by row, of pictures of these grids: `[N, C]`.
    fn tower(
        &self,
        patches: Vec<f32>,
        grids: &[[usize; 3]],
        recompute: bool,
        launches: &mut Launches,
    ) -> Tensor<2> {
        let row = self.config.vision.patch_len();
        let data =
            TensorData::new(patches, [grids.iter().map(|grid| grid.iter().product::<usize>()).sum(), row]);
        let patches = Tensor::<2>::from_data(data, (&self.device(), DType::F32));
        let patches = patches.cast(burn::tensor::FloatDType::from(self.dtype()));
        self.visual.forward(patches, grids, &self.config.vision, recompute, launches)
    }

    /// Embeddings of ids, `[N]` to `[N, C]`.
    pub(crate) fn embedded(&self, ids: Tensor<1, Int>, launches: &mut Launches) -> Tensor<2> {
        self.model.embed_tokens.forward(ids, &self.model.norm.weight.val(), launches)
    }

    fn rotary(&self, work: &Work) -> Tensor<4> {
        let rows =
            work.prompts.iter().zip(&work.starts).map(|(prompt, &start)| prompt.positions[start..].to_vec());
        let rows: Vec<_> = match work.packed {
            true => vec![rows.flatten().collect()],
            false => {
                let padded = |mut row: Vec<[u32; 3]>| {
                    row.resize(work.shape()[1], [0; 3]);
                    row
                };
                rows.map(padded).collect()
            }
        };
        multimodal(&rows, &self.config.text, &self.device())
    }

    /// Logits, `[.., C]` to `[.., V]`.
    pub(crate) fn head<const R: usize>(&self, hidden: Tensor<R>, launches: &mut Launches) -> Tensor<R> {
        self.output().counted(hidden, launches)
    }

    /// The head as a linear map: its own, or the embedding.
    pub(crate) fn output(&self) -> Linear {
        self.lm_head.clone().unwrap_or_else(|| Linear {
            weight: self.model.embed_tokens.weight.clone(),
            bias: None,
            adapter: None,
        })
    }
}

/// Where rows of these numbers of tokens begin: one after another, or each in a row of the longest's width.
pub(crate) fn places(counts: &[usize], packed: bool) -> Vec<usize> {
    let widest = counts.iter().copied().max().unwrap_or(0);
    let ends = counts.iter().scan(0, |end, &count| {
        let start = *end;
        *end += if packed { count } else { widest };
        Some(start)
    });
    ends.collect()
}

/// The hidden state of each row's last own token: `[B, T, C]` to `[B, C]`.
fn last_of_rows(hidden: Tensor<3>, counts: &[usize]) -> Tensor<2> {
    let [rows, width, channels] = hidden.dims();
    let last: Vec<i32> =
        counts.iter().enumerate().map(|(row, count)| (row * width + count - 1) as i32).collect();
    let last: Tensor<1, Int> = Tensor::from_data(TensorData::new(last, [rows]), &hidden.device());
    hidden.reshape([rows * width, channels]).select(0, last)
}
