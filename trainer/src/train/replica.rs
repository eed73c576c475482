//! One device's copy of what a run changes: the model, its moments, and the gradient of the passes that are its share.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use sha2::{Digest, Sha256};
use wethink_model::{Features, Model};

use super::adamw::AdamW;
use super::features;
use super::feed::Batch;
use super::gradients::{Gradients, Values, scalar};
use super::loss::loss;
use super::recipe::Recipe;
use super::samples::logprobs_within;
use super::store::Saved;

/// A pass of a step: its number among all of the step, by which dropout is drawn, and its samples' places in the batch.
pub type Pass = (usize, Vec<usize>);

/// The copy.
#[derive(Debug)]
pub struct Replica {
    /// Trained weights in float32, frozen ones in the type of the arithmetic.
    pub model: Model,
    /// Moments.
    pub optimizer: AdamW,
    /// The gradient of this step, or of this device's part of it.
    pub gradients: Gradients,
    /// What the frozen tower made of pictures; no part of a checkpoint, since it changes nothing.
    features: Option<features::Store>,
    compute: DType,
}

impl Replica {
    /// The start checkpoint's model with new adapters if the recipe asks for them, or what a run has saved. The arithmetic has
    /// the type `compute`.
    pub fn new(recipe: &Recipe, mut model: Model, saved: Option<&Saved>, compute: DType) -> Result<Self> {
        let settings = recipe.settings();
        if let Some(lora) = &recipe.lora {
            model = lora.adapt(model, recipe.seed);
        }
        let mut optimizer = AdamW::new(settings);
        if let Some(saved) = saved {
            model = saved.weights(model)?;
            optimizer = saved.optimizer(settings, &model.device())?;
        }
        // What is frozen needs no more digits than the arithmetic has.
        let model = model.map_parameters(&mut |name, value| match recipe.trains(name) {
            true => value,
            false => cast(value, compute),
        });
        if recipe.optimizer.factored {
            optimizer.matrices = recipe.matrices(model.config());
        }
        Ok(Self { model, optimizer, gradients: Gradients::default(), features: None, compute })
    }

    /// The same with a store of what the frozen tower makes of pictures.
    pub fn with_features(self, features: Option<features::Store>) -> Self {
        Self { features, ..self }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// Loss of these passes, and their gradient in [`Replica::gradients`]. Both are parts of those of the whole step, which
    /// they add up to.
    pub fn compute(&mut self, recipe: &Recipe, batch: &Batch, step: u64, passes: &[Pass]) -> Result<f64> {
        let (targets, economy) = (batch.targets(), recipe.memory.economy());
        self.gradients = Gradients::default();
        let mut total: Option<Tensor<1>> = None;
        for (pass, places) in passes {
            let dropout = recipe.lora.as_ref().and_then(|lora| lora.dropout(recipe.seed, step, *pass));
            let model = self.model.clone().with_dropout(dropout);
            let features = &mut self.features;
            let value = self.gradients.add(&model, &|name| recipe.trains(name), self.compute, |model| {
                let samples = places.iter().map(|&place| &batch.samples[place]);
                let store = features.as_mut().map(|store| store as &mut dyn Features);
                let logprobs = logprobs_within(model, samples, &economy, store)?;
                let value = loss(logprobs, targets, recipe.train.loss);
                Ok((value.clone(), value.inner()))
            })?;
            total = Some(match total {
                Some(total) => total + value,
                None => value,
            });
        }
        Ok(total.map_or(0.0, scalar))
    }

    /// Adds the gradients of these parameters up over all devices, each of which must be asked for the same at the same time.
    /// A parameter that this device's passes did not come by, the tower where they have no picture, has a gradient of 0.
    pub fn all_reduce(&mut self, names: &[String], devices: &[Device]) {
        let mut absent = BTreeMap::new();
        self.model.each_parameter(&mut |name, value| {
            if names.iter().any(|known| known == name) && self.gradients.of(name).is_none() {
                absent.insert(name.to_owned(), value.zeros_like());
            }
        });
        let reduced: Vec<_> = names
            .iter()
            .filter_map(|name| {
                let gradient = self.gradients.take(name).or_else(|| absent.remove(name))?;
                Some((name.clone(), all_reduce(gradient, ReduceOperation::Sum, devices.to_vec())))
            })
            .collect();
        for (name, gradient) in reduced {
            self.gradients.put(name, gradient.resolve());
        }
    }

    /// Moves the weights by the gradient times `scale`, or leaves them where they are; the gradient is spent either way.
    pub fn update(mut self, recipe: &Recipe, step: u64, scale: Option<f64>) -> Self {
        let gradients = std::mem::take(&mut self.gradients);
        if let Some(scale) = scale {
            let rate = |name: &str| recipe.rate_of(step, name);
            self.model = self.optimizer.step(self.model, &gradients, scale, &rate);
        }
        self
    }

    /// What is trained, by name.
    pub fn trained(&self, recipe: &Recipe) -> Values {
        let mut trained = Values::new();
        self.model.each_parameter(&mut |name, value| {
            if recipe.trains(name) {
                trained.insert(name.to_owned(), value);
            }
        });
        trained
    }

    /// SHA-256 of every trained parameter's bits.
    pub fn digests(&self, recipe: &Recipe) -> BTreeMap<String, [u8; 32]> {
        let of = |value: Tensor<1>| Sha256::digest(value.into_data().as_bytes()).into();
        self.trained(recipe).into_iter().map(|(name, value)| (name, of(value))).collect()
    }

    /// The model as it would be exported: all of it in the type of the arithmetic.
    pub fn whole(&self) -> Model {
        self.model.clone().map_parameters(&mut |_, value| cast(value, self.compute))
    }
}

fn cast(value: Tensor<1>, dtype: DType) -> Tensor<1> {
    if value.dtype() == dtype { value } else { value.cast(FloatDType::from(dtype)) }
}
