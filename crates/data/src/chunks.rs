//! A stream of bytes to the bytes of one record after another: lines, or the elements of a JSON list.
//!
//! JSON lines are WeThink's and EasyR1's form, a list is what LLaMA-Factory's files usually are. Neither is ever held
//! whole: a record is at most [`MAX_LINE`] bytes, the rest of a longer one is passed over unkept.

use std::io::{self, BufRead, Read};

use crate::Fault;

/// Bytes of one record. Rows are a few kilobytes.
pub const MAX_LINE: usize = 16 << 20;

/// Records of a stream.
pub(crate) struct Chunks<R> {
    input: R,
    /// Line of the next byte, from 1.
    line: u64,
    state: State,
}

enum State {
    Start,
    Lines,
    List,
    End,
}

impl<R: BufRead> Chunks<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, line: 1, state: State::Start }
    }

    /// Puts the next record into `record`: the line it starts on, or what is wrong with it. Blank lines are no records.
    /// Nothing follows a [`Fault::Read`].
    pub(crate) fn next(&mut self, record: &mut Vec<u8>) -> Option<(u64, Result<(), Fault>)> {
        record.clear();
        let step = match self.state {
            State::Start => self.start().map(|()| None),
            State::Lines => self.next_line(record),
            State::List => self.next_element(record),
            State::End => return None,
        };
        match step {
            Ok(Some(found)) => Some(found),
            Ok(None) if matches!(self.state, State::End) => None,
            Ok(None) => self.next(record),
            Err(error) => Some(self.end(error.to_string())),
        }
    }

    fn end(&mut self, problem: String) -> (u64, Result<(), Fault>) {
        self.state = State::End;
        (self.line, Err(Fault::Read(problem)))
    }

    /// Decides between lines and a list by the first byte that is not blank.
    fn start(&mut self) -> io::Result<()> {
        match self.skip(|byte| byte.is_ascii_whitespace())? {
            Some(b'[') => {
                self.input.consume(1);
                self.state = State::List;
            }
            Some(_) => self.state = State::Lines,
            None => self.state = State::End,
        }
        Ok(())
    }

    /// Passes over bytes, counting lines; the byte that stands next, unconsumed.
    fn skip(&mut self, over: impl Fn(u8) -> bool) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.input.fill_buf()?;
            let count = bytes.iter().take_while(|&&byte| over(byte)).count();
            self.line += newlines(&bytes[..count]);
            let next = bytes.get(count).copied();
            let ended = bytes.is_empty();
            self.input.consume(count);
            if next.is_some() || ended {
                return Ok(next);
            }
        }
    }

    fn next_line(&mut self, record: &mut Vec<u8>) -> io::Result<Option<(u64, Result<(), Fault>)>> {
        loop {
            record.clear();
            if self.input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', record)? == 0 {
                self.state = State::End;
                return Ok(None);
            }
            let number = self.line;
            self.line += 1;
            if record.len() > MAX_LINE {
                if record.last() != Some(&b'\n') {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some((number, Err(Fault::TooLong { max: MAX_LINE }))));
            }
            if !record.trim_ascii().is_empty() {
                return Ok(Some((number, Ok(()))));
            }
        }
    }

    /// An element ends at a comma or the closing bracket that stands in no string and no deeper bracket. Whether it is
    /// JSON is the parser's to say.
    fn next_element(&mut self, record: &mut Vec<u8>) -> io::Result<Option<(u64, Result<(), Fault>)>> {
        match self.skip(|byte| byte.is_ascii_whitespace() || byte == b',')? {
            None => return Ok(Some(self.end("the list is not closed by `]`".to_owned()))),
            Some(b']') => {
                self.input.consume(1);
                let rest = self.skip(|byte| byte.is_ascii_whitespace())?;
                self.state = State::End;
                let after = |_| (self.line, Err(Fault::Read("text follows the list's `]`".to_owned())));
                return Ok(rest.map(after));
            }
            Some(_) => {}
        }
        let number = self.line;
        let mut nesting = Nesting::default();
        let mut bytes_seen = 0;
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Ok(Some(self.end("the list is not closed by `]`".to_owned())));
            }
            let end = bytes.iter().position(|&byte| nesting.ends_at(byte));
            let count = end.unwrap_or(bytes.len());
            bytes_seen += count;
            if bytes_seen <= MAX_LINE {
                record.extend_from_slice(&bytes[..count]);
            }
            self.line += newlines(&bytes[..count]);
            self.input.consume(count);
            if end.is_some() {
                let fits = bytes_seen <= MAX_LINE;
                return Ok(Some((number, if fits { Ok(()) } else { Err(Fault::TooLong { max: MAX_LINE }) })));
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Where in JSON text a byte stands, as far as finding an element's end needs it.
#[derive(Default)]
struct Nesting {
    depth: usize,
    string: bool,
    escaped: bool,
}

impl Nesting {
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Records as text with their lines; faults as their kind. The small buffer splits everything somewhere.
    fn read(text: &[u8]) -> Vec<(u64, String)> {
        let mut chunks = Chunks::new(BufReader::with_capacity(3, text));
        let (mut record, mut all) = (Vec::new(), Vec::new());
        while let Some((line, result)) = chunks.next(&mut record) {
            let text = String::from_utf8_lossy(record.trim_ascii()).into_owned();
            all.push((line, result.map_or_else(|fault| fault.kind().to_owned(), |()| text)));
        }
        all
    }

    fn is(text: &str, wanted: &[(u64, &str)]) {
        let wanted: Vec<(u64, String)> = wanted.iter().map(|&(n, t)| (n, t.to_owned())).collect();
        assert_eq!(read(text.as_bytes()), wanted, "{text:?}");
    }

    #[test]
    fn lines_are_numbered_with_blank_ones_counted() {
        is("a\nb", &[(1, "a"), (2, "b")]);
        is("\n\r\n a\r\n\n{b\r\n", &[(3, "a"), (5, "{b")]);
        is("", &[]);
        is(" \n\n", &[]);
    }

    #[test]
    fn list_elements_are_found_through_strings_and_nesting() {
        is("[]", &[]);
        is(
            "\n[{\"a\": [1, 2]},\n \"x,]\\\"[\",\n\n3 ]\n",
            &[(2, "{\"a\": [1, 2]}"), (3, "\"x,]\\\"[\""), (5, "3")],
        );
        is("[{\"a\\\\\": 1},{}]", &[(1, "{\"a\\\\\": 1}"), (1, "{}")]);
    }

    #[test]
    fn a_list_that_is_cut_or_followed_by_text_is_a_fault_at_its_line() {
        is("[1,\n2", &[(1, "1"), (2, "read")]);
        is("[1,\n", &[(1, "1"), (2, "read")]);
        is("[1]\nx", &[(1, "1"), (2, "read")]);
    }

    #[test]
    fn a_record_beyond_the_bound_is_a_fault_and_the_next_is_read() {
        let long = "x".repeat(MAX_LINE + 5);
        is(&format!("a\n{long}\nb\n"), &[(1, "a"), (2, "too_long"), (3, "b")]);
        is(&format!("[1,\"{long}\",2]"), &[(1, "1"), (1, "too_long"), (1, "2")]);
        let exact = "x".repeat(MAX_LINE - 1);
        is(&format!("{exact}\nb"), &[(1, &exact), (2, "b")]);
    }
}
