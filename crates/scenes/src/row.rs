//! A scene as a row of WeThink's dataset (`WeThink_Multimodal_Reasoning_120K`), with the scene itself in one field more.

use serde::{Deserialize, Serialize};

use crate::{Content, Scene};

/// A row: WeThink's seven fields in their order, then the scene, from which a verifier can be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The question.
    pub problem: String,
    /// The answer.
    pub answer: String,
    /// The kind of scene: see [`Scene::category`].
    pub category: String,
    /// What it takes to answer, in WeThink's terms.
    pub abilities: String,
    /// The thought, without tags.
    pub refined_cot: String,
    /// Path of the picture within the folder of the rows.
    pub image_path: String,
    /// The reward method: see [`Scene::reward`].
    pub reward: String,
    /// The scene.
    pub scene: Scene,
}

impl Row {
    /// The row of a scene whose picture lies at `image_path`.
    pub fn new(scene: Scene, image_path: String) -> Self {
        let abilities = match scene.content() {
            Content::Count(_) => "Recognition, Spatial awareness, Math, Reasoning",
            Content::Maze(_) => "Spatial awareness, Reasoning",
            Content::Sum(_) | Content::Chart(_) => "OCR, Math, Reasoning",
            Content::Clock(_) | Content::Dice(_) => "Recognition, Math, Reasoning",
        };
        Self {
            problem: scene.question(),
            answer: scene.answer(),
            category: scene.category().into(),
            abilities: abilities.into(),
            refined_cot: scene.thought(),
            image_path,
            reward: scene.reward().into(),
            scene,
        }
    }

    /// The same with the scene's short thought.
    pub fn terse(self) -> Self {
        Self { refined_cot: self.scene.terse_thought(), ..self }
    }

    /// One line of JSON, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers serialize")
    }
}
