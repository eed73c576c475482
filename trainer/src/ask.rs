//! `trainer ask`: a question about pictures, answered in the terminal.

use std::io::{StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Serialize;
use wethink_model::{FinishReason, Generation, Launches, Options, Prompt, Row, Sampling};
use wethink_processor::{
    Content, Encoded, Message, Part, Picture, Processor, Role, System, messages_from_json, with_system,
};
use wethink_reward::Response;

use crate::device::{self, DeviceArg, DtypeArg};
use crate::figures::Figures;
use crate::folder::Folder;
use crate::interrupt::interrupt;
use crate::peft::Adapters;
use crate::progress;
use crate::terminal::Dimmer;

const EXAMPLES: &str = "\
Examples:
  trainer ask --checkpoint WeThink-Qwen2.5VL-7B --image street.jpg \\
      --question 'How many people wait?'
  trainer ask --checkpoint DIR --image a.png --image b.png \\
      --question 'What differs?' --json
  trainer ask --checkpoint DIR --messages chat.json --image a.png \\
      --temperature 0.7 --top-p 0.9 --seed 1

chat.json holds a list of messages, or an object with such a list under
`messages`; every {\"type\": \"image\"} part takes the next --image:
  [{\"role\": \"user\", \"content\": [
      {\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"What is this?\"}]}]";

/// Tokens that a GPU computes between two readings: few enough for an answer that flows.
const AHEAD: usize = 4;

/// Ask a question about pictures; the answer streams.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder with config.json, tokenizer files and safetensors shards
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Folder with LoRA adapters in PEFT's layout, to be put beside the weights
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A picture (PNG, JPEG, WebP, GIF, BMP, TIFF); may be repeated
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// The question; it follows all pictures
    #[arg(long, value_name = "TEXT", required_unless_present = "messages", conflicts_with = "messages")]
    question: Option<String>,
    /// A chat in JSON instead of a question
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// System prompt in place of WeThink's
    #[arg(long, value_name = "TEXT", conflicts_with = "no_system")]
    system: Option<String>,
    /// No system prompt of ours; the checkpoint's template may add its own
    #[arg(long)]
    no_system: bool,
    /// Where to run: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Type of weights and activations [default: bf16 on cuda, f32 elsewhere]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Tokens of the answer at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_new_tokens: usize,
    /// Tokens before the answer may end
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_new_tokens: usize,
    /// 0 always takes the best token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Sample from the smallest set of tokens with this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Sample from the K best tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Above 1 discourages tokens of the prompt and the answer so far
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// Key of all random draws: the same seed gives the same answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// End the answer once it holds this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Enlarge pictures below this many pixels [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    min_pixels: Option<usize>,
    /// Shrink pictures above this many pixels [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    max_pixels: Option<usize>,
    /// Print one JSON object instead of streaming text
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    prompt: &'a str,
    prompt_ids: &'a [u32],
    image_grid_thw: &'a [[usize; 3]],
    token_ids: &'a [u32],
    text: &'a str,
    think: Option<&'a str>,
    answer: Option<&'a str>,
    logprobs: &'a [f32],
    finish_reason: FinishReason,
    timing: &'a Figures,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    // What is cheap to get wrong comes first: nobody waits for 16 GB to learn of a mistyped picture.
    let folder = Folder::open(&args.checkpoint)?;
    let config = folder.config()?;
    let stop_ids = folder.stop_ids(&config)?;
    let adapters = args.adapter.as_deref().map(|dir| Adapters::open(dir, &config)).transpose()?;
    let processor = folder.processor()?;
    let encoded = encode(args, &processor)?;
    let capacity = capacity(encoded.ids.len(), args.max_new_tokens, config.text.max_position_embeddings)?;
    let options = options(args, &stop_ids);
    options.sampling.check()?;

    let opened = device::open(args.device, args.dtype)?;
    let started = Instant::now();
    let bar = progress::bytes("loading");
    let model = folder.load(&opened.device, opened.dtype, &mut |done, total| bar.at(done, total))?;
    bar.finish();
    let model = match adapters {
        Some(adapters) => adapters.put(model),
        None => model,
    };
    let load = started.elapsed();

    let stop = interrupt()?;
    let mut cache = model.cache(1, capacity);
    let mut launches = Launches::new();
    let decode = |ids: &[u32]| processor.tokenizer.decode(ids, false).unwrap_or_default();
    let prompt = Prompt {
        ids: &encoded.ids,
        positions: &encoded.positions,
        patches: &encoded.pixel_values,
        grids: &encoded.grids,
    };
    let row = Row { prompt: 0, sample: 0 };
    let started = Instant::now();
    let mut generation =
        Generation::new(&model, &[prompt], &[row], &mut cache, options, Some(&decode), &mut launches)?;
    generation.ahead(AHEAD);
    let (out, prefill) = stream(&mut generation, &processor, &stop_ids, args.json, &stop, started)?;

    let reason = generation.finish_reason(0);
    let figures = Figures {
        device: opened.to_string(),
        load_seconds: load.as_secs_f64(),
        image_tokens: generation.prefill().image_tokens,
        prefill_tokens: generation.prefill().computed_tokens,
        prefill_seconds: prefill.as_secs_f64(),
        decode_tokens: generation.ids(0).len(),
        decode_seconds: started.elapsed().saturating_sub(prefill).as_secs_f64(),
        peak_memory_bytes: crate::figures::peak_memory(),
    };
    if args.json {
        print_json(out, &encoded, &generation, &stop_ids, &figures, &decode)?;
    } else {
        print_line(out, &figures, reason)?;
    }
    Ok(if reason == FinishReason::Cancelled { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// Pulls tokens until the answer ends or Ctrl-C is pressed, and writes them as they come, unless `quiet`.
///
/// Returns the output and the time from `started` to the first token.
fn stream(
    generation: &mut Generation,
    processor: &Processor,
    stop_ids: &[u32],
    quiet: bool,
    stop: &AtomicBool,
    started: Instant,
) -> Result<(StdoutLock<'static>, Duration)> {
    let mut prefill = Duration::ZERO;
    let mut out = Dimmer::new(std::io::stdout().lock());
    let mut text = processor.tokenizer.stream(false);
    let mut write = |piece: String| if quiet { Ok(()) } else { out.write(&piece) };
    while !stop.load(Ordering::Relaxed) {
        let Some(tokens) = pollster::block_on(generation.next())? else { break };
        if prefill.is_zero() {
            prefill = started.elapsed();
        }
        for token in tokens.iter().filter(|token| !stop_ids.contains(&token.id)) {
            write(text.push(token.id))?;
        }
    }
    write(text.finish())?;
    Ok((out.finish()?, prefill))
}

/// The settings of generation.
fn options(args: &Args, stop_ids: &[u32]) -> Options {
    Options {
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            repetition_penalty: args.repetition_penalty,
        },
        max_new_tokens: args.max_new_tokens,
        min_new_tokens: args.min_new_tokens,
        stop_ids: stop_ids.to_vec(),
        stop_strings: args.stop.clone(),
        seed: args.seed,
        step: 0,
    }
}

/// Prompt and pictures as the model takes them.
fn encode(args: &Args, processor: &Processor) -> Result<Encoded> {
    let messages = messages(args)?;
    let system = match (&args.system, args.no_system) {
        (Some(text), _) => System::Text(text.clone()),
        (None, true) => System::None,
        (None, false) => System::Default,
    };
    let pictures = args.images.iter().map(|path| picture(path)).collect::<Result<Vec<_>>>()?;
    let options = wethink_processor::Options {
        min_pixels: args.min_pixels,
        max_pixels: args.max_pixels,
        ..wethink_processor::Options::default()
    };
    let encoded = processor.process(&with_system(messages, system), &pictures, &options);
    encoded.context("the prompt cannot be made")
}

fn messages(args: &Args) -> Result<Vec<Message>> {
    let Some(path) = &args.messages else {
        let text = args.question.clone().unwrap_or_default();
        let mut parts = vec![Part::Image; args.images.len()];
        parts.push(Part::Text { text });
        return Ok(vec![Message { role: Role::User, content: Content::Parts(parts) }]);
    };
    let name = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| name.clone())?;
    // A whole case of a test set is taken as well as its list of messages.
    let json: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("{name}: not JSON"))?;
    let list = json.get("messages").unwrap_or(&json).to_string();
    let messages = messages_from_json(&name, list.as_bytes())?;
    if messages.is_empty() {
        bail!("{name}: no messages");
    }
    Ok(messages)
}

/// A picture file, upright and in RGB.
pub(crate) fn picture(path: &Path) -> Result<Picture> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| name.clone())?;
    Ok(Picture::decode(&name, &bytes)?)
}

/// Tokens the cache must hold: prompt and answer. More than the model's positions is refused, never truncated.
fn capacity(prompt: usize, answer: usize, limit: usize) -> Result<usize> {
    match prompt.checked_add(answer).filter(|&tokens| tokens <= limit) {
        Some(tokens) => Ok(tokens),
        None => bail!(
            "a prompt of {prompt} tokens and --max-new-tokens {answer} exceed the {limit} positions of this model; lower \
             --max-new-tokens, or --max-pixels, which makes pictures cheaper"
        ),
    }
}

fn print_json(
    mut out: impl Write,
    encoded: &Encoded,
    generation: &Generation,
    stop_ids: &[u32],
    figures: &Figures,
    decode: &dyn Fn(&[u32]) -> String,
) -> Result<()> {
    let ids = generation.ids(0);
    let spoken = ids.strip_suffix(
        stop_ids.iter().find(|id| ids.last() == Some(id)).map_or(&[][..], std::slice::from_ref),
    );
    let text = decode(spoken.unwrap_or(ids));
    let response = Response::parse(&text);
    let answer = Answer {
        prompt: &encoded.prompt,
        prompt_ids: &encoded.ids,
        image_grid_thw: &encoded.grids,
        token_ids: ids,
        text: &text,
        think: response.think,
        answer: response.answer.map(|piece| piece.text),
        logprobs: generation.logprobs(0),
        finish_reason: generation.finish_reason(0),
        timing: figures,
    };
    serde_json::to_writer(&mut out, &answer)?;
    writeln!(out)?;
    Ok(())
}

fn print_line(mut out: impl Write, figures: &Figures, reason: FinishReason) -> Result<()> {
    let end = match reason {
        FinishReason::Stop => "",
        FinishReason::Length => " · stopped at --max-new-tokens",
        FinishReason::Cancelled => " · cancelled",
    };
    writeln!(out, "\n{figures}{end}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_prompt_beyond_the_positions_is_refused_with_both_counts() {
        assert_eq!(capacity(90, 10, 100).expect("fits"), 100);
        for answer in [11, usize::MAX] {
            let error = capacity(90, answer, 100).expect_err("too long").to_string();
            assert!(
                error.contains("90") && error.contains("100") && error.contains("--max-pixels"),
                "{error}"
            );
        }
    }
}
