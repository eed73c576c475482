//! `trainer data` as a user meets it: every fault found, nothing lost in a conversion, parts without a common picture,
//! and memory that does not grow with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use wethink_data::{Format, Records, Row};
use wethink_processor::Picture;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::commands::{assert_fails, run, stdout, tiny, trainer};
use crate::dataset::{self, Dataset};

fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn data(command: &str, args: &[&str]) -> Output {
    run(trainer().arg("data").arg(command).args(args))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

/// Puts the pictures into a zip and cuts it into parts of `size`.
fn split_zip(folder: &Path, pictures: usize, size: usize) -> PathBuf {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..pictures {
        zip.start_file(dataset::picture_name(i), SimpleFileOptions::default()).expect("a member");
        zip.write_all(&dataset::picture(i).to_png().expect("a PNG")).expect("memory");
    }
    let bytes = zip.finish().expect("a zip").into_inner();
    for (i, part) in bytes.chunks(size).enumerate() {
        let letter = |n: usize| char::from(b'a' + n as u8);
        let name = format!("image.zip.part-{}{}", letter(i / 26), letter(i % 26));
        std::fs::write(folder.join(name), part).expect("a part");
    }
    folder.join("image.zip")
}

fn lines(rows: &[String], folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, rows.join("\n")).expect("rows");
    path
}

fn written(row: &Row, format: Format) -> String {
    Value::Object(format.write(row)).to_string()
}

fn rows(path: &Path) -> Vec<Row> {
    wethink_data::open(path).expect("a file").map(|line| line.row.expect("a row")).collect()
}

#[test]
fn check_finds_every_fault_by_line_and_passes_what_is_right() {
    let folder = temporary();
    let images = split_zip(folder.path(), 8, 2_000);
    let row = |i: usize| dataset::row(i, 8);
    let mut good: Vec<String> = (0..12).map(|i| written(&row(i), Format::ALL[i % 3])).collect();
    let fixed = lines(&good, folder.path(), "good.jsonl");
    let reports = folder.path().join("report.json");
    let args = ["--data", text(&fixed), "--images", text(&images), "--report", text(&reports)];
    let output = data("check", &args);
    assert!(output.status.success(), "{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&reports).expect("a report")).expect("JSON");
    assert_eq!((&report["rows"], &report["faulty_rows"]), (&json!(12), &json!(0)));
    assert_eq!(report["formats"], json!({"wethink": 4, "sharegpt": 4, "easyr1": 4}));
    for (name, kind) in [("MC", "mcq"), ("FIB", "number"), ("DES", "open")] {
        let reward = &report["rewards"][name];
        assert_eq!((&reward["kind"], &reward["proposed"]), (&json!(kind), &json!(true)), "{reward}");
        assert_eq!(reward["truths_failed"], 0, "{reward}");
    }
    assert!(stdout(&output).contains("--reward-map 'FIB=number'"), "{}", stdout(&output));

    let changed = |i: usize, field: &str, value: Value| {
        let mut fields = row(i).to_fields();
        fields.insert(field.into(), value);
        Value::Object(fields).to_string()
    };
    // A letter that the row's reward does not understand, among many that it does.
    let faults = [
        (changed(0, "image_path", "../secret.png".into()), "field", "`..`"),
        (changed(0, "image_path", "/etc/passwd".into()), "field", "absolute"),
        (changed(0, "image_path", "absent.png".into()), "picture", "absent.png"),
        (changed(0, "answer", "<answer></answer>".into()), "missing", "`answer`"),
        (changed(0, "refined_cot", "<think></think>".into()), "missing", "`refined_cot`"),
        (changed(1, "answer", "perhaps".into()), "truth", "`answer`"),
        (changed(0, "problem", "What is <|image_pad|>?".into()), "vision_token", "<|image_pad|>"),
        ("{\"problem\": \"cut".into(), "not_an_object", "EOF"),
        (format!("{{\"problem\": {}", "[".repeat(10_000)), "not_an_object", "recursion"),
    ];
    let args = ["--reward-map", "FIB=number", "--reward-map", "MC=mcq", "--json", "--images", text(&images)];
    for (fault, ..) in &faults {
        good.push(fault.clone());
    }
    let bad = lines(&good, folder.path(), "bad.jsonl");
    let output = data("check", &[&args[..], &["--data", text(&bad)]].concat());
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON alone on standard output");
    let found = report["faults"].as_array().expect("a list");
    assert_eq!(found.len(), faults.len(), "{found:#?}");
    for (i, ((_, what, words), found)) in faults.iter().zip(found).enumerate() {
        assert_eq!((found["line"].as_u64(), &found["what"]), (Some(13 + i as u64), &json!(what)));
        assert!(found["reason"].as_str().expect("a reason").contains(words), "{found}");
    }
    assert_eq!(report["faulty_rows"], faults.len());

    // A part that is missing, and one that is damaged: its members are named.
    let part = folder.path().join("image.zip.part-ab");
    let mut bytes = std::fs::read(&part).expect("the part");
    bytes[..200].fill(0);
    std::fs::write(&part, bytes).expect("the part");
    let output = data("check", &["--data", text(&fixed), "--images", text(&images)]);
    assert!(
        output.status.code() == Some(1) && stdout(&output).contains("picture \"noise-"),
        "{}",
        stdout(&output)
    );
    std::fs::remove_file(&part).expect("the part");
    let output = data("check", &["--data", text(&fixed), "--images", text(&images)]);
    assert_fails(&output, 1, &["image.zip.part-ab", "missing"]);
}

#[test]
fn check_over_100_000_rows_stays_within_a_gigabyte() {
    let folder = temporary();
    let Dataset { rows, .. } = dataset::make(folder.path(), 100_000, 500).expect("a dataset");
    let images = split_zip(folder.path(), 500, 1 << 20);
    let output = data("check", &["--data", text(&rows), "--images", text(&images), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!((&report["rows"], &report["pictures"]), (&json!(100_000), &json!(100_000)));
    assert!(report["rows_per_second"].as_f64().expect("a rate") > 0.0);
    #[cfg(target_os = "linux")]
    {
        let peak = report["peak_memory_bytes"].as_u64().expect("Linux tells it");
        assert!(peak < 1 << 30, "{peak} bytes");
    }
}

#[test]
fn conversions_and_their_way_back_lose_nothing() {
    let folder = temporary();
    let Dataset { rows: source, .. } = dataset::make(folder.path(), 40, 8).expect("a dataset");
    let file = |name: &str| folder.path().join(name);
    let convert = |from: &Path, to: &str, out: &Path| {
        let output = data("convert", &["--data", text(from), "--to", to, "--out", text(out)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for (to, name) in [("sharegpt", "s.jsonl.gz"), ("easyr1", "e.jsonl")] {
        convert(&source, to, &file(name));
        convert(&file(name), "wethink", &file("back.jsonl"));
        // Clean thoughts have no blank at their end; everything else is as it was.
        let mut wanted = rows(&source);
        wanted.iter_mut().for_each(|row| row.refined_cot = row.thought());
        assert_eq!(rows(&file("back.jsonl")), wanted, "{to}");
    }
    // What LLaMA-Factory reads: a list of records, with WeThink's system prompt.
    let list = Records::json(std::fs::File::open(file("s.jsonl.gz")).expect("a file")).expect("gzip");
    let list: Vec<Value> = list.map(|line| Value::Object(line.row.expect("a record"))).collect();
    assert!(
        list[0]["system"].as_str().expect("a system prompt").starts_with("You FIRST think"),
        "{}",
        list[0]
    );
    assert_eq!(list[0]["conversations"][0]["value"], "<image>\nQuestion 0: what is there?");
    std::fs::write(file("list.json"), serde_json::to_string_pretty(&list).expect("JSON")).expect("a file");
    convert(&file("list.json"), "wethink", &file("from-list.jsonl"));
    assert_eq!(rows(&file("from-list.jsonl")), rows(&file("back.jsonl")));

    let odd = lines(
        &[json!({"problem": "q", "answer": "4", "image_path": "/data/x/a.png"}).to_string(), "{".into()],
        folder.path(),
        "odd.jsonl",
    );
    let out = file("odd-out.jsonl");
    let args = ["--data", text(&odd), "--to", "wethink", "--out", text(&out)];
    assert_fails(
        &data("convert", &args),
        1,
        &["line 1", "absolute", "line 2", "0 rows written", "2 left out"],
    );
    assert_fails(
        &data("convert", &[&args[..], &["--strip-prefix", "/data/x"]].concat()),
        1,
        &["1 rows written"],
    );
    assert_eq!(rows(&out)[0].images(), ["a.png"]);
}

#[test]
fn split_is_stable_and_parts_share_no_picture() {
    let folder = temporary();
    let Dataset { rows: source, images } = dataset::make(folder.path(), 600, 60).expect("a dataset");
    let mut all: Vec<String> =
        std::fs::read_to_string(&source).expect("rows").lines().map(str::to_owned).collect();
    // Pictures under a second name, asked about by rows that name the copies.
    for i in 0..12 {
        let copy = format!("copy-{i}.png");
        std::fs::copy(images.join(dataset::picture_name(i)), images.join(&copy)).expect("a copy");
        let twin = Row { image_path: Some(copy.as_str().into()), ..dataset::row(i, 60) };
        all.push(written(&twin, Format::WeThink));
    }
    let split = |rows: &[String], seed: &str| {
        let out = temporary();
        let source = lines(rows, out.path(), "rows.jsonl");
        let parts = out.path().join("parts");
        let args = ["--parts", "train=0.7,test=0.3", "--seed", seed, "--images", text(&images)];
        let output = data("split", &[&args[..], &["--data", text(&source), "--out", text(&parts)]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ["train", "test"].map(|part| {
            let text = std::fs::read_to_string(parts.join(format!("{part}.jsonl"))).expect("a part");
            text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        })
    };
    let first = split(&all, "5");
    assert_eq!(first[0].len() + first[1].len(), all.len(), "every row is in one part, as it was");
    assert!(first.iter().all(|part| part.len() > 60), "{} and {}", first[0].len(), first[1].len());
    let pictures = |part: &BTreeSet<String>| -> BTreeSet<Vec<u8>> {
        let row = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
        let path = |row: Value| images.join(row["image_path"].as_str().expect("a path"));
        part.iter().map(|line| std::fs::read(path(row(line))).expect("a picture")).collect()
    };
    assert!(pictures(&first[0]).is_disjoint(&pictures(&first[1])), "a picture is in both parts");
    let mut reordered = all.clone();
    reordered.reverse();
    assert_eq!(split(&reordered, "5"), first, "order matters");
    let fewer = split(&all[..300], "5");
    assert!(fewer[0].is_subset(&first[0]) && fewer[1].is_subset(&first[1]), "a row moves when others leave");
    assert_ne!(split(&all, "6"), first, "the seed does not matter");
    let output = data("split", &["--data", text(&source), "--parts", "a=0.5,b=0.4", "--out", "x"]);
    assert_fails(&output, 1, &["sum to 0.9"]);
}

#[test]
fn stats_count_what_the_model_gets() {
    let folder = temporary();
    let Dataset { rows: source, images } = dataset::make(folder.path(), 6, 4).expect("a dataset");
    let (checkpoint, plots) = (tiny("checkpoint"), folder.path().join("plots"));
    let args = ["--data", text(&source), "--images", text(&images), "--checkpoint", text(&checkpoint)];
    let output = data("stats", &[&args[..], &["--json", "--plots", text(&plots)]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stats: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    // The same from the processor itself.
    let processor = wethink_processor::Processor::from_dir(&checkpoint).expect("a processor");
    let mut wanted = BTreeMap::<&str, Vec<usize>>::new();
    for row in rows(&source) {
        let bytes = std::fs::read(images.join(&row.images()[0])).expect("a picture");
        let question = json!([{"type": "image"}, {"type": "text", "text": row.problem}]);
        let messages = json!([{"role": "user", "content": question}]).to_string();
        let messages = wethink_processor::messages_from_json("chat", messages.as_bytes()).expect("messages");
        let messages = wethink_processor::with_system(messages, wethink_processor::System::Default);
        let picture = Picture::decode("p", &bytes).expect("a PNG");
        let prompt = processor.process(&messages, &[picture], &Default::default()).expect("a prompt");
        let images = prompt.ids.iter().filter(|&&id| id == processor.image_token_id).count();
        let response =
            processor.tokenizer.encode(&format!("{}<|im_end|>\n", row.response())).expect("ids").len();
        wanted.entry("picture, tokens").or_default().push(images);
        wanted.entry("prompt, tokens").or_default().push(prompt.ids.len());
        wanted.entry("response, tokens").or_default().push(response);
        wanted.entry("both, tokens").or_default().push(prompt.ids.len() + response);
    }
    for (name, values) in wanted {
        let found = &stats["numbers"][name];
        let mean = values.iter().sum::<usize>() as f64 / values.len() as f64;
        assert_eq!(found["max"].as_u64(), values.iter().max().map(|&max| max as u64), "{name}");
        assert_eq!(found["mean"].as_f64(), Some(mean), "{name}");
    }
    assert_eq!(stats["labels"]["abilities"], json!({"Math": 3, "OCR": 3, "Recognition": 6}));
    assert_eq!(stats["labels"]["kind"], json!({"mcq": 2, "number": 2, "open": 2}));
    let plot = std::fs::read_to_string(plots.join("prompt-tokens.svg")).expect("a plot");
    assert!(plot.starts_with("<svg") && plots.join("category.svg").is_file());
}

#[test]
fn labels_in_plots_and_pages_are_text() {
    let folder = temporary();
    let evil = "<script>alert(1)</script>";
    let row = json!({"problem": evil, "answer": evil, "category": evil, "refined_cot": evil}).to_string();
    let source = lines(&[row], folder.path(), "rows.jsonl");
    let (plots, page, checkpoint) =
        (folder.path().join("plots"), folder.path().join("page.html"), tiny("checkpoint"));
    assert!(data("stats", &["--data", text(&source), "--plots", text(&plots)]).status.success());
    let args = ["--data", text(&source), "--checkpoint", text(&checkpoint), "--out", text(&page)];
    assert!(data("show", &args).status.success());
    for file in [plots.join("category.svg"), page] {
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.contains("&lt;") && !text.contains("<script"), "{}", file.display());
    }
}

#[test]
fn show_marks_the_response_and_its_end_and_needs_nothing_from_elsewhere() {
    let folder = temporary();
    let Dataset { rows: source, images } = dataset::make(folder.path(), 30, 4).expect("a dataset");
    let (checkpoint, page) = (tiny("checkpoint"), folder.path().join("page.html"));
    let args = ["--data", text(&source), "--images", text(&images), "--checkpoint", text(&checkpoint)];
    let show = |more: &[&str]| {
        let output = data("show", &[&args[..], &["--out", text(&page)], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(&page).expect("the page")
    };
    let html = show(&["--rows", "5"]);
    assert_eq!(html.matches("<article>").count(), 5);
    assert_eq!(html.matches("src=\"data:image/png;base64,").count(), 5);
    assert_eq!(html.matches("class=\"tokens loss\">").count(), 5);
    for foreign in ["http:", "https:", "//", "<script", "<link", "url("] {
        let outside =
            html.split("base64,").map(|piece| piece.split_once('"').map_or(piece, |(_, rest)| rest));
        assert!(
            html.starts_with("<!doctype html>") && outside.skip(1).all(|piece| !piece.contains(foreign)),
            "{foreign}"
        );
    }
    for loss in html.split("class=\"tokens loss\">").skip(1) {
        let loss = loss.split_once("</p>").expect("its end").0;
        let text: String =
            loss.split('>').skip(1).map(|piece| piece.split('<').next().unwrap_or_default()).collect();
        assert!(text.starts_with("&lt;think&gt;↵"), "{text}");
        assert!(text.ends_with("&lt;/answer&gt;&lt;|im_end|&gt;↵\n"), "{text}");
    }
    assert_eq!(show(&["--rows", "5"]), html, "the same seed draws the same rows");
    assert_ne!(show(&["--rows", "5", "--seed", "1"]), html);
    assert_eq!(show(&["--rows", "500"]).matches("<article>").count(), 30);
}
