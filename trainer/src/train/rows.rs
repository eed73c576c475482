//! Rows of a file with their pictures: what samples are made of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wethink_data::{Part, Pictures, Row};
use wethink_processor::{
    Content, Message, Options, Part as Slot, Picture, Processor, Role, System, with_system,
};

use super::samples::Sample;

/// The rows of a file, in its order.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    pictures: Pictures,
    rows: Vec<(u64, Row)>,
}

impl Rows {
    /// Reads every row. A file with a faulty one is refused with all of its faults: training on the rest would hide them.
    ///
    /// Pictures are named from `images`, a folder, a zip or any part of a split one; or else from the file's own folder.
    pub fn open(path: &Path, images: Option<&Path>) -> Result<Self> {
        let name = path.display().to_string();
        let mut rows = Vec::new();
        let mut faults = Vec::new();
        for line in wethink_data::open(path).with_context(|| name.clone())? {
            match line.row {
                Ok(row) => {
                    faults.extend(row.faults().iter().map(|fault| format!("line {}: {fault}", line.number)));
                    rows.push((line.number, row));
                }
                Err(fault) => faults.push(format!("line {}: {fault}", line.number)),
            }
        }
        if !faults.is_empty() {
            let shown = faults.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
            bail!("{name}: {} faults; mend or remove these rows:\n{shown}", faults.len());
        }
        if rows.is_empty() {
            bail!("{name}: no rows");
        }
        // A bare file name has an empty parent, which is no folder to look into.
        let own = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let pictures = Pictures::open(images.unwrap_or(own))?;
        Ok(Self { path: path.to_owned(), pictures, rows })
    }

    /// Number of rows; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row.
    pub fn row(&self, index: usize) -> &Row {
        &self.rows[index].1
    }

    /// Where a row stands, for people.
    pub fn place(&self, index: usize) -> String {
        format!("{} line {}", self.path.display(), self.rows[index].0)
    }

    /// The chat that asks a row's question, under WeThink's system prompt unless the row brings its own.
    pub fn messages(&self, index: usize) -> Vec<Message> {
        let row = self.row(index);
        let parts = row.parts().into_iter().map(|part| match part {
            Part::Image(_) => Slot::Image,
            Part::Text(text) => Slot::Text { text: text.to_owned() },
        });
        let question = Message { role: Role::User, content: Content::Parts(parts.collect()) };
        let system = row.system.clone().map_or(System::Default, System::Text);
        with_system(vec![question], system)
    }

    /// A row's pictures, decoded.
    pub fn pictures(&self, index: usize) -> Result<Vec<Picture>> {
        let decode = |name: &String| Ok(Picture::decode(name, &self.pictures.read(name)?)?);
        let pictures = self.row(index).images().iter().map(decode);
        pictures.collect::<Result<_>>().with_context(|| self.place(index))
    }

    /// A row's pictures as they are stored, by name.
    pub fn picture_bytes(&self, index: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let read = |name: &String| Ok((name.clone(), self.pictures.read(name)?));
        self.row(index).images().iter().map(read).collect::<Result<_>>().with_context(|| self.place(index))
    }

    /// A row as a sequence to train on.
    pub fn sample(&self, processor: &Processor, index: usize, options: &Options) -> Result<Sample> {
        let pictures = self.pictures(index)?;
        let target = self.row(index).response();
        Sample::new(processor, index, &self.messages(index), &pictures, &target, options)
            .with_context(|| self.place(index))
    }
}
