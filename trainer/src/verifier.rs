//! Rewards that compare with no single truth: a scene that has many right answers brings its own verifier.
//!
//! Such a row is compared as text, and whatever its verifier accepts is a truth of it.

use wethink_data::Row;
use wethink_reward::{Kind, Record, Response};
use wethink_scenes::Scene;

/// The reward of a row that carries its verifier in the field `scene`.
pub const SCENE: &str = "maze";

/// How the rows of [`SCENE`] are compared.
pub const COMPARED: Kind = Kind::Text;

/// The scene of a row whose reward, by its name, is the scene's own verifier; none for every other row.
///
/// # Errors
/// The scene is missing or is none.
pub fn scene(reward: &str, row: &Row) -> Result<Option<Scene>, String> {
    if reward != SCENE {
        return Ok(None);
    }
    let scene =
        row.extra.get("scene").ok_or("field `scene` is missing: its verifier is this row's reward")?;
    serde_json::from_value(scene.clone()).map(Some).map_err(|error| format!("field `scene`: {error}"))
}

/// Adds the answer of the record's response to its truths if the scene's verifier accepts it.
pub fn admit(scene: &Scene, record: &mut Record) {
    let answer = Response::parse(&record.pred).answer.map(|answer| answer.text.to_owned());
    if let Some(answer) = answer.filter(|answer| scene.verify(answer)) {
        record.golds.push(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_reward::verify;
    use wethink_scenes::{Settings, Task};

    #[test]
    fn every_way_through_a_maze_earns_what_the_shown_one_does() {
        let mazes = Settings { tasks: vec![Task::C], ..Settings::default() };
        let scene = mazes.scene(7, 0).expect("a maze");
        let way = scene.answer();
        let mut steps: Vec<&str> = way.split_whitespace().collect();
        // A step back and forth again is a way as well; what leaves out a step is none.
        let back = match steps[0] {
            "U" => "D",
            "D" => "U",
            "L" => "R",
            _ => "L",
        };
        let detour = [&[steps[0], back][..], &steps[..]].concat().join(" ");
        steps.pop();
        for (answer, right) in [(&way, true), (&detour, true), (&steps.join(" "), false)] {
            let response = format!("<think>\nx\n</think>\n<answer>\n{answer}\n</answer>");
            let mut record = Record::new(COMPARED, &way, &response);
            admit(&scene, &mut record);
            assert_eq!(verify(&record).expect("a truth").accepted(), right, "{answer}");
        }
    }
}
