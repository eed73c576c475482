//! Truncated picture files that their decoders take without a word: JPEG, whose decoder fills what is missing with grey,
//! and WebP, whose decoder needs only the first frame. The other decoders refuse them.

use image::ImageFormat;

/// Whether the file has the end that its format demands. `bytes` has at least the format's signature.
pub(crate) fn is_whole(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg_is_whole(bytes),
        ImageFormat::WebP => webp_is_whole(bytes),
        _ => true,
    }
}

/// Whether the file is as long as its RIFF header says.
fn webp_is_whole(bytes: &[u8]) -> bool {
    match bytes.get(4..8) {
        Some(&[a, b, c, d]) => bytes.len() as u64 >= 8 + u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => false,
    }
}

/// Whether the markers lead to the end of the image. Marker layout: ITU-T T.81, B.1.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    loop {
        // Entropy-coded data and fill bytes end at the next marker that is not a stuffed 0 or a restart.
        let Some(skip) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) else {
            return false;
        };
        at += skip + 1;
        match bytes.get(at) {
            None => return false,
            Some(&END_OF_IMAGE) => return true,
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, a segment that holds a thumbnail's end marker, scan header, scan with a stuffed byte and a restart, end.
    const JPEG: &[u8] =
        b"\xFF\xD8\xFF\xE1\0\x05\xFF\xD9z\xFF\xDA\0\x03aDATA\xFF\0DATA\xFF\xD0DATA\xFF\xFF\xD9";

    #[test]
    fn a_jpeg_is_whole_only_with_its_own_end() {
        assert!(is_whole(ImageFormat::Jpeg, JPEG));
        assert!(is_whole(ImageFormat::Jpeg, &[JPEG, b"trailer"].concat()));
        for len in 2..JPEG.len() {
            assert!(!is_whole(ImageFormat::Jpeg, &JPEG[..len]), "{len}");
        }
    }

    #[test]
    fn a_webp_is_as_long_as_it_says() {
        let webp = b"RIFF\x06\0\0\0WEBP12";
        assert!(is_whole(ImageFormat::WebP, webp));
        assert!(!is_whole(ImageFormat::WebP, &webp[..13]));
        assert!(!is_whole(ImageFormat::WebP, b"RIFF"));
    }
}
