//! Pictures within text: as a server takes them, and as a page holds them.

use anyhow::{Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};

/// A picture file as a `data:` URL (RFC 2397). Its type is told by its first bytes, never by a name.
pub fn data_url(bytes: &[u8]) -> Result<String> {
    let kind = match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => bail!("neither PNG, JPEG, GIF nor WebP, which are what servers and pages take"),
    };
    Ok(format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_told_by_the_first_bytes() {
        assert_eq!(data_url(b"GIF89a+").expect("a GIF"), "data:image/gif;base64,R0lGODlhKw==");
        assert!(data_url(b"<svg/>").is_err());
    }
}
