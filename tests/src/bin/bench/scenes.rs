//! Scenes made on one core: the scene itself, its picture, its file.

use anyhow::Result;
use serde_json::{Value, json};
use wethink_scenes::{Scene, Settings, Task};

use crate::milliseconds;

const SCENES: u64 = 100;

/// Pictures a second by task: random scene, drawing and PNG, and what each of them takes.
pub fn scenes() -> Result<Value> {
    let mut report = serde_json::Map::new();
    for task in Task::ALL {
        let settings = Settings { tasks: vec![task], ..Settings::default() };
        let make = || (0..SCENES).map(|i| settings.scene(0, i)).collect::<Result<Vec<Scene>, _>>();
        let scenes = make()?;
        let pictures: Vec<_> = scenes.iter().map(Scene::draw).collect();
        let made = milliseconds(9, || make().map(drop).map_err(Into::into))?;
        let drawn = milliseconds(9, || {
            scenes.iter().for_each(|scene| drop(std::hint::black_box(scene.draw())));
            Ok(())
        })?;
        let packed = milliseconds(9, || {
            pictures.iter().for_each(|picture| drop(std::hint::black_box(picture.png())));
            Ok(())
        })?;
        let whole: f64 = [&made, &drawn, &packed].iter().filter_map(|part| part["median"].as_f64()).sum();
        report.insert(
            format!("{task:?}"),
            json!({
                "pictures_per_second_per_core": SCENES as f64 / whole * 1e3,
                "scenes": SCENES,
                "scene_milliseconds": made,
                "draw_milliseconds": drawn,
                "png_milliseconds": packed,
            }),
        );
    }
    Ok(report.into())
}
