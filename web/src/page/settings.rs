//! System prompt and sampling.

use leptos::prelude::*;
use serde_json::{Map, Value, json};
use wethink_processor::WETHINK_SYSTEM_PROMPT;

/// What a person may set; texts as typed, read when a question is asked.
#[derive(Clone, Copy)]
pub struct Settings {
    system: RwSignal<String>,
    numbers: [RwSignal<String>; NUMBERS.len()],
}

/// A number's name in `wethink.js`, its label, its value at first, a hint, least value and step.
type Number = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const NUMBERS: [Number; 6] = [
    ("maxNewTokens", "Longest answer, in tokens", "1000", "", "1", "1"),
    ("temperature", "Temperature", "0", "0 always takes the likeliest token", "0", "0.05"),
    ("topP", "Top p", "", "empty: all tokens", "0", "0.01"),
    ("topK", "Top k", "", "empty: all tokens", "1", "1"),
    ("repetitionPenalty", "Repetition penalty", "1", "above 1 discourages repetition", "0", "0.01"),
    ("seed", "Seed", "0", "the same seed gives the same answer", "0", "1"),
];

impl Settings {
    /// As the model was trained, and greedy.
    pub fn new() -> Self {
        Self {
            system: RwSignal::new(WETHINK_SYSTEM_PROMPT.to_owned()),
            numbers: NUMBERS.map(|number| RwSignal::new(number.2.to_owned())),
        }
    }

    /// Options of `ask`, or which one is no number.
    pub fn options(&self) -> Result<Map<String, Value>, String> {
        let mut options = Map::new();
        let system = self.system.get_untracked();
        let system = if system.trim().is_empty() { Value::Null } else { Value::String(system) };
        options.insert("system".into(), system);
        for ((name, label, ..), signal) in NUMBERS.iter().zip(self.numbers) {
            let text = signal.get_untracked();
            if text.trim().is_empty() {
                continue;
            }
            let number: f64 =
                text.trim().parse().map_err(|_| format!("{label}: “{text}” is not a number"))?;
            let whole = number.fract() == 0.0 && number.abs() < 2f64.powi(53);
            options.insert((*name).into(), if whole { json!(number as i64) } else { json!(number) });
        }
        Ok(options)
    }
}

/// The settings, folded away until someone wants them.
#[component]
pub fn SettingsPanel(settings: Settings) -> impl IntoView {
    let fields = NUMBERS.iter().zip(settings.numbers).map(|((name, label, _, hint, min, step), signal)| {
        let described = (!hint.is_empty()).then(|| format!("{name}-hint"));
        view! {
            <div class="field">
                <label for=*name>{*label}</label>
                <input type="number" id=*name min=*min step=*step bind:value=signal aria-describedby=described.clone() />
                <small id=described>{*hint}</small>
            </div>
        }
    });
    view! {
        <details class="panel" id="settings">
            <summary>"Settings"</summary>
            <div class="field">
                <label for="system">"System prompt"</label>
                <textarea id="system" rows="4" bind:value=settings.system aria-describedby="system-hint"></textarea>
                <small id="system-hint">"WeThink was trained with this one. Empty: none."</small>
            </div>
            <div class="grid">{fields.collect_view()}</div>
        </details>
    }
}
