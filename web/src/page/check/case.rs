//! One case, typed or pasted, with its verdict at every keystroke.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::{Value, json};
use wethink_checker::Case;
use wethink_reward::Kind;

use super::state::Check;
use super::verdict::CaseView;

/// The fields, as typed.
#[derive(Clone, Copy)]
pub struct Form {
    kind: RwSignal<String>,
    truth: RwSignal<String>,
    reply: RwSignal<String>,
    choices: RwSignal<String>,
    opts: RwSignal<String>,
    open: RwSignal<bool>,
}

impl Form {
    /// With an example, so that there is something to change.
    pub fn new() -> Self {
        let reply = "<think>\nThree of four equal parts are filled.\n</think>\n<answer>\n0.75\n</answer>";
        Self {
            kind: RwSignal::new("math".into()),
            truth: RwSignal::new("\\frac{3}{4}".into()),
            reply: RwSignal::new(reply.into()),
            choices: RwSignal::new(String::new()),
            opts: RwSignal::new(String::new()),
            open: RwSignal::new(true),
        }
    }

    /// Folded away or not.
    pub fn show(&self, open: bool) {
        self.open.set(open);
    }

    /// Takes a row in the form of `trainer verify`; false if the text is none.
    pub fn take(&self, json: &str) -> bool {
        let Ok(Value::Object(row)) = serde_json::from_str(json) else { return false };
        let text = |name: &str| match row.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let either =
            |first: &str, second: &str| if row.contains_key(first) { text(first) } else { text(second) };
        if !row.contains_key("pred") && !row.contains_key("response") {
            return false;
        }
        let kind = either("kind", "reward");
        self.kind.set(kind.parse::<Kind>().map_or(kind, |kind| kind.name().to_owned()));
        self.truth.set(either("golds", "gold"));
        self.reply.set(either("pred", "response"));
        self.choices.set(text("choices"));
        self.opts.set(text("opts"));
        self.open.set(true);
        if let Some(form) = document().get_element_by_id("check-case") {
            form.scroll_into_view();
        }
        true
    }

    /// The row, or which field is not JSON where it must be.
    fn row(&self) -> Result<Value, String> {
        let mut row = json!({"kind": self.kind.get(), "pred": self.reply.get()});
        let truth = self.truth.get();
        // A list of texts is several truths; a list of numbers is one, which every kind reads from its text.
        match serde_json::from_str::<Vec<String>>(&truth) {
            Ok(truths) => row["golds"] = truths.into(),
            Err(_) => row["gold"] = truth.into(),
        }
        let choices = self.choices.get();
        if choices.trim_start().starts_with(['[', '{']) {
            row["choices"] =
                serde_json::from_str(&choices).map_err(|error| format!("choices: not JSON: {error}"))?;
        } else {
            let lines = choices.lines().map(str::trim).filter(|line| !line.is_empty());
            row["choices"] = lines.collect::<Vec<_>>().into();
        }
        if !self.opts.with(|opts| opts.trim().is_empty()) {
            let opts = serde_json::from_str(&self.opts.get());
            row["opts"] = opts.map_err(|error| format!("switches: not JSON: {error}"))?;
        }
        Ok(row)
    }
}

/// The form and the verdict beside it.
#[component]
pub fn CaseForm(check: Check, form: Form) -> impl IntoView {
    let shown = RwSignal::new(Case::default());
    let asked = StoredValue::new(0u32);
    Effect::new(move || {
        let row = form.row();
        let policy = check.setup.with(|setup| setup.policy);
        asked.update_value(|asked| *asked += 1);
        let own = asked.get_value();
        let show = move |case: Case| {
            // What was typed since has its own answer.
            if own == asked.get_value() && shown.with_untracked(|shown| *shown != case) {
                shown.set(case);
            }
        };
        match row {
            Err(problem) => show(Case { fault: Some(problem), ..Case::default() }),
            Ok(row) => spawn_local(async move {
                match check.worker().ask::<Case>("examine", (row.to_string(), policy)).await {
                    Ok(case) => show(case),
                    Err(problem) => show(Case { fault: Some(problem), ..Case::default() }),
                }
            }),
        }
    });
    let paste = move |event: web_sys::ClipboardEvent| {
        let text =
            event.clipboard_data().and_then(|data| data.get_data("text/plain").ok()).unwrap_or_default();
        if form.take(text.trim()) {
            event.prevent_default();
        }
    };
    let kinds = Kind::ALL.iter().map(|kind| view! { <option value=kind.name()>{kind.name()}</option> });
    let toggled = move |event: web_sys::Event| {
        form.open.set(event_target::<web_sys::HtmlDetailsElement>(&event).open());
    };
    view! {
        <details class="panel" id="check-case" prop:open=move || form.open.get() on:toggle=toggled>
            <summary>"One case"</summary>
            <p class="note">"Type, or paste a row as JSON. The verdict follows every key."</p>
            <div class="pair" on:paste=paste>
                <form aria-label="Case" on:submit=|event| event.prevent_default()>
                    <div class="field">
                        <label for="case-kind">"Kind"</label>
                        <select id="case-kind" bind:value=form.kind>{kinds.collect_view()}</select>
                    </div>
                    <label class="field">
                        <span>"Truth"</span>
                        <textarea name="truth" rows="2" spellcheck="false" bind:value=form.truth></textarea>
                    </label>
                    <label class="field">
                        <span>"Reply"</span>
                        <textarea name="reply" rows="7" spellcheck="false" bind:value=form.reply></textarea>
                    </label>
                    <details>
                        <summary>"Choices and switches"</summary>
                        <label class="field">
                            <span>"Choices, one a line"</span>
                            <textarea name="choices" rows="3" spellcheck="false" bind:value=form.choices></textarea>
                        </label>
                        <label class="field">
                            <span>"Switches, as JSON"</span>
                            <textarea name="opts" rows="2" spellcheck="false" placeholder="{\"tolerance\": 0.01}" bind:value=form.opts></textarea>
                        </label>
                    </details>
                </form>
                <div class="outcome-pane" aria-live="polite">
                    {move || view! { <CaseView check problem=String::new() case=shown.get() /> }}
                </div>
            </div>
        </details>
    }
}
