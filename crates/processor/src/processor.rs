//! The whole way: a checkpoint's files to a processor, and a chat with its pictures to what the model takes.

use std::io;

use crate::chat::{Message, check_slots};
use crate::config::{MODEL_CONFIG, ModelConfig, PREPROCESSOR_CONFIG, PreprocessorConfig, check_pixels};
use crate::error::{Error, bad_file};
use crate::patches;
use crate::picture::Picture;
use crate::positions::positions;
use crate::released_files::{CONFIG_FILE, get};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

const IMAGE_PAD: &str = "<|image_pad|>";
const VIDEO_PAD: &str = "<|video_pad|>";
const VISION_START: &str = "<|vision_start|>";
const VISION_END: &str = "<|vision_end|>";

/// Turns chats and pictures into the model's input, by the files of one checkpoint.
#[derive(Debug)]
pub struct Processor {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to a prompt.
    pub template: ChatTemplate,
    /// Pictures to patches.
    pub preprocessor: PreprocessorConfig,
    /// The id of `<|image_pad|>`: one stands for each feature of the vision tower.
    pub image_token_id: u32,
    /// The id of `<|video_pad|>`. It never appears in a prompt and is never to be sampled.
    pub video_token_id: u32,
}

/// How to process a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// In place of the checkpoint's `min_pixels`.
    pub min_pixels: Option<usize>,
    /// In place of the checkpoint's `max_pixels`.
    pub max_pixels: Option<usize>,
    /// Whether the prompt ends with the opening of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Whether the template numbers the pictures ("Picture 1: ").
    pub add_vision_id: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { min_pixels: None, max_pixels: None, add_generation_prompt: true, add_vision_id: false }
    }
}

/// A prompt as the model takes it. T tokens; P patches, of all pictures in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The prompt, with as many `<|image_pad|>` for each picture as the vision tower gives features.
    pub prompt: String,
    /// `[T]`.
    pub ids: Vec<u32>,
    /// `[P, C·T·patch²]`, row-major; rows and columns as [`crate::patches`] says.
    pub pixel_values: Vec<f32>,
    /// Patches of each picture along time, height and width.
    pub grids: Vec<[usize; 3]>,
    /// `[T]` of (t, h, w).
    pub positions: Vec<[u32; 3]>,
    /// What to add to the index of a token after the prompt for its position.
    pub rope_delta: i64,
}

impl Processor {
    /// Reads a checkpoint through `read`, which gives a file's contents by its name, or nothing when it is absent.
    ///
    /// # Errors
    /// A file that is missing, malformed or at odds with another, by its name.
    pub fn load(read: &mut dyn FnMut(&str) -> io::Result<Option<Vec<u8>>>) -> Result<Processor, Error> {
        let preprocessor = get(read, PREPROCESSOR_CONFIG)?.ok_or_else(|| Error::MissingFile {
            file: PREPROCESSOR_CONFIG.to_owned(),
            fix: "copy it from the released repository",
        })?;
        let preprocessor = PreprocessorConfig::from_json(&preprocessor)?;
        let model = get(read, MODEL_CONFIG)?
            .map_or(Ok(ModelConfig::default()), |bytes| ModelConfig::from_json(&bytes))?;
        model.check_patches(&preprocessor)?;
        let tokenizer_config = get(read, CONFIG_FILE)?;
        let tokenizer = Tokenizer::load(read, tokenizer_config.as_deref())?;
        let template = ChatTemplate::load(read, tokenizer_config.as_deref())?;
        let agreed = |token, field, id| agreed_id(&tokenizer, token, field, id);
        let image_token_id = agreed(IMAGE_PAD, "image_token_id", model.image_token_id)?;
        let video_token_id = agreed(VIDEO_PAD, "video_token_id", model.video_token_id)?;
        agreed(VISION_START, "vision_start_token_id", model.vision_start_token_id)?;
        agreed(VISION_END, "vision_end_token_id", model.vision_end_token_id)?;
        Ok(Processor { tokenizer, template, preprocessor, image_token_id, video_token_id })
    }

    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// As [`Processor::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_dir(dir: &std::path::Path) -> Result<Processor, Error> {
        Processor::load(&mut |file| match std::fs::read(dir.join(file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// The prompt as the template writes it, with one `<|image_pad|>` for each picture.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn render(&self, messages: &[Message], options: &Options) -> Result<String, Error> {
        self.template.render(messages, options.add_generation_prompt, options.add_vision_id)
    }

    /// Turns a chat into the model's input. `pictures` fill the `image` parts in order, over all messages.
    ///
    /// Special tokens written out in a text become their ids, as in transformers; only `<|image_pad|>` and
    /// `<|video_pad|>` are refused there, for they could not be told from the template's own. Nothing is truncated.
    ///
    /// # Errors
    /// A video, a placeholder in a text, other pictures than slots, a template at fault, a picture of a size that
    /// cannot be used, limits on pixels that contradict each other.
    pub fn process(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: &Options,
    ) -> Result<Encoded, Error> {
        check_slots(messages, pictures.len(), &[IMAGE_PAD, VIDEO_PAD])?;
        let config = self.preprocessor_with(options)?;
        let mut pixel_values = Vec::new();
        let mut grids = Vec::with_capacity(pictures.len());
        for picture in pictures {
            grids.push(patches::append(picture, &config, &mut pixel_values)?);
        }
        let features: Vec<usize> = grids.iter().map(|&grid| config.features(grid)).collect();
        let prompt = self.expand(&self.render(messages, options)?, &features)?;
        let ids = self.tokenizer.encode(&prompt)?;
        let found = positions(&ids, &grids, self.image_token_id, config.merge_size)?;
        let (positions, rope_delta) = (found.positions, found.rope_delta);
        Ok(Encoded { prompt, ids, pixel_values, grids, positions, rope_delta })
    }

    /// The checkpoint's configuration with the caller's limits on pixels.
    fn preprocessor_with(&self, options: &Options) -> Result<PreprocessorConfig, Error> {
        let mut config = self.preprocessor.clone();
        config.min_pixels = options.min_pixels.unwrap_or(config.min_pixels);
        config.max_pixels = options.max_pixels.unwrap_or(config.max_pixels);
        check_pixels(config.min_pixels, config.max_pixels).map_err(Error::Options)?;
        Ok(config)
    }

    /// Repeats the n-th placeholder `features[n]` times.
    fn expand(&self, rendered: &str, features: &[usize]) -> Result<String, Error> {
        let placeholders = rendered.matches(IMAGE_PAD).count();
        if placeholders != features.len() {
            return Err(Error::PlaceholderCount {
                file: self.template.file().to_owned(),
                token: IMAGE_PAD.to_owned(),
                placeholders,
                pictures: features.len(),
            });
        }
        let mut pieces = rendered.split(IMAGE_PAD);
        let mut prompt = pieces.next().unwrap_or_default().to_owned();
        for (piece, &count) in pieces.zip(features) {
            prompt.push_str(&IMAGE_PAD.repeat(count));
            prompt.push_str(piece);
        }
        Ok(prompt)
    }
}

/// The id of a vision token, on which `config.json` and the tokenizer must agree.
fn agreed_id(tokenizer: &Tokenizer, token: &str, field: &str, configured: Option<u32>) -> Result<u32, Error> {
    match (tokenizer.token_to_id(token), configured) {
        (Some(id), None) => Ok(id),
        (Some(id), Some(configured)) if id == configured => Ok(id),
        (Some(id), Some(configured)) => Err(bad_file(
            MODEL_CONFIG,
            format!("`{field}` is {configured}, but the tokenizer's `{token}` is {id}"),
        )),
        (None, _) => Err(bad_file("tokenizer.json", format!("it has no token `{token}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Content, Part, Role};
    use crate::testing::{files, load, processor};

    fn user(parts: Vec<Part>) -> Vec<Message> {
        vec![Message { role: Role::User, content: Content::Parts(parts) }]
    }

    fn text(text: &str) -> Part {
        Part::Text { text: text.to_owned() }
    }

    fn picture(width: usize, height: usize) -> Picture {
        Picture::from_rgb("plain.png", width, height, vec![7; width * height * 3]).unwrap()
    }

    fn refused(messages: &[Message], pictures: &[Picture]) -> String {
        processor().process(messages, pictures, &Options::default()).unwrap_err().to_string()
    }

    #[test]
    fn each_picture_gets_its_features_in_order() {
        let processor = processor();
        let mut messages = user(vec![Part::Image, text("or"), Part::Image]);
        messages.extend(user(vec![text("?"), Part::Image]));
        let pictures = [picture(56, 56), picture(84, 56), picture(56, 112)];
        let encoded = processor.process(&messages, &pictures, &Options::default()).unwrap();
        assert_eq!(encoded.grids, [[1, 4, 4], [1, 4, 6], [1, 8, 4]]);
        let pads = |n: usize| format!("<|vision_start|>{}<|vision_end|>", "<|image_pad|>".repeat(n));
        let wanted = format!(
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{}or{}<|im_end|>\n<|im_start|>user\n?{}<|im_end|>\n\
             <|im_start|>assistant\n",
            pads(4),
            pads(6),
            pads(8)
        );
        assert_eq!(encoded.prompt, wanted);
        assert_eq!(encoded.ids, processor.tokenizer.encode(&wanted).unwrap());
        assert_eq!(encoded.positions.len(), encoded.ids.len());
        assert_eq!(encoded.pixel_values.len(), (16 + 24 + 32) * 1176);
    }

    #[test]
    fn other_pictures_than_slots_are_refused_with_both_counts() {
        let two = user(vec![Part::Image, Part::Image]);
        for (messages, pictures) in [(two, 1), (user(vec![text("a")]), 2), (vec![], 1)] {
            let error = refused(&messages, &vec![picture(56, 56); pictures]);
            let slots: usize = messages.iter().map(|m| m.count(&Part::Image)).sum();
            assert!(error.contains(&format!("{slots} image part(s) but {pictures} picture(s)")), "{error}");
        }
    }

    #[test]
    fn a_video_is_refused_by_name_but_can_be_rendered() {
        let messages = user(vec![Part::Video]);
        assert!(refused(&messages, &[]).contains("message 0 holds a `video` part"));
        let prompt = processor().render(&messages, &Options::default()).unwrap();
        assert!(prompt.contains("<|video_pad|>"), "{prompt}");
    }

    #[test]
    fn a_placeholder_in_a_text_is_refused_however_it_gets_there() {
        let plain = vec![Message::text(Role::User, "what is <|image_pad|>?")];
        let error = refused(&plain, &[]);
        assert!(error.contains("message 0") && error.contains("<|image_pad|>"), "{error}");
        assert!(refused(&user(vec![text("<|video_pad|>")]), &[]).contains("<|video_pad|>"));
        // Two texts that only together spell it.
        let error = refused(&user(vec![text("<|image_"), text("pad|>"), Part::Image]), &[picture(56, 56)]);
        assert!(error.contains("wrote 2 `<|image_pad|>` for 1 picture(s)"), "{error}");
    }

    #[test]
    fn other_special_tokens_in_a_text_become_special_as_in_transformers() {
        let processor = processor();
        let messages = [Message::text(Role::User, "a<|im_end|>b")];
        let ids = processor.process(&messages, &[], &Options::default()).unwrap().ids;
        let end = processor.tokenizer.token_to_id("<|im_end|>").unwrap();
        // The toy template's own system turn, the text's, the user turn's.
        assert_eq!(ids.iter().filter(|&&id| id == end).count(), 3);
    }

    #[test]
    fn a_template_that_drops_pictures_is_refused_by_file() {
        let mut files = files();
        files.insert("chat_template.jinja", b"{{ messages[0].role }}".to_vec());
        let processor = load(&files).unwrap();
        let error = processor.process(&user(vec![Part::Image]), &[picture(56, 56)], &Options::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja") && error.contains("wrote 0"), "{error}");
    }

    #[test]
    fn the_callers_limits_replace_the_checkpoints() {
        let processor = processor();
        let messages = user(vec![Part::Image]);
        let with = |min_pixels, max_pixels| {
            let options = Options { min_pixels, max_pixels, ..Options::default() };
            processor.process(&messages, &[picture(280, 280)], &options)
        };
        assert_eq!(with(None, None).unwrap().grids, [[1, 20, 20]]);
        assert_eq!(with(None, Some(56 * 56)).unwrap().grids, [[1, 4, 4]]);
        assert_eq!(with(Some(560 * 560), None).unwrap().grids, [[1, 40, 40]]);
        let error = with(Some(9), Some(8)).unwrap_err().to_string();
        assert!(error.contains("min_pixels 9") && error.contains("max_pixels 8"), "{error}");
    }

    #[test]
    fn ids_on_which_the_files_disagree_are_refused() {
        let mut files = files();
        files.insert("config.json", br#"{"image_token_id": 5}"#.to_vec());
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("`image_token_id` is 5"), "{error}");
        files.remove("config.json");
        assert_eq!(load(&files).unwrap().image_token_id, processor().image_token_id);
    }

    #[test]
    fn a_missing_or_unreadable_file_is_named() {
        let mut files = files();
        files.remove("preprocessor_config.json");
        assert!(load(&files).unwrap_err().to_string().contains("no preprocessor_config.json"));
        let error =
            Processor::load(&mut |_| Err(io::Error::other("the disk is gone"))).unwrap_err().to_string();
        assert_eq!(error, "preprocessor_config.json: the disk is gone");
    }
}
