//! `trainer scenes`: procedural rows with exact answers.
//!
//! `make` fills a folder with WeThink rows and their pictures. Row `i` depends on settings, seed and `i` alone, so a run that
//! was cut off goes on where it stopped, and the same command gives the same bytes anywhere. `sheet` shows what the settings
//! give, on one picture.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use rayon::prelude::*;
use serde_json::{Value, json};
use wethink_scenes::{Pair, Picture, Row, Scene, Settings, Split, Task};

use crate::progress;

const EXAMPLE: &str = r"Tasks:
  A  coloured shapes, counted under a filter    B  numbers on digit cards, added
  C  a maze, walked                             D  a bar chart, a clock, dice

Examples:
  trainer scenes sheet --task A --out sheet.png
  trainer scenes make --task A --n 8000 --out train --objects 3-6
  trainer scenes make --task A --n 2000 --out test --split test --objects 5-12

Colours with shapes that training never shows, then a test on them:
  trainer scenes make --n 8000 --out train --hold-out red-star,blue-cross
  trainer scenes make --task A --n 2000 --out unseen --split test \
    --hold-out red-star,blue-cross --show-held-out

A hash of what a scene shows decides its split, so no seed can bring a test
scene into training. --out gets rows.jsonl (WeThink's fields and `scene`),
images/ and scenes.json, which says what made it.";

/// Procedural visual tasks with exact answers.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rows and pictures into a folder
    #[command(after_help = EXAMPLE)]
    Make(Make),
    /// Many pictures on one, questions and answers on standard output
    #[command(after_help = EXAMPLE)]
    Sheet(Sheet),
}

#[derive(Debug, Parser)]
struct Make {
    #[command(flatten)]
    look: Look,
    /// Number of rows
    #[arg(long, value_name = "N")]
    n: u64,
    /// Folder for rows.jsonl and images/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the rows that are there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Parser)]
struct Sheet {
    #[command(flatten)]
    look: Look,
    /// Number of pictures
    #[arg(long, value_name = "N", default_value_t = 24)]
    n: u64,
    /// Where to write
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
}

/// What the scenes are like.
#[derive(Debug, Parser)]
struct Look {
    /// A, B, C, D, several with commas between, or all
    #[arg(long, value_name = "TASK", default_value = "all", value_parser = tasks)]
    task: Tasks,
    /// Decides every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// train, val, test, or any
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = split)]
    split: OneSplit,
    /// Pixels of a side, one number or a range
    #[arg(long, value_name = "PX", default_value = "112-224", value_parser = range)]
    size: Ends,
    /// As wide as high
    #[arg(long)]
    square: bool,
    /// Pale dots and dashes under the drawing
    #[arg(long, value_name = "N", default_value_t = 0)]
    clutter: u8,
    /// Largest change of a channel by noise, 0 to 40
    #[arg(long, value_name = "N", default_value_t = 0)]
    noise: u8,
    /// How many wordings of a question are used, 1 to 5
    #[arg(long, value_name = "N", default_value_t = Settings::default().wordings)]
    wordings: u8,
    /// A: pixels of a grid's cell, about: 28 is what a token of the model sees
    #[arg(long, value_name = "PX", default_value_t = Settings::default().cell)]
    cell: u8,
    /// A: number of objects
    #[arg(long, value_name = "N", default_value = "3-10", value_parser = range)]
    objects: Ends,
    /// A: percentage of scenes with as many objects as --crowd says instead
    #[arg(long, value_name = "PERCENT", default_value_t = Settings::default().crowded)]
    crowded: u8,
    /// A: number of objects of a crowded scene
    #[arg(long, value_name = "N", default_value = "7-12", value_parser = range)]
    crowd: Ends,
    /// A: how many colours are used, 1 to 6
    #[arg(long, value_name = "N", default_value_t = Settings::default().colors)]
    colors: u8,
    /// A: how many shapes are used, 1 to 6
    #[arg(long, value_name = "N", default_value_t = Settings::default().shapes)]
    shapes: u8,
    /// A: percentage of questions about a side of another object
    #[arg(long, value_name = "PERCENT", default_value_t = Settings::default().relations)]
    relations: u8,
    /// A: weights of questions that name one, two and three of colour, shape and size, as in 1,1,0; every answer from none to
    /// all is as likely then
    #[arg(long, value_name = "N,N,N", value_parser = weights)]
    asked: Option<Weights>,
    /// A: pairs that never occur, as in red-circle,blue-star
    #[arg(long, value_name = "COLOR-SHAPE", value_delimiter = ',')]
    hold_out: Vec<Pair>,
    /// A: every answer depends on a held-out pair instead
    #[arg(long, requires = "hold_out")]
    show_held_out: bool,
    /// A: thoughts that do not repeat what the question asks about before a mark
    #[arg(long)]
    terse: bool,
    /// B: how many numbers, 2 to 6
    #[arg(long, value_name = "N", default_value = "2-4", value_parser = range)]
    terms: Ends,
    /// B: digits of a number, 1 to 4
    #[arg(long, value_name = "N", default_value = "1-2", value_parser = range)]
    digits: Ends,
    /// C: columns and rows, 2 to 9
    #[arg(long, value_name = "N", default_value = "4-7", value_parser = range)]
    maze: Ends,
}

// clap takes a bare `Vec` or `Option` for a flag that repeats or is absent, so these have names.
#[derive(Debug, Clone)]
struct Tasks(Vec<Task>);
#[derive(Debug, Clone)]
struct OneSplit(Option<Split>);
#[derive(Debug, Clone, Copy)]
struct Ends([u16; 2]);
#[derive(Debug, Clone, Copy)]
struct Weights([u8; 3]);

fn tasks(text: &str) -> Result<Tasks, String> {
    if text == "all" {
        return Ok(Tasks(Task::ALL.to_vec()));
    }
    let one = |name: &str| {
        Task::ALL
            .into_iter()
            .find(|task| format!("{task:?}") == name)
            .ok_or_else(|| format!("`{name}`: A, B, C, D or all"))
    };
    text.split(',').map(one).collect::<Result<_, _>>().map(Tasks)
}

fn split(text: &str) -> Result<OneSplit, String> {
    if text == "any" { Ok(OneSplit(None)) } else { text.parse().map(|split| OneSplit(Some(split))) }
}

fn range(text: &str) -> Result<Ends, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}`: a number, or a range like 3-10"));
    Ok(Ends([number(low)?, number(high)?]))
}

fn weights(text: &str) -> Result<Weights, String> {
    let all: Result<Vec<u8>, _> = text.split(',').map(str::parse).collect();
    let three = all.ok().and_then(|all| <[u8; 3]>::try_from(all).ok());
    three.map(Weights).ok_or_else(|| format!("`{text}`: three numbers up to 255, like 1,1,0"))
}

impl Ends {
    /// Both ends as bytes; what is too large for one is too large for every such setting.
    fn bytes(self) -> [u8; 2] {
        self.0.map(|n| n.min(u16::from(u8::MAX)) as u8)
    }
}

impl Look {
    fn settings(&self) -> Settings {
        Settings {
            tasks: self.task.0.clone(),
            split: self.split.0,
            sides: self.size.0,
            square: self.square,
            clutter: self.clutter,
            noise: self.noise,
            wordings: self.wordings,
            cell: self.cell,
            objects: self.objects.bytes(),
            crowded: self.crowded,
            crowd: self.crowd.bytes(),
            colors: self.colors,
            shapes: self.shapes,
            relations: self.relations,
            asked: self.asked.map(|Weights(asked)| asked),
            held_out: self.hold_out.clone(),
            show_held_out: self.show_held_out,
            terse: self.terse,
            terms: self.terms.bytes(),
            digits: self.digits.bytes(),
            maze: self.maze.bytes(),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Make(args) => make(args)?,
        Command::Sheet(args) => sheet(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sheet(args: &Sheet) -> Result<()> {
    let settings = args.look.settings();
    let scene = |i| settings.scene(args.look.seed, i);
    let scenes = (0..args.n).map(scene).collect::<Result<Vec<Scene>, _>>()?;
    let pictures: Vec<Picture> = scenes.iter().map(Scene::draw).collect();
    let columns = (args.n as f64).sqrt().ceil() as usize;
    fs::write(&args.out, Picture::sheet(&pictures, columns).png())
        .with_context(|| format!("{}: cannot be written", args.out.display()))?;
    let mut out = std::io::stdout().lock();
    for (i, scene) in scenes.iter().enumerate() {
        let thought = if settings.terse { scene.terse_thought() } else { scene.thought() };
        let (question, answer) = (scene.question(), scene.answer());
        writeln!(out, "{}. {question}\n{thought}\nanswer {answer}\n", i + 1)?;
    }
    Ok(())
}

/// Rows made at once before they are written: enough for every core, little to make again after an interruption.
const BLOCK: u64 = 512;

fn make(args: &Make) -> Result<()> {
    let (settings, seed, n) = (args.look.settings(), args.look.seed, args.n);
    settings.check()?;
    let mut rows = Rows::open(&args.out, args.force, &json!({ "settings": settings, "seed": seed, "n": n }))?;
    let (started, first) = (Instant::now(), rows.done);
    if first > 0 {
        eprintln!("{first} of {n} rows are there; going on");
    }
    let bar = progress::rows("scenes", n);
    let one = |index: u64| -> Result<String> {
        let scene = settings.scene(seed, index)?;
        let image_path = format!("images/{index:06}.png");
        let path = args.out.join(&image_path);
        fs::write(&path, scene.draw().png())
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        let row = Row::new(scene, image_path);
        Ok(if settings.terse { row.terse() } else { row }.to_json())
    };
    while rows.done < n {
        let block: Range<u64> = rows.done..n.min(rows.done + BLOCK);
        let lines = block.into_par_iter().map(one).collect::<Result<Vec<String>>>()?;
        rows.append(&lines)?;
        bar.at(rows.done);
    }
    bar.finish();
    let path = rows.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{n} rows, {:.0} pictures a second", (n - first) as f64 / seconds)?;
    summary(&path, &mut out)?;
    writeln!(out, "{}", path.display())?;
    Ok(())
}

/// What the rows are: kinds, answers, lengths.
fn summary(path: &Path, out: &mut impl Write) -> Result<()> {
    let (mut kinds, mut answers) = (BTreeMap::<String, u64>::new(), BTreeMap::<(usize, String), u64>::new());
    let (mut rows, mut letters, mut longest) = (0u64, 0, 0);
    for line in fs::read_to_string(path)?.lines() {
        let row: Row = serde_json::from_str(line)?;
        let length = row.refined_cot.chars().count();
        (rows, letters, longest) = (rows + 1, letters + length, longest.max(length));
        *answers.entry((row.answer.len(), row.answer)).or_default() += 1;
        *kinds.entry(row.category).or_default() += 1;
    }
    let list: Vec<String> = kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    writeln!(out, "kinds: {}", list.join(", "))?;
    let mut often: Vec<_> = answers.iter().collect();
    often.sort_by_key(|&(answer, &n)| (std::cmp::Reverse(n), answer));
    let percent = |n: u64| 100.0 * n as f64 / rows as f64;
    let list: Vec<String> =
        often.iter().take(8).map(|((_, answer), n)| format!("{answer} {:.0} %", percent(**n))).collect();
    writeln!(out, "answers: {} different; most often {}", answers.len(), list.join(", "))?;
    writeln!(
        out,
        "thoughts: {:.0} characters on average, {longest} at most",
        letters as f64 / rows.max(1) as f64
    )?;
    Ok(())
}

/// `rows.jsonl`, written as `rows.jsonl.part` until it is whole.
struct Rows {
    folder: PathBuf,
    file: BufWriter<File>,
    done: u64,
}

impl Rows {
    const NAME: &str = "rows.jsonl";
    const PART: &str = "rows.jsonl.part";
    const ORIGIN: &str = "scenes.json";

    /// Opens the folder's rows: new ones, or those that an interrupted run of the same settings left.
    fn open(folder: &Path, force: bool, origin: &Value) -> Result<Self> {
        let shown = folder.display();
        let [name, part, noted] = [Self::NAME, Self::PART, Self::ORIGIN].map(|name| folder.join(name));
        fs::create_dir_all(folder.join("images")).with_context(|| format!("{shown}: cannot be made"))?;
        if force {
            clear(folder).with_context(|| format!("{shown}: cannot be emptied"))?;
        } else if name.exists() {
            bail!("{}: exists; --force replaces it", name.display());
        }
        let text = serde_json::to_string_pretty(origin)? + "\n";
        if part.exists() && fs::read_to_string(&noted).ok().as_ref() != Some(&text) {
            bail!("{shown}: holds unfinished rows of other settings; --force replaces them");
        }
        fs::write(&noted, text).with_context(|| format!("{}: cannot be written", noted.display()))?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part)?;
        let mut lines = Vec::new();
        file.read_to_end(&mut lines)?;
        // A line that was cut off is made again.
        let whole = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let done = lines[..whole].iter().filter(|&&byte| byte == b'\n').count() as u64;
        Ok(Self { folder: folder.to_owned(), file: BufWriter::new(file), done })
    }

    fn append(&mut self, lines: &[String]) -> Result<()> {
        for line in lines {
            writeln!(self.file, "{line}")?;
        }
        self.file.flush()?;
        self.done += lines.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<PathBuf> {
        self.file.into_inner()?.sync_all()?;
        let name = self.folder.join(Self::NAME);
        fs::rename(self.folder.join(Self::PART), &name)?;
        Ok(name)
    }
}

/// Removes the rows, and the pictures with names of this command's making: digits, then `.png`.
fn clear(folder: &Path) -> std::io::Result<()> {
    for name in [Rows::NAME, Rows::PART] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
    }
    for entry in fs::read_dir(folder.join("images"))? {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".png"));
        if stem.is_some_and(|stem| stem.len() >= 6 && stem.bytes().all(|b| b.is_ascii_digit())) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
