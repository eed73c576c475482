//! A picture from the camera.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, HtmlCanvasElement, HtmlDialogElement, HtmlVideoElement, MediaStream, MediaStreamConstraints,
    MediaStreamTrack,
};

use crate::pictures::attach;
use crate::state::Ask;

/// A button, and the dialog it opens.
#[component]
pub fn Camera(ask: Ask) -> impl IntoView {
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let video = NodeRef::<leptos::html::Video>::new();
    let start = move |_| {
        spawn_local(async move {
            let (Some(dialog), Some(video)) = (dialog.get_untracked(), video.get_untracked()) else { return };
            if let Err(problem) = show(&dialog, &video).await {
                ask.notice.set(Some(problem));
            }
        });
    };
    let close = move |_| dialog.get().iter().for_each(|dialog| dialog.close());
    // The light beside the lens goes out however the dialog is closed.
    let closed = move |_| video.get().iter().for_each(switch_off);
    let take = move |_| {
        if let Some(video) = video.get() {
            photograph(ask, &video);
        }
        close(());
    };
    view! {
        <button type="button" on:click=start>"Camera"</button>
        <dialog node_ref=dialog on:close=closed aria-label="Camera">
            <video node_ref=video autoplay playsinline muted></video>
            <div class="row">
                <button type="button" on:click=move |_| close(())>"Cancel"</button>
                <span class="grow"></span>
                <button type="button" class="primary" on:click=take>"Take the picture"</button>
            </div>
        </dialog>
    }
}

async fn show(dialog: &HtmlDialogElement, video: &HtmlVideoElement) -> Result<(), String> {
    let problem =
        |error: JsValue| format!("the camera cannot be used: {}", crate::toolkit::failure(&error).1);
    let devices = window()
        .navigator()
        .media_devices()
        .map_err(|_| "this browser gives no camera to this page".to_owned())?;
    let wanted = MediaStreamConstraints::new();
    wanted.set_video(&crate::toolkit::object([("facingMode", "environment".into())]));
    let promise = devices.get_user_media_with_constraints(&wanted).map_err(problem)?;
    let stream: MediaStream = JsFuture::from(promise).await.map_err(problem)?.unchecked_into();
    video.set_src_object(Some(&stream));
    dialog.show_modal().map_err(problem)
}

fn switch_off(video: &HtmlVideoElement) {
    let tracks = video.src_object().map(|stream| stream.get_tracks());
    for track in tracks.iter().flat_map(|tracks| tracks.iter()) {
        track.unchecked_into::<MediaStreamTrack>().stop();
    }
    video.set_src_object(None);
}

#[wasm_bindgen]
extern "C" {
    /// The one method that is needed of a canvas.
    type Context2d;

    #[wasm_bindgen(method, catch, js_name = drawImage)]
    fn draw_image(this: &Context2d, image: &HtmlVideoElement, x: f64, y: f64) -> Result<(), JsValue>;
}

/// Attaches the picture that the camera shows now.
fn photograph(ask: Ask, video: &HtmlVideoElement) {
    let canvas: HtmlCanvasElement = document().create_element("canvas").unwrap_throw().unchecked_into();
    canvas.set_width(video.video_width());
    canvas.set_height(video.video_height());
    let context = canvas.get_context("2d").ok().flatten();
    let drawn = context.map(|context| context.unchecked_into::<Context2d>().draw_image(video, 0.0, 0.0));
    if !matches!(drawn, Some(Ok(()))) {
        return ask.notice.set(Some("the camera gave no picture".into()));
    }
    let taken = Closure::once_into_js(move |blob: Option<Blob>| match blob {
        Some(blob) => attach(ask, "camera.png".into(), blob),
        None => ask.notice.set(Some("the camera gave no picture".into())),
    });
    // The canvas holds only what this page drew, so it may be read.
    let _ = canvas.to_blob(taken.unchecked_ref());
}
