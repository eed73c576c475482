//! What a model needs of a device, and whether it fits: decided before anything large is fetched, from memory that was
//! allocated for trial.

use serde::Serialize;
use wethink_model::Config;

/// Tokens of a chat that must fit where no length was chosen: a picture or two and an answer.
const TOKENS: usize = 4096;

/// Tokens of a prompt, and patches of its pictures, that are computed at once.
const PROMPT: u64 = 1024;
const PATCHES: u64 = 4096;

/// Shorter chats are of no use: hardly a picture and its answer.
const SHORTEST: usize = 256;

/// Why a model is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The device has too little memory: what is needed for what, what could be allocated, and what to do.
    #[error("{0}")]
    Memory(String),
    /// The chat is longer than the model's positions.
    #[error("option `contextTokens`: {tokens} exceeds the {limit} positions of this model")]
    Positions {
        /// Tokens that were asked for.
        tokens: usize,
        /// Tokens there are.
        limit: usize,
    },
}

/// Memory that a model needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Weights, as they lie on the device.
    pub weights: u64,
    /// Keys and values of one token.
    pub token: u64,
    /// Activations of a prompt with a picture.
    pub work: u64,
    /// Tokens of a chat.
    pub tokens: usize,
}

/// `Preflight` of `wethink.d.ts`, but for what concerns fetching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fit {
    /// As in [`Need`].
    pub weights: u64,
    /// Keys and values of a chat of `context_tokens`.
    pub cache: u64,
    /// As in [`Need`].
    pub work: u64,
    /// Tokens of a chat.
    pub context_tokens: usize,
    /// Bytes that could be allocated, of those that are needed.
    pub allocated: u64,
    /// Whether that is all of them.
    pub fits: bool,
    /// The longest chat that fits beside the weights.
    pub fitting_tokens: usize,
    /// Bytes of weights to fetch, where they are known.
    pub download: Option<u64>,
}

impl Need {
    /// What a model of this shape needs with `weights` bytes of weights, for a chat of `tokens`, if that is chosen.
    ///
    /// # Errors
    /// The model has fewer positions.
    pub fn new(config: &Config, weights: u64, tokens: Option<usize>) -> Result<Self, FitError> {
        let (text, vision) = (&config.text, &config.vision);
        let limit = text.max_position_embeddings;
        if let Some(tokens) = tokens.filter(|&tokens| tokens > limit) {
            return Err(FitError::Positions { tokens, limit });
        }
        // Widest at the MLP: its two inner values, beside the stream and a few copies of it.
        let wide = |rows: u64, inner: usize, stream: usize| rows * 4 * (2 * inner + 4 * stream) as u64;
        let prompt = wide(PROMPT, text.intermediate_size, text.hidden_size);
        let patches = wide(PATCHES, vision.intermediate_size, vision.hidden_size);
        Ok(Self {
            weights,
            token: token_bytes(config),
            work: prompt.max(patches),
            tokens: tokens.unwrap_or(TOKENS.min(limit)),
        })
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        let cache = self.token.saturating_mul(self.tokens as u64);
        self.weights.saturating_add(self.work).saturating_add(cache)
    }

    /// Compares it with what could be allocated.
    pub fn judge(&self, allocated: u64, download: Option<u64>) -> Fit {
        let spare = allocated.saturating_sub(self.weights.saturating_add(self.work));
        Fit {
            weights: self.weights,
            cache: self.token.saturating_mul(self.tokens as u64),
            work: self.work,
            context_tokens: self.tokens,
            allocated,
            fits: allocated >= self.bytes(),
            fitting_tokens: self.tokens.min(spare.checked_div(self.token).unwrap_or(0) as usize),
            download,
        }
    }
}

impl Fit {
    /// Refuses a model that does not fit; `cpu` tells where it was to run.
    ///
    /// # Errors
    /// With the numbers, and with what does fit.
    pub fn check(&self, cpu: bool) -> Result<(), FitError> {
        if self.fits {
            return Ok(());
        }
        let advice = match self.fitting_tokens {
            tokens if tokens >= SHORTEST => {
                format!("a chat of {tokens} tokens fits: choose that as contextTokens, or close other pages")
            }
            _ if cpu => "use a browser with WebGPU, or a smaller model".into(),
            _ => "close other pages, or use a smaller model".into(),
        };
        Err(FitError::Memory(format!(
            "the model needs {} on this device ({} for weights, {} for a chat of {} tokens, {} to work in), and {} can be had; \
             {advice}",
            size(self.weights.saturating_add(self.cache).saturating_add(self.work)),
            size(self.weights),
            size(self.cache),
            self.context_tokens,
            size(self.work),
            size(self.allocated),
        )))
    }
}

/// Bytes of one token's keys and values, in float32.
pub fn token_bytes(config: &Config) -> u64 {
    let text = &config.text;
    8 * (text.num_hidden_layers * text.num_key_value_heads * text.head_dim()) as u64
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.2} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Qwen2.5-VL-7B's text model, with 8192 positions.
    fn config() -> Config {
        let text = r#"{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "max_position_embeddings": 8192, "vision_config": {"out_hidden_size": 3584}}"#;
        Config::from_json(text).expect("sizes that fit")
    }

    #[test]
    fn a_7b_needs_114688_bytes_a_token_and_the_chat_that_was_chosen() {
        assert_eq!(token_bytes(&config()), 2 * 28 * 4 * 128 * 4);
        let tokens = |chosen| Need::new(&config(), 4_000_000_000, chosen).map(|need| need.tokens);
        assert_eq!((tokens(None), tokens(Some(8192))), (Ok(TOKENS), Ok(8192)));
        let error = tokens(Some(8193)).expect_err("too long").to_string();
        assert!(error.contains("contextTokens") && error.contains("8192"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_does() {
        let need = Need::new(&config(), 4_000_000_000, Some(8000)).expect("positions enough");
        let fit = need.judge(need.bytes(), Some(7));
        assert!(fit.fits && fit.fitting_tokens == 8000 && fit.download == Some(7), "{fit:?}");
        assert_eq!(fit.check(false), Ok(()));
        let short = need.judge(need.bytes() - 1, None);
        assert!(!short.fits && short.fitting_tokens == 7999, "{short:?}");
        let error = short.check(false).expect_err("too little").to_string();
        assert!(error.contains("4.00 GB for weights") && error.contains("7999 tokens fits"), "{error}");
        for (cpu, advice) in [(true, "WebGPU"), (false, "smaller model")] {
            let error = need.judge(1_000_000, None).check(cpu).expect_err("too little").to_string();
            assert!(error.contains("1.0 MB can be had") && error.contains(advice), "{error}");
        }
    }
}
