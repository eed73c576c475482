//! Where a row's pictures lie: a folder, a zip, or the parts of a zip that was split by bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Archive, Fault, MAX_MEMBER, checked_name};

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The system refused a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An archive, or one of its parts, cannot be used at all.
    #[error("{}: {problem}; {fix}", path.display())]
    Archive {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// One member of an archive, or one file of a folder, cannot be used.
    #[error("picture {name:?}: {problem}")]
    Member {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such picture.
    #[error("picture {name:?} is not in {}; is this the image root that the rows mean?", place.display())]
    Absent {
        /// The name looked for.
        name: String,
        /// Folder or archive.
        place: PathBuf,
    },
    /// The name itself is refused.
    #[error(transparent)]
    Name(#[from] Fault),
}

impl PictureError {
    pub(crate) fn member(name: &str, problem: impl Into<String>) -> Self {
        Self::Member { name: name.to_owned(), problem: problem.into() }
    }
}

/// The pictures of a dataset. Threads read at the same time; nothing is shared but file handles without a position.
#[derive(Debug)]
pub enum Pictures {
    /// Files below a folder.
    Folder(PathBuf),
    /// Members of an archive.
    Archive(Box<Archive>),
}

impl Pictures {
    /// Opens a folder, a zip, or a split zip by any of its parts or by the name without `.part-aa`.
    ///
    /// # Errors
    /// There is no such thing, or the archive cannot be used; see [`Archive::open`].
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        match path.is_dir() {
            true => Ok(Self::Folder(path.to_owned())),
            false => Archive::open(path).map(|archive| Self::Archive(Box::new(archive))),
        }
    }

    /// The bytes of a picture by a row's path.
    ///
    /// # Errors
    /// The name is refused ([`checked_name`]), the picture is absent, larger than [`MAX_MEMBER`] or damaged.
    pub fn read(&self, image_path: &str) -> Result<Vec<u8>, PictureError> {
        match self {
            Self::Folder(folder) => read_file(folder, &checked_name(image_path)?),
            Self::Archive(archive) => archive.read(image_path),
        }
    }
}

fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>, PictureError> {
    let path = folder.join(name);
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            PictureError::Absent { name: name.to_owned(), place: folder.to_owned() }
        }
        _ => PictureError::Io { path: path.clone(), source },
    };
    // Judged before it is opened: opening a pipe would wait for ever.
    let data = std::fs::metadata(&path).map_err(io)?;
    if !data.is_file() {
        return Err(PictureError::member(name, "it is not a file"));
    }
    if data.len() > MAX_MEMBER {
        return Err(PictureError::member(name, too_large(data.len())));
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(MAX_MEMBER).read_to_end(&mut bytes)).map_err(io)?;
    Ok(bytes)
}

pub(crate) fn too_large(bytes: u64) -> String {
    format!("{bytes} bytes, more than the {MAX_MEMBER} that a picture may have")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_files_below_it_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/coco")).unwrap();
        std::fs::write(folder.path().join("secret.png"), b"s").unwrap();
        std::fs::write(folder.path().join("root/coco/a.png"), b"a").unwrap();
        let pictures = Pictures::open(&folder.path().join("root")).unwrap();
        assert_eq!(pictures.read("coco/a.png").unwrap(), b"a");
        assert_eq!(pictures.read("./coco//a.png").unwrap(), b"a");
        let absolute = folder.path().join("secret.png").display().to_string();
        for (name, reason) in [
            ("../secret.png", "`..`"),
            ("coco/../../secret.png", "`..`"),
            (absolute.as_str(), "absolute"),
            ("coco/b.png", "is not in"),
            ("coco/a.png/b", "is not in"),
            ("coco", "not a file"),
        ] {
            let error = pictures.read(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }
}
