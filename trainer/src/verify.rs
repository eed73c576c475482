//! `trainer verify`: rows in, verdicts out, one JSON object a line.
//!
//! Every input line gives one output line, in order: a verdict, or `{"line", "error"}`. Errors also go to standard error with
//! their line number, and the command then exits with 1; misuse of the command line exits with 2, as clap does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use wethink_reward::{Kind, Record, RewardMap, Verdict};

/// Bytes of one input line. Responses are far shorter; what is longer is an error of its line.
const MAX_LINE: usize = 64 << 20;

/// Compare responses with truths by rule.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON lines with `kind`, `gold` or `golds`, `pred`, and optionally `choices`, `opts`, `id`; standard input if left out.
    #[arg(long, value_name = "FILE.jsonl")]
    data: Option<PathBuf>,
    /// Print a table by kind on standard error, for rows that carry `expected` (true, false or a score).
    #[arg(long)]
    summary: bool,
    /// Read a dataset's own name as a kind; may be repeated.
    #[arg(long, value_name = "NAME=KIND")]
    reward_map: Vec<String>,
}

/// What one line gave.
type Outcome = Result<(Record, Verdict), String>;

/// Runs the command on files and standard streams.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let map = RewardMap::from_entries(&args.reward_map)?;
    let input: Box<dyn BufRead> = match &args.data {
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("--data {}: cannot be opened", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(io::stdin())),
    };
    let stdout = BufWriter::new(io::stdout().lock());
    let mut stderr = io::stderr().lock();
    let failed = stream(input, stdout, &mut stderr, &map, args.summary)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Verifies every line of `input`; whether any of them was an error.
///
/// # Errors
/// Reading or writing itself fails; a line that is wrong is not such an error.
pub fn stream(
    mut input: impl BufRead,
    mut output: impl Write,
    errors: &mut impl Write,
    map: &RewardMap,
    summary: bool,
) -> anyhow::Result<bool> {
    let mut table = BTreeMap::<Kind, Tally>::new();
    let mut unknown_names = Vec::new();
    let mut unknown_opts = BTreeMap::<String, usize>::new();
    let mut failed = false;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if !read_line(&mut input, &mut line).with_context(|| format!("line {number}: cannot be read"))? {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row = parsed(&line);
        let id = row.as_ref().ok().and_then(|r| r.get("id")).cloned().unwrap_or(Value::Null);
        let outcome = row.as_ref().map_err(Clone::clone).and_then(|row| judged(row, map));
        let answer = match (&outcome, &row) {
            (Ok((record, verdict)), Ok(row)) => {
                for name in record.opts.unknown.keys() {
                    *unknown_opts.entry(name.clone()).or_default() += 1;
                }
                table.entry(record.kind).or_default().count(row.get("expected"), verdict);
                answer(id, verdict)
            }
            (Err(error), _) | (_, Err(error)) => {
                failed = true;
                writeln!(errors, "line {number}: {error}")?;
                if let Some(name) = row.as_ref().ok().and_then(|r| unresolved(r, map)) {
                    unknown_names.push(name);
                }
                json!({ "id": id, "line": number, "error": error })
            }
        };
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    if let Err(error) = map.check(unknown_names.iter().map(String::as_str)) {
        writeln!(errors, "{error}")?;
    }
    for (name, rows) in unknown_opts {
        writeln!(errors, "warning: opts.{name} is unknown and was left alone in {rows} rows")?;
    }
    if summary {
        print(&table, errors)?;
    }
    Ok(failed)
}

/// Reads a line into `line`, at most one byte more than is accepted; the rest of a longer one is passed over unkept.
/// Whether there was a line.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let read = input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', line)?;
    if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

fn parsed(line: &[u8]) -> Result<Value, String> {
    if line.len() > MAX_LINE {
        return Err(format!("more than {MAX_LINE} bytes, the most that is read as one row"));
    }
    let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8 from byte {}", e.valid_up_to()))?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| format!("not JSON: {e}"))
}

fn judged(row: &Value, map: &RewardMap) -> Outcome {
    let record = Record::from_json(row, map).map_err(|e| e.to_string())?;
    let verdict = wethink_reward::verify(&record).map_err(|e| e.to_string())?;
    Ok((record, verdict))
}

/// The kind's name, if that is what is wrong with a row.
fn unresolved(row: &Value, map: &RewardMap) -> Option<String> {
    let name = row.get("kind").or_else(|| row.get("reward"))?.as_str()?;
    map.resolve(name).is_none().then(|| name.to_owned())
}

fn answer(id: Value, verdict: &Verdict) -> Value {
    json!({
        "id": id,
        "verdict": verdict.verdict,
        "score": verdict.score,
        "reason": verdict.reason,
        "tier": verdict.tier,
        "gold_normal": verdict.gold_normal,
        "pred_normal": verdict.pred_normal,
        "span": verdict.span,
        "fuel": verdict.fuel,
    })
}

/// Rows of one kind against what they expect.
#[derive(Default)]
struct Tally {
    rows: usize,
    unsure: usize,
    expected: usize,
    right: usize,
    false_accepts: usize,
    false_rejects: usize,
}

impl Tally {
    fn count(&mut self, expected: Option<&Value>, verdict: &Verdict) {
        self.rows += 1;
        self.unsure += usize::from(verdict.verdict == wethink_reward::Decision::Unsure);
        let accepted = verdict.accepted();
        let (right, wanted) = match expected {
            Some(Value::Bool(wanted)) => (accepted == *wanted, *wanted),
            Some(Value::Number(score)) => {
                let score = score.as_f64().unwrap_or(f64::NAN);
                ((verdict.score - score).abs() <= 1e-6, verdict.score < score)
            }
            _ => return,
        };
        self.expected += 1;
        self.right += usize::from(right);
        self.false_accepts += usize::from(!right && !wanted);
        self.false_rejects += usize::from(!right && wanted);
    }
}

fn print(table: &BTreeMap<Kind, Tally>, out: &mut impl Write) -> io::Result<()> {
    let header = ["kind", "rows", "expected", "right", "rate", "too high", "too low", "unsure"];
    writeln!(
        out,
        "{:<12}{:>8}{:>10}{:>8}{:>9}{:>10}{:>9}{:>8}",
        header[0], header[1], header[2], header[3], header[4], header[5], header[6], header[7]
    )?;
    for (kind, t) in table {
        let rate = match t.expected {
            0 => "-".to_owned(),
            n => format!("{:.2} %", 100.0 * t.right as f64 / n as f64),
        };
        let cells = (t.rows, t.expected, t.right, t.false_accepts, t.false_rejects, t.unsure);
        writeln!(
            out,
            "{:<12}{:>8}{:>10}{:>8}{rate:>9}{:>10}{:>9}{:>8}",
            kind.name(),
            cells.0,
            cells.1,
            cells.2,
            cells.3,
            cells.4,
            cells.5
        )?;
    }
    Ok(())
}
