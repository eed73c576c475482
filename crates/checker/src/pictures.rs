//! Which file of a dropped folder or archive is the one a row names.

use std::collections::HashMap;

/// Names of files, found by the path in a row: as it stands, else by the longest end of it that is the end of exactly one file.
#[derive(Debug, Default)]
pub struct Names {
    /// Every end of every name at a `/`, with its file, or `None` where several files have it.
    ends: HashMap<String, Option<usize>>,
}

impl Names {
    /// Takes files by name, in the order that [`Names::find`] counts them in.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut ends = HashMap::new();
        for (file, name) in names.into_iter().enumerate() {
            let whole = tidy(name.as_ref());
            for end in suffixes(&whole) {
                ends.entry(end.to_owned()).and_modify(|found| *found = None).or_insert(Some(file));
            }
        }
        Self { ends }
    }

    /// The file that a row's path means; `None` if there is none, or more than one.
    pub fn find(&self, path: &str) -> Option<usize> {
        let path = tidy(path);
        suffixes(&path).find_map(|end| self.ends.get(end)).copied().flatten()
    }
}

/// One kind of slash, none at the beginning, none twice, no `.`.
fn tidy(name: &str) -> String {
    let steps = name.split(['/', '\\']).filter(|step| !matches!(*step, "" | "."));
    steps.collect::<Vec<_>>().join("/")
}

/// The whole, then what follows each slash.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let rest = name.match_indices('/').map(|(at, _)| &name[at + 1..]);
    std::iter::once(name).chain(rest).filter(|end| !end.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_file_by_the_longest_end_that_only_one_has() {
        let names = Names::new(["images/coco/a.png", "images/vg/a.png", "images/coco/b.png", "c.png"]);
        for (path, file) in [
            ("images/coco/a.png", Some(0)),
            ("coco/a.png", Some(0)),
            ("/data/images/vg/a.png", Some(1)),
            ("./vg//a.png", Some(1)),
            ("vg\\a.png", Some(1)),
            ("a.png", None),
            ("other/b.png", Some(2)),
            ("x/y/c.png", Some(3)),
            ("d.png", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(names.find(path), file, "{path}");
        }
    }
}
