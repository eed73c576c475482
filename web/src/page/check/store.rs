//! Labels in the browser's storage: one entry a case and file, written in the moment a label is given.

use indexed_db_futures::database::Database;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::{TransactionMode, TransactionOptions};
use wethink_checker::Mark;
use wethink_reward::{Key, Label};

const NAME: &str = "wethink-checker";
const LABELS: &str = "labels";

/// The labels of one file.
#[derive(Clone)]
pub struct Store {
    database: std::rc::Rc<Database>,
    file: String,
}

impl Store {
    /// Opens the labels of a file, named by its content.
    pub async fn open(file: &str) -> Result<Self, String> {
        let open = Database::open(NAME).with_version(1u8).with_on_upgrade_needed(|_, database| {
            database.create_object_store(LABELS).build()?;
            Ok(())
        });
        let database = open.await.map_err(|error| error.to_string())?;
        Ok(Self { database: database.into(), file: file.to_owned() })
    }

    /// Every label of the file, one line of JSON each.
    pub async fn all(&self) -> Result<Vec<String>, String> {
        let read = async {
            let transaction = self.database.transaction(LABELS).build()?;
            let store = transaction.object_store(LABELS)?;
            // `0` follows `/` in the order of letters.
            let range = format!("{}/", self.file)..format!("{}0", self.file);
            let lines = store.get_all::<String>().with_query(range).await?;
            lines.collect::<Result<Vec<_>, _>>()
        };
        read.await.map_err(|error: indexed_db_futures::error::Error| error.to_string())
    }

    /// Writes a label, or removes it; done once the browser has it on the disk.
    pub async fn put(&self, key: Key, mark: Option<&Mark>) -> Result<(), String> {
        let entry = format!("{}/{key}", self.file);
        let write = async {
            let options = TransactionOptions::new();
            let transaction = self
                .database
                .transaction(LABELS)
                .with_mode(TransactionMode::Readwrite)
                .with_options(options)
                .build()?;
            let store = transaction.object_store(LABELS)?;
            match mark {
                Some(mark) => {
                    // The request is on its way with this; the commit is what is waited for.
                    let _sent = store.put(line(key, mark)).with_key(entry).primitive()?;
                }
                None => {
                    let _sent = store.delete(entry).primitive()?;
                }
            }
            transaction.commit().await
        };
        write.await.map_err(|error: indexed_db_futures::error::Error| error.to_string())
    }
}

/// A label as `trainer score --labels` reads it.
fn line(key: Key, mark: &Mark) -> String {
    let Mark { choice, note, annotator, time } = mark.clone();
    let label = Label { key: Some(key), id: None, choice, note, annotator, time };
    // Texts and closed words only: nothing here that JSON could not say.
    serde_json::to_string(&label).unwrap_or_default()
}
