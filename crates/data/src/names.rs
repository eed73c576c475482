//! Names of pictures, in rows and in archives: relative, below the root, the same on every system.

use crate::Fault;

const FIX: &str = "write the path from the image root on, with `/` between folders";

/// A picture's name as it is looked up: `.` and doubled slashes dropped.
///
/// # Errors
/// An empty name, an absolute one (`/a`, `C:/a`), one with a `..`, a backslash or a control character, by the field
/// `image_path`.
pub fn checked_name(name: &str) -> Result<String, Fault> {
    let refuse = |problem: &str| Err(Fault::field("image_path", format!("{name:.120?} {problem}"), FIX));
    if name.trim().is_empty() {
        return refuse("is empty");
    }
    if name.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    if name.contains('\\') {
        return refuse("holds a backslash");
    }
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    if name.starts_with('/') || drive {
        return refuse("is an absolute path");
    }
    let steps: Vec<&str> = name.split('/').filter(|step| !matches!(*step, "" | ".")).collect();
    if steps.contains(&"..") {
        return refuse("leaves its folder with `..`");
    }
    match steps.is_empty() {
        true => refuse("names no file"),
        false => Ok(steps.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_root_are_refused_by_field_and_reason() {
        for (name, reason) in [
            ("", "is empty"),
            ("../a.png", "`..`"),
            ("coco/../../a.png", "`..`"),
            ("coco/..", "`..`"),
            ("/etc/passwd", "absolute"),
            ("//host/a.png", "absolute"),
            ("C:/a.png", "absolute"),
            ("c:a.png", "absolute"),
            ("..\\a.png", "backslash"),
            ("a\0.png", "control"),
            ("./", "names no file"),
        ] {
            let fault = checked_name(name).unwrap_err().to_string();
            assert!(fault.contains("image_path") && fault.contains(reason), "{name:?}: {fault}");
        }
        for (name, kept) in [
            ("coco/a.png", "coco/a.png"),
            ("./coco//a..b.png", "coco/a..b.png"),
            ("größe/…/x.jpg", "größe/…/x.jpg"),
        ] {
            assert_eq!(checked_name(name).unwrap(), kept);
        }
    }
}
