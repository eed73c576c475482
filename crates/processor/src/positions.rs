//! M-RoPE positions: three coordinates a token. Text counts on in all three; a picture's tokens share one time and
//! are laid out over height and width, and the text after it goes on behind the longer of the two. Source:
//! transformers, `Qwen2_5_VLModel.get_rope_index`, for pictures.

use crate::error::Error;

/// Positions of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// (t, h, w) of every token.
    pub positions: Vec<[u32; 3]>,
    /// What to add to a later token's index for its position: the next position less the prompt's length.
    pub rope_delta: i64,
}

/// Positions for `ids`, in which every run of `image_token_id` is the next of `grids`: [t, h, w] in patches, of
/// which `merge_size`² make one token.
///
/// # Errors
/// [`Error::TokenCount`] when a run is shorter or longer than its grid, [`Error::PictureCount`] when the ids hold
/// more or fewer pictures than there are grids.
pub fn positions(
    ids: &[u32],
    grids: &[[usize; 3]],
    image_token_id: u32,
    merge_size: usize,
) -> Result<Positions, Error> {
    let mut positions = Vec::with_capacity(ids.len());
    let mut next = 0;
    let mut picture = 0;
    let mut at = 0;
    while at < ids.len() {
        if ids[at] != image_token_id {
            positions.push([next; 3]);
            next += 1;
            at += 1;
            continue;
        }
        let run = ids[at..].iter().take_while(|&&id| id == image_token_id).count();
        let Some(&[t, h, w]) = grids.get(picture) else {
            return Err(Error::PictureCount { slots: picture + 1, pictures: grids.len() });
        };
        let (h, w) = (h / merge_size, w / merge_size);
        let features = t * h * w;
        if run != features {
            return Err(Error::TokenCount { picture, tokens: run, features });
        }
        let (rows, columns) = (0..h as u32, 0..w as u32);
        for frame in 0..t as u32 {
            let row = |y| columns.clone().map(move |x| [next + frame, next + y, next + x]);
            positions.extend(rows.clone().flat_map(row));
        }
        next += h.max(w) as u32;
        at += features;
        picture += 1;
    }
    if picture < grids.len() {
        return Err(Error::PictureCount { slots: picture, pictures: grids.len() });
    }
    let end = positions.iter().flatten().max().map_or(0, |&last| i64::from(last) + 1);
    Ok(Positions { rope_delta: end - positions.len() as i64, positions })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGE: u32 = 9;

    #[test]
    fn text_counts_on() {
        let found = positions(&[5, 6, 7], &[], IMAGE, 2).unwrap();
        assert_eq!(found.positions, [[0; 3], [1; 3], [2; 3]]);
        assert_eq!(found.rope_delta, 0);
        assert_eq!(positions(&[], &[], IMAGE, 2).unwrap().rope_delta, 0);
    }

    #[test]
    fn a_picture_is_laid_out_over_height_and_width() {
        let ids = [1, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, 2];
        let found = positions(&ids, &[[1, 4, 6]], IMAGE, 2).unwrap();
        let picture = [[1, 1, 1], [1, 1, 2], [1, 1, 3], [1, 2, 1], [1, 2, 2], [1, 2, 3]];
        assert_eq!(found.positions[1..7], picture);
        assert_eq!(found.positions[7], [4; 3], "behind the longer side");
        assert_eq!(found.rope_delta, 5 - 8);
    }

    #[test]
    fn other_counts_are_refused_with_both() {
        let error =
            |ids: &[u32], grids: &[[usize; 3]]| positions(ids, grids, IMAGE, 2).unwrap_err().to_string();
        let few = error(&[1, IMAGE, 2, IMAGE, IMAGE], &[[1, 2, 2], [1, 2, 6]]);
        assert!(
            few.contains("picture 1") && few.contains("2 image token(s)") && few.contains("3 feature(s)"),
            "{few}"
        );
        let many = error(&[IMAGE, IMAGE], &[[1, 2, 2]]);
        assert!(many.contains("2 image token(s)") && many.contains("1 feature(s)"), "{many}");
        let slots = error(&[1, IMAGE], &[[1, 2, 2], [1, 2, 2]]);
        assert!(slots.contains("1 image part(s)") && slots.contains("2 picture(s)"), "{slots}");
        let pictures = error(&[1, IMAGE, 3, IMAGE], &[[1, 2, 2]]);
        assert!(pictures.contains("2 image part(s)") && pictures.contains("1 picture(s)"), "{pictures}");
    }

    proptest! {
        #[test]
        fn one_position_for_each_token_and_the_next_is_free(
            pictures in prop::collection::vec([1usize..5, 1usize..5], 0..4),
        ) {
            let mut ids = vec![1];
            for [h, w] in &pictures {
                ids.extend(std::iter::repeat_n(IMAGE, h * w));
                ids.push(2);
            }
            let grids: Vec<[usize; 3]> = pictures.iter().map(|[h, w]| [1, h * 2, w * 2]).collect();
            let found = positions(&ids, &grids, IMAGE, 2).unwrap();
            prop_assert_eq!(found.positions.len(), ids.len());
            let last = i64::from(*found.positions.iter().flatten().max().unwrap());
            prop_assert_eq!(ids.len() as i64 + found.rope_delta, last + 1);
        }

        #[test]
        fn any_ids_and_grids_are_judged(
            ids in prop::collection::vec(8u32..11, 0..40),
            grids: Vec<[u8; 3]>,
            merge in 1usize..4,
        ) {
            let grids: Vec<[usize; 3]> = grids.iter().map(|grid| grid.map(usize::from)).collect();
            if let Ok(found) = positions(&ids, &grids, IMAGE, merge) {
                prop_assert_eq!(found.positions.len(), ids.len());
            }
        }
    }
}
