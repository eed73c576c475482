//! Procedural visual tasks: a scene that can be drawn, asked about, answered, thought through and verified.
//!
//! A [`Scene`] is a checked value. It comes from [`Settings::scene`] at random, or from a [`Content`] that a person put
//! together in an editor; everything else follows from it: [`Scene::draw`], [`Scene::question`], [`Scene::answer`],
//! [`Scene::thought`], [`Scene::verify`]. A [`Row`] is a scene as a row of WeThink's dataset.
//!
//! Tasks: A counts shapes under filters ([`Count`]), B adds numbers on digit cards ([`Sum`]), C walks a maze ([`Maze`]), D
//! reads instruments: a bar chart, a clock, dice ([`Chart`], [`Clock`], [`Dice`]).
//!
//! **The same everywhere.** Scene `i` of a seed depends on nothing but settings, seed and `i`, and its picture is the same
//! bytes natively and in WASM. Drawing therefore uses only operations that IEEE 754 rounds exactly (`+ - * / sqrt`) and
//! tiny-skia's integer coverage and blending; angles come from a polynomial of our own, never from the platform's `sin`,
//! and no product is fused with a sum.
//!
//! **Splits.** Whether a scene is for training, validation or the test is decided by a hash of what the picture shows
//! ([`Scene::split`]), not by where it stands in a file: no seed can leak a test scene into training.
//!
//! Deliberately absent: files, clocks, threads, the model, tags of a response (callers take the answer out first).

mod canvas;
mod chart;
mod clock;
mod count;
mod count_make;
mod count_read;
mod dice;
mod digits;
mod draws;
mod frame;
mod maze;
mod picture;
mod row;
mod scene;
mod settings;
mod sum;
#[cfg(test)]
mod tests;

pub use chart::{Bar, Chart, ChartQuestion};
pub use clock::Clock;
pub use count::{Color, Count, CountQuestion, Filter, Object, Relation, Shape, Side, Size};
pub use dice::{Dice, Die};
pub use frame::Frame;
pub use maze::{Maze, Move};
pub use picture::Picture;
pub use row::Row;
pub use scene::{Content, Scene, SceneError, Split, Task};
pub use settings::{Pair, Settings, SettingsError};
pub use sum::{Card, Sum};
