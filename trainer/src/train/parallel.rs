//! Data parallelism: the passes of a step shared among the devices of one box, with a copy of the model on each.
//!
//! The thread of the run has the first device; every other one has a thread that takes orders. A step is divided into passes
//! and these are dealt by their tokens; the loss of a pass is a sum over the targets of the **whole** step, so that gradients
//! add up with no further factor. Every device then holds the same gradient and makes the same update by the same scale, which
//! the first one decides: weights are never sent. That they are the same is checked, bit for bit, before they are saved.
//!
//! CUDA devices add up by NCCL, through burn's collectives. Threads of the CPU hand their gradients to the first one, which
//! adds them in the order of the devices: the same division, orders and updates on a machine without GPUs. No device starts a
//! sum before all have reported their part, so that a device which fails leaves none waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::Device;

use super::economy::{deal, passes_for};
use super::feed::Batch;
use super::gradients::Gradients;
use super::recipe::Recipe;
use super::replica::{Pass, Replica};
use super::samples::Sample;

/// How gradients of several devices are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// By NCCL, among CUDA devices.
    Nccl,
    /// By the first device, in the order of all.
    InTurn,
}

/// What a device is asked to do.
enum Order {
    /// Loss and gradient of some passes of a step.
    Compute(Arc<Batch>, u64, Vec<Pass>),
    /// Its part in the sum of these parameters' gradients.
    Reduce(Arc<Vec<String>>, Arc<Vec<Device>>),
    /// The sum, in place of its own part.
    Take(Gradients),
    /// The update of a step, or none.
    Update(u64, Option<f64>),
    /// The digests of its weights.
    Digests,
}

/// What a device answers.
enum Report {
    /// It holds its copy of the model.
    Ready(Device),
    /// The loss of its passes, and its gradient.
    Computed(f64, Gradients),
    /// As ordered.
    Digests(BTreeMap<String, [u8; 32]>),
}

/// A device other than the first, by the channels to its thread.
struct Follower<'scope> {
    number: usize,
    orders: Sender<Order>,
    reports: Receiver<Result<Report>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl Follower<'_> {
    fn order(&self, order: Order) {
        // A thread that is gone is noticed by its missing report.
        let _ = self.orders.send(order);
    }

    fn report(&mut self) -> Result<Report> {
        let name = format!("device {} of the run", self.number);
        match self.reports.recv() {
            Ok(report) => report.context(name),
            Err(_) => {
                let ended = self.thread.take().map(ScopedJoinHandle::join);
                let said = ended.and_then(Result::err).and_then(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                });
                bail!("{name} has stopped: {}", said.unwrap_or_else(|| "it does not say why".into()))
            }
        }
    }
}

/// All devices of a run.
pub struct Team<'scope> {
    recipe: &'scope Recipe,
    sum: Sum,
    /// The first device.
    pub lead: Replica,
    followers: Vec<Follower<'scope>>,
    devices: Arc<Vec<Device>>,
}

impl<'scope> Team<'scope> {
    /// A run on the device of `lead` and on `further` ones, whose copies `make` makes on their own threads, by their number
    /// counted from 1.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        recipe: &'scope Recipe,
        lead: Replica,
        further: usize,
        make: &'scope (impl Fn(usize) -> Result<Replica> + Sync),
        sum: Sum,
    ) -> Result<Self> {
        let follower = |number| {
            let (orders, to_do) = channel();
            let (done, reports) = channel();
            let thread = scope.spawn(move || {
                let replica =
                    make(number).inspect(|replica| drop(done.send(Ok(Report::Ready(replica.device())))));
                if let Err(error) = replica.and_then(|replica| follow(recipe, replica, &to_do, &done)) {
                    let _ = done.send(Err(error));
                }
            });
            Follower { number, orders, reports, thread: Some(thread) }
        };
        let mut followers: Vec<_> = (1..=further).map(follower).collect();
        let mut devices = vec![lead.device()];
        for follower in &mut followers {
            match follower.report()? {
                Report::Ready(device) => devices.push(device),
                _ => return Err(unexpected()),
            }
        }
        Ok(Self { recipe, sum, lead, followers, devices: Arc::new(devices) })
    }

    /// Loss and gradient of a batch; the gradient is on every device afterwards. The loss is not a number where there is none.
    pub fn compute(&mut self, batch: &Arc<Batch>, step: u64) -> Result<f64> {
        let tokens: Vec<usize> = batch.samples.iter().map(Sample::tokens).collect();
        let shares = shares(&tokens, self.recipe, self.devices.len());
        if shares.iter().all(Vec::is_empty) {
            return Ok(f64::NAN);
        }
        for (follower, passes) in self.followers.iter().zip(&shares[1..]) {
            follower.order(Order::Compute(batch.clone(), step, passes.clone()));
        }
        let mut loss = self.lead.compute(self.recipe, batch, step, &shares[0])?;
        let mut parts = Vec::new();
        for follower in &mut self.followers {
            match follower.report()? {
                Report::Computed(part, gradients) => {
                    loss += part;
                    parts.push(gradients);
                }
                _ => return Err(unexpected()),
            }
        }
        if !parts.is_empty() {
            self.add_up(parts);
        }
        Ok(loss)
    }

    fn add_up(&mut self, parts: Vec<Gradients>) {
        match self.sum {
            Sum::Nccl => {
                let all = iter::once(&self.lead.gradients).chain(&parts);
                let names: BTreeSet<String> =
                    all.flat_map(|part| part.iter().map(|(name, _)| name.to_owned())).collect();
                let names = Arc::new(names.into_iter().collect::<Vec<_>>());
                // A sum in place needs gradients that nobody else has a hold of.
                drop(parts);
                for follower in &self.followers {
                    follower.order(Order::Reduce(names.clone(), self.devices.clone()));
                }
                self.lead.all_reduce(&names, &self.devices);
            }
            Sum::InTurn => {
                let lead = self.lead.device();
                parts.into_iter().for_each(|part| self.lead.gradients.merge(part, &lead));
                for follower in &self.followers {
                    follower.order(Order::Take(self.lead.gradients.clone()));
                }
            }
        }
    }

    /// Moves the weights on every device by the gradient times `scale`, or nowhere.
    pub fn update(mut self, step: u64, scale: Option<f64>) -> Self {
        self.followers.iter().for_each(|follower| follower.order(Order::Update(step, scale)));
        self.lead = self.lead.update(self.recipe, step, scale);
        self
    }

    /// Fails unless every device holds the first one's weights, bit for bit.
    pub fn check(&mut self) -> Result<()> {
        if self.followers.is_empty() {
            return Ok(());
        }
        self.followers.iter().for_each(|follower| follower.order(Order::Digests));
        let want = self.lead.digests(self.recipe);
        for follower in &mut self.followers {
            let Report::Digests(digests) = follower.report()? else { return Err(unexpected()) };
            if let Some((name, _)) = want.iter().find(|(name, digest)| digests.get(*name) != Some(digest)) {
                bail!(
                    "device {} of the run no longer holds the first one's weights ({name}); nothing was saved. Go on from \
                     the last checkpoint with --resume, and if it happens again without --devices",
                    follower.number
                );
            }
        }
        Ok(())
    }
}

fn unexpected() -> anyhow::Error {
    anyhow!("a device reports what it was not asked for; please report this")
}

/// What the thread of a device does until the run ends.
fn follow(
    recipe: &Recipe,
    mut replica: Replica,
    orders: &Receiver<Order>,
    reports: &Sender<Result<Report>>,
) -> Result<()> {
    for order in orders {
        let report = match order {
            Order::Compute(batch, step, passes) => {
                let loss = replica.compute(recipe, &batch, step, &passes)?;
                Report::Computed(loss, replica.gradients.clone())
            }
            Order::Digests => Report::Digests(replica.digests(recipe)),
            Order::Reduce(names, devices) => {
                replica.all_reduce(&names, &devices);
                continue;
            }
            Order::Take(gradients) => {
                replica.gradients = gradients.on(&replica.device());
                continue;
            }
            Order::Update(step, scale) => {
                replica = replica.update(recipe, step, scale);
                continue;
            }
        };
        if reports.send(Ok(report)).is_err() {
            break;
        }
    }
    Ok(())
}

/// The passes of a step, as each device gets them: numbered over all, and dealt by their tokens.
pub fn shares(tokens: &[usize], recipe: &Recipe, devices: usize) -> Vec<Vec<Pass>> {
    let passes = passes_for(tokens, recipe.portion(), devices);
    let sizes: Vec<usize> = passes.iter().map(|pass| pass.iter().map(|&place| tokens[place]).sum()).collect();
    let share = |numbers: Vec<usize>| numbers.into_iter().map(|n| (n, passes[n].clone())).collect();
    deal(&sizes, devices).into_iter().map(share).collect()
}
